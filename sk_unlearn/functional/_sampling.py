"""Which columns of the curvature's square root are worth having exactly."""

from __future__ import annotations

import torch
from torch import Tensor


def inclusion_probabilities(sizes: Tensor, n_picked: int) -> Tensor:
    """Probabilities proportional to `sizes`, capped at one, that sum to `n_picked`.

    Parameters
    ----------
    sizes : Tensor of shape (m,)
        Not negative, float64.
    n_picked : int
        Expected number of picks; all positive sizes are certain where there are no more.

    Returns
    -------
    probabilities : Tensor of shape (m,)
    """
    positive = int((sizes > 0).sum())
    if positive <= n_picked:
        return (sizes > 0).to(sizes)
    ordered, largest = sizes.topk(n_picked)
    rest = sizes.index_fill(0, largest, 0).sum()  # not a difference, which could cancel
    # Sum of the sizes from position t on; t of them are certain, the rest share n_picked - t.
    tails = ordered.flip(0).cumsum(0).flip(0) + rest
    factors = (n_picked - torch.arange(n_picked).to(sizes)) / tails
    certain = int((factors * ordered <= 1).to(torch.int8).argmax())
    return (factors[certain] * sizes).clamp_max(1.0)


def systematic_sample(probabilities: Tensor, seed: int) -> Tensor:
    """Sorted distinct indices, each picked with its probability.

    Parameters
    ----------
    probabilities : Tensor of shape (m,)
        On the CPU, at most one each.
    seed : int
        Seed of the one uniform draw; the global generator is not used.

    Returns
    -------
    picked : Tensor of shape (k,)
        k is the sum of the probabilities, rounded up or down.
    """
    generator = torch.Generator().manual_seed(seed)
    start = torch.rand(1, generator=generator, dtype=torch.float64)
    # One pick wherever the running sum passes start, start + 1, start + 2, ...
    steps = torch.floor(torch.cat([probabilities.new_zeros(1), probabilities.cumsum(0)]) - start)
    return (steps[1:] > steps[:-1]).nonzero()[:, 0]
