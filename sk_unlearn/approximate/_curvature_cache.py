"""What one request learns about the rows that the next one can reuse."""

from dataclasses import dataclass

import numpy as np
import torch

__all__ = ["CurvatureCache"]


@dataclass(frozen=True)
class CurvatureCache:
    """Sizes of the rows' curvature and gradients; 0 for rows not trained on.

    Holds two numbers for each retained row, no row and no parameter, and is never pickled.
    It saves time and decides little: sizes say which rows curvature is computed on, with
    weights that keep its expectation right, and which rows are looked at for compensation.

    Attributes
    ----------
    position : ndarray of int
        The rows, as positions in the last ``fit``, ascending.
    curvature, gradient : Tensor of shape (len(position),) or None
        See :func:`~sk_unlearn.functional.row_sizes`.
    """

    position: np.ndarray
    curvature: torch.Tensor | None = None
    gradient: torch.Tensor | None = None

    def restrict(self, position):
        """The same for the rows that are left."""
        if self.curvature is None:
            return CurvatureCache(position)
        keep = torch.from_numpy(np.isin(self.position, position, assume_unique=True))
        return CurvatureCache(position, self.curvature[keep], self.gradient[keep])
