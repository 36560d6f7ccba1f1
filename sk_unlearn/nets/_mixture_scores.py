"""Log-densities of many rows: what depends on the net comes first, then products a chunk."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch

from sk_unlearn.nets._forward import Reader
from sk_unlearn.nets._gaussian import inverse_cholesky

__all__ = ["CompressedReader", "CompressedRows", "MixtureScores", "compress"]


class CompressedRows(NamedTuple):
    """What all mixtures of one compression read of rows.

    Attributes
    ----------
    rows : Tensor of shape (n, n_features), float64
        u = asinh(c x) / c.
    log_slopes : Tensor of shape (n,)
        Logarithm of the derivatives of u, multiplied.
    """

    rows: torch.Tensor
    log_slopes: torch.Tensor


def compress(X, compression):
    """Compress rows.

    Parameters
    ----------
    X : Tensor of shape (n, ...)
    compression : float
        c.

    Returns
    -------
    compressed : CompressedRows
    """
    rows = X.reshape(len(X), math.prod(X.shape[1:])).to(torch.float64)
    scaled = compression * rows
    # hypot: the square of a large value would overflow
    log_slopes = -torch.hypot(scaled, torch.ones_like(scaled)).log().sum(dim=1)
    return CompressedRows(torch.asinh(scaled) / compression, log_slopes)


@dataclass(frozen=True)
class CompressedReader(Reader):
    """Reads rows as mixtures of one compression do: the classes of an ensemble share it."""

    compression: float

    @classmethod
    def of(cls, net):
        """The reader of a net whose module is a mixture."""
        plain = Reader.of(net)
        return cls(plain.dtype, plain.keep_integers, plain.device, net.module_.compression)

    def __call__(self, rows):
        """Compressed rows on the net's device."""
        return compress(super().__call__(rows), self.compression)


class MixtureScores:
    """Log-density of a mixture as a function of compressed rows.

    The centred rows are never formed: their coordinates along all directions are one
    product of the rows and a constant, their norms follow from that along the mean. Both
    are exact to rounding, since compressed values are small.

    Parameters
    ----------
    module : MixtureDensity
        As it is now.
    """

    def __init__(self, module):
        gaussian, (k, q) = module.gaussian, module.means.shape
        self._shape, self._rank = (k + 1, q), len(gaussian.directions)
        self._n_features = len(gaussian.mean)
        self._left_out = self._n_features - self._rank
        self._variances, self._rest = gaussian.variances()
        # products: along the Gaussian's directions, along those of the mixture, with the mean
        along = [(gaussian.directions, gaussian.mean), (module.frame, module.origin)]
        parts, offsets = [d for d, _ in along], [-(d @ mean) for d, mean in along]
        if self._left_out:
            self._mean_square = gaussian.mean.square().sum()
            parts.append(gaussian.mean[None])
            offsets.append(self._mean_square.new_zeros(1))
        self._directions, self._offset = torch.cat(parts).T, torch.cat(offsets)
        # the marginal that the mixture replaces is one more component
        mean, covariance = module.marginal()
        whitener = inverse_cholesky(covariance)
        whiteners = torch.cat([module.whiteners, whitener[None]])
        means = torch.cat([module.means, mean[None]])
        self._whiteners = whiteners.reshape(-1, q).T
        self._white_offset = -torch.bmm(whiteners, means[:, :, None]).reshape(-1)
        log_det = whitener.diagonal().log().sum() - 0.5 * q * math.log(2 * math.pi)
        self._constants = torch.cat([module.constants(), log_det[None]])
        log_dets = self._variances.log().sum() + self._left_out * self._rest.log()
        self._constant = -0.5 * (log_dets + self._n_features * math.log(2 * math.pi))

    def __call__(self, compressed):
        """Log-density of each row.

        Parameters
        ----------
        compressed : CompressedRows

        Returns
        -------
        log_density : Tensor of shape (n,), float64
        """
        rows, log_slopes = compressed
        if rows.shape[1] != self._n_features:
            raise ValueError(
                f"X must have {self._n_features} features, as in training, got {rows.shape[1]}."
            )
        products = torch.addmm(self._offset, rows, self._directions)
        squares = products[:, : self._rank].square()
        distance = squares @ self._variances.reciprocal()
        if self._left_out:
            norms = rows.square().sum(dim=1) + self._mean_square - 2 * products[:, -1]
            distance = distance + (norms - squares.sum(dim=1)).clamp(min=0) / self._rest
        y = products[:, self._rank : self._rank + self._shape[1]]
        white = torch.addmm(self._white_offset, y, self._whiteners).view(-1, *self._shape)
        logs = self._constants - 0.5 * white.square().sum(dim=2)
        replaced = torch.logsumexp(logs[:, :-1], dim=1) - logs[:, -1]
        return self._constant - 0.5 * distance + replaced + log_slopes
