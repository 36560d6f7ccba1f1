"""Real targets as integers."""

from dataclasses import dataclass

import numpy as np
import torch

__all__ = ["TargetFrame"]

_BITS = 18


@dataclass(frozen=True, eq=False)
class TargetFrame:
    """Centres and units of real targets, from exact moments.

    Attributes
    ----------
    centre, per_unit : ndarray of shape (n_targets,)
        Units are powers of two, centres multiples of them.
    power : float
        Largest mean square of a target's integers.
    """

    centre: np.ndarray
    per_unit: np.ndarray
    power: float

    @classmethod
    def of(cls, moments):
        """Frame of targets with these :class:`ColumnMoments`."""
        mean, variance = moments.mean_and_variance()
        # a constant target is read in units of itself
        variance = np.where(variance > 0, variance, mean * mean)
        exponent = np.frexp(np.where(variance > 0, variance, 1.0))[1] // 2
        unit = np.ldexp(1.0, exponent)
        centre = np.rint(mean / unit) * unit
        power = (variance + (mean - centre) ** 2) / unit**2
        return cls(centre, 1 / unit, float(power.max()) * 4.0**_BITS)

    def numbers(self, y):
        """Integers of some targets, Tensor of shape (n, n_targets), float64."""
        y = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
        return torch.from_numpy(np.rint((y - self.centre) * self.per_unit * 2.0**_BITS))

    def values(self, numbers):
        """Targets of some numbers."""
        return numbers / (self.per_unit * 2.0**_BITS) + self.centre

    @property
    def state(self):
        """Centres, and units."""
        return self.centre, self.per_unit

    def __eq__(self, other):
        return (
            isinstance(other, TargetFrame)
            and np.array_equal(self.centre, other.centre)
            and np.array_equal(self.per_unit, other.per_unit)
        )

    __hash__ = None
