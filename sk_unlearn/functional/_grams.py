"""Inner products of sampled columns of the Gauss-Newton matrix, and what a column stands for."""

from __future__ import annotations

import torch
from torch import Tensor

from ._chunks import row_chunks

# A sampled column stands for the ones left out, but by no more than this many dampings:
# beyond, its own direction would be overestimated, which costs more iterations than it saves.
MAX_GAIN = 3.0
# Memory of the explicit row gradients of one block of output channels.
BLOCK_BYTES = 2**27


def column_gain(size: Tensor, probabilities: Tensor, damping: float) -> Tensor:
    """Factors by which sampled columns stand for those left out, at least one.

    Parameters
    ----------
    size : Tensor of shape (m,)
        Squared norms of the columns.
    probabilities : Tensor of shape (m,)
        Of their inclusion in the sample.
    damping : float
    """
    limit = MAX_GAIN * damping / size.clamp_min(torch.finfo(size.dtype).tiny)
    return torch.minimum((1 / probabilities).to(size), limit.clamp_min(1)).sqrt()


def add_gram(gram: Tensor, g: Tensor, a: Tensor) -> None:
    """Add the inner products of the rows' gradients sum_t g_t a_t^T, in place.

    g is of shape (m, positions, fan_out), a of shape (m, positions, fan_in).
    """
    if g.shape[1] == 1:
        g, a = g[:, 0], a[:, 0]
        gram.add_((g @ g.T) * (a @ a.T))
        return
    bytes_per_output = len(a) * a.shape[2] * a.element_size()
    for block in row_chunks(g.shape[2], max(1, BLOCK_BYTES // bytes_per_output)):
        gradients = torch.bmm(g[:, :, block].mT, a).flatten(1)
        gram.addmm_(gradients, gradients.T)


def gram_flops(g: Tensor, a: Tensor) -> tuple[int, int]:
    """Numbers that the layer multiplies for a row, and the arithmetic of :func:`add_gram`."""
    n_columns, n_positions, fan_out = g.shape
    size = fan_out * a.shape[2]
    if n_positions == 1:
        return size, 2 * n_columns**2 * (fan_out + a.shape[2])
    return size * n_positions, 2 * n_columns * size * (n_columns + n_positions)
