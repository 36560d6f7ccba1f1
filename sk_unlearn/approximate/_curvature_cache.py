"""What one request learns about curvature that the next one can reuse."""

from dataclasses import dataclass

import numpy as np
import torch

__all__ = ["CurvatureCache"]


@dataclass(frozen=True)
class CurvatureCache:
    """Sizes of the rows' curvature and influence.

    Holds two numbers for each retained row, no row and no parameter, and is never pickled.
    It saves time and decides little: sizes say which rows are sampled, with weights that
    keep the expected curvature unbiased; influences say which rows are looked at again
    for compensation.

    Attributes
    ----------
    position : ndarray of int
        The rows, as positions in the last ``fit``, ascending.
    size : Tensor of shape (len(position),) or None
        See :func:`~sk_unlearn.functional.row_curvature`; 0 for rows not trained on.
    influence : Tensor of shape (len(position),) or None
        Absolute influence on the criterion; 0 for rows not trained on.
    """

    position: np.ndarray
    size: torch.Tensor | None = None
    influence: torch.Tensor | None = None

    def restrict(self, position):
        """The same for the rows that are left."""
        keep = torch.from_numpy(np.isin(self.position, position, assume_unique=True))
        size, influence = (
            None if values is None else values[keep] for values in (self.size, self.influence)
        )
        return CurvatureCache(position, size, influence)
