"""Derivatives of all row losses along the solve with a criterion's gradient."""

import torch

from sk_unlearn.approximate._curvature_system import build_system
from sk_unlearn.functional import directional_derivatives

__all__ = ["influences_on"]


def influences_on(criterion, objective, cache, settings):
    """What a unit of weight on each row would do to a criterion, to first order.

    Parameters
    ----------
    criterion : HeldOutLoss or UserCriterion
    objective : Objective
    cache : CurvatureCache
    settings : SolverSettings

    Returns
    -------
    slopes : ndarray of shape (len(objective.rows),), float64
        Minus the effect, times the divisor of the objective.
    solved : SolverReport
    """
    params, nothing = objective.model.parameters(), objective.rows.take([])
    system, _ = build_system(objective, params, cache, settings, nothing)
    toward, solved = system.solve(criterion.value_and_gradient(params)[1])
    at, chunk = (objective.model, params), {"chunk_size": objective.chunk_size}
    slopes = [
        directional_derivatives(*at, part.X, part.y, toward, **chunk).double().cpu()
        for part in objective.rows.parts()
    ]
    return torch.cat(slopes).numpy(), solved
