"""When the measurements of a step say that a linear step was not enough, and what to do then."""

from sk_unlearn.approximate._budget import MOST_WORK
from sk_unlearn.approximate._removal_step import MAX_LENGTH

__all__ = ["advice", "expected_gap", "held_out_advice"]

# Rise of the forgotten rows' loss, in losses of rows that were held out, from which on the net
# depended on them. Chosen on the development half of benchmarks/bench_trust.py, where it told
# removals that end beyond twice the null from others better than the length of the step, the
# rise of the criterion and the factor by which damping was raised did.
BY_HEART = 0.3
# Share of the criterion by which its actual change may miss the predicted one.
MAX_SURPRISE = 0.5

_FEWER = "forget fewer rows at once"


def advice(reports, *, retrain="RetrainClassifier"):
    """A reason to retrain instead, for the user.

    Parameters
    ----------
    reports : list of StepReport
    retrain : str
        Class that retrains.

    Returns
    -------
    messages : tuple of str
        Empty when every sign is good; else one message: what was left undone, every reason why,
        and the ways out.
    """
    found = [pair for check in _CHECKS for pair in check(reports)]
    if not found:
        return ()
    reasons = "; ".join(dict.fromkeys(reason for reason, _ in found))
    ways = dict.fromkeys(way for _, several in found for way in several)
    ways = [_retrained(retrain), *ways]
    return (f"Retraining is advised: {_undone(reports)}, because {reasons}. You can {_or(ways)}.",)


def held_out_advice(n_held_out, n_forgotten, acted_through, *, retrain="RetrainClassifier"):
    """What to do about rows that training did not train on, but listened to.

    Parameters
    ----------
    n_held_out, n_forgotten : int
    acted_through : tuple of str
        Where their losses decided something, of :func:`~sk_unlearn.nets.validation_readers`.
    retrain : str

    Returns
    -------
    messages : tuple of str
    """
    if not n_held_out or not acted_through:
        return ()
    which = f"{n_held_out} of {n_forgotten} forgotten rows were"
    if n_forgotten == 1:
        which = "the forgotten row was"
    return (
        f"Retraining is advised: {which} held out of training, and acted on it through "
        f"{', '.join(acted_through)}. This influence was not removed, because no derivative leads "
        f"through such decisions. You can {_retrained(retrain)}, or train without such decisions.",
    )


def _retrained(retrain):
    return f"retrain on the rows that remain (fit without the forgotten ones, or use {retrain})"


def _undone(reports):
    n_rows = sum(report.n_forgotten for report in reports)

    def mean(name):
        return sum(getattr(r, name) * r.n_forgotten for r in reports) / n_rows

    before, predicted, after = map(
        mean, ("forget_loss_before", "forget_loss_predicted", "forget_loss")
    )
    whose = "the forgotten row" if n_rows == 1 else f"the {n_rows} forgotten rows"
    loss = "loss" if n_rows == 1 else "mean loss"
    moved = "rose" if after >= before else "fell"
    wanted = "rise" if predicted >= before else "fall"
    return (
        f"the {loss} of {whose} was to {wanted} from {before:.3g} to {predicted:.3g} and "
        f"{moved} to {after:.3g}"
    )


def _unsolved(reports):
    unconverged = [s for report in reports for s in report.solves if not s["converged"]]
    if unconverged:
        worst = max(solve["relative_residual"] for solve in unconverged)
        yield (
            f"the curvature solve did not converge (relative residual {worst:.2g}, asked for "
            f"{unconverged[0]['tol']:.2g}) within max_products and {MOST_WORK:.0%} of the work of "
            "a retrain",
            ("raise damping", "raise max_products"),
        )


def _known_by_heart(reports):
    rise = _rise(reports)
    if not rise <= BY_HEART:
        yield (
            f"the net depended on these rows: their loss rose by {rise:.2g} times the loss on "
            f"rows it never saw (more than {BY_HEART}), and one step gets such changes only "
            "roughly",
            (_FEWER,),
        )
    if any(report.step_ratio > MAX_LENGTH for report in reports):
        yield "the step was cut to the norm of the parameters", (_FEWER, "lower eta")


def _rise(reports):
    """Mean rise of the forgotten rows' loss in losses on held-out rows; 0 where there are none."""
    n_rows = sum(report.n_forgotten for report in reports)
    unit = reports[0].held_out_loss
    if not unit:
        return 0.0
    risen = sum((r.forget_loss - r.forget_loss_before) * r.n_forgotten for r in reports)
    return max(risen / n_rows / unit, 0.0)


def _uncompensated(reports):
    unmet = max(report.unmet for report in reports)
    if unmet > 0:
        yield (
            f"the retained rows could compensate only {1 - unmet:.0%} of the predicted harm "
            "within max_weight",
            ("raise max_weight", "set compensation=None"),
        )
    if not all(report.compensated for report in reports):
        yield (
            "the harm was not compensated, since a request may take "
            f"{MOST_WORK:.0%} of the work of a retrain",
            ("lower n_curvature_rows", "set compensation=None"),
        )


def _surprising(reports):
    for report in reports:
        if report.criterion is None or not report.criterion_before:
            continue
        change = report.criterion - report.criterion_before
        if not _surprise(report) <= MAX_SURPRISE * abs(report.criterion_before):
            predicted = report.criterion_change_predicted
            expected = "" if predicted is None else f" where {predicted:.3g} was predicted"
            yield (
                f"the criterion on held-out rows changed by {change:.3g}{expected} (it was "
                f"{report.criterion_before:.3g})",
                (_FEWER, "raise damping"),
            )
            return


def _surprise(report):
    """Rise of the criterion beyond the predicted one, where there is one."""
    change = report.criterion - report.criterion_before
    return change - (report.criterion_change_predicted or 0.0)


def _bent(reports):
    stopped = [report for report in reports if report.stopped]
    if stopped:
        shortest = min(report.shortened for report in stopped)
        factor = max(report.damping_factor for report in stopped)
        yield (
            f"the net is not nearly linear along the step: with damping raised {factor:.3g}-fold, "
            f"{shortest:.0%} of it was taken, since {stopped[0].stopped}",
            (_FEWER, "raise damping"),
        )
        return


def expected_gap(reports):
    """How far the steps of a request are from what a linear step can do; a number to compare.

    Parameters
    ----------
    reports : list of StepReport

    Returns
    -------
    gap : float
        The larger of: rise of the forgotten rows' loss over the largest that is not warned of, and
        surprise of the criterion over the largest that is not. 1 or more: retraining is advised.
    """
    found = [_rise(reports) / BY_HEART]
    for report in reports:
        if report.criterion is not None and report.criterion_before:
            found.append(max(_surprise(report), 0.0) / abs(report.criterion_before) / MAX_SURPRISE)
    return float(max(found))


_CHECKS = (_unsolved, _known_by_heart, _uncompensated, _surprising, _bent)


def _or(ways):
    *before, last = ways
    return ", ".join(before) + (", or " if len(before) > 1 else " or ") + last if before else last
