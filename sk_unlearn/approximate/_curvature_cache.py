"""What one request learns about curvature that the next one can reuse."""

from dataclasses import dataclass

import numpy as np
import torch

__all__ = ["CurvatureCache"]


@dataclass(frozen=True)
class CurvatureCache:
    """Size of each row's curvature, and where the last solve for the criterion ended.

    Holds one number for each retained row and one vector, but no row, and is never
    pickled. It saves time only: sizes decide which rows are sampled, with weights that
    keep the expected curvature unbiased, and the vector is where the next solve starts.

    Attributes
    ----------
    position : ndarray of int
        The rows, as positions in the last ``fit``, ascending.
    size : Tensor of shape (len(position),) or None
        See :func:`~sk_unlearn.functional.row_curvature`.
    toward : Tensor of shape (n_parameters,) or None
    """

    position: np.ndarray
    size: torch.Tensor | None = None
    toward: torch.Tensor | None = None

    def restrict(self, position):
        """The same for the rows that are left."""
        keep = np.isin(self.position, position, assume_unique=True)
        size = None if self.size is None else self.size[torch.from_numpy(keep)]
        return CurvatureCache(self.position[keep], size, self.toward)
