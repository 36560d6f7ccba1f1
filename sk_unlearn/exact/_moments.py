"""Means and variances of columns from sums that are exact, and so can be subtracted."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

__all__ = ["ColumnMoments"]

# A float32 is an integer of 24 bits times a power of two. Numbers whose exponents share all but
# the lowest three bits are summed together, as integers of at most 31 bits.
_BANDS, _LOWEST = 32, -150
_CHUNK = 2**18  # numbers at a time
# Columns whose variance is less than rounding can make of a constant one
_ROUNDING = 2.0**-46


@dataclass(frozen=True)
class ColumnMoments:
    """Exact sums of the columns of a table, and of their squares, in float32.

    Sums of integers depend on no order: adding and subtracting rows gives what a fresh start
    with the rows that are left gives, bit for bit.

    Attributes
    ----------
    n_rows : int
    sums : ndarray of shape (3, 32, n_columns), int64
        For each band of exponents the sum, and the upper and lower halves of the sum of
        squares.
    """

    n_rows: int
    sums: np.ndarray

    @classmethod
    def none(cls, n_columns):
        """Of no rows."""
        return cls(0, np.zeros((3, _BANDS, n_columns), dtype=np.int64))

    @classmethod
    def of(cls, rows, weights=None):
        """Of some rows.

        Parameters
        ----------
        rows : ndarray or sparse array of shape (n, n_columns)
        weights : ndarray of shape (n,), int64, default=None
            How often each row counts.
        """
        n_rows, n_columns = rows.shape
        sums = np.zeros((3, _BANDS, n_columns), dtype=np.int64)
        step = max(1, _CHUNK // max(1, n_columns))
        for start in range(0, n_rows, step):
            part = rows[start : start + step]
            counts = None if weights is None else weights[start : start + step]
            _add(sums, *(_stored(part, counts) if sparse.issparse(rows) else _dense(part, counts)))
        return cls(n_rows if weights is None else int(weights.sum()), sums)

    def __add__(self, other):
        return ColumnMoments(self.n_rows + other.n_rows, self.sums + other.sums)

    def __sub__(self, other):
        return ColumnMoments(self.n_rows - other.n_rows, self.sums - other.sums)

    def mean_and_variance(self):
        """Of each column; the variance is 0 where it could be due to rounding.

        Returns
        -------
        mean, variance : ndarray of shape (n_columns,), float64
        """
        n_rows = max(self.n_rows, 1)
        first, second = np.zeros((2, self.sums.shape[2]))
        # one after the other: the order is part of the result
        for band in np.flatnonzero(self.sums.any(axis=(0, 2))).tolist():
            total, high, low = self.sums[:, band]
            exponent = 8 * band + _LOWEST
            first += np.ldexp(total.astype(np.float64), exponent)
            second += np.ldexp(high * 2.0**32 + low, 2 * exponent)
        mean, second = first / n_rows, second / n_rows
        variance = second - mean * mean
        return mean, np.where(variance > _ROUNDING * second, variance, 0.0)


def _split(values):
    """Band and signed integer of float32 numbers."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.int32)
    exponent = (bits >> 23) & 0xFF
    normal = exponent > 0
    whole = ((bits & 0x7FFFFF) | (normal.astype(np.int32) << 23)).astype(np.int64)
    exponent = np.where(normal, exponent, 1)
    whole <<= exponent & 7
    np.negative(whole, out=whole, where=bits < 0)
    return exponent >> 3, whole


def _dense(rows, weights):
    """Numbers other than 0, their columns, and how often each counts."""
    flat = np.ascontiguousarray(rows, dtype=np.float32).ravel()
    where = np.flatnonzero(flat)
    counts = None if weights is None else weights[where // rows.shape[1]]
    return flat[where], where % rows.shape[1], counts


def _stored(rows, weights):
    """As :func:`_dense`, of a sparse array."""
    counts = None if weights is None else np.repeat(weights, np.diff(rows.indptr))
    return rows.data, rows.indices.astype(np.int64), counts


def _add(sums, values, columns, counts):
    band, whole = _split(values)
    square = whole * whole
    where = band * sums.shape[2] + columns
    halves = (whole, square >> 32, square & 0xFFFFFFFF)
    for total, part in zip(sums.reshape(3, -1), halves, strict=True):
        if counts is None:  # at most 2^18 numbers below 2^33: exact in float64
            total += np.bincount(where, part, minlength=len(total)).astype(np.int64)
        else:
            np.add.at(total, where, part * counts)
