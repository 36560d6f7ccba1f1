"""One list of estimators through scikit-learn's checks and through our own."""

import warnings

import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM
from sklearn.utils.estimator_checks import parametrize_with_checks
from skorch import NeuralNetClassifier, NeuralNetRegressor
from torch import nn, optim

from sk_unlearn import (
    ArcaneEnsembleClassifier,
    ClosedFormClassifier,
    ClosedFormRegressor,
    PumaClassifier,
    PumaRegressor,
    RetrainClassifier,
    RetrainRegressor,
    SisaClassifier,
    SisaRegressor,
)
from sk_unlearn.exact import _arcane_base
from sk_unlearn.nets import MLP, _defaults, default_density
from sk_unlearn.utils.estimator_checks import parametrize_with_forget_checks

COMMON = {"max_epochs": 5, "verbose": 0, "module__n_features": 4, "module__hidden": (8,)}


def net_classifier(**params):
    return NeuralNetClassifier(
        MLP, criterion=nn.CrossEntropyLoss, module__n_outputs=3, **{**COMMON, **params}
    )


def net_regressor(**params):
    return NeuralNetRegressor(
        MLP, criterion=nn.MSELoss, module__n_outputs=1, **{**COMMON, **params}
    )


DEFAULT = [
    RetrainClassifier(),
    RetrainRegressor(),
    PumaClassifier(),
    PumaRegressor(),
]
# the default nets in parts, trained as long as it takes to pass the checks of accuracy
ENSEMBLES = [
    SisaClassifier(n_shards=2, n_slices=2, max_epochs=10),
    SisaRegressor(n_shards=2, n_slices=2, max_epochs=20),
    ArcaneEnsembleClassifier(),
]
SHORT_ENSEMBLES = [
    SisaClassifier(n_shards=2, n_slices=2, max_epochs=1),
    SisaRegressor(n_shards=2, n_slices=2, max_epochs=1),
    ArcaneEnsembleClassifier(n_blocks=2),
]
CLOSED_FORM = [
    ClosedFormClassifier(n_components=128),
    ClosedFormClassifier("passthrough", alpha=[0.1, 1.0]),
    ClosedFormClassifier("passthrough", head="lda"),
    ClosedFormClassifier("passthrough", head="naive_bayes"),
    ClosedFormRegressor(n_components=128),
    ClosedFormRegressor("passthrough", scaling="columns"),
]
AROUND_SKLEARN = [
    RetrainClassifier(LogisticRegression()),
    RetrainRegressor(Ridge()),
    SisaClassifier(LogisticRegression()),
    ArcaneEnsembleClassifier(GaussianMixture(2), selection=0.5),
    ArcaneEnsembleClassifier(OneClassSVM()),
    ArcaneEnsembleClassifier(KernelDensity()),
]
AROUND_NETS = [
    RetrainClassifier(make_pipeline(StandardScaler(), net_classifier(train_split=None))),
    RetrainRegressor(net_regressor(optimizer=optim.Adam, iterator_train__shuffle=True)),
    PumaClassifier(net_classifier(optimizer=optim.Adam), n_curvature_rows=0.5),
    PumaRegressor(
        net_regressor(train_split=None, optimizer__weight_decay=1e-3),
        compensation="l2",
        n_steps=2,
    ),
]


@pytest.fixture
def short_training(monkeypatch):
    # how forgetting behaves does not depend on how long a default net was trained
    monkeypatch.setattr(_defaults, "_EPOCHS", (3, 5))
    monkeypatch.setattr(
        _arcane_base,
        "default_density",
        lambda **sizes: default_density(**sizes).set_params(max_epochs=1),
    )


@parametrize_with_checks([*DEFAULT, *ENSEMBLES, *CLOSED_FORM, *AROUND_SKLEARN])
def test_sklearn_checks(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the checks that are about warnings record them
        check(estimator)


@pytest.mark.usefixtures("short_training")
@parametrize_with_forget_checks(
    [*DEFAULT, *SHORT_ENSEMBLES, *CLOSED_FORM, *AROUND_SKLEARN, *AROUND_NETS]
)
def test_forget_checks(estimator, check):
    check(estimator)
