"""The loss of stacked batches: the mean over each net's rows, as its criterion takes it."""

import copy

import torch
from skorch import NeuralNetClassifier
from torch import nn

from sk_unlearn.nets._criteria import wants_labels
from sk_unlearn.nets._inspect import bare_module
from sk_unlearn.nets.stacked._module import ends_in_softmax

__all__ = ["StackedLoss", "loss_reason"]

_LABELS = (nn.CrossEntropyLoss, nn.NLLLoss)
_VALUES = (nn.MSELoss, nn.L1Loss, nn.HuberLoss, nn.SmoothL1Loss, nn.BCELoss, nn.BCEWithLogitsLoss)


def loss_reason(net):
    """Why the criterion of an initialised net cannot be stacked, or None."""
    criterion = bare_module(net.criterion_)
    name = type(criterion).__name__
    if type(criterion) not in (*_LABELS, *_VALUES):
        return f"criterion {name} is not one that is split into rows"
    if criterion.reduction != "mean":
        return f"{name} has reduction={criterion.reduction!r}, not 'mean'"
    if type(criterion) in _VALUES and getattr(criterion, "weight", None) is not None:
        return f"{name}(weight=...) weighs positions of a batch"
    return None


class StackedLoss:
    """Losses of the rows of several nets like an initialised one; ``y`` are all targets."""

    def __init__(self, net, y):
        self._criterion = own = copy.deepcopy(bare_module(net.criterion_))
        own.reduction = "none"
        if getattr(own, "pos_weight", None) is not None:
            own.pos_weight = own.pos_weight.reshape(-1, 1)  # columns lie before rows
        self._softmax = ends_in_softmax(bare_module(net.module_))
        # skorch's classifiers hand the log of probabilities to this criterion
        self._takes_log = isinstance(net, NeuralNetClassifier) and isinstance(own, nn.NLLLoss)
        self._indexed = wants_labels(own) and not y.is_floating_point()
        self._weighted = self._indexed and (
            own.weight is not None or bool((y == own.ignore_index).any())
        )
        self._less = next(net.module_.parameters()).new_full((1, 1, 1), -1.0)
        self._plain = (
            isinstance(own, nn.CrossEntropyLoss)
            and self._indexed
            and not (self._softmax or self._weighted or own.label_smoothing)
        )

    def gradients(self, output, y, valid, share):
        """Mean loss of each net, and its gradient with respect to the outputs.

        ``output`` is of shape (n_nets, n_outputs, n_rows), ``y`` of shape (n_nets * n_rows, ...);
        ``valid`` and ``share`` are of a `StackedBatches`.
        """
        if self._plain:  # automatic differentiation would take as long as all the rest of a step
            y, share = y.view(len(valid), 1, -1), share.unsqueeze(1)
            logs = output.log_softmax(1)
            means = (logs.gather(1, y) * share).sum((1, 2)).neg_()
            # the probabilities, less one at the label
            return means, logs.exp_().scatter_add_(1, y, self._less.expand(y.shape)).mul_(share)
        y = y.view(valid.shape) if self._indexed else y.view(*valid.shape, -1).mT.contiguous()
        with torch.enable_grad():
            leaf = output.detach().requires_grad_()
            scores = leaf.softmax(1) if self._softmax else leaf
            if self._takes_log:
                scores = torch.log(scores + torch.finfo(scores.dtype).eps)
            if not self._indexed and scores.shape != y.shape:
                raise ValueError(f"a row has {scores.shape[1]} outputs and {y.shape[1]} targets")
            losses = self._criterion(scores, y)
        # the weights that make them the batch's mean
        if self._weighted:
            share = self._weighted_share(y, valid, share)
        elif losses.ndim == 3:
            share = (share.unsqueeze(1) / losses.shape[1]).expand(losses.shape)
        (gradient,) = torch.autograd.grad(losses, leaf, share)
        return (losses.detach() * share).flatten(1).sum(1), gradient

    def _weighted_share(self, y, valid, share):
        """One over the sum of weights, which the criterion has put into the losses already."""
        weight = (y != self._criterion.ignore_index).to(share.dtype)
        if self._criterion.weight is not None:
            known = y.clamp(0, len(self._criterion.weight) - 1)
            weight = weight * self._criterion.weight[known]
        return torch.where(valid, 1 / torch.where(valid, weight, 0.0).sum(1, keepdim=True), 0.0)
