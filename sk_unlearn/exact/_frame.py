"""Where the numbers of a row are centred, and in which unit they are read."""

from dataclasses import dataclass

import numpy as np

__all__ = ["Frame"]

# Columns that differ less than this in variance are taken to be in the same unit.
_SAME_UNIT = 256.0
# Up to here a column of small numbers would be missed; many columns of the same unit, such as
# pixels, always have some that hardly vary.
_FEW = 32
_COARSE = 16.0


@dataclass(frozen=True, eq=False)
class Frame:
    """Centres and units of columns: powers of two that few removals move.

    Attributes
    ----------
    centre : ndarray of shape (n_columns,)
        Multiples of 16 units: only so near that numbers stay small.
    per_unit : ndarray of shape (n_columns,)
        1 / unit, a power of two; 0 for a column that is the same in every row.
    """

    centre: np.ndarray
    per_unit: np.ndarray

    @classmethod
    def of(cls, moments, scaling, *, centred=True):
        """Frame of some rows.

        Parameters
        ----------
        moments : ColumnMoments
        scaling : {"auto", "common", "columns"} or None
            One unit for all columns, or one for each; "auto" takes one for all where the
            largest variance is less than 256 times the median one, and up to 32 columns the
            median one less than 256 times the smallest. None: 1.
        centred : bool, default=True
        """
        mean, variance = moments.mean_and_variance()
        varied = variance > 0
        if scaling is None:
            return cls(np.zeros_like(mean), np.ones_like(mean))
        if not varied.any():
            return cls(np.zeros_like(mean), np.zeros_like(mean))
        if scaling == "auto":
            known = variance[varied]
            middle = np.median(known)
            alike = not centred or known.max() < _SAME_UNIT * middle
            if centred and len(mean) <= _FEW:
                alike = alike and middle < _SAME_UNIT * known.min()
            scaling = "common" if alike else "columns"
        if scaling == "common":
            variance = np.full_like(variance, variance.sum() / len(variance))
        # the power of two nearest to the standard deviation, on a scale of logarithms
        exponent = np.frexp(np.where(varied, variance, 1.0))[1] // 2
        per_unit = np.where(varied, np.ldexp(1.0, -exponent), 0.0)
        if not centred:
            return cls(np.zeros_like(mean), per_unit)
        step = _COARSE * np.ldexp(1.0, exponent)
        return cls(np.where(varied, np.rint(mean / step) * step, 0.0), per_unit)

    @property
    def state(self):
        """Centres, and units."""
        return self.centre, self.per_unit

    def __eq__(self, other):
        return (
            isinstance(other, Frame)
            and np.array_equal(self.centre, other.centre)
            and np.array_equal(self.per_unit, other.per_unit)
        )

    __hash__ = None
