"""What follows on advice: a warning, the exact retrain, or an error; and a budget for requests."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.frozen import FrozenEstimator
from sklearn.preprocessing import StandardScaler

from sk_unlearn import PumaClassifier, PumaRegressor
from sk_unlearn.exceptions import RetrainAdvisedError, RetrainAdvisedWarning
from sk_unlearn.pipeline import make_forget_pipeline
from sk_unlearn.utils._digest import state_digest

X, y = load_iris(return_X_y=True)
ROWS = np.arange(0, 150, 3)
FAR = {"random_state": 0, "eta": 5.0}  # much too far for a linear step
CASES = {"classifier": PumaClassifier, "regressor": PumaRegressor}


def data(kind):
    if kind == "classifier":
        return X, y
    features, target = load_diabetes(return_X_y=True)
    return features[:150] * 20, target[:150] / 80


def digest(model):
    return state_digest(model._model_state())


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("several", [False, True])
def test_retrain_leaves_a_fresh_fit_on_the_retained_rows(kind, several):
    features, target = data(kind)
    model = CASES[kind](on_advice="warn", **FAR).fit(features, target)
    rows = ROWS
    if several:  # what was forgotten before, approximately, is then forgotten exactly as well
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.forget([1, 4, 7])
        rows = np.union1d(rows, [1, 4, 7])
    with warnings.catch_warnings():
        warnings.simplefilter("error", RetrainAdvisedWarning)
        model.set_params(on_advice="retrain").forget(ROWS)
    kept = np.setdiff1d(np.arange(len(target)), rows)
    fresh = CASES[kind](**FAR).fit(features[kept], target[kept], sample_id=kept)
    assert digest(model) == digest(fresh)
    receipt = model.receipts_[-1]
    assert str(receipt.guarantee) == "exact"
    assert receipt.advice == ()
    assert receipt.cost.rows_retrained == len(kept) - len(fresh.validation_indices_)
    assert 1 < receipt.cost.share_of_retrain < 2.5
    (why,) = receipt.solver["retrained"]["because"][:1]
    assert "Retraining is advised" in why
    # the next request starts from the new net, and has its own guarantee
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.set_params(on_advice="warn").forget([2])
        fresh.forget(sample_id=[2])
    assert str(model.receipts_[-1].guarantee) == "approximate"
    assert digest(model) == digest(fresh)


def test_without_advice_nothing_is_retrained():
    quiet = {"random_state": 0, "damping": 10.0}
    same, retrains = (
        PumaClassifier(on_advice=way, **quiet).fit(X, y).forget([3]) for way in ("warn", "retrain")
    )
    assert digest(same) == digest(retrains)
    assert str(retrains.receipts_[-1].guarantee) == "approximate"
    assert "retrained" not in retrains.receipts_[-1].solver


def test_raise_leaves_the_old_state():
    model = PumaClassifier(on_advice="raise", **FAR).fit(X, y)
    before, state = digest(model), dict(vars(model))
    with pytest.raises(RetrainAdvisedError, match=r"Retraining is advised: .*on_advice='raise'"):
        model.forget(ROWS)
    assert digest(model) == before
    assert vars(model).keys() == state.keys()
    assert len(model.receipts_) == 0
    assert model._rows_ is state["_rows_"]
    model.set_params(on_advice="retrain").forget(ROWS)
    assert model.receipts_[-1].n_forgotten == len(ROWS)


def test_no_held_out_rows_are_a_remark_that_leads_to_no_retrain():
    model = PumaClassifier(
        validation_fraction=None, on_advice="raise", damping=10.0, random_state=0
    ).fit(X, y)
    with pytest.warns(RetrainAdvisedWarning, match="No rows were held out"):
        model.forget([3])
    assert "No rows were held out" in model.receipts_[-1].advice[0]


def test_forecasts_say_that_a_request_may_retrain():
    model = PumaClassifier(random_state=0, damping=0.1).fit(X, y)
    cost = model.forget_cost(ROWS)
    may = clone(model).set_params(on_advice="retrain").fit(X, y).forget_cost(ROWS)
    assert may.share_of_retrain == cost.share_of_retrain
    assert may.share_low == cost.share_low
    assert may.share_high == 1 + cost.share_high
    assert model.set_params(on_advice="retrain").forget_cost([]).share_high == 0


def test_a_net_that_was_trained_elsewhere_cannot_be_retrained():
    trained = PumaClassifier(random_state=0).fit(X, y).estimator_
    with pytest.raises(ValueError, match="on_advice='retrain' needs a net that PumaClassifier"):
        PumaClassifier(FrozenEstimator(trained), on_advice="retrain").fit(X, y)
    model = PumaClassifier(FrozenEstimator(trained)).fit(X, y)
    before = digest(model)
    with pytest.raises(ValueError, match="on_advice='retrain' needs a net that PumaClassifier"):
        model.set_params(on_advice="retrain").forget([1])
    assert digest(model) == before


@pytest.mark.parametrize("name", ["on_advice", "max_drift"])
def test_bad_values_are_refused(name):
    with pytest.raises(ValueError, match=name):
        PumaClassifier(**{name: 0}).fit(X, y)


def gaps(model):
    return [receipt.solver["expected_gap"] for receipt in model.receipts_]


def test_drift_adds_up_over_requests_and_starts_again_with_a_retrain():
    plain = PumaClassifier(random_state=0, damping=0.1).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for row in range(6):
            plain.forget([row, row + 60, row + 110])
    found = np.cumsum(gaps(plain))
    assert (np.diff(found) > 0).all()
    limit = float(found[2:4].mean())
    model = PumaClassifier(random_state=0, damping=0.1, max_drift=limit, on_advice="retrain").fit(
        X, y
    )
    guarantees = []
    for row in range(6):
        model.forget([row, row + 60, row + 110])
        guarantees.append(str(model.receipts_[-1].guarantee))
    assert guarantees[:4] == ["approximate"] * 3 + ["exact"]
    assert "max_drift" in model.receipts_[3].solver["retrained"]["because"][-1]
    assert model._drift_ == pytest.approx(sum(gaps(model)[4:]))
    assert guarantees[4] == "approximate"
    warns = PumaClassifier(random_state=0, damping=0.1, max_drift=limit).fit(X, y)
    for row in range(3):
        warns.forget([row, row + 60, row + 110])
    with pytest.warns(RetrainAdvisedWarning, match="the 4 requests since training adds up"):
        warns.forget([3, 63, 113])


@pytest.mark.parametrize("way", ["warn", "retrain"])
def test_behind_a_scaler_that_forgets_exactly(way):
    pipe = make_forget_pipeline(StandardScaler(), PumaClassifier(on_advice=way, **FAR)).fit(X, y)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pipe.forget(ROWS)
    receipt = pipe.receipts_[-1]
    assert str(receipt.guarantee) == {"warn": "approximate", "retrain": "exact"}[way]
    assert any(w.category is RetrainAdvisedWarning for w in caught) == (way == "warn")
    if way == "retrain":
        kept = np.setdiff1d(np.arange(len(y)), ROWS)
        fresh = make_forget_pipeline(StandardScaler(), PumaClassifier(**FAR))
        fresh.fit(X[kept], y[kept], sample_id=kept)
        assert np.array_equal(pipe.predict_proba(X), fresh.predict_proba(X))
