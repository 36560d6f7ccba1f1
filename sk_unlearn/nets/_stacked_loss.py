"""The loss of stacked batches: the mean over each net's rows, as its criterion takes it."""

import copy

import torch
from skorch import NeuralNetClassifier
from torch import nn

from sk_unlearn.nets._criteria import wants_labels
from sk_unlearn.nets._inspect import bare_module

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
    """

    def __init__(self, net, y):
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

    def elements(self, output, y):
        """Losses of stacked rows.

        Parameters
        ----------
        output : Tensor of shape (n_nets, n_rows, ...)
        y : Tensor of shape (n_nets, n_rows, ...)

        Returns
        -------
        losses : Tensor of shape (n_nets, n_rows, n_elements)
        """
        if self.takes_log:
            output = torch.log(output + torch.finfo(output.dtype).eps)
        if self.labels and output.ndim == 3 and y.ndim == 2:
            # classes before rows: along neighbouring rows the kernels take whole vectors
            return self.criterion(output.mT, y).unsqueeze(2)
        # in one order for any number of nets: sums over rows and elements follow it
        flat, y = output.contiguous().flatten(0, 1), y.flatten(0, 1)
        if not self.labels and flat.shape != y.shape:
            flat = flat.reshape(y.shape)
        return self.criterion(flat, y).reshape(*output.shape[:2], -1)

    def coefficients(self, losses, y, valid, share):
        """Weights with which ``losses`` add up to each net's batch mean.

        Parameters
        ----------
        losses : Tensor of shape (n_nets, n_rows, n_elements)
        y : Tensor of shape (n_nets, n_rows, ...)
        valid : Tensor of shape (n_nets, n_rows), bool
            False where a place holds no row of the batch.
        share : Tensor of shape (n_nets, n_rows)
            One over the number of rows of the batch; 0 where a place holds none.

        Returns
        -------
        coefficients : Tensor of the shape of ``losses``
        """
        n_elements = losses.shape[2]
        if not self.weighted:
            share = share.unsqueeze(2)
            return (share if n_elements == 1 else share / n_elements).expand(losses.shape)
        weight = (y != self.criterion.ignore_index).to(share.dtype)
        if self.criterion.weight is not None:
            known = y.clamp(0, len(self.criterion.weight) - 1)
            weight = weight * self.criterion.weight[known]
        valid = valid.unsqueeze(2)
        counted = torch.where(valid, weight.reshape(losses.shape), 0.0)
        # the criterion has put the weights into the losses already
        return torch.where(valid, 1 / counted.sum((1, 2), keepdim=True), 0.0).expand(losses.shape)
