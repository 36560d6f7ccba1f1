"""A removal step along which the net is nearly linear: with more damping, until it is."""

from dataclasses import replace

import numpy as np
import torch

from sk_unlearn.approximate._removal_step import removal_step

__all__ = ["trusted_step"]

# Most nonlinearity of a step that is taken. In benchmarks/bench_adaptive_damping.py steps that are
# closest to a retrain, of all dampings, have 0.1 to 0.4, and those that ruin a net 0.7 and more.
MAX_NONLINEARITY = 0.25
# Steps up to this length, in norms of the parameters, are not looked at.
SHORT = 0.01
# Rows that it is measured on, and the part of the step that stands for its beginning.
N_ROWS, BEGINNING = 128, 1 / 8
# Damping grows by this factor, but by a millionfold at most.
FACTOR, MOST_RAISES = 10**0.5, 12


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
        Of the last attempt, with the solves of all.
    """
    factor, solves, nonlinearity = 1.0, [], None
    looks = settings.adaptive_damping and not system.closed_form
    for raises in range(MOST_RAISES + 1):
        moved, report = removal_step(
            objective, params, leaving, system, criterion, settings, candidates
        )
        solves += report.solves
        if not looks or (raises == 0 and report.step_ratio <= SHORT):
            break
        nonlinearity = _nonlinearity(objective, params, moved)
        if nonlinearity <= MAX_NONLINEARITY or raises == MOST_RAISES:
            break
        system = system.damped((FACTOR - 1) * factor * settings.damping)
        factor *= FACTOR
    found = {"solves": solves, "nonlinearity": nonlinearity, "damping_factor": factor}
    return moved, replace(report, **found)


def _nonlinearity(objective, params, moved):
    """How far the scores of some rows are from going on as they began, relative to that."""
    rows, picked = objective.rows, np.arange(min(N_ROWS, len(objective.rows)))
    if len(rows) > N_ROWS and objective.draw is not None:
        picked = np.sort(np.argpartition(objective.draw, N_ROWS)[:N_ROWS])
    X = rows.take(picked).X
    between = {name: torch.lerp(params[name], moved[name], BEGINNING) for name in params}
    start, begun, end = (_scores(objective, at, X) for at in (params, between, moved))
    straight = (begun - start) / BEGINNING
    return float((end - start - straight).norm() / straight.norm())


def _scores(objective, params, X):
    parts = X.split(objective.chunk_size)
    with torch.no_grad():
        return torch.cat([objective.model.forward(params, part) for part in parts])
