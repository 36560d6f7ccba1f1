"""Rows whose values are checked piece by piece, where a net reads them anyway."""

import math

__all__ = ["UncheckedRows"]


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

    def __len__(self):
        return len(self.X)

    def verify(self, piece):
        """Check one piece of the rows.

        Parameters
        ----------
        piece : Tensor of shape (n_piece, ...)
            In the type that a net reads.
        """
        if self._check is None or not piece.is_floating_point():
            return
        # no sum with NaN or infinity in it is finite; large numbers overflow it too, so that
        # the check has the last word
        if not math.isfinite(piece.sum().item()):
            self._check()
            self._check = None
