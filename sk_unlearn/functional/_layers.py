"""Inputs and output gradients of linear and convolution layers, without hooks.

The gradient of a row with respect to such a layer's weight is a sum of outer products
g_t a_t^T over positions t, of the layer's output gradient and its input. Layers are found by
watching which calls use an active parameter as their weight, so the module is not touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ._linearize import leaves
from ._model import RowwiseModel


@dataclass(frozen=True)
class _Call:
    """One use of a weight: the tensors and the options of the convolution, if it is one."""

    input: Tensor
    output: Tensor
    bias: Tensor | None
    window: dict | None
    version: int


class _Watch(TorchFunctionMode):
    """Records the calls that take a watched parameter as weight; spots all other uses."""

    def __init__(self, params: Mapping[str, Tensor], overwritten: Set[str] = frozenset()) -> None:
        self.overwritten = overwritten
        super().__init__()
        self.names = {id(param): name for name, param in params.items()}
        self.calls: dict[str, list[_Call]] = {}
        self.weights_of_bias: dict[str, str] = {}
        self.misused: set[str] = set()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        call = self._as_layer(func, args, kwargs, output)
        known = set()
        if call is not None:
            weight = args[1] if len(args) > 1 else kwargs["weight"]
            name = self.names[id(weight)]
            self.calls.setdefault(name, []).append(call)
            known.add(id(weight))
            if call.bias is not None and id(call.bias) in self.names:
                known.add(id(call.bias))
                bias = self.names[id(call.bias)]
                if self.weights_of_bias.setdefault(bias, name) != name:
                    self.misused.add(bias)
        for value in _tensors((args, kwargs)):
            if id(value) in self.names and id(value) not in known:
                self.misused.add(self.names[id(value)])
        # an in-place activation must not overwrite what is differentiated by
        return output.clone() if call is not None and name in self.overwritten else output

    def _as_layer(self, func, args, kwargs, output) -> _Call | None:
        order = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
        if func not in (F.linear, F.conv2d):
            return None
        given = {**dict(zip(order, args, strict=False)), **kwargs}
        if id(given["weight"]) not in self.names:
            return None
        window = None
        if func is F.conv2d:
            padding = given.get("padding", 0)
            padding = 0 if padding == "valid" else padding
            if given.get("groups", 1) != 1 or isinstance(padding, str):
                return None
            window = {
                "kernel_size": tuple(given["weight"].shape[2:]),
                "stride": given.get("stride", 1),
                "padding": padding,
                "dilation": given.get("dilation", 1),
            }
        return _Call(given["input"], output, given.get("bias"), window, output._version)


def _tensors(values):
    """All tensors in nested containers."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, Mapping):
        yield from _tensors(list(values.values()))
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _tensors(value)


@dataclass(frozen=True)
class Layer:
    """A layer whose weight is active and used once per row.

    Attributes
    ----------
    weight, bias : str, str or None
        Parameter names; `bias` is None where the layer has none or it is frozen.
    """

    weight: str
    bias: str | None
    overwritten: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Parameters that the layer covers."""
        return (self.weight,) if self.bias is None else (self.weight, self.bias)

    def inputs(self, call: _Call) -> Tensor:
        """Inputs of shape (n, positions, fan_in), with a last column of ones for a bias."""
        a = call.input.detach()
        if call.window is not None:
            a = F.unfold(a, **call.window).transpose(1, 2)
        a = a.reshape(len(a), -1, a.shape[-1])
        return a if self.bias is None else torch.cat([a, torch.ones_like(a[:, :, :1])], dim=2)

    @staticmethod
    def outputs(call: _Call, gradient: Tensor) -> Tensor:
        """Gradients by the layer's output, as (n, positions, fan_out)."""
        if call.window is not None:
            gradient = gradient.flatten(2).transpose(1, 2)
        return gradient.reshape(len(gradient), -1, gradient.shape[-1])


def record_layers(
    model: RowwiseModel, params: Mapping[str, Tensor], X: Tensor, layers: list[Layer]
) -> tuple[Tensor, dict[str, Tensor], list[_Call]]:
    """Run the model once and return the scores, the leaves and one call per layer."""
    record = leaves(params)
    overwritten = {layer.weight for layer in layers if layer.overwritten}
    with torch.enable_grad(), _Watch(record, overwritten) as watch:
        scores = model.forward(record, X)
    return scores, record, [watch.calls[layer.weight][0] for layer in layers]


def find_layers(
    model: RowwiseModel, params: Mapping[str, Tensor], X: Tensor
) -> tuple[list[Layer], list[str]]:
    """Layers whose row gradients are sums of outer products, and what is left over.

    Parameters
    ----------
    model : RowwiseModel
    params : mapping of str to Tensor
        The active parameters.
    X : Tensor of shape (n, ...)
        At least one row, only the first is used.

    Returns
    -------
    layers : list of Layer
    rest : list of str
        Active parameters outside them: embeddings, normalisation layers, grouped
        convolutions, weights used twice or computed from.
    """
    seen = []
    for n_rows in (2, 3):
        record = leaves(params)
        with torch.enable_grad(), _Watch(record) as watch:
            model.forward(record, X[:1].expand(n_rows, *X.shape[1:]))
        # Two batch sizes tell the row dimension from another of the same length.
        seen.append(
            {
                name
                for name, calls in watch.calls.items()
                if len(calls) == 1
                and name not in watch.misused
                and calls[0].input.ndim > 1
                and len(calls[0].input) == n_rows
                and calls[0].output.requires_grad
            }
        )
    weights = seen[0] & seen[1]
    biases = {
        weight: bias
        for bias, weight in watch.weights_of_bias.items()
        if bias not in watch.misused and weight in weights
    }
    calls = {name: watch.calls[name][0] for name in weights}
    layers = [
        Layer(name, biases.get(name), calls[name].output._version > calls[name].version)
        for name in model.active
        if name in weights
    ]
    covered = {name for layer in layers for name in layer.names}
    return layers, [name for name in model.active if name not in covered]
