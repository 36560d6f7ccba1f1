"""The linear system behind a removal step: curvature of sampled rows, damped."""

from dataclasses import dataclass, field, replace

import numpy as np
import torch

from sk_unlearn.approximate._curvature_cache import MAX_BYTES, KeptCurvature
from sk_unlearn.approximate._net_rows import NetRows, RowBatch
from sk_unlearn.exceptions import RemovalFailedError
from sk_unlearn.functional import (
    GaussNewtonOperator,
    HeadCurvature,
    HessianOperator,
    RowSpace,
    RowwiseModel,
    SampledPreconditioner,
    conjugate_gradient,
    row_sizes,
    sample_rows,
)
from sk_unlearn.functional._row_gradients import RowGradients

__all__ = [
    "OPERATORS",
    "CurvatureSystem",
    "Objective",
    "RowBatch",
    "SolverSettings",
    "build_system",
]

OPERATORS = {"gauss_newton": GaussNewtonOperator, "hessian": HessianOperator}
COLUMNS_PER_ROW = 2.0  # leaves one to three products a solve (benchmarks/bench_puma_quality.py)
# A kept linearisation holds about this many times the graph of a forward pass.
LINEARISED = 4
# Below it rounding can flatter the recursion's residual, and rows' inner products are too rough.
VERIFY_BELOW = 1e-3


@dataclass(frozen=True)
class Objective:
    """What a net minimised, and the rows that are left of it.

    Attributes
    ----------
    model : RowwiseModel
    rows : RowBatch or NetRows
        The retained rows, those that were held out of training included.
    trained : Tensor of shape (len(rows),), bool
        Which of them the objective contains.
    draw : ndarray of shape (len(rows),) or None
        A uniform number for each row; needed to sample rows.
    n_rows : int
        Divisor of the sum of losses, that of ``fit``.
    ridge : Tensor of shape (n_parameters,)
        Damping plus weight decay.
    chunk_size : int
        Rows in one pass.
    most_kept : int
        Rows whose graph may be kept from product to product.
    metric : bool
        Whether the ridge is a metric of its own, that of an optimiser, in which the system is
        solved; otherwise it is a constant, or nearly.
    """

    model: RowwiseModel
    rows: RowBatch | NetRows
    trained: torch.Tensor
    draw: np.ndarray | None
    n_rows: int
    ridge: torch.Tensor
    chunk_size: int
    most_kept: int
    metric: bool = False

    @property
    def scale(self):
        """The ridge over its mean where it is a metric, else None."""
        return self.ridge / self.ridge.mean() if self.metric else None


@dataclass(frozen=True)
class SolverSettings:
    """How curvature is computed and solved with; see :class:`~sk_unlearn.PumaClassifier`.

    Attributes
    ----------
    n_sampled : int
        Retained rows to compute on; all if there are no more.
    curvature : {"gauss_newton", "hessian"}
    tol : float
    max_products : int
    several_steps : bool
        Whether rows leave in several steps, each with curvature of its own.
    """

    n_sampled: int
    curvature: str = "gauss_newton"
    tol: float = 1e-1
    max_products: int = 100
    several_steps: bool = False


@dataclass(frozen=True)
class _ParameterSpace:
    """Solver of ``(H + diag(ridge)) x = b`` for any net, curvature and tolerance.

    With a scale it is ``H + diag(ridge * scale)``, solved for the root of the scale times x.
    """

    operator: object
    invert: object  # makes the preconditioner for a ridge
    ridge: torch.Tensor
    scale: torch.Tensor | None = None
    preconditioner: object = field(init=False)
    layers = ()  # what it does not know of the net: single rows' gradients by layers

    def __post_init__(self):
        object.__setattr__(self, "preconditioner", self.invert(self.ridge))

    def solve(self, b, *, tol, max_products):
        found, report = conjugate_gradient(
            lambda v: self._scaled(self.operator.matvec(self._scaled(v))),
            self._scaled(b),
            damping=self.ridge,
            preconditioner=self.preconditioner,
            tol=tol,
            max_products=max_products,
            verify=tol < VERIFY_BELOW,
        )
        return self._scaled(found), report

    def guess_dot(self, a, b):
        return torch.dot(self._scaled(a), self.preconditioner(self._scaled(b)))

    def _scaled(self, v):
        return v if self.scale is None else v * self.scale.rsqrt()

    def damped(self, more):
        return replace(self, ridge=self.ridge + more)


@dataclass(frozen=True)
class CurvatureSystem:
    """The system ``(H + diag(ridge)) x = b`` at one point.

    Attributes
    ----------
    space : HeadCurvature, RowSpace or _ParameterSpace
    settings : SolverSettings
    """

    space: object
    settings: SolverSettings

    def solve(self, b, tol=None):
        """Solution, and the :class:`~sk_unlearn.functional.SolverReport`."""
        tol = self.settings.tol if tol is None else tol
        return self.space.solve(b, tol=tol, max_products=self.settings.max_products)

    def limited(self, max_products):
        """The system with fewer products in a solve."""
        return replace(self, settings=replace(self.settings, max_products=max_products))

    def guess_dot(self, a, b):
        """Inner product of a with a first approximation to the solution for b."""
        return self.space.guess_dot(a, b)

    def damped(self, more):
        """The system with more added to the diagonal."""
        return replace(self, space=self.space.damped(more))

    @property
    def closed_form(self):
        """Whether the net is so small that calls take longer than their arithmetic."""
        return isinstance(self.space, HeadCurvature)

    def row_gradients(self, objective, params, rows):
        """Gradients of the rows of a batch as ``RowGradients``; None where it has no layers."""
        if not self.space.layers or len(rows) > objective.most_kept:
            return None
        layers = self.space.layers
        return RowGradients.record(objective.model, params, layers, rows.X, rows.y)


def build_system(objective, params, cache, settings, later):
    """Curvature of what an objective keeps when rows leave it.

    Parameters
    ----------
    objective : Objective
    params : dict of str to Tensor
    cache : CurvatureCache
    settings : SolverSettings
    later : RowBatch
        Rows that leave in later steps, and are still in the objective.

    Returns
    -------
    system : CurvatureSystem
    cache : CurvatureCache
        With the sizes of the rows, if they were needed.
    """
    try:
        return _built(objective, params, cache, settings, later)
    except torch.linalg.LinAlgError as error:
        raise RemovalFailedError(
            "The curvature of the loss is not finite or could not be factored, so nothing was "
            f"forgotten ({str(error).splitlines()[0]}). The parameters are far from where "
            "training left them, or the data is badly scaled: retrain, or raise damping."
        ) from error


def _built(objective, params, cache, settings, later):
    n_asked, ridge = settings.n_sampled, objective.ridge
    closed = settings.curvature == "gauss_newton" and not settings.several_steps
    active = tuple(objective.model.active)
    if (
        closed
        and cache.kept is not None
        and cache.kept.serves(n_asked, ridge, active, settings.tol)
    ):
        return CurvatureSystem(cache.kept.solver(), settings), cache
    cache = replace(cache, kept=None)
    sample, weights, picked, cache = _sample(objective, params, cache, n_asked, later)
    batch = (objective.model, params, sample.X, sample.y, weights)
    space = HeadCurvature.build(*batch, ridge=ridge) if closed else None
    space = space or _row_space(objective, batch, settings)
    if space is None:
        space = _parameter_space(objective, batch, settings)
    elif closed and space.nbytes <= MAX_BYTES:
        position = cache.position[picked.cpu().numpy()]
        tol = 0.0 if isinstance(space, HeadCurvature) else settings.tol
        kept = KeptCurvature(space, position, ridge, active, n_asked, len(position), tol)
        cache, space = replace(cache, kept=kept), kept.solver()
    return CurvatureSystem(space, settings), cache


def _row_space(objective, batch, settings):
    """Solver in the space of the rows, or None where it is not for them."""
    n_rows, ridge = len(batch[2]), objective.ridge
    if (
        n_rows > objective.most_kept
        or settings.curvature != "gauss_newton"
        or settings.tol < VERIFY_BELOW
        or (not objective.metric and bool((ridge != ridge[0]).any()))
    ):
        return None
    options = _preconditioning(n_rows, ridge)
    return RowSpace.build(*batch, **options, tol=settings.tol, scale=objective.scale)


def _parameter_space(objective, batch, settings):
    n_rows, ridge, scale = len(batch[2]), objective.ridge, objective.scale
    if scale is not None:
        ridge = torch.full_like(ridge, float(ridge.mean()))
    fits = n_rows <= objective.most_kept
    chunk_size = max(1, (objective.most_kept if fits else objective.chunk_size) // LINEARISED)

    def invert(ridge):
        options = _preconditioning(n_rows, ridge)
        return SampledPreconditioner(*batch, **options, chunk_size=chunk_size, scale=scale)

    operator = OPERATORS[settings.curvature](*batch, chunk_size=chunk_size, keep_graph=fits)
    return _ParameterSpace(operator, invert, ridge, scale)


def _preconditioning(n_rows, ridge):
    return {"damping": float(ridge.mean()), "n_columns": int(COLUMNS_PER_ROW * n_rows)}


def _sample(objective, params, cache, n_sampled, later):
    """Rows to compute curvature on, their weights in a mean, which they are, the cache."""
    rows, trained = objective.rows, objective.trained
    n_trained, weights = int(trained.sum()), None
    if n_sampled >= n_trained:
        picked = trained.cpu().nonzero()[:, 0]
    else:
        if cache.curvature is None:
            sizes = zip(*(_sizes(objective, params, part) for part in rows.parts()), strict=True)
            curvature, gradient = (torch.cat(parts) * trained.cpu() for parts in sizes)
            cache = replace(cache, curvature=curvature, gradient=gradient, draw=objective.draw)
        draw = torch.from_numpy(objective.draw)
        picked, weights = sample_rows(cache.curvature, n_sampled, draw)
        # in a mean over all retained rows, those not trained on count as zeros
        n_trained = len(rows)
    n_picked = len(picked)
    ones = torch.ones(n_picked + len(later), dtype=torch.float64)
    weights = ones[:n_picked] if weights is None else weights
    # the operator takes a mean over its rows: weigh for (sum over all) / n_rows
    weights = torch.cat([weights * (n_trained / n_picked), ones[n_picked:]])
    weights = weights * (len(weights) / objective.n_rows)
    return rows.take(picked).join(later), weights.to(objective.ridge), picked, cache


def _sizes(objective, params, part):
    return row_sizes(objective.model, params, part.X, part.y, chunk_size=objective.chunk_size)
