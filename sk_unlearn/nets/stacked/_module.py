"""K perceptrons of one shape as one module, with equal bits of each net in any company.

All parameters of a net are one row of a buffer, and the numbers of a layer's units lie along the
rows of a batch. Batches, and the place of each parameter, are filled up to whole turns of the
vector units: a net's part of a tensor takes the same code wherever in the stack it lies.
Gradients are written out: automatic differentiation of small layers takes longer than the layers.
"""

import copy
import math

import torch
from torch import nn

from sk_unlearn.nets._defaults import MLP, ScaledFlatten
from sk_unlearn.nets._inspect import bare_module

__all__ = ["StackedNets", "ends_in_softmax", "module_reason", "padded"]

_VECTOR = 32  # 16 float32 or 8 float64 at a time, two registers a turn
# Multiplications of one net's product from which on a call of its own costs next to nothing.
_LARGE = 2**20

_aten = torch.ops.aten
# How an activation overwrites its input, if its gradient can do without, and that gradient.
_ACTIVATIONS = {
    nn.ReLU: (torch.relu_, lambda part, g, z, a: _aten.threshold_backward.default(g, a, 0)),
    nn.Sigmoid: (torch.sigmoid_, lambda part, g, z, a: _aten.sigmoid_backward.default(g, a)),
    nn.Tanh: (torch.tanh_, lambda part, g, z, a: _aten.tanh_backward.default(g, a)),
    nn.ELU: (None, lambda part, g, z, a: _aten.elu_backward(g, part.alpha, 1, 1, False, z)),
    nn.GELU: (None, lambda part, g, z, a: _aten.gelu_backward(g, z, approximate=part.approximate)),
    nn.SiLU: (None, lambda part, g, z, a: _aten.silu_backward(g, z)),
    nn.Softplus: (
        None,
        lambda part, g, z, a: _aten.softplus_backward(g, z, part.beta, part.threshold),
    ),
}


def padded(n):
    """The next whole number of vector turns."""
    return math.ceil(n / _VECTOR) * _VECTOR


def _parts(module, path=""):
    """Names and layers of a perceptron in their order; a part that is none stays as it is."""
    for kind, prefix in ((nn.Sequential, ""), (MLP, "layers.")):
        if isinstance(module, kind) and not _changed(module, kind):
            for name, part in (module.layers if prefix else module).named_children():
                yield from _parts(part, f"{path}{prefix}{name}.")
            return
    if type(module) is not nn.Identity and not (type(module) is nn.Dropout and module.p == 0):
        yield path, module


def _changed(part, kind):
    """Whether a part does something else than its kind, or tells somebody."""
    return getattr(part.forward, "__func__", None) is not kind.forward or any(
        value for name, value in vars(part).items() if name.endswith("_hooks")
    )


def module_reason(net):
    """Why the module of an initialised net is no perceptron that can be stacked, or None."""
    module, before = bare_module(net.module_), None
    parts = list(_parts(module))
    for i, (path, part) in enumerate(parts):
        kind, what = type(part), f"layer {path[:-1]!r} ({type(part).__name__})"
        if _changed(part, kind) or not (
            kind is nn.Linear
            or (kind in _ACTIVATIONS and before is nn.Linear)
            or (kind in (nn.Flatten, ScaledFlatten) and not i and _keeps_rows(part))
            or (kind is nn.Softmax and i + 1 == len(parts) and part.dim in (1, -1))
        ):
            return f"{what} is not one of a perceptron, at its place"
        before = kind
    parameters = list(module.parameters())
    if not parameters or not all(value.requires_grad for value in parameters):
        return "it has parameters that are not trained"
    if list(map(id, parameters)) != [id(own) for _, part in parts for own in part.parameters()]:
        return "its parameters are not those of its layers, each of one"
    if parameters[0].dtype not in (torch.float32, torch.float64):
        return f"its parameters are of {parameters[0].dtype}"
    return None


def _keeps_rows(flatten):
    return (flatten.start_dim, flatten.end_dim) == (1, -1)


def ends_in_softmax(module):
    """Whether the outputs are probabilities; the loss is told the logits."""
    return isinstance(list(_parts(module))[-1][1], nn.Softmax)


class StackedNets:
    """Parameters of several nets, and a step of training of the first of them.

    ``module`` gives the architecture, its own values are not used; ``X`` and ``y`` are what
    batches of ``n_rows`` places are taken from. ``values`` and ``gradients`` are of shape
    (n_nets, n_numbers); ``output``, of the last step, is of shape (n_nets, n_outputs, n_rows).
    """

    def __init__(self, module, states, loss, X, y, n_rows):
        self._loss, self._source, self._n_rows = loss, (X.flatten(1), y), n_rows
        self._parts, self._layers = list(_parts(module)), {}
        self._places, like, end = {}, next(module.parameters()), 0
        for name, value in module.named_parameters():
            self._places[name] = slice(end, end + value.numel()), value.shape
            end += padded(value.numel())
        self.names = list(self._places)
        self.values = torch.stack([self.packed(s.tensors, like.new_zeros(end)) for s in states])
        self.gradients = torch.zeros_like(self.values)
        # shared by whatever number of nets takes a step
        self._memory = {
            path: [like.new_empty(max(2, len(states)), k, n_rows) for k in part.weight.shape]
            for path, part in self._parts
            if type(part) is nn.Linear
        }
        self._scales = [
            torch.stack([s.tensors[f"{path}{name}"] for s in states])[:, None].to(like.device)
            for path, part in self._parts
            for name in dict(part.named_buffers())
        ]

    def packed(self, tensors, row):
        """A row like those of ``values``, of tensors of one net by name."""
        for name, (place, _) in self._places.items():
            row[place] = tensors[name].reshape(-1)
        return row

    def unpacked(self, row):
        """Copies of one net's tensors, by name, from a row like those of ``values``."""
        return {name: row[at].view(shape).clone() for name, (at, shape) in self._places.items()}

    def step(self, rows, valid, share):
        """Mean losses of the first nets on a batch; the gradients are left in ``gradients``.

        ``rows``, ``valid`` and ``share``, of shape (n_nets, n_rows), are of a `StackedBatches`.
        """
        n_nets, seen = len(rows), []
        X, y = (each.index_select(0, rows.reshape(-1)) for each in self._source)
        X = X.view(n_nets, self._n_rows, -1)
        if self._scales:
            X = X * self._scales[0][:n_nets] - self._scales[1][:n_nets]
        if n_nets not in self._layers:
            self._layers[n_nets] = self._layers_of(n_nets)
        a = X.mT
        for layer in self._layers[n_nets]:
            z, a = a, layer.forward(a)
            seen.append((layer, z, a))
        self.output = a
        means, gradient = self._loss.gradients(a, y, valid, share)
        for layer, z, a in reversed(seen):
            gradient = layer.backward(gradient, z, a)
        return means

    def _layers_of(self, n_nets):
        """What the first nets go through."""
        layers = []
        for path, part in self._parts:
            if type(part) is nn.Linear:
                tensors = [
                    buffer[:n_nets, self._places[name][0]].unflatten(1, self._places[name][1])
                    for name in (f"{path}weight", f"{path}bias")
                    if name in self._places
                    for buffer in (self.values, self.gradients)
                ]
                layers.append(_Linear(tensors, *self._memory[path], is_first=not layers))
            elif type(part) in _ACTIVATIONS:
                layers.append(_Activation(part))
        return layers


class _Activation:
    def __init__(self, part):
        self._part = copy.copy(part)
        self._part.inplace = False
        overwrite, self._gradient = _ACTIVATIONS[type(part)]
        self.forward = overwrite or self._part

    def backward(self, gradient, z, a):
        return self._gradient(self._part, gradient, z, a)


class _Linear:
    """A layer of some nets, by views of their parameters, gradients and memory.

    On a CPU large products are calls of their own. Small ones share a call, in which a net that
    is alone is taken twice: the BLAS has other code for one, whose bits may differ.
    """

    def __init__(self, tensors, outputs, for_inputs, *, is_first):
        weight, self._for_weight, *bias = tensors
        self._bias, self._for_bias = (t.unsqueeze(2) for t in bias) if bias else (None, None)
        n, n_outputs, n_inputs = weight.shape
        apart = weight.is_cpu and n_outputs * n_inputs * outputs.shape[2] >= _LARGE
        self._product = _apart if apart else torch.bmm
        self._alone = weight.is_cpu and n == 1 and not apart
        self._n = 2 if self._alone else n
        self._weight = self._doubled(weight)
        self._outputs, self._output = outputs[: self._n], outputs[:n]
        self._for_inputs, self._for_input = for_inputs[: self._n], for_inputs[:n]
        self._is_first = is_first
        self._for_weights = weight.new_empty(2, *weight.shape[1:]) if self._alone else tensors[1]
        self._first = self._for_weights[:1]

    def _doubled(self, tensor):
        return tensor.expand(self._n, -1, -1)

    def forward(self, z):
        self._product(self._weight, self._doubled(z), out=self._outputs)
        return self._output if self._bias is None else self._output.add_(self._bias)

    def backward(self, gradient, z, a):
        if self._bias is not None:
            torch.sum(gradient, 2, keepdim=True, out=self._for_bias)
        gradient = self._doubled(gradient)
        self._product(gradient, self._doubled(z.mT), out=self._for_weights)
        if self._alone:
            self._for_weight.copy_(self._first)
        if not self._is_first:
            self._product(self._weight.mT, gradient, out=self._for_inputs)
        return self._for_input


def _apart(first, second, out):
    for k in range(len(out)):
        torch.mm(first[k], second[k], out=out[k])
