"""What a PUMA request is expected to cost, and between which limits."""

from dataclasses import dataclass

from sk_unlearn.approximate._correction import LEAST_WORK, WORK
from sk_unlearn.functional import BACKWARD, FORWARD, matrix_passes

__all__ = ["puma_work"]


@dataclass(frozen=True)
class _Attempt:
    """Gradient passes over one row that an attempt takes for each row of the curvature."""

    low: float
    expected: float
    high: float


# Chosen on the even seeds of benchmarks/bench_forget_cost.py: nets that are solved in the space of
# the rows, and others; with compensation, which is not always needed, and without.
_DENSE = {True: _Attempt(1.0, 7.0, 20.0), False: _Attempt(1.0, 4.0, 12.0)}
_OTHER = {True: _Attempt(8.0, 20.0, 48.0), False: _Attempt(6.0, 12.0, 28.0)}
# Attempts of the damping.
_EXPECTED_ATTEMPTS, _MOST_ATTEMPTS = 1.25, 4
# Rows that nonlinearity is looked at on, three times forward.
_LOOKED_AT = 128


def puma_work(
    *,
    n_forgotten,
    n_held_out,
    n_sampled,
    n_sized,
    n_parameters,
    limit,
    dense,
    compensates,
    adapts,
    n_corrected=0,
    n_steps=1,
):
    """Forecast the work that a receipt will count.

    Parameters
    ----------
    n_forgotten : int
        Rows that the objective loses.
    n_held_out : int
        Rows that remain, out of training.
    n_sampled : int
        Rows on which curvature is computed.
    n_sized : int
        Rows whose curvature is sized first.
    n_parameters : int
    limit : float
        Gradient passes over one row that a request may take.
    dense : bool
        Whether the net is solved in the space of the rows.
    compensates, adapts : bool
        Whether harm may be compensated, and damping raised.
    n_corrected : int
        Rows that a long step is corrected on; 0 if none is.
    n_steps : int
        Parts of the request.

    Returns
    -------
    expected, low, high : float
        Gradient passes over single rows.
    """
    attempt = (_DENSE if dense else _OTHER)[compensates]
    factored = matrix_passes(8 / 3 * n_sampled**3, n_parameters) if dense else 0.0
    seen = (FORWARD + BACKWARD + FORWARD) * (n_forgotten / n_steps + n_held_out)
    once = FORWARD * n_sized
    low = once + n_steps * (seen + attempt.low * n_sampled)
    one = seen + attempt.expected * n_sampled + factored
    expected = once + n_steps * one * (_EXPECTED_ATTEMPTS if adapts else 1)
    most = seen + attempt.high * n_sampled + 2 * factored + adapts * 3 * FORWARD * _LOOKED_AT
    high = once + n_steps * most
    expected += LEAST_WORK * n_corrected / 2  # of which it is not known whether it is long
    high += WORK * n_corrected
    if adapts:
        high = max(high, min(once + n_steps * most * _MOST_ATTEMPTS, limit))
    return min(max(expected, low), high), low, high
