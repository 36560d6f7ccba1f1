"""Gradients of single rows by layers, as the two factors of their outer products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ._layers import Layer, record_layers
from ._layout import ParameterLayout
from ._linearize import grads
from ._model import RowwiseModel
from ._work import FORWARD, count_passes


def outputs_along(
    layout: ParameterLayout, layers: Sequence[Layer], inputs: Sequence[Tensor], v: Tensor
) -> Tensor:
    """What the layers' outputs gain from their own parameters in a direction.

    Parameters
    ----------
    layout : ParameterLayout
    layers : sequence of Layer
    inputs : sequence of Tensor of shape (n, fan_in)
        With a column of ones where the layer has a bias.
    v : Tensor of shape (d,)

    Returns
    -------
    moved : Tensor of shape (n, sum of fan_out)
    """
    count_passes(len(inputs[0]), FORWARD)
    tangents, moved = layout.unflatten(v), []
    for layer, a in zip(layers, inputs, strict=True):
        weight = tangents[layer.weight].flatten(1)
        # transposed: few columns on the right would take several times as long
        if layer.bias is None:
            moved.append(weight @ a.T)
        else:
            moved.append(torch.addmm(tangents[layer.bias][:, None], weight, a[:, :-1].T))
    return torch.cat(moved).T.contiguous()


def pulled_back(
    layout: ParameterLayout,
    layers: Sequence[Layer],
    inputs: Sequence[Tensor],
    cotangents: Sequence[Tensor],
) -> Tensor:
    """Sum over rows of the outer products of output gradients and inputs, of shape (d,).

    Parameters
    ----------
    layout, layers, inputs
        As in :func:`outputs_along`.
    cotangents : sequence of Tensor of shape (n, fan_out)
    """
    count_passes(len(inputs[0]), FORWARD)
    parts = {}
    for layer, a, g in zip(layers, inputs, cotangents, strict=True):
        block = g.T @ a
        if layer.bias is not None:
            block, parts[layer.bias] = block[:, :-1], block[:, -1]
        parts[layer.weight] = block
    return layout.flatten(parts)


class RowGradients:
    """Gradients g_i of some rows' losses, never formed: one pass serves many products.

    Made by :meth:`record`, for networks whose active parameters are all weights and biases of
    linear layers, or of convolutions with a single position.

    Notes
    -----
    Cost: a forward pass and the part of a backward pass that leads through the layers; a
    third of a gradient pass for each product.

    Attributes
    ----------
    scores : Tensor of shape (n, ...)
    losses : Tensor of shape (n,)
        Both without graph.
    """

    def __init__(self, layout, layers, inputs, slopes, scores, losses):
        self._layout, self._layers, self._inputs, self._slopes = layout, layers, inputs, slopes
        self.scores, self.losses = scores, losses

    @classmethod
    def record(
        cls,
        model: RowwiseModel,
        params: Mapping[str, Tensor],
        layers: Sequence[Layer],
        X: Tensor,
        y: Tensor,
    ) -> RowGradients | None:
        """The gradients of some rows; None where layers have several positions or no effect.

        Parameters
        ----------
        model : RowwiseModel
        params : mapping of str to Tensor
            The active parameters.
        layers : sequence of Layer
            Of :func:`find_layers`; they have to cover the active parameters.
        X : Tensor of shape (n, ...)
        y : Tensor of shape (n, ...)
        """
        scores, _, calls = record_layers(model, params, X, layers)
        inputs = [layer.inputs(call) for layer, call in zip(layers, calls, strict=True)]
        if any(a.shape[1] > 1 for a in inputs):
            return None
        outputs = [call.output for call in calls]
        with torch.enable_grad():
            losses = model.loss(scores, y)
        if not losses.requires_grad:
            return None
        count_passes(len(X), FORWARD)
        pulled = grads(losses, outputs, torch.ones_like(losses))
        slopes = [
            layer.outputs(call, part)[:, 0]
            for layer, call, part in zip(layers, calls, pulled, strict=True)
        ]
        inputs = [a[:, 0].detach() for a in inputs]
        return cls(model.layout, layers, inputs, slopes, scores.detach(), losses.detach())

    def dot(self, v: Tensor) -> Tensor:
        """g_i . v of each row, of shape (n,), for v of shape (d,)."""
        slopes = torch.cat(self._slopes, dim=1) if len(self._slopes) > 1 else self._slopes[0]
        return (self._along(v) * slopes).sum(dim=1)

    def scores_after(self, step: Tensor) -> Tensor:
        """Scores after a step of shape (d,), where the only layer gives them as its output."""
        return self.scores + self._along(step).view_as(self.scores)

    def _along(self, v: Tensor) -> Tensor:
        return outputs_along(self._layout, self._layers, self._inputs, v)

    def total(self, rows: slice) -> Tensor:
        """Sum of the gradients of consecutive rows, of shape (d,)."""
        inputs, slopes = ([part[rows] for part in of] for of in (self._inputs, self._slopes))
        return pulled_back(self._layout, self._layers, inputs, slopes)

    def combine(self, weights: Tensor) -> Tensor:
        """sum_i w_i g_i of shape (d,), for weights of shape (n,); zeros cost nothing."""
        used = weights.nonzero()[:, 0]
        inputs = [a[used] for a in self._inputs]
        slopes = [s[used] * weights[used, None].to(s) for s in self._slopes]
        return pulled_back(self._layout, self._layers, inputs, slopes)
