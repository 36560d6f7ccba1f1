"""The loss of stacked batches: the mean over each net's rows, as its criterion takes it."""

import copy

import torch
from skorch import NeuralNetClassifier
from torch import nn

from sk_unlearn.nets._criteria import wants_labels
from sk_unlearn.nets._inspect import bare_module, net_dtype

__all__ = ["StackedLoss", "loss_reason"]

_SUPPORTED = (
    nn.BCELoss,
    nn.BCEWithLogitsLoss,
    nn.CrossEntropyLoss,
    nn.HuberLoss,
    nn.L1Loss,
    nn.MSELoss,
    nn.NLLLoss,
    nn.SmoothL1Loss,
)


def loss_reason(net):
    """Why the criterion of an initialised net cannot be stacked, or None."""
    criterion = bare_module(net.criterion_)
    name = type(criterion).__name__
    if type(criterion) not in _SUPPORTED:
        return f"criterion {name} is not one that is split into rows"
    if criterion.reduction != "mean":
        return f"{name} has reduction={criterion.reduction!r}, not 'mean'"
    if not wants_labels(criterion) and getattr(criterion, "weight", None) is not None:
        return f"{name}(weight=...) weighs positions of a batch"
    return None


class StackedLoss:
    """Element-wise losses and the coefficients that make them batch means.

    Parameters
    ----------
    net : skorch.NeuralNet
        Initialised.
    y : Tensor of shape (n, ...)
        Targets of all rows.
    valid : Tensor of shape (n_batches, n_nets, n_rows), bool
        False where a place holds no row of the batch.
    """

    def __init__(self, net, y, valid):
        self.criterion = copy.deepcopy(bare_module(net.criterion_))
        self.criterion.reduction = "none"
        self.labels = wants_labels(self.criterion)
        # skorch's classifiers hand the log of probabilities to this criterion
        self.takes_log = isinstance(net, NeuralNetClassifier) and isinstance(
            self.criterion, nn.NLLLoss
        )
        indexed = self.labels and not y.is_floating_point()
        self.weighted = indexed and (
            self.criterion.weight is not None or bool((y == self.criterion.ignore_index).any())
        )
        self.valid = valid
        self.dtype = net_dtype(bare_module(net.module_))
        self.means = torch.where(valid, 1 / valid.sum(2, keepdim=True, dtype=self.dtype), 0.0)

    def elements(self, output, y):
        """Losses of stacked rows.

        Parameters
        ----------
        output : Tensor of shape (n_nets, n_rows, ...)
        y : Tensor of shape (n_nets * n_rows, ...)

        Returns
        -------
        losses : Tensor of shape (n_nets, n_rows, n_elements)
        """
        flat = output.flatten(0, 1)
        if self.takes_log:
            flat = torch.log(flat + torch.finfo(flat.dtype).eps)
        if not self.labels and flat.shape != y.shape:
            flat = flat.reshape(y.shape)
        return self.criterion(flat, y).reshape(*output.shape[:2], -1)

    def coefficients(self, losses, y, batch):
        """Weights with which ``losses`` add up to each net's batch mean.

        Parameters
        ----------
        losses : Tensor of shape (n_nets, n_rows, n_elements)
        y : Tensor of shape (n_nets * n_rows, ...)
        batch : int
            Which batch of the epoch it is.

        Returns
        -------
        coefficients : Tensor of the shape of ``losses``
        """
        n_nets, _, n_elements = losses.shape
        if not self.weighted:
            means = self.means[batch, :n_nets, :, None]
            return (means if n_elements == 1 else means / n_elements).expand(losses.shape)
        weight = (y != self.criterion.ignore_index).to(self.dtype)
        if self.criterion.weight is not None:
            known = y.clamp(0, len(self.criterion.weight) - 1)
            weight = weight * self.criterion.weight[known]
        valid = self.valid[batch, :n_nets, :, None]
        counted = torch.where(valid, weight.reshape(losses.shape), 0.0)
        # the criterion has put the weights into the losses already
        return torch.where(valid, 1 / counted.sum((1, 2), keepdim=True), 0.0).expand(losses.shape)
