"""Recorded steps of a stack, for any number of its nets and for one call after the other."""

from functools import partial

from sk_unlearn.nets._inspect import bare_module
from sk_unlearn.nets._stacked_loss import StackedLoss
from sk_unlearn.nets._stacked_step import StackedNets, StackedStep

__all__ = ["KeptSteps", "StackedSteps"]


class StackedSteps:
    """Steps for full and for thinned-out stacks.

    Each width that a step is made for costs a recording, some milliseconds. So there is one for
    all nets, for half of them and so on; where fewer nets have a batch, some are computed for
    nothing.

    Parameters
    ----------
    net : skorch.NeuralNet
        Initialised; its module gives the architecture.
    states : list of NetState
    n_rows : int
        Places in a batch.
    """

    def __init__(self, net, states, n_rows):
        self.net = net
        self.nets = StackedNets(bare_module(net.module_).train(), states)
        self._n_rows = n_rows
        self._widths = [len(states)]
        while self._widths[-1] > 1:
            self._widths.append(-(-self._widths[-1] // 2))
        self._steps, self._loss = {}, None

    def begin(self, states, X, y):
        """Start from other states, on other rows.

        Parameters
        ----------
        states : list of NetState
        X, y : Tensor
        """
        self.nets.load(states)
        loss = StackedLoss(self.net, y)
        if self._loss is None or loss.weighted != self._loss.weighted:
            self._steps, self._loss = {}, loss
        for step in self._steps.values():
            step.read_from(X, y)
        self._make = partial(StackedStep, self.nets, self._loss, X, y, n_rows=self._n_rows)

    def for_nets(self, n_nets):
        """The step of at least so many nets."""
        width = min(width for width in self._widths if width >= n_nets)
        if width not in self._steps:
            self._steps[width] = self._make(n_nets=width)
        return self._steps[width]


class KeptSteps:
    """Steps of nets of the same settings, handed from one call to the next.

    They hold parameters and the rows of their last batch: keep them no longer than a request
    takes. A copy in another process is empty.

    Parameters
    ----------
    template : skorch.NeuralNet, default=None
        Initialised net of these settings that nobody uses, for the first steps that are made.
    """

    def __init__(self, template=None):
        self._free = {}
        self._templates = [] if template is None else [template]

    def __reduce__(self):
        return KeptSteps, ()

    def template(self):
        """An initialised net, handed out once, or None."""
        try:  # threads of a request ask at the same time
            return self._templates.pop()
        except IndexError:
            return None

    def take(self, n_nets):
        """Steps of a stack of so many nets that nobody uses, or None."""
        try:
            return self._free.get(n_nets, []).pop()
        except IndexError:
            return None

    def give_back(self, n_nets, steps):
        """Leave steps for the next call."""
        self._free.setdefault(n_nets, []).append(steps)
