"""Rows whose values are checked piece by piece, where a net reads them anyway."""

import math

import torch

__all__ = ["UncheckedRows"]

_LARGEST = torch.finfo(torch.float32).max


class UncheckedRows:
    """Rows of a known shape and kind that may still hold NaN or infinity.

    To ask an array as a whole whether it is finite takes a pass over memory that costs a
    small net a tenth of its prediction. A piece that is about to be read costs next to
    nothing.

    Parameters
    ----------
    X : ndarray of shape (n, ...)
    check : callable
        Checks all of ``X`` and raises; called where a piece looks wrong, once.

    Attributes
    ----------
    X : ndarray

    Examples
    --------
    >>> import numpy as np, torch
    >>> from sk_unlearn.utils._unchecked import UncheckedRows
    >>> rows = UncheckedRows(np.zeros((2, 3)), lambda: print("look again"))
    >>> rows.verify(torch.ones(2, 3))
    >>> rows.verify(torch.tensor([[float("nan")]]))
    look again
    """

    def __init__(self, X, check):
        self.X = X
        self._check = check

    def verify(self, piece):
        """Check one piece of the rows.

        Parameters
        ----------
        piece : Tensor of shape (n_piece, ...)
            In the type that a net reads.
        """
        if self._check is None or not piece.is_floating_point():
            return
        # large numbers fail both tests too, so that the check has the last word
        if not _surely_fine(piece):
            self._check()
            self._check = None


def _surely_fine(piece):
    """Whether all numbers are finite, also in float32."""
    if piece.dtype != torch.float64:
        return math.isfinite(piece.sum().item())
    # squares do not cancel: none is larger than their sum
    flat = piece.reshape(-1)
    return torch.dot(flat, flat).item() <= _LARGEST**2
