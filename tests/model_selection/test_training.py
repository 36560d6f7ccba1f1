"""Nets trained side by side are those of ordinary fits."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier

from sk_unlearn import PumaClassifier, RetrainClassifier
from sk_unlearn.model_selection import fit_many
from sk_unlearn.model_selection._training import run_many
from sk_unlearn.nets import default_classifier

X, y = load_iris(return_X_y=True)
X = X.astype(np.float32)
NET = default_classifier(n_features=4, n_outputs=3, n_rows=150, device="cpu", hidden=(8,))
NET.set_params(max_epochs=3)


# three epochs are no optimum, and a linear step from there is long
pytestmark = pytest.mark.filterwarnings("ignore:Retraining is advised")


class Dropped(torch.nn.Sequential):
    def __init__(self):
        super().__init__(torch.nn.Linear(4, 8), torch.nn.Dropout(), torch.nn.Linear(8, 3))


def assert_close(a, b, atol=1e-5):
    np.testing.assert_allclose(a.predict_proba(X), b.predict_proba(X), atol=atol)


# a loose solve and sampled curvature rows would magnify rounding
EXACT_STEP = {"tol": 1e-6, "n_curvature_rows": None}


@pytest.mark.parametrize(
    ("kind", "params"), [(PumaClassifier, EXACT_STEP), (RetrainClassifier, {})]
)
def test_fit_many_agrees_with_fit(kind, params):
    fitted = fit_many(kind(NET, **params), X, y, [3, 4, 5])
    assert fitted.stacked
    assert fitted.reason is None
    for seed, estimator in zip([3, 4, 5], fitted.estimators, strict=True):
        alone = kind(NET, **params, random_state=seed).fit(X, y)
        assert estimator.random_state == seed
        assert_close(estimator, alone)
        if kind is PumaClassifier:
            np.testing.assert_array_equal(estimator.validation_indices_, alone.validation_indices_)
        assert_close(estimator.forget([1, 2, 3]), alone.forget([1, 2, 3]), 1e-4)
    assert not np.allclose(fitted.estimators[0].predict_proba(X), alone.predict_proba(X), 1e-3)


def fit_and_forget(seed):
    estimator = RetrainClassifier(NET, random_state=seed).fit(X, y)
    before = estimator.predict_proba(X)
    return before, estimator.forget(np.arange(40)).predict_proba(X)


def test_every_training_of_a_call_is_stacked():
    outcome = run_many(fit_and_forget, [0, 1])
    assert outcome.n_stacked == 2
    for seed in (0, 1):
        for found, alone in zip(outcome.results[seed], fit_and_forget(seed), strict=True):
            np.testing.assert_allclose(found, alone, atol=1e-5)


@pytest.mark.parametrize(
    ("base", "reason"),
    [
        (LogisticRegression(max_iter=500), "LogisticRegression is not a net"),
        (make_pipeline(StandardScaler(), NET), "Pipeline is not a net"),
        (
            NeuralNetClassifier(
                Dropped,
                criterion=torch.nn.CrossEntropyLoss,
                max_epochs=1,
                train_split=None,
                verbose=0,
            ),
            "dropout",
        ),
    ],
)
def test_what_cannot_be_stacked_is_fitted_alone(base, reason):
    fitted = fit_many(RetrainClassifier(base), X, y, [0, 1])
    assert not fitted.stacked
    assert reason.lower() in fitted.reason.lower()
    alone = RetrainClassifier(base, random_state=1).fit(X, y)
    np.testing.assert_array_equal(fitted.estimators[1].predict_proba(X), alone.predict_proba(X))


def test_fit_params_reach_fit():
    ids = np.array([f"r{i}" for i in range(150)])
    fitted = fit_many(PumaClassifier(NET), X, y, [0, 1], sample_id=ids)
    assert fitted.estimators[1].forget(sample_id="r7").receipts_.covers("r7")


def test_errors_of_fit_are_those_of_fit():
    with pytest.raises(ValueError, match="at least one seed"):
        fit_many(PumaClassifier(NET), X, y, [])
    with pytest.raises(ValueError, match="NaN"):
        fit_many(PumaClassifier(NET), np.full_like(X, np.nan), y, [0])
