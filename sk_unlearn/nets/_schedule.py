"""Learning-rate schedules as functions of the number of epochs or batches done."""

import inspect

import torch
from skorch.callbacks import LRScheduler, WarmRestartLR
from torch.optim import lr_scheduler

__all__ = ["POLICIES", "Schedule"]

# Functions of the number of steps alone; ReduceLROnPlateau, for one, looks at the loss.
_NAMES = ("Constant", "CosineAnnealing", "Cyclic", "Exponential", "Lambda", "Linear", "MultiStep")
POLICIES = (
    *(getattr(lr_scheduler, f"{name}LR") for name in (*_NAMES, "OneCycle", "Polynomial", "Step")),
    lr_scheduler.CosineAnnealingWarmRestarts,
    WarmRestartLR,
)


class Schedule:
    """The options of a net's optimiser after any number of scheduler steps.

    torch's own scheduler is stepped on a stand-in: what it writes into the parameter group
    (learning rate, and momentum or betas for cyclic policies) is what a single net would see.

    Parameters
    ----------
    net : skorch.NeuralNet
        Initialised. A schedule that is none of ``POLICIES`` counts as none.
    """

    def __init__(self, net):
        self.kind = type(net.optimizer_)
        group = net.optimizer_.param_groups[0]
        accepted = inspect.signature(self.kind.__init__).parameters
        self.options = {k: v for k, v in group.items() if k in accepted and k != "params"}
        policies = (c for _, c in net.callbacks_ if isinstance(c, LRScheduler))
        self._policy = next((c for c in policies if c._get_policy_cls() in POLICIES), None)
        self.per_batch = self._policy is not None and self._policy.step_every == "batch"
        self._known = [self.options]
        if self._policy is not None:
            self._optimizer = self.kind([torch.zeros(1, requires_grad=True)], **self.options)
            kwargs = {k: v for k, v in self._policy.kwargs.items() if k != "last_epoch"}
            self._scheduler = self._policy._get_policy_cls()(self._optimizer, **kwargs)
            self._known = [dict(self._optimizer.param_groups[0])]

    def clock(self, state):
        """Scheduler steps taken by a net in a given state."""
        return state.batches if self.per_batch else state.epochs

    def settings(self, clock):
        """Options of the parameter group after ``clock`` steps of the scheduler."""
        if self._policy is None:
            return self.options
        while len(self._known) <= clock:
            self._optimizer.step()
            self._scheduler.step()
            self._known.append(dict(self._optimizer.param_groups[0]))
        return {key: value for key, value in self._known[clock].items() if key != "params"}
