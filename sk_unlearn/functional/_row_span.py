"""Arithmetic of the vectors that conjugate gradients meet in the space of a few rows."""

from __future__ import annotations

import torch
from torch import Tensor


class RowSpan:
    """Vectors a b + C^T u, stored as (w, t) with w = (a, u) and t = (b, C) times the vector."""

    def __init__(self, space, b: Tensor, image: Tensor) -> None:
        self.space, self.b, self.image = space, b, image
        self.size = 1 + len(self.image)
        first = torch.zeros(self.size).to(b)
        first[0] = 1
        self.origin = torch.cat([first, torch.dot(b, b).view(1), self.image])

    def vector(self, v: Tensor) -> Tensor:
        """The vector itself, of shape (d,)."""
        combined = self.space._combine(v[1 : self.size])
        return combined + v[0] * self.b if v[0] else combined

    def dot(self, v: Tensor, w: Tensor) -> Tensor:
        """Inner product of the vectors."""
        return torch.dot(v[: self.size], w[self.size :])

    def product(self, v: Tensor) -> Tensor:
        """G v."""
        return self._combined(v[self.size + 1 :])

    def precondition(self, v: Tensor) -> Tensor:
        """P^{-1} v, P being damping I + the sampled columns' part of G."""
        taken = self._combined(self.space._covered(v[self.size + 1 :]))
        return (v - taken) / self.space._damping

    def _combined(self, u: Tensor) -> Tensor:
        """C^T u."""
        along = torch.dot(self.image, u).view(1)
        return torch.cat([u.new_zeros(1), u, along, self.space._inner(u)])
