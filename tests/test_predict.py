"""Predictions of whole estimators: rows are checked and nets asked chunk by chunk."""

import numpy as np
import pytest
import torch
from sklearn.base import clone, is_classifier
from sklearn.linear_model import LogisticRegression
from skorch import NeuralNetClassifier
from torch import nn

from sk_unlearn import (
    ArcaneEnsembleClassifier,
    PumaClassifier,
    PumaRegressor,
    RetrainClassifier,
    RetrainRegressor,
    SisaClassifier,
    SisaRegressor,
)
from sk_unlearn.mixins import restrict_columns
from sk_unlearn.nets import default_classifier, default_regressor, predict_proba
from sk_unlearn.utils._inputs import check_net_input

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 4)).astype(np.float32)
LABELS = np.array(["a", "b", "c"])[X[:, :3].argmax(axis=1)]
MANY = RNG.normal(size=(9000, 4)).astype(np.float32)  # three chunks
SHAPE = {"n_features": 4, "n_rows": 90, "device": "cpu"}
CLASSIFIER = default_classifier(n_outputs=3, **SHAPE).set_params(max_epochs=2)
REGRESSOR = default_regressor(n_outputs=1, **SHAPE).set_params(max_epochs=2)
ESTIMATORS = {
    "puma": PumaClassifier(CLASSIFIER),
    "puma regressor": PumaRegressor(REGRESSOR),
    "retrain": RetrainClassifier(CLASSIFIER),
    "retrain regressor": RetrainRegressor(REGRESSOR),
    "sisa": SisaClassifier(CLASSIFIER, max_epochs=2),
    "sisa by votes": SisaClassifier(CLASSIFIER, max_epochs=2, aggregation="hard"),
    "sisa without nets": SisaClassifier(LogisticRegression(), n_slices=1),
    "sisa regressor": SisaRegressor(REGRESSOR, max_epochs=2),
    "sisa by median": SisaRegressor(REGRESSOR, max_epochs=2, aggregation="median"),
    "arcane": ArcaneEnsembleClassifier(),
}


def fit(name):
    estimator = clone(ESTIMATORS[name]).set_params(random_state=0)
    return estimator.fit(X, LABELS if is_classifier(estimator) else X[:, 0])


@pytest.fixture(scope="module", params=ESTIMATORS)
def fitted(request):
    return fit(request.param)


def methods(estimator):
    names = ("predict", "predict_proba", "decision_function", "score_samples")
    return [getattr(estimator, name) for name in names if hasattr(estimator, name)]


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize("row", [0, -1])
def test_one_bad_value_among_many_is_refused(fitted, value, row):
    rows = MANY.astype(np.float64)
    rows[row, 2] = value
    if not hasattr(fitted, "_row_shape_"):  # no net reads the rows, and the model asks itself
        assert isinstance(fitted.estimator, LogisticRegression)
        return
    with pytest.raises(ValueError, match=r"NaN|infinity|too large") as expected:
        check_net_input(fitted, rows)
    for predict in methods(fitted):
        with pytest.raises(ValueError, match=r"NaN|infinity|too large") as found:
            predict(rows)
        assert str(found.value) == str(expected.value)


def test_chunks_of_many_rows_are_joined_in_order(fitted):
    for predict in methods(fitted):
        whole = predict(MANY)
        apart = np.concatenate([predict(MANY[:5000]), predict(MANY[5000:])])
        if whole.dtype.kind == "f":
            np.testing.assert_allclose(whole, apart, rtol=1e-4, atol=1e-5)
        else:
            assert np.mean(whole == apart) > 0.999  # two scores may be equal to rounding


def test_labels_are_the_likeliest(fitted):
    if is_classifier(fitted):
        proba = fitted.predict_proba(MANY)
        assert np.array_equal(fitted.predict(MANY), fitted.classes_[proba.argmax(axis=1)])
        np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-6)


def test_an_ensemble_says_what_its_nets_say_alone():
    sisa = fit("sisa")
    chains = list(sisa._chains_.values())
    assert all(len(chain.classes) == 3 for chain in chains)
    each = np.array([predict_proba(chain.model, MANY) for chain in chains], dtype=np.float64)
    expected = np.average(each, axis=0, weights=[chain.n_rows for chain in chains])
    found = sisa.predict_proba(MANY)
    np.testing.assert_allclose(found, expected / expected.sum(1, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-14)  # to the last bits
    regressor = fit("sisa by median")
    each = [predict_proba(chain.model, MANY)[:, 0] for chain in regressor._chains_.values()]
    np.testing.assert_allclose(regressor.predict(MANY), np.median(each, axis=0), rtol=1e-5)


def test_columns_are_taken_by_number():
    proba = np.array([[0.1, 0.2, 0.7], [1.0, 0.0, 0.0]])
    assert np.array_equal(restrict_columns(proba, np.arange(3)), proba)
    kept = restrict_columns(proba, np.array([1, 2]))
    np.testing.assert_allclose(kept, [[2 / 9, 7 / 9], [0.5, 0.5]])
    with pytest.raises(IndexError):
        restrict_columns(proba, np.array([0, 1, 7]))


@pytest.mark.filterwarnings("ignore::sk_unlearn.exceptions.RetrainAdvisedWarning")
def test_a_forgotten_class_leaves_the_labels():
    puma = fit("puma").forget(np.flatnonzero(LABELS == "b"))
    assert set(puma.predict(MANY)) == {"a", "c"}
    proba = puma.predict_proba(MANY)
    assert np.array_equal(puma.predict(MANY), puma.classes_[proba.argmax(axis=1)])


class Passing(nn.Module):
    """Hands its input on."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, X):
        return X * self.scale if self.training else X[:, :3]


def test_probabilities_are_no_view_of_the_rows():
    net = NeuralNetClassifier(
        Passing,
        criterion=nn.CrossEntropyLoss,
        predict_nonlinearity=None,
        train_split=None,
        max_epochs=1,
        batch_size=-1,
        verbose=0,
    )
    rows = np.random.default_rng(0).normal(size=(150, 1000)).astype(np.float32)
    rows[:, :3] = 0.25, 0.25, 0.5
    clf = RetrainClassifier(net).fit(rows, np.arange(150) % 3)
    assert not np.shares_memory(clf.predict_proba(rows), rows)
