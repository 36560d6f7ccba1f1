"""One linear removal step: gradients of the leaving rows through the inverse curvature."""

from dataclasses import asdict, dataclass

import torch

from sk_unlearn.approximate._compensation import compensate
from sk_unlearn.functional import directional_derivatives, row_losses, weighted_gradient

__all__ = ["StepReport", "removal_step"]


@dataclass(frozen=True)
class StepReport:
    """Measurements of one step; all losses are means over rows.

    Attributes
    ----------
    n_forgotten : int
    solves : list of SolverReport, as dicts
    damage : float or None
        Predicted change of the criterion by plain removal; None without a criterion.
    n_weighted : int
        Retained rows that carry compensation.
    unmet : float
        Share of the damage that the weights could not compensate.
    step_ratio : float
        Norm of the step over the norm of the parameters.
    criterion_before, criterion : float or None
        Before and after the step.
    criterion_change_predicted : float or None
        To first order.
    forget_loss_before, forget_loss : float
    """

    n_forgotten: int
    solves: list
    damage: float | None
    n_weighted: int
    unmet: float
    step_ratio: float
    criterion_before: float | None
    criterion: float | None
    criterion_change_predicted: float | None
    forget_loss_before: float
    forget_loss: float

    @property
    def n_products(self):
        """Curvature products of all solves."""
        return sum(solve["n_products"] for solve in self.solves)

    def to_dict(self):
        return asdict(self)


def removal_step(
    model,
    params,
    leaving,
    candidates,
    system,
    criterion,
    *,
    n_objective,
    eta=1.0,
    compensation=None,
    bound=1.0,
    strict=False,
    eligible=None,
    chunk_size=None,
):
    """Move the parameters to where the minimum goes when rows leave.

    Parameters
    ----------
    model : RowwiseModel
    params : dict of str to Tensor
    leaving, candidates : RowBatch
        Rows to remove, and retained rows that may be re-weighted.
    system : CurvatureSystem
        At ``params``.
    criterion : HeldOutLoss, UserCriterion or None
    n_objective : int
        Rows in the mean of the objective.
    eta, compensation, bound, strict
        See :class:`~sk_unlearn.PumaClassifier`.
    eligible : Tensor of shape (n_candidates,), bool, or None
        Candidates that the objective contains; None means all.
    chunk_size : int or None

    Returns
    -------
    params : dict of str to Tensor
    report : StepReport
    """
    removed = _gradient(model, params, leaving, chunk_size=chunk_size)
    slope = None if criterion is None else criterion.gradient(params)
    step, solved = system.solve(eta / n_objective * removed)
    solves, weights, unmet = [solved], None, 0.0
    damage = None if slope is None else float(slope.double() @ step.double())
    if compensation is not None and slope is not None and (damage > 0 or strict):
        toward, solved = system.solve(slope)
        solves.append(solved)
        slopes = directional_derivatives(
            model, params, candidates.X, candidates.y, toward, chunk_size=chunk_size
        )
        influence = -slopes / n_objective
        if eligible is not None:
            influence = influence * eligible
        weights, unmet = compensate(
            influence, damage, kind=compensation, bound=bound, strict=strict
        )
        added = _gradient(model, params, candidates, weights, chunk_size=chunk_size)
        # only the sum of both solutions has to be good: the second may be relatively worse
        tol = min(system.tol * eta * float(removed.norm() / added.norm()), 0.5)
        correction, solved = system.solve(-added / n_objective, tol)
        solves.append(solved)
        step = step + correction
    moved = model.unflatten(model.flatten(params) + step)
    report = StepReport(
        n_forgotten=len(leaving),
        solves=[asdict(report) for report in solves],
        damage=damage,
        n_weighted=0 if weights is None else int(torch.count_nonzero(weights)),
        unmet=unmet / abs(damage) if unmet else 0.0,
        step_ratio=float(step.norm() / model.flatten(params).norm()),
        criterion_before=None if criterion is None else criterion.value(params),
        criterion=None if criterion is None else criterion.value(moved),
        criterion_change_predicted=None if slope is None else float(slope @ step),
        forget_loss_before=_mean_loss(model, params, leaving, chunk_size),
        forget_loss=_mean_loss(model, moved, leaving, chunk_size),
    )
    return moved, report


def _gradient(model, params, rows, weights=None, *, chunk_size):
    return weighted_gradient(model, params, rows.X, rows.y, weights, chunk_size=chunk_size)


def _mean_loss(model, params, rows, chunk_size):
    losses = row_losses(model, params, rows.X, rows.y, chunk_size=chunk_size)
    return float(losses.double().mean())
