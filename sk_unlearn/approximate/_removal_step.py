"""One linear removal step: gradients of the leaving rows through the inverse curvature."""

from dataclasses import dataclass

import torch

from sk_unlearn.approximate._compensation import compensate
from sk_unlearn.approximate._criterion import HeldOutLoss
from sk_unlearn.approximate._curvature_system import Objective
from sk_unlearn.approximate._net_rows import RowBatch
from sk_unlearn.exceptions import RemovalFailedError
from sk_unlearn.functional import (
    directional_derivatives,
    losses_and_gradient,
    row_losses,
    weighted_gradient,
)

__all__ = ["Measurement", "StepReport", "StepSettings", "removal_step"]


# Of a step, in norms of the parameters. A longer one, far outside of any expansion, would
# let a few requests in turn drive the parameters out of the range of floats.
MAX_LENGTH = 1.0


@dataclass(frozen=True)
class StepSettings:
    """What a step removes and compensates; see :class:`~sk_unlearn.PumaClassifier`."""

    eta: float = 1.0
    compensation: str | None = None
    max_weight: float = 1.0
    strict: bool = False
    adaptive_damping: bool = False


@dataclass(frozen=True)
class StepReport:
    """Measurements of one step; all losses are means over rows.

    Attributes
    ----------
    n_forgotten : int
    solves : list of SolverReport, as dicts
        Of the attempt that was taken.
    damage : float or None
        Predicted change of the criterion by plain removal; None without a criterion.
    n_weighted : int
        Retained rows that carry compensation.
    compensated : bool
        False where the work of a request left none for compensation.
    unmet : float
        Share of the damage that the weights could not compensate.
    step_ratio : float
        Norm of the step over the norm of the parameters. A step above 1 was cut to 1.
    criterion_before, criterion : float or None
        Before and after the step.
    criterion_change_predicted : float or None
        To first order.
    held_out_loss : float or None
        Mean loss on the criterion's rows before the step.
    forget_loss_before, forget_loss : float
    forget_loss_predicted : float
        To first order, by the first attempt.
    nonlinearity : float or None
        How far the scores are from moving in a straight line, as a share of how far they would
        move in one; None where that was not looked at.
    damping_factor : float
        By which damping, weight decay included, was raised so that the step is straight enough.
    shortened : float
        Share of the last attempt that was taken; below 1 where another attempt was not made.
    gain : float or None
        By how much the linear step lowered the loss that is left, counted from its tangent and
        with the pull of the rows, over what it promised; None where that was not looked at.
    share : float
        Of the linear step, at which it is lowest; from there the step was corrected.
    stopped : str or None
        Why no further attempt was made although the step was not straight enough.
    attempts : tuple of int
        Products of each attempt; there are several where damping was raised.
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
    forget_loss_predicted: float
    nonlinearity: float | None = None
    damping_factor: float = 1.0
    compensated: bool = True
    shortened: float = 1.0
    held_out_loss: float | None = None
    gain: float | None = None
    share: float = 1.0
    stopped: str | None = None
    attempts: tuple = ()

    @property
    def n_products(self):
        """Curvature products of the solves."""
        return sum(solve["n_products"] for solve in self.solves)

    def to_dict(self):
        return dict(vars(self))


@dataclass(frozen=True)
class _Reweighing:
    """Predicted harm, weights against it, and what they add to the objective's gradient."""

    harm: float | None
    weights: torch.Tensor | None = None
    unmet: float = 0.0
    added: torch.Tensor | None = None

    @property
    def n_weighted(self):
        return 0 if self.weights is None else int(torch.count_nonzero(self.weights))


def removal_step(objective, params, leaving, system, criterion, settings, candidates=None):
    """Move the parameters to where the minimum goes when rows leave.

    Parameters
    ----------
    objective : Objective
    params : dict of str to Tensor
    leaving : RowBatch
        Rows to remove.
    system : CurvatureSystem
        At ``params``.
    criterion : HeldOutLoss, UserCriterion or None
    settings : StepSettings
    candidates : callable, default=None
        Asked if rows are re-weighted: returns a Tensor of int, which retained rows may be if
        the objective contains them. None, or to return it, means all.

    Returns
    -------
    params : dict of str to Tensor
    report : StepReport
    pull : Tensor of shape (n_parameters,)
        What the inverse curvature was applied to.
    """
    model = objective.model
    measure = _measurement(objective, leaving, system, criterion)
    compensates = settings.compensation is not None
    losses, gradient, before, slope = measure.before(params, with_slope=compensates)
    removed = settings.eta / objective.n_rows * gradient
    solves, pull = [], removed

    def solve(b, tol=None):
        x, solved = system.solve(b, tol)
        solves.append(solved)
        return x

    def reweigh():
        # a rough solve ranks and weighs rows well enough; the step has a solve of its own
        toward = solve(slope, min(3 * system.settings.tol, 0.5))
        harm = float(toward.double() @ removed.double())
        among = None if candidates is None else candidates()
        return _reweigh(objective, params, system, toward, harm, settings, among)

    compensates = compensates and slope is not None
    reweighing = None
    if compensates and (settings.strict or system.guess_dot(slope, removed) > 0):
        reweighing = reweigh()
        step = solve(pull := removed - reweighing.added)
    else:
        step = solve(removed)
        if compensates and slope @ step > 0:  # the guess had the sign wrong
            reweighing = reweigh()
            step = solve(pull := removed - reweighing.added)
    if reweighing is None:
        damage = None if slope is None else float(slope.double() @ step.double())
        reweighing = _Reweighing(damage)
    _check_step(step, removed, solves[-1])
    promised = float(gradient.double() @ step.double()) / len(leaving)
    length = float(step.norm() / model.flatten(params).norm())
    if length > MAX_LENGTH:
        step = step * (MAX_LENGTH / length)
    moved = model.flatten(params) + step
    _check_finite(moved, solves[-1])
    moved = model.unflatten(moved)
    losses_after, after = measure.after(moved, step)
    report = StepReport(
        n_forgotten=len(leaving),
        solves=[dict(vars(report)) for report in solves],
        damage=reweighing.harm,
        n_weighted=reweighing.n_weighted,
        unmet=reweighing.unmet / abs(reweighing.harm) if reweighing.unmet else 0.0,
        step_ratio=length,
        criterion_before=before,
        criterion=after,
        criterion_change_predicted=None if slope is None else float(slope @ step),
        forget_loss_before=float(losses.double().mean()),
        forget_loss=float(losses_after.double().mean()),
        forget_loss_predicted=float(losses.double().mean()) + promised,
        held_out_loss=before if criterion is None else criterion.loss(params, before),
    )
    return moved, report, pull


def _measurement(objective, leaving, system, criterion):
    if system.closed_form and isinstance(criterion, HeldOutLoss):
        joint = RowBatch(criterion.X, criterion.y).join(leaving)
        if len(joint) <= min(objective.chunk_size, objective.most_kept):
            return _HeadMeasurement(objective, system, joint, len(criterion.y))
    return Measurement(objective, leaving, criterion)


@dataclass(frozen=True)
class Measurement:
    """Losses of the leaving rows and the criterion, before a step with the gradients of both."""

    objective: Objective
    leaving: RowBatch
    criterion: object

    def before(self, params, *, with_slope=True):
        found = self._run(losses_and_gradient, params)
        of_criterion = (None, None)
        if self.criterion is not None and with_slope:
            of_criterion = self.criterion.value_and_gradient(params)
        elif self.criterion is not None:
            of_criterion = (self.criterion.value(params), None)
        return *found, *of_criterion

    def after(self, moved, step):
        losses = self._run(row_losses, moved)
        return losses, None if self.criterion is None else self.criterion.value(moved)

    def _run(self, function, params):
        rows, size = self.leaving, self.objective.chunk_size
        return function(self.objective.model, params, rows.X, rows.y, chunk_size=size)


class _HeadMeasurement:
    """The same for a head whose criterion is a mean of row losses: all rows in one pass.

    Scores are linear in the parameters: after a step they need no other pass.
    """

    def __init__(self, objective, system, rows, n_held_out):
        self.objective, self.system = objective, system
        self.rows, self.n_held_out = rows, n_held_out

    def before(self, params, *, with_slope=True):
        n = self.n_held_out
        self._seen = self.system.row_gradients(self.objective, params, self.rows)
        losses, criterion = self._parts(self._seen.losses)
        return losses, self._seen.total(slice(n, None)), criterion, self._seen.total(slice(n)) / n

    def after(self, moved, step):
        return self._parts(self.objective.model.loss(self._seen.scores_after(step), self.rows.y))

    def _parts(self, losses):
        held_out, leaving = losses[: self.n_held_out], losses[self.n_held_out :]
        return leaving, float(held_out.double().mean())


def _reweigh(objective, params, system, toward, harm, settings, candidates):
    """Weights of the candidates against a harm, ``toward`` the criterion's solve."""
    rows, eligible, gradients = objective.rows, objective.trained, None
    if candidates is not None:
        rows, eligible = rows.take(candidates), eligible[candidates]
        gradients = system.row_gradients(objective, params, rows)
    at, chunk = (objective.model, params), {"chunk_size": objective.chunk_size}
    if gradients is None:
        parts = [directional_derivatives(*at, b.X, b.y, toward, **chunk) for b in rows.parts()]
        slopes = torch.cat(parts)
    else:
        slopes = gradients.dot(toward)
    weights, unmet = compensate(
        -slopes / objective.n_rows * eligible,
        harm,
        kind=settings.compensation,
        bound=settings.max_weight,
        strict=settings.strict,
    )
    if gradients is None:
        added = _weighted(at, rows, weights, chunk, torch.zeros_like(toward))
    else:
        added = gradients.combine(weights)
    return _Reweighing(harm, weights, unmet, added / objective.n_rows)


def _weighted(at, rows, weights, chunk, added):
    """Weighted sum of the rows' gradients."""
    start = 0
    for b in rows.parts():
        part = weights[start : start + len(b)]
        start += len(b)
        if part.any():
            added += weighted_gradient(*at, b.X, b.y, part, **chunk)
    return added


def _check_step(step, removed, solved):
    _check_finite(step, solved)
    if removed.any() and not step.any():
        raise _failed("moves nothing", solved)


def _check_finite(vector, solved):
    if not torch.isfinite(vector).all():
        raise _failed("is not finite", solved)


def _failed(found, solved):
    return RemovalFailedError(
        f"The removal step {found}, so nothing was forgotten ({solved.message}). Use "
        "curvature='gauss_newton', raise damping, lower eta, or retrain."
    )
