"""A removal step along which the net is nearly linear: with more damping, until it is."""

import math
from dataclasses import replace

import numpy as np
import torch

from sk_unlearn.approximate._removal_step import MAX_LENGTH, removal_step

__all__ = ["MAX_NONLINEARITY", "looked_at", "trusted_step"]

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


def trusted_step(objective, params, leaving, system, criterion, settings, candidates=None):
    """Take a removal step, with more damping where the net is not linear along it.

    Parameters
    ----------
    objective, params, leaving, system, criterion, settings, candidates
        Of :func:`removal_step`.

    Returns
    -------
    params : dict of str to Tensor
    report : StepReport
        Of the last attempt, with the products of all.
    """
    power, attempts, nonlinearity = 0, [], None
    looks = settings.adaptive_damping and not system.closed_form
    while True:
        damped = system
        if power:
            damped = system.damped((FACTOR**power - 1) * float(objective.ridge.mean()))
        moved, report = removal_step(
            objective, params, leaving, damped, criterion, settings, candidates
        )
        attempts.append(report.n_products)
        if not looks or (power == 0 and report.step_ratio <= SHORT):
            break
        nonlinearity = _nonlinearity(objective, params, moved)
        if nonlinearity <= MAX_NONLINEARITY or len(attempts) == MOST_ATTEMPTS:
            break
        power += _powers(max(nonlinearity / MAX_NONLINEARITY, report.step_ratio / MAX_LENGTH))
    found = {"nonlinearity": nonlinearity, "damping_factor": FACTOR**power}
    return moved, replace(report, attempts=tuple(attempts), **found)


def _powers(too_long):
    """By how many powers of the factor to raise damping: at least one, else rather too few."""
    return max(1, int(math.log(too_long, FACTOR))) if math.isfinite(too_long) else 4


def looked_at(objective):
    """Numbers of the rows that nonlinearity is measured on, ascending."""
    n_rows, draw = len(objective.rows), objective.draw
    if n_rows <= N_ROWS or draw is None:
        return np.arange(min(N_ROWS, n_rows))
    return np.sort(np.argpartition(draw, N_ROWS)[:N_ROWS])


def _nonlinearity(objective, params, moved):
    """How far the scores of some rows are from going on as they began, relative to that."""
    X = objective.rows.take(looked_at(objective)).X
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
