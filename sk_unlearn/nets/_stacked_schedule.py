"""Learning-rate schedules as functions of the number of epochs or batches done."""

import inspect

import torch
from skorch.callbacks import LRScheduler, WarmRestartLR
from torch.optim import lr_scheduler

__all__ = ["POLICIES", "Schedule"]

# Functions of the number of steps alone; ReduceLROnPlateau, for one, looks at the loss.
POLICIES = (
    lr_scheduler.ConstantLR,
    lr_scheduler.CosineAnnealingLR,
    lr_scheduler.CosineAnnealingWarmRestarts,
    lr_scheduler.CyclicLR,
    lr_scheduler.ExponentialLR,
    lr_scheduler.LambdaLR,
    lr_scheduler.LinearLR,
    lr_scheduler.MultiStepLR,
    lr_scheduler.OneCycleLR,
    lr_scheduler.PolynomialLR,
    lr_scheduler.StepLR,
    WarmRestartLR,
)


class Schedule:
    """The options of a net's optimiser after any number of scheduler steps.

    torch's own scheduler is stepped on a stand-in, so that what it writes into the
    parameter group (learning rate, and momentum or betas for cyclic policies) is what a
    single net would see.

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
        self.policy = next((c for _, c in net.callbacks_ if _is_known(c)), None)
        self.per_batch = self.policy is not None and self.policy.step_every == "batch"
        self._optimizer = self._scheduler = None
        self._known = []

    def clock(self, state):
        """Scheduler steps taken by a net in a given state."""
        return state.batches if self.per_batch else state.epochs

    def settings(self, clock):
        """Options of the parameter group after ``clock`` steps of the scheduler.

        Parameters
        ----------
        clock : int

        Returns
        -------
        options : dict
            Without the parameters themselves.
        """
        if self.policy is None:
            return self.options
        if self._optimizer is None:
            stand_in = torch.zeros(1, requires_grad=True)
            self._optimizer = self.kind([stand_in], **self.options)
            policy, kwargs = self.policy._get_policy_cls(), self.policy.kwargs
            kwargs.pop("last_epoch", None)
            self._scheduler = policy(self._optimizer, **kwargs)
            self._record()
        while len(self._known) <= clock:
            self._optimizer.step()
            self._scheduler.step()
            self._record()
        return self._known[clock]

    def _record(self):
        group = self._optimizer.param_groups[0]
        self._known.append({key: value for key, value in group.items() if key != "params"})


def _is_known(callback):
    return isinstance(callback, LRScheduler) and callback._get_policy_cls() in POLICIES
