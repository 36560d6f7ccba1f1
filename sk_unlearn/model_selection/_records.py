"""One record for each forget set and estimator: plain values, ready for a table or JSON."""

import math

import numpy as np

from sk_unlearn.model_selection._measure import passes, verdict

__all__ = ["COSTS", "add_controls", "cost_of", "make_record"]

COSTS = ("gradient_passes", "share_of_retrain", "seconds", "seconds_share", "advised")


def make_record(forget, estimator, *, control, training, results, cost=None):
    """Record of one set of models.

    Parameters
    ----------
    forget, estimator : str
    control : str or None
        Which control this is.
    training : str
        Label of the training, which has controls of its own.
    results : dict of str to MetricResult
    cost : dict or None

    Returns
    -------
    record : dict
    """
    judgement, failed = verdict(results)
    return {
        "forget": forget,
        "estimator": estimator,
        "control": control,
        "training": training,
        "verdict": judgement,
        "failed": failed,
        "trace_left": None,
        "metrics": {name: _plain(name, result) for name, result in results.items()},
        "cost": {name: None for name in COSTS} if cost is None else cost,
    }


def _plain(name, result):
    def ends(interval):
        return (None, None) if interval is None else map(_number, interval)

    (low, high), (null_low, null_high) = ends(result.interval), ends(result.null_interval)
    return {
        "value": _number(result.value),
        "low": low,
        "high": high,
        "null": _number(result.null),
        "null_low": null_low,
        "null_high": null_high,
        "passes": passes(name, result),
    }


def _number(value):
    """Float for JSON, which has no NaN."""
    return None if value is None or not math.isfinite(value) else float(value)


def cost_of(forgotten, seconds, retrain_seconds):
    """Mean cost of a removal.

    Parameters
    ----------
    forgotten : list of Forgotten
    seconds : float or None
        Of one removal; None takes the median of those observed.
    retrain_seconds : float

    Returns
    -------
    cost : dict
    """
    if seconds is None:
        seconds = float(np.median([one.seconds for one in forgotten]))
    return {
        "gradient_passes": _number(np.mean([one.gradient_passes for one in forgotten])),
        "share_of_retrain": _number(np.mean([one.share_of_retrain for one in forgotten])),
        "seconds": seconds,
        "seconds_share": seconds / retrain_seconds,
        "advised": float(np.mean([one.advised for one in forgotten])),
    }


def add_controls(records):
    """Let the controls have their say on the verdicts, and tell what is left of the trace.

    Parameters
    ----------
    records : list of dict
        Changed: ``verdict`` and ``trace_left``.

    Returns
    -------
    notes : list of str
    """
    notes, controls = [], {}
    for record in records:
        if record["control"]:
            where = record["forget"], record["training"]
            controls.setdefault(where, {})[record["control"]] = record
    for (forget, _), pair in controls.items():
        if pair["nothing"]["verdict"] == "passes":
            notes.append(
                f"{forget!r}: doing nothing passes too ({pair['nothing']['estimator']}), so these "
                "measurements cannot tell who forgot. Compare more models, or rows that are "
                "harder to forget."
            )
        if pair["retrained"]["verdict"] == "fails":
            notes.append(
                f"{forget!r}: retrained models fail ({pair['retrained']['estimator']}: "
                f"{', '.join(pair['retrained']['failed'])}). With many metrics this happens by "
                "chance; repeat with another random_state or more models."
            )
    for record in records:
        nothing = controls[record["forget"], record["training"]]["nothing"]
        record["trace_left"] = _trace_left(record["metrics"], nothing["metrics"])
        if not record["control"] and record["verdict"] == "passes":
            record["verdict"] = "passes" if nothing["verdict"] == "fails" else "undecided"
    return notes


def _trace_left(metrics, nothing):
    """Share of the excess over the null that doing nothing shows; of KLoM on forgotten rows."""
    name = "klom_p95_forget"
    if name not in metrics:
        return None
    own, all_of_it = (m[name]["value"] - m[name]["null"] for m in (metrics, nothing))
    return own / all_of_it if all_of_it > 0 else None
