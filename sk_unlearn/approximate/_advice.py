"""When the measurements of a step say that a linear step was not enough, and what to do then."""

from sk_unlearn.approximate._budget import MOST_WORK

__all__ = ["advice", "expected_gap", "held_out_advice"]

# In benchmarks/bench_puma_quality.py random rows take steps of at most 0.09, mislabelled ones,
# which one step does not remove, of 0.17 to 0.56. Damping of 1e-2 shortens those to 0.07, and
# they are still not removed: a short step proves nothing.
MAX_STEP_RATIO = 0.1
# Share of the criterion by which its actual change may miss the predicted one.
MAX_SURPRISE = 0.5

# Share of the rise of the forgotten rows' loss that the first attempt promised, below which the
# step that was taken left too much undone. By how much damping was raised does not tell: it was
# more than fivefold in half of the removals that did harm, and in half of those that did not.
LEAST_KEPT = 0.5

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


def _too_long(reports):
    ratio = max(report.step_ratio for report in reports)
    if not ratio <= MAX_STEP_RATIO:
        yield (
            f"the step is {ratio:.3g} of the parameters' norm (more than {MAX_STEP_RATIO}), too "
            "far for a linear step",
            (_FEWER, "lower eta", "raise damping"),
        )


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
        if report.criterion is None:
            continue
        change = report.criterion - report.criterion_before
        surprise = change - report.criterion_change_predicted
        if not surprise <= MAX_SURPRISE * abs(report.criterion_before):
            yield (
                f"the criterion on held-out rows changed by {change:.3g} where "
                f"{report.criterion_change_predicted:.3g} was predicted (it was "
                f"{report.criterion_before:.3g})",
                (_FEWER, "raise damping"),
            )
            return


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


def _undershot(reports):
    kept = min(map(_kept, reports))
    if kept < LEAST_KEPT and not any(report.stopped for report in reports):
        yield (
            f"only {kept:.0%} of the promised rise is left after the step was made short enough "
            "for the net to be nearly linear along it",
            (_FEWER,),
        )


def _kept(report):
    """Share of the promised rise of the forgotten rows' loss that a step kept, 0 to 1."""
    promised = report.forget_loss_predicted - report.forget_loss_before
    if report.damping_factor * report.shortened == 1 or promised <= 0:
        return 1.0
    risen = report.forget_loss - report.forget_loss_before
    return min(max(risen / promised, 0.0), 1.0)


def expected_gap(reports):
    """How far the steps of a request are from what a linear step can do; a number to compare.

    Parameters
    ----------
    reports : list of StepReport

    Returns
    -------
    gap : float
        The largest of: length of the step over the longest that is not warned of, surprise of the
        criterion over the largest that is not, and share of the promised rise that was not kept
        over the largest that need not be. 1 or more: retraining is advised.
    """
    found = []
    for report in reports:
        found += [report.step_ratio / MAX_STEP_RATIO, (1 - _kept(report)) / (1 - LEAST_KEPT)]
        if report.criterion is not None and report.criterion_before:
            change = report.criterion - report.criterion_before
            surprise = change - report.criterion_change_predicted
            found.append(max(surprise, 0.0) / (MAX_SURPRISE * abs(report.criterion_before)))
    return float(max(found))


_CHECKS = (_unsolved, _too_long, _uncompensated, _surprising, _bent, _undershot)


def _or(ways):
    *before, last = ways
    return ", ".join(before) + (", or " if len(before) > 1 else " or ") + last if before else last
