"""Several derivatives of the same tensor in one backward pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ._linearize import grads


def pullbacks(output: Tensor, inputs: Sequence[Tensor], cotangents: Tensor) -> tuple[Tensor, ...]:
    """Vector-Jacobian products for each of several cotangents; the graph is kept.

    One batched pass, in which small products become large ones; where an operation of the
    graph cannot be batched (a custom one that leaves torch), one pass after the other.

    Parameters
    ----------
    output : Tensor
    inputs : sequence of Tensor
    cotangents : Tensor of shape (k, *output.shape)

    Returns
    -------
    products : tuple of Tensor
        For each input a tensor of shape (k, *input.shape); zeros where the output does not
        depend on it.
    """
    try:
        parts = torch.autograd.grad(
            output, inputs, cotangents, retain_graph=True, allow_unused=True, is_grads_batched=True
        )
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        single = [grads(output, inputs, each, retain_graph=True) for each in cotangents]
        return tuple(torch.stack(part) for part in zip(*single, strict=True))
    return tuple(
        value.new_zeros(len(cotangents), *value.shape) if part is None else part
        for value, part in zip(inputs, parts, strict=True)
    )
