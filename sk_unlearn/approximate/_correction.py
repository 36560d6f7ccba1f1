"""A second look at a removal step: at the loss of retained rows where it leads, and back."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from sk_unlearn.functional import losses_and_gradient, row_losses, sample_rows

__all__ = ["LEAST_WORK", "LONG", "N_ROWS", "WORK", "Correction", "corrected", "rows_to_look_at"]

# Rows that are looked at, at most. Of 500 the correction follows their noise
# (benchmarks/bench_trust.py, letters), and all 3,600 are no better than these.
N_ROWS = 1024
# Gradient passes over them, with as few attempts and as many as there may be.
LEAST_WORK, WORK = 2 + 2 / 3, 3 + 4 / 3
# Steps up to this length, in norms of the parameters, are not looked at.
LONG = 0.02
# Shares of the linear step that may be taken, and attempts to shorten the correction.
SHARES, ATTEMPTS, SHORTER = (0.1, 1.5), 3, 0.3


@dataclass(frozen=True)
class Correction:
    """What became of a step.

    Attributes
    ----------
    gain : float
        By how much the linear step lowered what it was to lower, over what it promised: 1 where
        the expansion holds, below 0 where the step made it worse than no step.
    share : float
        Of the linear step, at the minimum of a parabola along it.
    """

    gain: float
    share: float


class _Balance:
    """What a removal step lowers: zero at the start, lowest where forces balance again.

    The loss of the retained rows beyond its tangent at the start, the ridge around the start, and
    the pull of the rows that leave: its gradient at the start is minus the pull, and the linear
    step is a Newton step on it.
    """

    def __init__(self, objective, params, pull, sample):
        self.objective, self.pull = objective, pull.double()
        self.rows, self.weights = sample
        self.start, self.before, self.tangent = objective.model.flatten(params), 0.0, 0.0
        self.before, self.tangent = self._losses(self.start, with_gradient=True)

    def value(self, at):
        return self._beyond(at, *self._losses(at, with_gradient=False))[0]

    def value_and_gradient(self, at):
        return self._beyond(at, *self._losses(at, with_gradient=True))

    def _beyond(self, at, loss, gradient):
        moved = (at - self.start).double()
        ridge = self.objective.ridge.double() * moved
        tangent = float((self.tangent + self.pull) @ moved)
        value = loss - self.before - tangent + float(ridge @ moved) / 2
        if gradient is not None:
            gradient = gradient - self.tangent - self.pull + ridge
        return value, gradient

    def _losses(self, at, *, with_gradient):
        objective, rows, gradient = self.objective, self.rows, None
        run = (objective.model, objective.model.unflatten(at), rows.X, rows.y)
        chunk = {"chunk_size": objective.chunk_size}
        if with_gradient:
            losses, gradient = losses_and_gradient(*run, weights=self.weights, **chunk)
            gradient = gradient.double()
        else:
            losses = row_losses(*run, **chunk)
        return float(losses.double() @ self.weights.double()), gradient


def rows_to_look_at(objective, cache):
    """Retained rows, and weights with which their sum stands for the mean of the objective.

    Half by their curvature and half uniformly: rows without curvature can gain some on the way.

    Parameters
    ----------
    objective : Objective
    cache : CurvatureCache
        With the sizes of the rows; without them all rows are taken.

    Returns
    -------
    rows : RowBatch
    weights : Tensor of shape (len(rows),)
    """
    trained = objective.trained.cpu()
    picked, weights = trained.nonzero()[:, 0], None
    if cache.curvature is not None and len(picked) > N_ROWS:
        size, share = cache.curvature.double(), trained.double()
        size = size / size.mean().clamp_min(torch.finfo(size.dtype).tiny) + share / share.mean()
        picked, weights = sample_rows(size, N_ROWS, torch.from_numpy(1 - objective.draw))
    if weights is None:
        weights = torch.ones(len(picked))
    else:  # of a mean over those picked, which stands for one over all rows
        weights = weights * (len(trained) / len(picked))
    return objective.rows.take(picked), (weights / objective.n_rows).to(objective.ridge)


def corrected(objective, params, moved, pull, system, sample):
    """Take the best share of a step, then one quasi-Newton step from there.

    Parameters
    ----------
    objective, params
        Of the removal step.
    moved : dict of str to Tensor
        Where it led.
    pull : Tensor of shape (n_parameters,)
        Its right-hand side.
    system : CurvatureSystem
        The inverse curvature at ``params``, to which the step itself adds what it learnt.
    sample : tuple (RowBatch, Tensor)
        Of :func:`rows_to_look_at`.

    Returns
    -------
    moved : dict of str to Tensor
    correction : Correction

    Notes
    -----
    Cost: two gradient passes, or three, and two to four forward passes over the rows of the
    sample, and a solve.
    """
    model, balance = objective.model, _Balance(objective, params, pull, sample)
    start = balance.start
    step = model.flatten(moved) - start
    promised = float(pull.double() @ step.double()) / 2
    if not promised > 0:
        return moved, None
    reached = balance.value(start + step)
    share = _lowest(2 * promised, reached)
    at = start + share * step
    value, slope = balance.value_and_gradient(at)
    if not value <= reached:  # no parabola: back to the end of the step
        at, share = start + step, 1.0
        value, slope = balance.value_and_gradient(at)
    more = _quasi_newton(system, at - start, slope + balance.pull, slope)
    # no longer than the step itself: where the loss is concave there is no end
    more = more * min(1.0, float(step.norm() / more.norm().clamp_min(1e-30)))
    towards = float(slope @ more.double())
    for attempt in range(ATTEMPTS):
        shorter = SHORTER**attempt
        if balance.value(at + shorter * more) < value + 1e-4 * shorter * towards:
            at = at + shorter * more
            break
    return model.unflatten(at), Correction(-reached / promised, share)


def _lowest(slope, reached):
    """Where a parabola that begins downhill with a slope and is ``reached`` at 1 is lowest."""
    curvature = 2 * (reached + slope)
    low, high = SHARES
    return min(max(slope / curvature, low), high) if curvature > 0 else high


def _quasi_newton(system, step, change, slope):
    """Minus the inverse curvature times the slope: BFGS with one pair on the known inverse."""
    dtype, step, change = step.dtype, step.double(), change.double()
    along = float(step @ change)
    if not along > 0:
        return -system.solve(slope.to(dtype))[0]
    a = float(step @ slope) / along
    found = system.solve((slope - a * change).to(dtype))[0].double()
    return -(found + step * (a - float(change @ found) / along)).to(dtype)
