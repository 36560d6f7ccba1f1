"""Matrix products of stacked nets: the fastest order, and equal bits for every net."""

import math

import torch
from torch.autograd import Function
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from sk_unlearn.nets._stacked_batches import VECTOR
from sk_unlearn.nets._stacked_parameters import narrow

__all__ = ["NetProducts", "StackedLinear"]


# Multiplications of one net's product from which on a call of its own costs next to nothing.
_LARGE = 2**20


class NetProducts(TorchDispatchMode):
    """Within it, the matrix product of a net has the same bits whatever nets are beside it.

    The product of every net starts at a whole number of vector turns: on some processors the
    kernels round differently where a matrix starts in between. Large products are calls of
    their own; small ones share a call, in which a net that is alone is taken twice, since the
    BLAS has other code for one. On other devices one call takes all.
    """

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.bmm.default and args[0].is_cpu:
            return _products(*args)
        return func(*args, **(kwargs or {}))


def _products(first, second):
    (n, rows, inner), columns = first.shape, second.shape[2]
    large = rows * inner * columns >= _LARGE
    if n == 1 and not large:
        return _products(first.expand(2, -1, -1), second.expand(2, -1, -1))[:1]
    padded = math.ceil(rows * columns / VECTOR) * VECTOR
    memory = first.new_empty(n, padded)
    out = memory[:, : rows * columns].unflatten(1, (rows, columns))
    if large:
        for matrices in zip(first, second, out, strict=True):
            torch.mm(*matrices[:2], out=matrices[2])
        return out
    return torch.bmm(first, second, out=out)


class StackedLinear(TorchFunctionMode):
    """Within it, linear layers on the rows of a batch are a product and a sum.

    ``vmap`` would multiply each bias by one on the way.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is linear and len(args) == 3 and not kwargs:
            X, weight, bias = args
            if X.ndim == 2 and bias is not None:
                product = _NarrowProduct.apply if narrow(weight) else _product
                return product(X, weight) + bias
        return func(*args, **(kwargs or {}))


def _product(X, weight):
    return torch.mm(X, weight.mT)


class _NarrowProduct(Function):
    """``X @ weight.T`` for few outputs, which run over the slower dimension everywhere."""

    @staticmethod
    def forward(X, weight):
        return torch.matmul(weight, X.mT).mT

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, gradient):
        X, weight = ctx.saved_tensors
        for_X, for_weight = ctx.needs_input_grad
        return (
            torch.matmul(gradient, weight) if for_X else None,
            torch.matmul(gradient.mT, X) if for_weight else None,
        )

    @staticmethod
    def vmap(info, in_dims, X, weight):
        X, weight = (
            value.unsqueeze(0) if dim is None else value.movedim(dim, 0)
            for value, dim in zip((X, weight), in_dims, strict=True)
        )
        return _NarrowProduct.apply(X, weight), 0
