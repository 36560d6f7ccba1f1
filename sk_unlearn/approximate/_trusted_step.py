"""A removal step along which the net is nearly linear: with more damping, until it is."""

import math
from dataclasses import replace

import numpy as np
import torch

from sk_unlearn.approximate._budget import MOST_WORK, Budget
from sk_unlearn.approximate._correction import LONG, WORK, corrected
from sk_unlearn.approximate._removal_step import MAX_LENGTH, Measurement, removal_step
from sk_unlearn.functional import Work

__all__ = ["MAX_NONLINEARITY", "trusted_step"]

# Most nonlinearity of a step that is taken. In benchmarks/bench_adaptive_damping.py steps that are
# closest to a retrain, of all dampings, have 0.1 to 0.4, and those that ruin a net 0.7 and more.
MAX_NONLINEARITY = 0.25
# Steps up to this length, in norms of the parameters, are not looked at.
SHORT = 0.01
# Rows that it is measured on, and the part of the step that stands for its beginning.
N_ROWS, BEGINNING = 128, 1 / 8
# Of the scores' last digit, what may be rounding: the beginning is scaled up.
ROUNDING = 4 / BEGINNING
# Damping, weight decay included, grows by powers of this: as many at once as it takes if the step
# gets shorter as fast as damping grows.
FACTOR, MOST_ATTEMPTS = 10**0.5, 10
# A step that moves the loss of the forgotten rows by less than this share removes nothing: with
# more damping it would only get shorter.
LEAST_RISE = 0.01


def trusted_step(
    objective,
    params,
    leaving,
    system,
    criterion,
    settings,
    candidates=None,
    budget=None,
    looked_at=None,
):
    """Take a removal step, with more damping where the net is not linear along it.

    Parameters
    ----------
    objective, params, leaving, system, criterion, settings, candidates
        Of :func:`removal_step`.
    budget : Budget, default=None
        Where another attempt, as dear as the last, would exceed it, or where more damping removes
        nothing any more, the last one is taken, shortened until the net is nearly linear along it.
    looked_at : callable, default=None
        Gives the retained rows on which a long step is corrected; see :func:`corrected`. None
        means that it is not.

    Returns
    -------
    params : dict of str to Tensor
    report : StepReport
        Of the last attempt, with the products of all.
    """
    budget = Budget(Work()) if budget is None else budget
    power, attempts, nonlinearity, stopped, first = 0, [], None, None, None
    looks = settings.adaptive_damping and not system.closed_form
    while True:
        damped = system
        if power:
            damped = system.damped((FACTOR**power - 1) * float(objective.ridge.mean()))
        moved, report, pull = removal_step(
            objective, params, leaving, damped, criterion, settings, candidates
        )
        attempts.append(report.n_products)
        first = first or report
        if not looks or (power == 0 and report.step_ratio <= SHORT):
            break
        nonlinearity = _nonlinearity(objective, params, moved)
        if nonlinearity <= MAX_NONLINEARITY:
            break
        stopped = _reason_to_stop(report, attempts, budget)
        if stopped:
            moved, report, nonlinearity = _shortened(
                objective, params, moved, leaving, criterion, report, nonlinearity
            )
            break
        power += _powers(max(nonlinearity / MAX_NONLINEARITY, report.step_ratio / MAX_LENGTH))
    if looked_at and not system.closed_form and report.step_ratio > LONG:
        moved, report = _corrected(
            objective, params, moved, pull, system, criterion, leaving, report, looked_at, budget
        )
    report = replace(
        report,
        attempts=tuple(attempts),
        nonlinearity=nonlinearity,
        damping_factor=FACTOR**power,
        stopped=stopped,
        forget_loss_predicted=first.forget_loss_predicted,
    )
    return moved, report


def _reason_to_stop(report, attempts, budget):
    """Why there is no further attempt after one that is not straight enough; None if there is."""
    risen = report.forget_loss - report.forget_loss_before
    if len(attempts) > 1 and abs(risen) <= LEAST_RISE * abs(report.forget_loss_before):
        return "more of it removes nothing more"
    if not budget.allows(budget.begin()):
        return f"a request may take {MOST_WORK:.0%} of the work of a retrain"
    return f"that were {MOST_ATTEMPTS} attempts" if len(attempts) == MOST_ATTEMPTS else None


def _shortened(objective, params, moved, leaving, criterion, report, nonlinearity):
    """A part of a step along which the net is nearly linear, measured anew; without a solve."""
    end, share, length = moved, 1.0, min(report.step_ratio, MAX_LENGTH)
    while nonlinearity > MAX_NONLINEARITY and share * length > SHORT:
        # the part beyond a straight line shrinks about as the step does
        share *= min(max(MAX_NONLINEARITY / nonlinearity, 0.1), 0.7)
        end = {name: torch.lerp(params[name], moved[name], share) for name in params}
        nonlinearity = _nonlinearity(objective, params, end)
    predicted = report.criterion_change_predicted
    report = replace(
        _measured_anew(report, objective, params, end, leaving, criterion),
        shortened=share,
        criterion_change_predicted=None if predicted is None else predicted * share,
    )
    return end, report, nonlinearity


def _corrected(
    objective, params, moved, pull, system, criterion, leaving, report, looked_at, budget
):
    """A step after a second look at the retained rows, where there is work left for it."""
    sample = looked_at()
    if not budget.allows(WORK * len(sample[1])):
        return moved, report
    moved, found = corrected(objective, params, moved, pull, system, sample)
    if found is None:
        return moved, report
    report = _measured_anew(report, objective, params, moved, leaving, criterion)
    return moved, replace(report, gain=found.gain, share=found.share)


def _measured_anew(report, objective, params, moved, leaving, criterion):
    """The report of a step that ends elsewhere than the linear one."""
    losses, after = Measurement(objective, leaving, criterion).after(moved, None)
    flatten = objective.model.flatten
    start = flatten(params)
    return replace(
        report,
        step_ratio=float((flatten(moved) - start).norm() / start.norm()),
        criterion=after,
        forget_loss=float(losses.double().mean()),
    )


def _powers(too_long):
    """By how many powers of the factor to raise damping: at least one, else rather too few."""
    return max(1, int(math.log(too_long, FACTOR))) if math.isfinite(too_long) else 4


def _looked_at(objective):
    """Numbers of the rows that nonlinearity is measured on, ascending."""
    n_rows, draw = len(objective.rows), objective.draw
    if n_rows <= N_ROWS or draw is None:
        return np.arange(min(N_ROWS, n_rows))
    return np.sort(np.argpartition(draw, N_ROWS)[:N_ROWS])


def _nonlinearity(objective, params, moved):
    """How far the scores of some rows are from going on as they began, relative to that."""
    X = objective.rows.take(_looked_at(objective)).X
    between = {name: torch.lerp(params[name], moved[name], BEGINNING) for name in params}
    start, begun, end = (_scores(objective, at, X) for at in (params, between, moved))
    straight = (begun - start) / BEGINNING
    missed = (end - start - straight).norm()
    if missed <= ROUNDING * torch.finfo(start.dtype).eps * start.norm():
        return 0.0
    missed = float(missed / straight.norm())
    return missed if missed == missed else math.inf


def _scores(objective, params, X):
    parts = X.split(objective.chunk_size)
    with torch.no_grad():
        return torch.cat([objective.model.forward(params, part) for part in parts])
