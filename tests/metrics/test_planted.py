"""Every metric tells a perfect removal from one that did nothing."""

import numpy as np
import pytest
from scipy.special import expit

from sk_unlearn import metrics

N_MODELS, N_ROWS, N_FORGET = 40, 200, 60
IS_FORGET = np.arange(N_ROWS) < N_FORGET


class World:
    """Margins, accuracies, curves, labels and parameters of retrained and unlearned models.

    Retrained models find forgotten rows a little harder than held-out ones, so that chance is
    not the null. Untouched models have learned the forgotten rows by heart.
    """

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.difficulty = self.rng.normal(size=N_ROWS) - 0.3 * IS_FORGET
        self.centre = 1 + self.rng.normal(size=200)
        self.trace = self.rng.normal(size=200)

    def margins(self, n=N_MODELS, remembers=0.0):
        noise = 0.2 * self.rng.normal(size=(n, 1)) + self.rng.normal(size=(n, N_ROWS))
        return self.difficulty + noise + remembers * 3.0 * IS_FORGET

    def forgotten(self, *args):
        return self.margins(*args)[:, IS_FORGET]

    def proba(self, *args):
        p = expit(self.margins(*args))
        return np.stack([1 - p, p], axis=-1)

    def accuracy(self, *args):
        right = self.margins(*args) > 0
        return np.stack([right[:, IS_FORGET].mean(1), right[:, ~IS_FORGET].mean(1)], axis=1)

    def curves(self, n=N_MODELS, remembers=0.0):
        start = 2.0 - 1.5 * remembers + 0.1 * self.rng.normal(size=(n, 1))
        return start * 0.7 ** np.arange(12)

    def labels(self, n=N_MODELS, remembers=0.0):
        """Rows of class 1 or 2; the labels of the two were swapped in training."""
        truth = 1 + IS_FORGET.astype(int)
        swapped = self.rng.uniform(size=(n, N_ROWS)) < 0.1 + 0.3 * remembers
        return np.where(swapped, 3 - truth, truth)

    def parameters(self, n=N_MODELS, remembers=0.0):
        return self.centre + 0.3 * self.rng.normal(size=(n, 200)) + remembers * self.trace


def klom(w, remembers, **options):
    return metrics.klom(
        w.forgotten(N_MODELS, remembers), w.forgotten(), oracle_null=w.forgotten(), **options
    )


def u_lira(w, remembers):
    return metrics.u_lira(
        w.forgotten(N_MODELS, remembers), w.forgotten(), oracle_null=w.forgotten()
    )


METRICS = {
    "klom": klom,
    "klom, histogram": lambda w, r: klom(w, r, estimator="histogram"),
    "klom, median": lambda w, r: klom(w, r).details["p50"],
    "u_lira": u_lira,
    "u_lira, auc": lambda w, r: u_lira(w, r).details["auc"],
    "u_lira, tpr": lambda w, r: u_lira(w, r).details["tpr_at_fpr"],
    "rmia": lambda w, r: metrics.rmia(w.margins(10, r), w.margins(10), IS_FORGET),
    "forgetting_quality": lambda w, r: metrics.forgetting_quality(
        w.forgotten(N_MODELS, r), w.forgotten(), oracle_null=w.forgotten()
    ),
    "tug_of_war": lambda w, r: metrics.tug_of_war(
        w.accuracy(N_MODELS, r), w.accuracy(), oracle_null=w.accuracy()
    ),
    "relearn_time": lambda w, r: metrics.relearn_time(w.curves(N_MODELS, r), w.curves(), 0.2),
    "interclass_confusion": lambda w, r: metrics.interclass_confusion(
        1 + IS_FORGET.astype(int), w.labels(N_MODELS, r), (1, 2), oracle_pred=w.labels()
    ),
    "parameter_distance": lambda w, r: metrics.parameter_distance(
        w.parameters(10, r), w.parameters(10)
    ),
}
for score in ("loss", "modified_entropy"):
    METRICS[f"membership_attack, {score}"] = lambda w, r, score=score: metrics.membership_attack(
        w.proba(1, r), np.ones(N_ROWS, int), IS_FORGET, oracle=w.proba(10), score=score
    )
for kind in ("js", "kl", "disagreement"):
    METRICS[f"prediction_divergence, {kind}"] = lambda w, r, kind=kind: (
        metrics.prediction_divergence(
            w.proba(10, r)[:, IS_FORGET], w.proba(10)[:, IS_FORGET], kind=kind
        )
    )


def overlap(result):
    return (
        result.interval.low <= result.null_interval.high
        and result.null_interval.low <= result.interval.high
    )


@pytest.mark.parametrize("name", METRICS)
def test_perfect_removal_looks_like_the_null(name):
    result = METRICS[name](World(1), 0.0)
    assert result.interval.low <= result.value <= result.interval.high
    assert overlap(result), result


@pytest.mark.parametrize("name", METRICS)
def test_doing_nothing_does_not(name):
    result = METRICS[name](World(2), 1.0)
    assert not overlap(result), result
    assert METRICS[name](World(2), 1.0).to_dict() == result.to_dict()


def test_attacks_without_labels_also_see_it():
    # confidence grows for rows known by heart; these rows are easy enough to be right
    w = World(3)
    w.difficulty += 1.0
    for score in ("confidence", "entropy"):
        arguments = np.ones(N_ROWS, int), IS_FORGET
        kept = metrics.membership_attack(
            w.proba(1, 1.0), *arguments, oracle=w.proba(10), score=score
        )
        gone = metrics.membership_attack(w.proba(1), *arguments, oracle=w.proba(10), score=score)
        assert not overlap(kept)
        assert overlap(gone)


def test_what_accuracy_on_the_forgotten_rows_misses():
    # same accuracy, other margins: the reason for KLoM and U-LiRA
    rng = np.random.default_rng(4)
    oracle, unlearned = 5 + rng.normal(size=(2, N_MODELS, 50))
    unlearned += 1.5
    accuracy = [np.mean(x > 0, axis=1, keepdims=True) for x in (unlearned, oracle)]
    assert metrics.tug_of_war(*accuracy).value == 1
    assert metrics.klom(unlearned, oracle).details["p50"].value > 0.8
    assert metrics.u_lira(unlearned, oracle).value > 0.7
