"""Numbers and verdict of one set of models after one request."""

from dataclasses import dataclass, replace

import numpy as np

from sk_unlearn.metrics import Interval, MetricResult, klom, tug_of_war, u_lira
from sk_unlearn.metrics._membership import attack_result

__all__ = ["METRICS", "MIN_MODELS", "SETS", "Models", "measure", "verdict"]

SETS = ("forget", "retain", "held_out")
# models of each kind that the value, its null and their intervals need
MIN_MODELS = {"klom": 5, "u_lira": 5, "mia": 2, "tug_of_war": 5}
METRICS = tuple(MIN_MODELS)
# what counts for the verdict, and on which side of the null a trace shows
JUDGED = {
    **{f"klom_p95_{rows}": "above" for rows in SETS},
    "u_lira": "above",
    "mia_auc": "both",
    "tug_of_war": "below",
}
FPR = 0.01
QUANTILE = 0.95  # over rows, of KLoM
N_EXCHANGES = 500
VARIANCE_FLOOR = 1e-12


@dataclass(frozen=True)
class Models:
    """Observations of several models on the rows of one request.

    Attributes
    ----------
    margins : dict of str to ndarray of shape (n_models, n_rows), float32
        For each of the forgotten, the retained and the held-out rows.
    accuracy : ndarray of shape (n_models, 3)
        Share classified right, in the same order.
    """

    margins: dict
    accuracy: np.ndarray

    @classmethod
    def collect(cls, observations, rows):
        """Pick the rows of one request.

        Parameters
        ----------
        observations : list of Observation
        rows : dict of str to ndarray of int
            For each set its rows among those observed.
        """
        margins = {
            name: np.stack([one.margins[index] for one in observations])
            for name, index in rows.items()
        }
        accuracy = np.array(
            [[one.correct[index].mean() for index in rows.values()] for one in observations]
        )
        return cls(margins, accuracy)


def measure(unlearned, oracle, null, *, metrics, n_resamples, confidence_level):
    """Compare models with retrained ones.

    Parameters
    ----------
    unlearned, oracle, null : Models
        `oracle` is what `unlearned` and `null` are compared with.
    metrics : collection of str
    n_resamples : int
    confidence_level : float

    Returns
    -------
    results : dict of str to MetricResult
    """
    boot = {"n_resamples": n_resamples, "confidence_level": confidence_level}
    results = {}
    if "klom" in metrics:
        for name in SETS:
            sets = [models.margins[name] for models in (unlearned, oracle, null)]
            found = klom(*sets[:2], oracle_null=sets[2], quantile=QUANTILE, **boot)
            allowed = exchange_interval(*sets, (1 - confidence_level) / len(SETS))
            results[f"klom_p95_{name}"] = replace(found, null_interval=allowed)
            results[f"klom_p50_{name}"] = found.details["p50"]
    if "u_lira" in metrics:
        sets = (models.margins["forget"] for models in (unlearned, oracle))
        results["u_lira"] = u_lira(*sets, oracle_null=null.margins["forget"], **boot)
    if "mia" in metrics:
        results["mia_auc"] = _loss_attack(unlearned, null, confidence_level)
    if "tug_of_war" in metrics:
        results["tug_of_war"] = tug_of_war(
            unlearned.accuracy, oracle.accuracy, oracle_null=null.accuracy, **boot
        )
    for i, name in enumerate(SETS):
        values = unlearned.accuracy[:, i].mean(), None, null.accuracy[:, i].mean()
        results[f"accuracy_{name}"] = MetricResult(f"accuracy {name}", *values)
    return results


def _loss_attack(unlearned, null, level):
    """Loss attack of forgotten against held-out rows, from margins."""
    n_forget = unlearned.margins["forget"].shape[1]
    scores = [
        -np.logaddexp(
            0.0, -np.hstack([models.margins["forget"], models.margins["held_out"]]), dtype=float
        )
        for models in (unlearned, null)
    ]
    is_forget = np.arange(scores[0].shape[1]) < n_forget
    return attack_result("loss attack", *scores, is_forget, FPR, level)


def exchange_interval(unlearned, oracle, null, alpha):
    """What KLoM p95 is when `unlearned` and `null` are dealt anew into two sets.

    If the unlearned models are distributed as retrained ones, any deal is as likely as the
    one that was measured (a permutation test): few models suffice, where a bootstrap of so
    noisy a quantile needs many.

    Parameters
    ----------
    unlearned, oracle, null : ndarray of shape (n_models, n_rows)
    alpha : float
        Share of deals above the interval, and below it.

    Returns
    -------
    interval : Interval
    """
    pooled = np.concatenate([unlearned, null]).astype(float) - oracle.mean(0)
    variance = oracle.var(0, dtype=float) + VARIANCE_FLOOR
    rng = np.random.RandomState(0)
    member = rng.uniform(size=(N_EXCHANGES, len(pooled))).argsort(axis=1) < len(unlearned)
    weights = member / len(unlearned)
    second = weights @ pooled**2
    own = np.maximum(second - (weights @ pooled) ** 2, 0) + VARIANCE_FLOOR
    divergence = 0.5 * (np.log(variance / own) + second / variance - 1)
    p95 = np.quantile(divergence, QUANTILE, axis=1)
    return Interval(*(float(end) for end in np.quantile(p95, [alpha, 1 - alpha])))


def passes(name, result):
    """Whether a number is what retrained models may show; None where that is not judged.

    KLoM: it is not above the interval of its null. Other metrics: the confidence intervals
    of value and null overlap, or the value is on the side that betrays nothing.
    """
    side, value, null = JUDGED.get(name), result.interval, result.null_interval
    if side is None or value is None or null is None:
        return None
    if name.startswith("klom"):
        return bool(result.value <= null.high)
    # by construction, U-LiRA guesses at best as well as a coin between retrained models
    limit = max(null.high, 0.5) if name == "u_lira" else null.high
    above, below = value.low > limit, value.high < null.low
    return not ((above and side != "below") or (below and side != "above"))


def verdict(results):
    """Names of the metrics that tell models from retrained ones, and the verdict.

    Parameters
    ----------
    results : dict of str to MetricResult

    Returns
    -------
    verdict : {"passes", "fails", "undecided"}
        "undecided" where no metric could be judged.
    failed : list of str
    """
    judged = {name: passes(name, result) for name, result in results.items()}
    failed = [name for name, ok in judged.items() if ok is False]
    if all(ok is None for ok in judged.values()):
        return "undecided", failed
    return "fails" if failed else "passes", failed
