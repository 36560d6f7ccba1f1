"""Recorded steps of a stack, for any number of its nets and for one call after the other."""

from functools import partial

from sk_unlearn.nets._inspect import bare_module
from sk_unlearn.nets._known_parts import is_known
from sk_unlearn.nets._stacked_loss import StackedLoss
from sk_unlearn.nets._stacked_step import StackedNets, StackedStep

__all__ = ["KeptSteps", "RestingSteps", "StackedSteps"]

# What rests between requests, at most.
MAX_BYTES = 2**22


class StackedSteps:
    """Steps for full and for thinned-out stacks.

    Each width that a step is made for costs a recording, some milliseconds. So there is one for
    all nets, for half of them and so on; where fewer nets have a batch, some are computed for
    nothing. On a CUDA device, where nets beside each other cost next to nothing, all are always.

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
        while self._widths[-1] > 1 and self.nets.device.type == "cpu":
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

    @property
    def may_rest(self):
        """Whether nobody else can know the memory of what was recorded.

        A module of somebody else may keep a tensor that was made while it was recorded.
        """
        return is_known(self.nets.module)

    def rest(self):
        """Forget states, rows and the net; what was recorded stays."""
        self._make = self.net = None
        for step in self._steps.values():
            step.release()
        for tensor in self.memory():
            tensor.zero_()


class KeptSteps:
    """Steps of nets of the same settings, handed from one call of a request to the next.

    A copy in another process is empty.

    Parameters
    ----------
    net : skorch.NeuralNet, default=None
        Initialised net of these settings that nobody uses.
    steps : iterable of (int, StackedSteps), default=()
        Numbers of nets, and steps that rest.
    """

    def __init__(self, net=None, steps=()):
        self._templates = [] if net is None else [net]
        self._free = {}
        for n_nets, each in steps:
            each.net = net
            self.give_back(n_nets, each)

    def __reduce__(self):
        return KeptSteps, ()

    def __iter__(self):
        """Those that nobody uses, with their numbers of nets, the smallest first."""
        return iter([(n, each) for n in sorted(self._free) for each in self._free[n]])

    def template(self):
        """The net, handed out once, for the first steps that are made; or None."""
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


class RestingSteps:
    """Recorded steps between requests, without anything of parameters or rows.

    Recording a step takes as long as many of them, and a request often trains a few dozen.
    Those of the last request are kept. Copies and pickles are empty.
    """

    def __init__(self):
        self._held = []

    def __reduce__(self):
        return RestingSteps, ()

    def wake(self):
        """Hand over all steps.

        Returns
        -------
        steps : dict of list of (int, StackedSteps)
            By the settings that they were laid down for.
        """
        try:  # shallow copies of an estimator share these, and may be in other threads
            return self._held.pop()
        except IndexError:
            return {}

    def lay_down(self, used):
        """Take steps back, as many as fit, the narrow ones first.

        Parameters
        ----------
        used : dict of KeptSteps
            By whatever names all that their nets are built from.
        """
        resting, left = {}, MAX_BYTES
        for settings, kept in used.items():
            for n_nets, steps in kept:
                if not steps.may_rest:
                    continue
                left -= steps.nbytes
                if left < 0:
                    break
                steps.rest()
                resting.setdefault(settings, []).append((n_nets, steps))
        self._held = [resting]

    def __iter__(self):
        """All that rest here."""
        by_settings = [each for held in self._held for each in held.values()]
        return iter([steps for each in by_settings for _, steps in each])
