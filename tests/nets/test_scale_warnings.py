"""Warnings where a net reads numbers of a scale on which nets train badly."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_iris,
    load_wine,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler, scale
from skorch import NeuralNetClassifier, NeuralNetRegressor
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
from sk_unlearn.exceptions import InputScaleWarning, TargetScaleWarning
from sk_unlearn.nets import MLP, _defaults
from sk_unlearn.pipeline import make_forget_pipeline

RNG = np.random.RandomState(0)
CLASSIFIERS = [PumaClassifier, RetrainClassifier, SisaClassifier, ArcaneEnsembleClassifier]
REGRESSORS = [PumaRegressor, RetrainRegressor, SisaRegressor]
NET = {"max_epochs": 1, "train_split": None, "verbose": 0, "lr": 1e-6}


@pytest.fixture(autouse=True)
def _short_training(monkeypatch):
    monkeypatch.setattr(_defaults, "_EPOCHS", (1, 1))


def regression_net(n_features):
    return NeuralNetRegressor(
        MLP, module__n_features=n_features, module__n_outputs=1, criterion=nn.MSELoss, **NET
    )


def classification_net(n_features, n_outputs):
    return NeuralNetClassifier(
        MLP,
        module__n_features=n_features,
        module__n_outputs=n_outputs,
        criterion=nn.CrossEntropyLoss,
        **NET,
    )


def scale_warnings(fit, *args):
    """Warnings of scales; others are none of these tests'."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        fit(*args)
    return [w for w in found if w.category in (InputScaleWarning, TargetScaleWarning)]


def pixels(largest):
    return RNG.binomial(1, 0.3, size=(60, 1, 4, 4)) * RNG.uniform(0, largest, size=(60, 1, 4, 4))


def normal(deviation=1.0, mean=0.0):
    return RNG.normal(mean, deviation, size=(60, 4))


BAD = {
    "diabetes": (load_diabetes().data, "column 0 has a standard deviation of about 0.05"),
    "breast cancer": (load_breast_cancer().data, r"a standard deviation of about 6e\+02"),
    "wine": (load_wine().data, r"column 12 has a standard deviation of about 3e\+02"),
    "pixels": (pixels(255), r"element \(0, \d, \d\) of a row has a standard deviation"),
    "bytes": (pixels(255).astype(np.uint8), r"element \(0, \d, \d\) of a row has a standard"),
    "one tiny column": (normal() * [1, 1, 1e-6, 1], "column 2 .* of about 1e-06: nets"),
    "one large column": (normal() * [1, 1, 1, 1e4], r"column 3 .* of about 1e\+04: nets"),
    "years": (normal() + np.eye(4)[1] * 2000, r"column 1 has a mean of about 2e\+03"),
    "float32": ((normal() * 500).astype(np.float32), r"\(3 more columns too large or too small"),
}
GOOD = {
    "standardised": scale(load_breast_cancer().data),
    "robustly scaled, heavy tails": RNG.standard_t(2.1, size=(400, 5)),
    "iris": load_iris().data,
    "digits": load_digits().data / 16,
    "digits as they are": load_digits().data,
    "pixels": pixels(1),
    "nearly empty pixels": pixels(1) * (np.arange(16).reshape(4, 4) > 0) + pixels(0.01),
    "one-hot": OneHotEncoder(sparse_output=False).fit_transform(RNG.randint(0, 50, (200, 2))),
    "rare words": RNG.binomial(1, 0.003, size=(500, 40)).astype(float),
    "nearly always": 1.0 - (np.arange(500) == 3)[:, None] * np.ones((1, 3)),
    "constant": np.column_stack([np.full(60, 1e-4), normal()]),
    "counts": RNG.poisson(3, size=(100, 5)),
    "unit vectors": (lambda X: X / np.linalg.norm(X, axis=1)[:, None])(RNG.normal(size=(80, 96))),
    "one row": np.ones((1, 3)),
}


@pytest.mark.parametrize("name", BAD)
def test_inputs_far_from_unit_scale(name):
    X, what = BAD[name]
    clf = RetrainClassifier(random_state=0)
    (warning,) = scale_warnings(clf.fit, X, np.arange(len(X)) % 2)
    assert warning.category is InputScaleWarning
    warnings.simplefilter("error")
    with pytest.raises(InputScaleWarning, match=f"RetrainClassifier reads X as it is.*{what}"):
        clf.fit(X, np.arange(len(X)) % 2)
    assert "make_forget_pipeline(StandardScaler(), RetrainClassifier(...))" in str(warning.message)


@pytest.mark.parametrize("name", GOOD)
def test_inputs_that_are_well(name):
    X = GOOD[name]
    assert not scale_warnings(RetrainClassifier(random_state=0).fit, X, np.arange(len(X)) % 2)


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_every_classifier_warns_once_in_fit_and_not_in_forget(kind):
    X, y = load_wine(return_X_y=True)
    X, names = scale(X), load_wine().feature_names
    X[:, -1] *= 40
    clf = kind(random_state=0)
    (warning,) = scale_warnings(clf.fit, pd.DataFrame(X, columns=names), y)
    assert warning.category is InputScaleWarning
    assert "column 'proline'" in str(warning.message)
    assert not scale_warnings(clf.forget, [3])
    assert not scale_warnings(kind(random_state=0).fit, scale(X), y)
    piped = make_forget_pipeline(StandardScaler(), kind(random_state=0))
    assert not scale_warnings(piped.fit, X, y)
    assert not scale_warnings(piped.forget, [3])


@pytest.mark.parametrize("kind", REGRESSORS)
def test_default_regressors_scale_by_themselves(kind):
    X, y = load_diabetes(return_X_y=True)
    assert not scale_warnings(kind(random_state=0).fit, X * 1e4, y)


@pytest.mark.parametrize("kind", REGRESSORS)
def test_a_net_of_ones_own_is_fed_as_it_is(kind):
    X, y = load_diabetes(return_X_y=True)
    inputs, targets = scale_warnings(kind(regression_net(10), random_state=0).fit, X, y)
    assert (inputs.category, targets.category) == (InputScaleWarning, TargetScaleWarning)
    assert f"given to {kind.__name__}(estimator=...)" in str(targets.message)
    assert "standard deviation of about 8e+01" in str(targets.message)
    assert "estimator=None" in str(targets.message)
    reg = kind(regression_net(10), random_state=0)
    assert not scale_warnings(reg.fit, scale(X), scale(y))


def test_nets_behind_other_steps():
    X, y = load_diabetes(return_X_y=True)
    net, one = regression_net(10), StandardScaler()
    scaled = TransformedTargetRegressor(net, transformer=one)

    def found(estimator, kind=RetrainRegressor):
        return [w.category for w in scale_warnings(kind(estimator).fit, X, y)]

    assert found(make_pipeline(one, net)) == [TargetScaleWarning]
    assert found(make_pipeline("passthrough", net)) == [InputScaleWarning, TargetScaleWarning]
    assert found(scaled) == [InputScaleWarning]
    assert found(make_pipeline(one, scaled)) == []
    assert found(GridSearchCV(net, {"lr": [1e-6]}, cv=2)) == [
        InputScaleWarning,
        TargetScaleWarning,
    ]
    assert found(Ridge()) == []
    one_slice = SisaRegressor(scaled, n_slices=1, random_state=0)
    assert [w.category for w in scale_warnings(one_slice.fit, X, y)] == [InputScaleWarning]
    wine, kinds = load_wine(return_X_y=True)
    assert not scale_warnings(RetrainClassifier(LogisticRegression()).fit, wine, kinds)
    inner = RetrainClassifier(classification_net(13, 3))
    assert [w.category for w in scale_warnings(inner.fit, wine, kinds)] == [InputScaleWarning]


@pytest.mark.parametrize("kind", [PumaRegressor, RetrainRegressor])
def test_a_trained_net_is_adopted_without_a_word(kind):
    X, y = load_diabetes(return_X_y=True)
    net = regression_net(10).fit(X.astype(np.float32), y.astype(np.float32)[:, None])
    assert not scale_warnings(kind(FrozenEstimator(net)).fit, X, y)


@pytest.mark.parametrize("kind", [PumaClassifier, RetrainClassifier, SisaClassifier])
def test_indices_of_an_embedding_have_no_scale(kind):
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.head = nn.Embedding(5000, 3), nn.Linear(3, 2)

        def forward(self, X):
            return self.head(self.table(X).mean(dim=1))

    torch.manual_seed(0)
    net = NeuralNetClassifier(Words, criterion=nn.CrossEntropyLoss, **NET)
    X = RNG.randint(0, 5000, size=(60, 4))
    assert not scale_warnings(kind(net, random_state=0).fit, X, np.arange(60) % 2)


@pytest.mark.parametrize(
    ("y", "warns"),
    [
        (np.arange(60) % 2, False),
        (RNG.uniform(size=60), False),
        (RNG.uniform(size=60) * 1e-3, True),
        (RNG.normal(size=60) + 1000, True),
        (RNG.normal(size=60), False),
        (np.full(60, 0.01), False),
        (RNG.normal(size=60) * 50, True),
    ],
)
def test_targets_of_a_net_of_ones_own(y, warns):
    reg = RetrainRegressor(regression_net(4), random_state=0)
    assert bool(scale_warnings(reg.fit, normal(), y)) == warns


def test_many_numbers_are_looked_at_in_part():
    """Rows evenly spread: the price does not grow with the data."""
    X = np.broadcast_to(np.float32(300), (4_000_000, 64))
    (warning,) = scale_warnings(_inputs_of, X)
    assert "(63 more columns" in str(warning.message)


def _inputs_of(X):
    from sk_unlearn.nets._scale_warnings import warn_of_inputs

    warn_of_inputs(RetrainClassifier(), X)
