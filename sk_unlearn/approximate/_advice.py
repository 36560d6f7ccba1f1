"""When the measurements of a step say that a linear step was not enough."""

from sk_unlearn.approximate._trusted_step import MAX_NONLINEARITY

__all__ = ["advice"]

# In benchmarks/bench_puma_quality.py random rows take steps of at most 0.09, mislabelled ones,
# which one step does not remove, of 0.17 to 0.56. Damping of 1e-2 shortens those to 0.07, and
# they are still not removed: a short step proves nothing.
MAX_STEP_RATIO = 0.1
# Share of the criterion by which its actual change may miss the predicted one.
MAX_SURPRISE = 0.5

# By which damping may have been raised: once is common, for random rows of digits too
# (benchmarks/bench_adaptive_damping.py).
MAX_DAMPING_FACTOR = 5.0


def advice(reports):
    """Reasons to retrain instead, for the user.

    Parameters
    ----------
    reports : list of StepReport

    Returns
    -------
    messages : tuple of str
        Empty when every sign is good.
    """
    messages = []
    unconverged = [s for report in reports for s in report.solves if not s["converged"]]
    if unconverged:
        worst = max(solve["relative_residual"] for solve in unconverged)
        messages.append(
            f"the curvature solve did not converge (relative residual {worst:.2g}, asked for "
            f"{unconverged[0]['tol']:.2g}): raise max_products or damping"
        )
    ratio = max(report.step_ratio for report in reports)
    if not ratio <= MAX_STEP_RATIO:
        messages.append(
            f"the step is {ratio:.3g} of the parameters' norm (more than {MAX_STEP_RATIO}), too "
            "far for a linear step: forget fewer rows at once, lower eta or raise damping"
        )
    unmet = max(report.unmet for report in reports)
    if unmet > 0:
        messages.append(
            f"the retained rows could compensate only {1 - unmet:.0%} of the predicted harm "
            "within max_weight"
        )
    for report in reports:
        if report.criterion is None:
            continue
        change = report.criterion - report.criterion_before
        surprise = change - report.criterion_change_predicted
        if not surprise <= MAX_SURPRISE * abs(report.criterion_before):
            messages.append(
                f"the criterion changed by {change:.3g} where "
                f"{report.criterion_change_predicted:.3g} was predicted (it was "
                f"{report.criterion_before:.3g})"
            )
            break
    factor = max(report.damping_factor for report in reports)
    bent = any((report.nonlinearity or 0) > MAX_NONLINEARITY for report in reports)
    if factor > MAX_DAMPING_FACTOR and not bent:
        messages.append(
            f"damping had to be raised by a factor of {factor:.3g} for a step along which the net "
            "is nearly linear, and which removes less: forget fewer rows at once"
        )
    if bent:
        messages.append(
            "the net is not nearly linear along the step, although damping was raised by a factor "
            f"of {factor:.3g}: forget fewer rows at once"
        )
    return tuple(f"Retraining is advised: {message}." for message in messages)
