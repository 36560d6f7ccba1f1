"""The linear system behind a removal step: curvature of sampled rows, damped."""

from dataclasses import dataclass, replace

import torch

from sk_unlearn.functional import (
    GaussNewtonOperator,
    HessianOperator,
    SampledPreconditioner,
    conjugate_gradient,
    row_sizes,
    sample_rows,
)

__all__ = ["OPERATORS", "CurvatureSystem", "RowBatch", "build_system"]

OPERATORS = {"gauss_newton": GaussNewtonOperator, "hessian": HessianOperator}
COLUMNS_PER_ROW = 1.5  # leaves a few products a solve (benchmarks/bench_puma_quality.py)
# A kept linearisation holds about this many times the graph of a forward pass.
LINEARISED = 4
VERIFY_BELOW = 1e-3


@dataclass(frozen=True)
class RowBatch:
    """Rows of a model as tensors."""

    X: torch.Tensor
    y: torch.Tensor

    def __len__(self):
        return len(self.y)

    def take(self, indices):
        """Copies of some rows."""
        indices = torch.as_tensor(indices, dtype=torch.int64, device=self.y.device)
        return RowBatch(self.X[indices], self.y[indices])

    def join(self, other):
        """These rows, then the others."""
        return RowBatch(torch.cat([self.X, other.X]), torch.cat([self.y, other.y]))


@dataclass(frozen=True)
class CurvatureSystem:
    """The system ``(H + diag(ridge)) x = b`` at one point.

    Attributes
    ----------
    operator : GaussNewtonOperator or HessianOperator
    ridge : Tensor of shape (n_parameters,)
        Damping plus weight decay.
    preconditioner : callable
    tol : float
        Relative residual to reach.
    max_iter : int
    callback : callable or None
    """

    operator: object
    ridge: torch.Tensor
    preconditioner: object
    tol: float
    max_iter: int
    callback: object = None

    def solve(self, b, tol=None):
        """Solution, and the :class:`~sk_unlearn.functional.SolverReport`."""
        tol = self.tol if tol is None else tol
        return conjugate_gradient(
            self.operator.matvec,
            b,
            damping=self.ridge,
            preconditioner=self.preconditioner,
            tol=tol,
            max_iter=self.max_iter,
            # rounding cannot flatter a residual of this size in the few products it takes
            verify=tol < VERIFY_BELOW,
            callback=self.callback,
        )


def build_system(
    model,
    params,
    rows,
    trained,
    cache,
    draw,
    *,
    later,
    n_objective,
    n_sampled,
    curvature,
    ridge,
    tol,
    max_iter,
    chunk_size,
    callback=None,
):
    """Curvature of what an objective keeps when rows leave it.

    Parameters
    ----------
    model : RowwiseModel
    params : dict of str to Tensor
    rows : RowBatch
        The retained rows.
    trained : Tensor of shape (n_rows,), bool
        Which of them the objective contains.
    cache : CurvatureCache
    draw : ndarray of shape (n_rows,)
        A uniform number for each row, for sampling.
    later : RowBatch
        Rows that leave in later steps, and are still in the objective.
    n_objective : int
        Rows in the mean of the objective.
    n_sampled : int
        Retained rows to compute on; all if there are no more.
    curvature, tol, max_iter, chunk_size
        See :class:`~sk_unlearn.PumaClassifier`.
    ridge : Tensor of shape (n_parameters,)

    Returns
    -------
    system : CurvatureSystem
    cache : CurvatureCache
        With the sizes of the rows, if they were needed.
    """
    n_trained = int(trained.sum())
    picked, weights = trained.nonzero()[:, 0], None
    if n_sampled < n_trained:
        if cache.curvature is None:
            sizes = row_sizes(model, params, rows.X, rows.y, chunk_size=chunk_size)
            curvature_size, gradient_size = (size * trained.cpu() for size in sizes)
            cache = replace(cache, curvature=curvature_size, gradient=gradient_size)
        picked, weights = sample_rows(cache.curvature, n_sampled, torch.from_numpy(draw))
        # in a mean over all retained rows, those not trained on count as zeros
        n_trained = len(rows)
    n_picked = len(picked)
    ones = torch.ones(n_picked + len(later), dtype=torch.float64)
    weights = ones[:n_picked] if weights is None else weights
    # the operator takes a mean over its rows: weigh for (sum over all) / n_objective
    weights = torch.cat([weights * (n_trained / n_picked), ones[n_picked:]])
    weights = weights * (len(weights) / n_objective)
    sample = rows.take(picked).join(later)
    batch = (model, params, sample.X, sample.y, weights.to(ridge))
    chunk_size = max(1, chunk_size // LINEARISED)
    preconditioner = SampledPreconditioner(
        *batch,
        damping=float(ridge.mean()),
        n_columns=int(COLUMNS_PER_ROW * len(sample)),
        chunk_size=chunk_size,
    )
    fits = len(sample) <= LINEARISED * chunk_size
    operator = OPERATORS[curvature](*batch, chunk_size=chunk_size, keep_graph=fits)
    return CurvatureSystem(operator, ridge, preconditioner, tol, max_iter, callback), cache
