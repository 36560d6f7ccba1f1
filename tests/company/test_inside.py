"""Estimators that forget inside of scikit-learn's meta-estimators: classifiers."""

import numpy as np
import pytest
import sklearn
from joblib import parallel_config
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    StratifiedKFold,
    TunedThresholdClassifierCV,
)
from sklearn.multiclass import OneVsRestClassifier

from sk_unlearn import RetrainClassifier

KINDS = ["puma", "retrain", "sisa", "closed", "arcane"]
ALL = np.arange(60)
FOLDS = [train for train, _ in StratifiedKFold(3).split(ALL, ALL % 3)]


class Calibrated:
    """Each fold's estimator answers through its own calibrators; the mean of the folds."""

    def build(self, estimator):
        # the folds do not look at y, so that the test knows them
        cv = [(train, np.setdiff1d(ALL, train)) for train in FOLDS]
        return CalibratedClassifierCV(estimator, cv=cv, method="sigmoid")

    def parts(self, company, y):
        inner = [each.estimator for each in company.calibrated_classifiers_]
        return [(e, rows, y[rows]) for e, rows in zip(inner, FOLDS, strict=True)]

    def answer(self, company, parts, X):
        answers = []
        for each, part in zip(company.calibrated_classifiers_, parts, strict=True):
            method = "decision_function" if hasattr(part, "decision_function") else "predict_proba"
            scores = getattr(part, method)(X)
            columns = [c.predict(scores[:, k]) for k, c in enumerate(each.calibrators)]
            answers.append(np.column_stack(columns))
            answers[-1] /= answers[-1].sum(axis=1, keepdims=True)
        return company.predict_proba(X), np.mean(answers, axis=0)


class Stacked:
    """The last estimator reads the probabilities of the first."""

    def build(self, estimator):
        final = RetrainClassifier(LogisticRegression(), random_state=0)
        return StackingClassifier([("a", estimator)], final_estimator=final, cv=3)

    def parts(self, company, y):
        return [(company.estimators_[0], ALL, y)]

    def answer(self, company, parts, X):
        meta = parts[0].predict_proba(X)
        return company.predict_proba(X), company.final_estimator_.predict_proba(meta)


class OneVsRest:
    """One estimator a class; their probabilities, to sum one."""

    def build(self, estimator):
        return OneVsRestClassifier(estimator)

    def parts(self, company, y):
        return [(e, ALL, (y == k).astype(int)) for k, e in enumerate(company.estimators_)]

    def answer(self, company, parts, X):
        proba = np.column_stack([part.predict_proba(X)[:, 1] for part in parts])
        return company.predict_proba(X), proba / proba.sum(axis=1, keepdims=True)


class Voting:
    """The mean of the probabilities."""

    def build(self, estimator):
        return VotingClassifier([("a", estimator), ("b", clone(estimator))], voting="soft")

    def parts(self, company, y):
        return [(each, ALL, y) for each in company.estimators_]

    def answer(self, company, parts, X):
        return company.predict_proba(X), np.mean([p.predict_proba(X) for p in parts], axis=0)


class Fixed:
    """The second class from a given probability on."""

    def build(self, estimator):
        method = "predict_proba"
        return FixedThresholdClassifier(estimator, threshold=0.6, response_method=method)

    def parts(self, company, y):
        return [(company.estimator_, ALL, y)]

    def answer(self, company, parts, X):
        threshold = getattr(company, "best_threshold_", 0.6)
        chosen = (parts[0].predict_proba(X)[:, 1] >= threshold).astype(int)
        return company.predict(X), company.classes_[chosen]


class Tuned(Fixed):
    """The same, the probability chosen in cross-validation."""

    def build(self, estimator):
        method = "predict_proba"
        return TunedThresholdClassifierCV(
            estimator, thresholds=[0.3, 0.5, 0.7], cv=2, response_method=method
        )


class Searched(Fixed):
    """The best of a search."""

    def build(self, estimator):
        return GridSearchCV(estimator, {"random_state": [0]}, cv=2)

    def parts(self, company, y):
        return [(company.best_estimator_, ALL, y)]

    def answer(self, company, parts, X):
        return company.predict_proba(X), parts[0].predict_proba(X)


COMPANIES = {
    kind.__name__: kind()
    for kind in (Calibrated, Stacked, OneVsRest, Voting, Fixed, Tuned, Searched)
}
BINARY = {"OneVsRest", "Fixed", "Tuned"}  # what the estimators inside are asked
TWO_CLASSES = {"Fixed", "Tuned"}
PASSES_ON = {"Calibrated", "Searched"}  # what fit is given, without routing


def targets(name, data):
    return data.two if name in TWO_CLASSES else data.three


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", sorted(COMPANIES))
def test_forgets_inside(name, kind, data, make, routing):
    """Each part is what it is alone, before and after forgetting, and the whole follows it."""
    company, y = COMPANIES[name], targets(name, data)
    ids = data.ids if routing else None
    inner = make.classifier(kind, 2 if name in BINARY else 3)
    metadata = {} if ids is None else {"sample_id": ids}
    whole = company.build(inner).fit(data.X, y, **metadata)
    parts = company.parts(whole, y)
    expected = [make.alone(inner, rows, target, ids) for _, rows, target in parts]
    before = [one.predict_proba(data.X) for one in expected]
    for (part, rows, _), one, proba in zip(parts, expected, before, strict=True):
        assert np.array_equal(part.predict_proba(data.X), proba)
        request = {"sample_id": ids[rows[:4]]} if routing else {"X_idx": [0, 1, 2, 3]}
        part.forget(**request)
        one.forget(**request)
        after = part.predict_proba(data.X)
        assert np.array_equal(after, one.predict_proba(data.X))
        assert not np.array_equal(after, proba)
    found, by_hand = company.answer(whole, expected, data.X)
    np.testing.assert_allclose(found, by_hand, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", sorted(COMPANIES))
def test_a_retrained_estimator_passes_for_the_plain_one(name, data):
    y, company = targets(name, data), COMPANIES[name]
    plain = company.build(LogisticRegression(random_state=0)).fit(data.X, y)
    ours = company.build(RetrainClassifier(LogisticRegression(), random_state=0))
    ours = ours.fit(data.X, y)
    assert np.array_equal(ours.predict_proba(data.X), plain.predict_proba(data.X))
    assert np.array_equal(ours.predict(data.X), plain.predict(data.X))


@pytest.mark.parametrize("name", sorted(COMPANIES))
def test_ids_are_never_lost_without_routing(name, data, make):
    company, y = COMPANIES[name], targets(name, data)
    whole = company.build(make.classifier("retrain"))
    if name not in PASSES_ON:
        with pytest.raises(ValueError, match="enable_metadata_routing=True"):
            whole.fit(data.X, y, sample_id=data.ids)
        return
    whole.fit(data.X, y, sample_id=data.ids)
    for part, rows, _ in company.parts(whole, y):
        assert part.forget(sample_id=data.ids[rows[0]]).receipts_[-1].n_forgotten == 1


def test_the_last_of_a_stack_forgets_too(data, make):
    """What stands on predictions for a row has to forget the row as well."""
    stack = Stacked().build(make.classifier("retrain"))
    with sklearn.config_context(enable_metadata_routing=True):
        stack.fit(data.X, data.three, sample_id=data.ids)
    first, last = stack.estimators_[0], stack.final_estimator_
    meta = last._rows_.X[4:]
    for part in (first, last):
        part.forget(sample_id=data.ids[:4])
    assert first.receipts_[-1].n_forgotten == last.receipts_[-1].n_forgotten == 4
    plain = LogisticRegression().fit(meta, data.three[4:])
    expected = plain.predict_proba(first.predict_proba(data.X))
    assert np.array_equal(stack.predict_proba(data.X), expected)


def test_bags_repeat_rows_and_forget_them_by_group(data, make):
    bag = BaggingClassifier(make.classifier("retrain"), n_estimators=3, random_state=0)
    with sklearn.config_context(enable_metadata_routing=True):
        with pytest.raises(ValueError, match=r"'sample_id' parameter .* must be unique"):
            bag.fit(data.X, data.three, sample_id=data.ids)
        bag.fit(data.X, data.three, groups=data.ids)
    row = next(i for i in ALL if all(i in rows for rows in bag.estimators_samples_))
    for part, rows in zip(bag.estimators_, bag.estimators_samples_, strict=True):
        part.forget(groups=data.ids[row])
        kept = rows[rows != row]
        plain = LogisticRegression().fit(data.X[kept], data.three[kept])
        assert np.array_equal(part.predict_proba(data.X), plain.predict_proba(data.X))


def test_a_prefit_estimator_is_calibrated_and_forgets(data, make):
    clf = make.classifier("retrain").fit(data.X, data.three, sample_id=data.ids)
    whole = CalibratedClassifierCV(FrozenEstimator(clf)).fit(data.X, data.three)
    before = whole.predict_proba(data.X)
    clf.forget(sample_id=data.ids[:4])
    assert not np.array_equal(whole.predict_proba(data.X), before)


@pytest.mark.parametrize("kind", KINDS)
def test_permutation_importance(kind, data, make):
    clf = make.classifier(kind).fit(data.X, data.three).forget([0, 1])
    options = {"scoring": "accuracy", "n_repeats": 3, "random_state": 0}
    found = permutation_importance(clf, data.X, data.three, **options).importances
    whole, seed = clf.score(data.X, data.three), np.random.RandomState(0).randint(2**31 - 1)
    for column in range(4):
        rng, X, order = np.random.RandomState(seed), data.X.copy(), np.arange(60)
        for repeat in range(3):
            rng.shuffle(order)
            X[:, column] = X[order, column]
            drop = whole - accuracy_score(data.three, clf.predict(X))
            assert found[column, repeat] == pytest.approx(drop, abs=1e-12)
    with parallel_config("threading", n_jobs=2):
        threaded = permutation_importance(clf, data.X, data.three, **options)
    assert np.array_equal(threaded.importances, found)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_nobody_are_no_weights(kind, data, make):
    clf = make.classifier(kind).fit(data.X, data.three, sample_weight=None)
    assert "sample_weight" not in clf._rows_.fit_params
    if kind not in ("retrain", "closed"):  # the one hands them on, the other counts by them
        with pytest.raises(TypeError, match="got 'sample_weight'"):
            make.classifier(kind).fit(data.X, data.three, sample_weight=np.ones(60))
