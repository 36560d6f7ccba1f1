"""Sums over rows of products of integers: exact, so that rows can be subtracted."""

from dataclasses import dataclass, replace

import torch
from scipy.linalg.blas import dsyrk

from sk_unlearn.exceptions import RemovalFailedError

__all__ = ["LARGEST_SUM", "Sums"]

# Whole numbers up to 2^53 are exact in float64. A sum of squares that went beyond would be
# noticed: it cannot have come out at less than half of that.
LARGEST_SUM = 2.0**52


@dataclass(frozen=True)
class Sums:
    """What a closed-form model needs to know of its rows.

    All are whole numbers in float64. No partial sum of products is larger than the largest sum
    of squares, so all are exact in whatever order, batches or threads they were taken.

    Attributes
    ----------
    n_rows : int
        Weights added up.
    features : Tensor of shape (n_features,)
    targets : Tensor of shape (n_targets,)
    cross : Tensor of shape (n_targets, n_features)
    gram : Tensor of shape (n_features, n_features), or None
        Its lower triangle, zeros above. None where no head asks for it.
    squares : Tensor of shape (n_targets, n_features), or None
        Squares of features, for each class.
    n_cut : int
        Numbers that were beyond the range of a feature map.
    """

    n_rows: int
    features: torch.Tensor
    targets: torch.Tensor
    cross: torch.Tensor
    gram: torch.Tensor | None
    squares: torch.Tensor | None
    n_cut: int = 0

    @classmethod
    def none(cls, n_features, n_targets, *, gram, squares, device="cpu"):
        """Of no rows."""

        def zeros(*shape):
            return torch.zeros(shape, dtype=torch.float64, device=device)

        return cls(
            0,
            zeros(n_features),
            zeros(n_targets),
            zeros(n_targets, n_features),
            zeros(n_features, n_features) if gram else None,
            zeros(n_targets, n_features) if squares else None,
        )

    def plus(self, features, targets, weights=None, n_cut=0, *, sign=1):
        """These sums and those of more rows, or without them.

        Parameters
        ----------
        features : Tensor of shape (n, n_features)
        targets : Tensor of shape (n, n_targets)
        weights : Tensor of shape (n,), default=None
        n_cut : int
        sign : {1, -1}

        Returns
        -------
        sums : Sums
            New tensors.
        """
        own = {n: v.clone() for n, v in vars(self).items() if isinstance(v, torch.Tensor)}
        return replace(self, **own).add(features, targets, weights, n_cut, sign=sign)

    def add(self, features, targets, weights=None, n_cut=0, *, sign=1):
        """As :meth:`plus`, into the tensors of these sums, on the device that they are on."""
        device = self.features.device
        features, targets = features.to(device), targets.to(device)
        weights = None if weights is None else weights.to(device)
        counted = features if weights is None else features * weights[:, None]
        n_rows = features.shape[0] if weights is None else int(weights.sum())
        self.features.add_(counted.sum(dim=0), alpha=sign)
        counts = targets if weights is None else targets * weights[:, None]
        self.targets.add_(counts.sum(dim=0), alpha=sign)
        self.cross.addmm_(targets.T, counted, alpha=sign)
        if self.gram is not None:
            _add_products(self.gram, features, None if weights is None else counted, sign)
        if self.squares is not None:
            self.squares.addmm_(targets.T, features * counted, alpha=sign)
        return replace(self, n_rows=self.n_rows + sign * n_rows, n_cut=self.n_cut + sign * n_cut)

    def to(self, device):
        """These sums on a device."""
        moved = {n: v.to(device) for n, v in vars(self).items() if isinstance(v, torch.Tensor)}
        return replace(self, **moved)

    def pick(self, targets):
        """Sums with some of the targets, in the order given.

        Parameters
        ----------
        targets : ndarray of int
            -1 stands for a new one.
        """
        index = torch.from_numpy(targets)
        known, place = index[index >= 0], torch.nonzero(index >= 0).ravel()

        def picked(values):
            if values is None:
                return None
            out = torch.zeros((len(index), *values.shape[1:]), dtype=values.dtype)
            out[place] = values[known]
            return out

        return replace(
            self,
            targets=picked(self.targets),
            cross=picked(self.cross),
            squares=picked(self.squares),
        )

    def check_exact(self, owner, power):
        """Refuse sums that may no longer be whole numbers in float64.

        Parameters
        ----------
        owner : str
        power : float
            Largest sum of squares of a target.
        """
        largest = max(self.n_rows, power)
        for squares in (self.squares, None if self.gram is None else self.gram.diagonal()):
            if squares is not None:
                # by Cauchy and Schwarz no partial sum of products is larger
                largest = max(largest, squares.max().item(), (squares.max().item() * power) ** 0.5)
        if largest > LARGEST_SUM:
            raise RemovalFailedError(
                f"{owner} sums products of integers, which are exact up to 2^52, and "
                f"{self.n_rows} rows may reach {largest:.3g}. Split the rows over several "
                "estimators, or bring the columns to about one unit (scaling='columns')."
            )


def _add_products(gram, features, counted, sign):
    """Add products of features with each other to the lower triangle of ``gram``."""
    if counted is not None or gram.device.type != "cpu":
        counted = features if counted is None else counted
        gram.add_((features.T @ counted).tril_(), alpha=sign)
        return
    # half the work of a product of matrices; transposed, memory is in the order of BLAS
    dsyrk(float(sign), features.numpy().T, 1.0, gram.numpy().T, overwrite_c=1)
