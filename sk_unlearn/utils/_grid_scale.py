"""Centres and scales on a grid of powers of two, by exact sums, whatever the order of the rows."""

from dataclasses import dataclass
from math import isqrt

import numpy as np

__all__ = ["GridScale"]

_BITS = 20  # of each value in the sums, fewer where rows are so many that sums would overflow
_CHUNK = 2**20  # numbers at a time
_TARGETS, _INPUTS = "targets", "inputs"


@dataclass(frozen=True)
class GridScale:
    """Maps each column to a mean of about 0 and a standard deviation of about 1.

    ``value / scale - offset``, where the scale is the power of two next to the standard
    deviation and the offset a whole number. So both are functions of the rows alone, not of
    their order, and rarely change when few rows leave.

    Parameters
    ----------
    scale, offset : tuple of float
        One a column.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_unlearn.nets import GridScale
    >>> grid = GridScale.of_targets(np.array([[100.0], [104.0], [109.0]]))
    >>> grid.scale, grid.offset
    ((4.0,), (26.0,))
    >>> grid.restore(grid.apply(np.array([[104.0]])))
    array([[104.]])
    """

    scale: tuple
    offset: tuple

    @classmethod
    def of_targets(cls, y):
        """Of the columns of ``y``; constant ones are predicted as they are.

        Parameters
        ----------
        y : ndarray of shape (n_rows, n_targets)
            At least one row.
        """
        return cls(*_on_grid(y, _TARGETS))

    @classmethod
    def of_inputs(cls, X):
        """Of all numbers of a row, flattened; within what float32 holds.

        Parameters
        ----------
        X : ndarray of shape (n_rows, ...)
            At least one row.
        """
        return cls(*_on_grid(X.reshape(len(X), -1), _INPUTS))

    def apply(self, values):
        """Scaled values.

        Parameters
        ----------
        values : ndarray of shape (n_rows, n_columns)

        Returns
        -------
        scaled : ndarray of shape (n_rows, n_columns), float64
        """
        return np.asarray(values, dtype=np.float64) / self.scale - self.offset

    def restore(self, scaled):
        """What :meth:`apply` makes ``scaled`` of.

        Parameters
        ----------
        scaled : ndarray of shape (n_rows, n_columns)

        Returns
        -------
        values : ndarray of shape (n_rows, n_columns), float64
        """
        return (np.asarray(scaled, dtype=np.float64) + self.offset) * self.scale


def _on_grid(values, kind):
    """Scale and offset of each column, as tuples."""
    n_rows, n_columns = values.shape
    low = values.min(axis=0).astype(np.float64)
    high = values.max(axis=0).astype(np.float64)
    # in units in which nothing overflows
    _, unit = np.frexp(np.maximum(np.abs(low), np.abs(high)))
    low, high = np.ldexp(low, -unit), np.ldexp(high, -unit)
    bits = min(_BITS, (62 - n_rows.bit_length()) // 2)
    _, width = np.frexp(high - low)
    width -= bits
    first, second = np.zeros((2, n_columns), dtype=np.int64)
    step = max(1, _CHUNK // max(1, n_columns))
    for start in range(0, n_rows, step):
        part = np.ldexp(values[start : start + step].astype(np.float64), -unit) - low
        part = np.rint(np.ldexp(part, -width)).astype(np.int64)
        first += part.sum(axis=0)
        second += np.einsum("ij,ij->j", part, part)
    scales, offsets = [], []
    for column in range(n_columns):
        total = int(first[column])
        spread = isqrt(n_rows * int(second[column]) - total**2) / n_rows
        mean = low[column] + np.ldexp(total / n_rows, width[column])
        deviation = np.ldexp(spread, width[column])
        scale, offset = _column(mean, deviation, int(unit[column]), kind)
        scales.append(scale)
        offsets.append(offset)
    return tuple(scales), tuple(offsets)


def _column(mean, deviation, unit, kind):
    """Scale and offset of a column whose moments are given in units of ``2**unit``."""
    if deviation > 0:
        exponent = int(np.rint(np.log2(deviation)))
    elif kind == _INPUTS:
        # one value: in units of its own size, so that a new one is seen for what it is
        exponent = int(np.rint(np.log2(abs(mean)))) if mean else -unit
    else:
        # so fine that nothing a net says makes a difference
        exponent = int(np.log2(np.spacing(abs(mean)))) - 1 if mean else -1074 - unit
    lowest, highest = (-126, 126) if kind == _INPUTS else (-1074, 1023)
    exponent = min(max(exponent, lowest - unit), highest - unit)
    # names of saved states hold these: no zeros of two signs
    offset = float(np.rint(np.ldexp(mean, -exponent))) + 0.0
    return float(np.ldexp(1.0, exponent + unit)), offset
