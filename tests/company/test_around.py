"""Estimators that forget around scikit-learn's meta-estimators, and regressors inside."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    BaggingClassifier,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_unlearn import (
    ArcaneEnsembleClassifier,
    RetrainClassifier,
    RetrainRegressor,
    SisaClassifier,
    SisaRegressor,
)

LR = LogisticRegression(random_state=0)
COMPANIES = {
    "calibrated": CalibratedClassifierCV(LR, cv=2),
    "stacked": StackingClassifier([("a", LR)], final_estimator=clone(LR), cv=2),
    "one against the rest": OneVsRestClassifier(LR),
    "fixed threshold": FixedThresholdClassifier(LR, threshold=0.6),
    "tuned threshold": TunedThresholdClassifierCV(LR, thresholds=[0.3, 0.5], cv=2, random_state=0),
    "voting": VotingClassifier([("a", LR), ("b", clone(LR))], voting="soft"),
    "bag": BaggingClassifier(LR, n_estimators=2, random_state=0),
    "search": GridSearchCV(LR, {"C": [0.1, 1.0]}, cv=2),
}
TWO_CLASSES = {"fixed threshold", "tuned threshold"}
KEPT = np.arange(4, 60)


@pytest.mark.parametrize("name", sorted(COMPANIES))
def test_a_company_is_retrained_as_a_whole(name, data, routing):
    """Calibrators, thresholds and searches learn from rows too: outside, all of it forgets."""
    company, y = COMPANIES[name], data.two if name in TWO_CLASSES else data.three
    clf = RetrainClassifier(company).fit(data.X, y, sample_id=data.ids)
    plain = clone(company).fit(data.X, y)
    assert np.array_equal(clf.predict_proba(data.X), plain.predict_proba(data.X))
    clf.forget(sample_id=data.ids[:4])
    fresh = clone(company).fit(data.X[KEPT], y[KEPT])
    assert np.array_equal(clf.predict_proba(data.X), fresh.predict_proba(data.X))
    assert np.array_equal(clf.predict(data.X), fresh.predict(data.X))
    assert not np.array_equal(plain.predict_proba(data.X), fresh.predict_proba(data.X))


@pytest.mark.parametrize("name", sorted(COMPANIES))
def test_each_shard_is_a_company(name, data):
    company, y = COMPANIES[name], data.two if name in TWO_CLASSES else data.three
    clf = SisaClassifier(company, n_shards=2, random_state=0).fit(data.X, y, sample_id=data.ids)
    clf.forget(sample_id=data.ids[:4])
    fresh = SisaClassifier(company, n_shards=2, random_state=0)
    fresh.fit(data.X[KEPT], y[KEPT], sample_id=data.ids[KEPT])
    for shard, model in enumerate(clf.estimators_):
        rows = np.flatnonzero(fresh._placement_.part == shard)
        rows = KEPT[fresh._placement_.ordered(rows)]
        plain = clone(company).fit(data.X[rows], y[rows])
        found = model.predict_proba(data.X)
        assert np.array_equal(found, fresh.estimators_[shard].predict_proba(data.X))
        # seeds that the company leaves open are set in a shard; none of these draws by them
        assert np.array_equal(found, plain.predict_proba(data.X))


@pytest.mark.parametrize(
    "inner",
    [
        make_pipeline(StandardScaler(), GaussianMixture(random_state=0)),
        GridSearchCV(KernelDensity(), {"bandwidth": [0.5, 2.0]}, cv=2),
    ],
    ids=["pipeline", "search"],
)
def test_each_class_is_a_company(inner, data):
    clf = ArcaneEnsembleClassifier(inner, random_state=0).fit(data.X, data.three)
    clf.forget(range(4))
    for label, model in zip(clf.classes_, clf.estimators_, strict=True):
        rows = KEPT[data.three[KEPT] == label]
        rows = rows[np.argsort(clf._placement_.rank[rows - 4], kind="stable")]
        plain = clone(inner).fit(data.X[rows])
        assert np.array_equal(model.score_samples(data.X), plain.score_samples(data.X))


REGRESSION = {
    "stacked": lambda e: StackingRegressor([("a", e)], final_estimator=Ridge(), cv=2),
    "voting": lambda e: VotingRegressor([("a", e), ("b", clone(e))]),
    "transformed target": lambda e: TransformedTargetRegressor(e, transformer=StandardScaler()),
}


def parts(name, whole):
    return [whole.regressor_] if name == "transformed target" else whole.estimators_


@pytest.mark.parametrize("kind", ["puma", "retrain", "sisa", "closed"])
@pytest.mark.parametrize("name", sorted(REGRESSION))
def test_regressors_forget_inside(name, kind, data, make, routing):
    inner = make.regressor(kind)
    whole = REGRESSION[name](inner).fit(data.X, data.real)
    y = data.real
    if name == "transformed target":
        y = StandardScaler().fit_transform(y[:, None])[:, 0]
    expected = make.alone(inner, np.arange(60), y)
    before = whole.predict(data.X)
    for part in parts(name, whole):
        assert np.array_equal(part.predict(data.X), expected.predict(data.X))
        part.forget([0, 1, 2, 3])
    expected.forget([0, 1, 2, 3])
    for part in parts(name, whole):
        assert np.array_equal(part.predict(data.X), expected.predict(data.X))
    assert not np.array_equal(whole.predict(data.X), before)


@pytest.mark.parametrize("name", sorted(REGRESSION))
def test_regressors_around_and_inside_are_the_plain_ones(name, data):
    company = REGRESSION[name](Ridge())
    plain = clone(company).fit(data.X, data.real)
    inside = REGRESSION[name](RetrainRegressor(Ridge())).fit(data.X, data.real)
    assert np.array_equal(inside.predict(data.X), plain.predict(data.X))
    around = RetrainRegressor(company).fit(data.X, data.real)
    assert np.array_equal(around.predict(data.X), plain.predict(data.X))
    shards = SisaRegressor(company, n_shards=2, random_state=0).fit(data.X, data.real)
    fresh = clone(company).fit(data.X[KEPT], data.real[KEPT])
    around.forget(range(4)), shards.forget(range(4))
    assert np.array_equal(around.predict(data.X), fresh.predict(data.X))
    again = SisaRegressor(company, n_shards=2, random_state=0)
    again.fit(data.X[KEPT], data.real[KEPT], sample_id=KEPT)
    assert np.array_equal(shards.predict(data.X), again.predict(data.X))
    options = {"n_repeats": 2, "random_state": 0}
    found = permutation_importance(around, data.X, data.real, **options)
    expected = permutation_importance(fresh, data.X, data.real, **options)
    assert np.array_equal(found.importances, expected.importances)
