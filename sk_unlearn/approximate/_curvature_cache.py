"""What one request learns about the rows that the next one can reuse."""

import copy
from dataclasses import dataclass, replace

import numpy as np
import torch

from sk_unlearn.approximate._imprint import NetImprint
from sk_unlearn.functional import HeadCurvature, RowSpace
from sk_unlearn.utils._take import drop_rows

__all__ = ["MAX_BYTES", "CurvatureCache", "KeptCurvature"]

# Curvature is computed anew when this share of its rows has left, or when the parameters have
# moved by this share of their norm since.
MAX_GONE = 0.1
MAX_MOVED = 0.06
# What is kept between requests, at most.
MAX_BYTES = 2**25


@dataclass(frozen=True, eq=False)
class KeptCurvature:
    """A solver that was built for one request, and what tells whether it serves another.

    Attributes
    ----------
    curvature : HeadCurvature or RowSpace
        Of the rows at ``position``.
    position : ndarray of int
        As positions in the last ``fit``, ascending.
    ridge : Tensor of shape (n_parameters,)
    active : tuple of str
        Names of the parameters that it is the curvature of.
    n_asked, n_built : int
        Rows that were asked for, and those it was built on.
    tol : float
        Smallest tolerance of a solve that it is exact enough for.
    moved : float
        Lengths of the steps since, in norms of the parameters.
    """

    curvature: HeadCurvature | RowSpace
    position: np.ndarray
    ridge: torch.Tensor
    active: tuple
    n_asked: int
    n_built: int
    tol: float
    moved: float = 0.0

    def solver(self):
        """The solver for one request; what it remembers of the request is not kept."""
        return copy.copy(self.curvature)

    def serves(self, n_asked, ridge, active, tol):
        """Whether it can stand for curvature built anew."""
        return (
            self.active == active
            and (1 - MAX_GONE) * self.n_asked <= n_asked <= self.n_asked
            and tol >= self.tol
            and torch.equal(ridge, self.ridge)
            and self.moved <= MAX_MOVED
            and len(self.position) >= (1 - MAX_GONE) * self.n_built
        )

    def drop(self, model, params, leaving, position):
        """The same without rows that leave; ``position`` are those of ``leaving``.

        None where it is the curvature of other parameters, or cannot do without these rows.
        """
        if self.active != tuple(model.active):
            return None
        _, here, there = np.intersect1d(self.position, position, return_indices=True)
        if not len(here):
            return self
        X = leaving.take(there).X
        places = torch.from_numpy(here).to(X.device)
        try:
            if isinstance(self.curvature, HeadCurvature):
                rest = self.curvature.drop(model, params, X, places)
            else:
                rest = self.curvature.drop(places)
        except torch.linalg.LinAlgError:
            return None
        return replace(self, curvature=rest, position=drop_rows(self.position, here))


@dataclass(frozen=True)
class CurvatureCache:
    """Sizes of the rows' curvature and gradients; 0 for rows not trained on.

    Holds numbers for each retained row, and a solver for the curvature of a few of them, whose
    terms of rows that leave are taken out: it holds inputs of retained rows and what the layers
    made of them at the parameters before the request, from which these could be told. It is never
    pickled nor copied. It saves
    time and decides little: sizes say which rows curvature is computed on, with weights that
    keep its expectation right, and which rows are looked at for compensation.

    Attributes
    ----------
    position : ndarray of int
        The rows, as positions in the last ``fit``, ascending.
    curvature, gradient : Tensor of shape (len(position),) or None
        See :func:`~sk_unlearn.functional.row_sizes`.
    draw : ndarray of shape (len(position),) or None
        A uniform number for each row, a function of its id.
    kept : KeptCurvature or None
    imprint : NetImprint or None
        Of the net that the last request left; there is one where something is kept.
    rows_at_once : tuple (int, int) or None
        Rows in one pass, and rows whose graph may be kept, by the memory that a row takes.
    """

    position: np.ndarray
    curvature: torch.Tensor | None = None
    gradient: torch.Tensor | None = None
    draw: np.ndarray | None = None
    kept: KeptCurvature | None = None
    imprint: NetImprint | None = None
    rows_at_once: tuple | None = None

    def after(self, net):
        """The same for the next request, with the imprint of the net that a request leaves."""
        if self.kept is None:
            return replace(self, imprint=None)
        imprint = NetImprint.of(net)
        if imprint.nbytes > MAX_BYTES:
            return replace(self, kept=None, imprint=None)
        return replace(self, imprint=imprint)

    def largest_gradients(self, n_rows):
        """Places of the rows of the largest gradients, ascending; the first of equals."""
        sizes = np.nan_to_num(self.gradient.numpy(), nan=np.inf)
        least = np.partition(sizes, len(sizes) - n_rows)[len(sizes) - n_rows]
        above, equal = ~(sizes <= least), np.flatnonzero(sizes == least)
        above[equal[: n_rows - np.count_nonzero(above)]] = True
        return torch.from_numpy(np.flatnonzero(above))

    def restrict(self, position):
        """The same for the rows that are left, a subset of these, but for ``kept``."""
        if self.curvature is None:
            return replace(self, position=position)
        if len(position) == len(self.position):
            return replace(self, position=position)
        gone = _gone(self.position, position)
        values = self.curvature, self.gradient, self.draw
        curvature, gradient, draw = (_without(value, gone) for value in values)
        return replace(self, position=position, curvature=curvature, gradient=gradient, draw=draw)


def _gone(position, left):
    """Places of the numbers that are not among those that are left, both ascending."""
    if len(position) == len(left) + 1:  # the first that differs, or the last
        differs = position[:-1] != left
        return np.array([differs.argmax() if differs.any() else len(left)])
    among = np.zeros(position[-1] + 1, dtype=bool)
    among[left] = True
    return np.flatnonzero(~among[position])


def _without(values, indices):
    if values is None:
        return None
    rest = drop_rows(np.asarray(values), indices)
    return torch.from_numpy(rest) if isinstance(values, torch.Tensor) else rest
