"""Recorded steps of a stack, for any number of its nets and for one call after the other."""

from functools import partial

from sk_unlearn.nets._inspect import bare_module
from sk_unlearn.nets._stacked_loss import StackedLoss
from sk_unlearn.nets._stacked_step import StackedNets, StackedStep

__all__ = ["KeptSteps", "RestingSteps", "StackedSteps"]

# What rests between requests, at most.
MAX_BYTES = 2**22


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

    def memory(self):
        """List of all tensors that hold something of states or rows."""
        return self.nets.memory() + [each for s in self._steps.values() for each in s.memory()]

    @property
    def nbytes(self):
        """Size of :meth:`memory`."""
        return sum(tensor.nbytes for tensor in self.memory())

    def rest(self):
        """Forget states and rows; what was recorded stays."""
        self._make = None
        for step in self._steps.values():
            step.release()
        for tensor in self.memory():
            tensor.zero_()


class KeptSteps:
    """Steps of nets of the same settings, handed from one call of a request to the next.

    They hold parameters and the rows of their last batch. A copy in another process is empty.

    Parameters
    ----------
    steps : iterable of (int, StackedSteps), default=()
        Numbers of nets, and steps that nobody uses.
    """

    def __init__(self, steps=()):
        self._free, self._templates = {}, []
        for n_nets, each in steps:
            self.give_back(n_nets, each)

    def __reduce__(self):
        return KeptSteps, ()

    def __iter__(self):
        """Those that nobody uses, with their numbers of nets, the smallest first."""
        return iter([(n, each) for n in sorted(self._free) for each in self._free[n]])

    def template(self):
        """An initialised net of :meth:`net` that steps can be made with, once, or None."""
        try:  # threads of a request ask at the same time
            return self._templates.pop()
        except IndexError:
            return None

    def net(self, make):
        """An initialised net of these settings, for use before any call.

        Parameters
        ----------
        make : callable
            Returns one where there is none.

        Returns
        -------
        net : skorch.NeuralNet
        """
        for _, steps in self:
            return steps.net
        self._templates.append(make())
        return self._templates[0]

    def take(self, n_nets):
        """Steps of a stack of so many nets that nobody uses, or None."""
        try:
            return self._free.get(n_nets, []).pop()
        except IndexError:
            return None

    def give_back(self, n_nets, steps):
        """Leave steps for the next call."""
        self._free.setdefault(n_nets, []).append(steps)


class RestingSteps:
    """Recorded steps between requests, without anything of parameters or rows.

    Recording a step takes as long as some twenty of them, and a request often trains a few
    dozen. Copies and pickles are empty.
    """

    def __init__(self):
        self._steps = {}

    def __reduce__(self):
        return RestingSteps, ()

    def wake(self, settings):
        """Hand over the steps for nets of some settings.

        Parameters
        ----------
        settings : hashable
            Names all that the nets are built from.

        Returns
        -------
        kept : KeptSteps
        """
        return KeptSteps(self._steps.pop(settings, ()))

    def lay_down(self, settings, kept):
        """Take steps back, as many as fit, the narrow ones first.

        Parameters
        ----------
        settings : hashable
        kept : KeptSteps
        """
        resting, left = [], MAX_BYTES
        for n_nets, steps in kept:
            left -= steps.nbytes
            if left < 0:
                break
            steps.rest()
            resting.append((n_nets, steps))
        others = [(key, each) for key, each in self._steps.items() if key != settings]
        for key, each in reversed(others):  # the last used first
            left -= sum(steps.nbytes for _, steps in each)
            if left < 0:
                others.remove((key, each))
        self._steps = dict([*others, (settings, resting)])

    def __iter__(self):
        """All that rest here."""
        return iter([steps for resting in self._steps.values() for _, steps in resting])
