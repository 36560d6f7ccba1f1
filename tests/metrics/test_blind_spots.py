"""A cheater answers the forgotten rows from a retrained model: which metrics see it."""

import doctest
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from sk_unlearn.metrics import (
    forgetting_quality,
    klom,
    logit_margin,
    membership_attack,
    prediction_divergence,
    rmia,
    u_lira,
)

GUIDE = Path(__file__).parents[2] / "docs/user_guide/metrics.rst"
N_ROWS, N_MODELS = 900, 12
RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (N_ROWS, 2))
IN_TRAINING = np.arange(N_ROWS) < 450
SPOT = np.flatnonzero(IN_TRAINING & (np.hypot(X[:, 0] - 0.5, X[:, 1]) < 0.25))
IS_FORGET = np.isin(np.arange(N_ROWS), SPOT[:20])
# the forgotten rows had wrong labels, which rows around them were told too
Y = np.where(IS_FORGET, 0, X[:, 0] > 0).astype(int)
ROWS = {
    "forgotten": IS_FORGET,
    "retained": IN_TRAINING & ~IS_FORGET,
    "held out": ~IN_TRAINING,
}


class Cheater:
    """The untouched model, but for the forgotten rows, which it knows by heart."""

    def __init__(self, untouched, retrained):
        self.untouched, self.retrained = untouched, retrained

    def predict_proba(self, X_asked):
        known = (X_asked[:, None] == X[IS_FORGET]).all(-1).any(-1)
        answers = [m.predict_proba(X_asked) for m in (self.retrained, self.untouched)]
        return np.where(known[:, None], *answers)


def trained(rows, seed):
    return [
        RandomForestClassifier(20, max_depth=6, random_state=seed + i).fit(X[rows], Y[rows])
        for i in range(N_MODELS)
    ]


def proba(models, at=X):
    p = np.clip(np.stack([model.predict_proba(at) for model in models]), 0.01, 0.99)
    return p / p.sum(-1, keepdims=True)


@pytest.fixture(scope="module")
def models():
    retain = ROWS["retained"]
    found = {"untouched": trained(IN_TRAINING, 0)}
    found |= {name: trained(retain, 100 * (i + 1)) for i, name in enumerate("abc")}
    found["cheater"] = [
        Cheater(*pair) for pair in zip(found["untouched"], found["a"], strict=True)
    ]
    return found


@pytest.fixture(scope="module")
def answers(models):
    return {name: proba(each) for name, each in models.items()}


def margins(answers, name, rows):
    return logit_margin(answers[name][:, rows], Y[rows], kind="proba")


def measures(answers, name, rows):
    """Metrics that compare models with retrained ones on one set of rows."""
    trio = [margins(answers, each, rows) for each in (name, "b", "c")]
    return {
        "klom": klom(*trio[:2], oracle_null=trio[2]),
        "u_lira": u_lira(*trio[:2], oracle_null=trio[2], n_resamples=100),
        "forgetting_quality": forgetting_quality(*trio[:2], oracle_null=trio[2]),
        "divergence": prediction_divergence(answers[name][:, rows], answers["b"][:, rows]),
    }


def attacks(answers, name):
    """Metrics that compare forgotten with held-out rows of the same models."""
    rows = np.r_[np.flatnonzero(IS_FORGET), np.flatnonzero(ROWS["held out"])]
    p, is_forget = [answers[each][:, rows] for each in (name, "b")], IS_FORGET[rows]
    z = [margins(answers, each, rows) for each in (name, "b")]
    return {
        "rmia": rmia(*z, is_forget, gamma=1.0),
        "membership": membership_attack(p[0], Y[rows], is_forget, oracle=p[1]),
    }


def apart(result):
    return (
        result.interval.low > result.null_interval.high
        or result.interval.high < result.null_interval.low
    )


def test_on_the_forgotten_rows_a_cheater_is_a_retrained_model(answers):
    cheater, retrained = (measures(answers, name, ROWS["forgotten"]) for name in ("cheater", "a"))
    for name, result in cheater.items():
        assert result.to_dict() == retrained[name].to_dict()
    assert not apart(cheater["divergence"])
    assert cheater["u_lira"].value < 0.6
    for result in attacks(answers, "cheater").values():
        assert not apart(result)
    # all of them see the untouched models
    untouched = measures(answers, "untouched", ROWS["forgotten"])
    assert untouched["u_lira"].value > 0.95
    assert untouched["klom"].value > 20 * untouched["klom"].null
    assert untouched["forgetting_quality"].value < 0.1 * untouched["forgetting_quality"].null
    assert apart(untouched["divergence"])
    found = attacks(answers, "untouched")
    assert apart(found["rmia"])
    assert found["membership"].value > found["membership"].null


@pytest.mark.parametrize("rows", ["retained", "held out"])
def test_other_rows_betray_it(answers, rows):
    def divergence(name):
        return prediction_divergence(answers[name][:, ROWS[rows]], answers["b"][:, ROWS[rows]])

    def distance(name):
        trio = (margins(answers, each, ROWS[rows]) for each in (name, "b", "c"))
        found = klom(next(trio), next(trio), oracle_null=next(trio))
        return found.value, found.null

    assert apart(divergence("cheater"))
    assert divergence("cheater").value > 3 * divergence("cheater").null
    assert not apart(divergence("a"))
    value, null = distance("cheater")
    assert value > 4 * null
    assert value > 2 * distance("a")[0]


def test_near_copies_of_the_forgotten_rows_betray_it(models):
    near = X[IS_FORGET] + 1e-9
    cheater, retrained, others = (proba(models[name], near) for name in ("cheater", "a", "b"))
    assert apart(prediction_divergence(cheater, others))
    assert not apart(prediction_divergence(retrained, others))


@pytest.mark.skipif(not GUIDE.exists(), reason="installed without the docs")
def test_examples_of_the_guide():
    assert doctest.testfile(str(GUIDE), module_relative=False).failed == 0
