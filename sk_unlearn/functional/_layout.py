"""Where each parameter lies in the flat vector of the active ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ParameterLayout:
    """Names and shapes of parameters, in the order of a flat vector; no value of any.

    Attributes
    ----------
    shapes : dict of str to torch.Size
    """

    shapes: dict[str, torch.Size]

    @property
    def size(self) -> int:
        """Length of the flat vector."""
        return sum(shape.numel() for shape in self.shapes.values())

    def flatten(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Concatenate a dictionary of the parameters into a vector of shape (size,)."""
        return torch.cat([tensors[name].reshape(-1) for name in self.shapes])

    def unflatten(self, vector: Tensor) -> dict[str, Tensor]:
        """Cut a vector of shape (size,) into a dictionary of views, one per parameter.

        Raises
        ------
        ValueError
            If the vector is not of that shape.
        """
        if vector.shape != (self.size,):
            raise ValueError(
                f"expected a vector of shape ({self.size},), got {tuple(vector.shape)}."
            )
        pieces = torch.split(vector, [shape.numel() for shape in self.shapes.values()])
        return {
            name: piece.view(shape)
            for (name, shape), piece in zip(self.shapes.items(), pieces, strict=True)
        }
