"""Forward-mode differentiation along a direction in the parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

# Functions of (input, weight, bias, *options), linear in the input, and in weight and bias
# together, with the number of dimensions that follow the bias's in their output.
_LAYERS = {
    F.linear: 0,
    F.conv1d: 1,
    F.conv2d: 2,
    F.conv3d: 3,
    F.conv_transpose1d: 1,
    F.conv_transpose2d: 2,
    F.conv_transpose3d: 3,
}
# With fewer inputs than this times its outputs, copying the two halves of one product of a
# linear layer takes longer than reading the rows twice.
_STACK_RATIO = 4


def jvp_forward(
    function: Callable[[dict[str, Tensor]], Tensor],
    params: Mapping[str, Tensor],
    tangents: Mapping[str, Tensor],
) -> Tensor:
    """Directional derivative of `function` in one forward-mode pass.

    Parameters
    ----------
    function : callable
        Takes the parameter dictionary to one tensor.
    params, tangents : mapping of str to Tensor
        Where, and in which direction.

    Returns
    -------
    derivative : Tensor
        Of the shape of the value of `function`.

    Raises
    ------
    RuntimeError
        If an operation has no forward-mode derivative.

    Notes
    -----
    Cost: a linear or convolution layer takes its own product on the input and one with the
    tangent of its weight, and a third, with the tangent of the input, unless no active
    parameter comes before it.
    """

    def ruled(params):
        with _LayerRule():
            return function(params)

    params = {name: param.detach() for name, param in params.items()}
    with torch.no_grad():
        return torch.func.jvp(ruled, (params,), (dict(tangents),))[1]


class _LayerRule(TorchFunctionMode):
    """The derivative of linear and convolution layers; all else is PyTorch's.

    PyTorch's own rule fills in a tangent of zeros where there is none and multiplies by it,
    which on the first layer, often the largest, is a third product for nothing.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in _LAYERS:
            return _layer(func, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _layer(func, input, weight, bias=None, *args, **kwargs) -> Tensor:
    """Call a layer's function on tensors that may have tangents."""

    def apply(x, w, b):
        return func(x, w, b, *args, **kwargs)

    try:
        (x, dx), (w, dw), (b, db) = _unpack(input), _unpack(weight), _unpack(bias)
    except RuntimeError:  # inside torch.func.vmap, which cannot unpack
        return apply(input, weight, bias)
    if dw is not None:
        value, tangent = _both_weights(func, apply, x, (w, dw), (b, db))
        if dx is not None:
            tangent += apply(dx, w, None)
    else:
        value = apply(x, w, b)
        if dx is not None:
            tangent = apply(dx, w, db)
        elif db is not None:
            tangent = db.reshape(-1, *(1,) * _LAYERS[func]).expand_as(value)
        else:
            return value
    return forward_ad.make_dual(value, tangent)


def _unpack(tensor: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    return (None, None) if tensor is None else forward_ad.unpack_dual(tensor)


def _both_weights(func, apply, x, weights, biases) -> tuple[Tensor, Tensor]:
    """Outputs with a weight and with its tangent, on the same input."""
    weight = weights[0]
    stack = (
        func is F.linear
        and weight.ndim == 2  # the weight of a single output may have one axis
        and weight.shape[1] >= _STACK_RATIO * weight.shape[0]
        and x.numel() >= weight.numel()  # or it is the weights that take long to read
        and (biases[0] is None) == (biases[1] is None)
    )
    if not stack:
        return apply(x, weights[0], biases[0]), apply(x, weights[1], biases[1])
    bias = None if biases[0] is None else torch.cat(biases)
    both = apply(x, torch.cat(weights), bias).tensor_split(2, dim=-1)
    # contiguous, since a module may view its layer's output in another shape
    return both[0].contiguous(), both[1].contiguous()
