"""What a PUMA request is expected to cost, and between which limits."""

from dataclasses import dataclass

from sk_unlearn.functional import BACKWARD, FORWARD, matrix_passes
from sk_unlearn.receipts import ForgetCost

__all__ = ["puma_cost"]


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


def puma_cost(
    *,
    n_hit,
    n_leaving,
    n_trained,
    n_held_out,
    n_sampled,
    n_sized,
    n_parameters,
    n_epochs,
    limit,
    dense,
    compensates,
    adapts,
    n_steps=1,
):
    """Forecast the work that a receipt will count.

    Parameters
    ----------
    n_hit : int
        Rows that leave, those that were held out of training included.
    n_leaving : int
        Rows that the objective loses.
    n_trained, n_held_out : int
        Rows that remain, in training and out.
    n_sampled : int
        Rows on which curvature is computed.
    n_sized : int
        Rows whose curvature is sized first.
    n_parameters : int
    n_epochs : int
        Of the net's training, one gradient pass each.
    limit : float
        Gradient passes over one row that a request may take.
    dense : bool
        Whether the net is solved in the space of the rows.
    compensates, adapts : bool
        Whether harm may be compensated, and damping raised.
    n_steps : int
        Parts of the request.

    Returns
    -------
    cost : ForgetCost
    """
    attempt = (_DENSE if dense else _OTHER)[compensates]
    factored = matrix_passes(8 / 3 * n_sampled**3, n_parameters) if dense else 0.0
    seen = (FORWARD + BACKWARD + FORWARD) * (n_leaving / n_steps + n_held_out)
    once = FORWARD * n_sized
    low = once + n_steps * (seen + attempt.low * n_sampled)
    one = seen + attempt.expected * n_sampled + factored
    expected = once + n_steps * one * (_EXPECTED_ATTEMPTS if adapts else 1)
    most = seen + attempt.high * n_sampled + 2 * factored + adapts * 3 * FORWARD * _LOOKED_AT
    high = once + n_steps * most
    if adapts:
        high = max(high, min(once + n_steps * most * _MOST_ATTEMPTS, limit))
    expected = min(max(expected, low), high)
    passes = expected / (n_trained + n_leaving)
    shares = (work / (n_epochs * n_trained) for work in (expected, low, high))
    return ForgetCost(n_hit, 0, passes, *shares)
