"""Small data and small estimators, one of each method, for tests beside other libraries."""

from types import SimpleNamespace

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.mixture import GaussianMixture
from skorch import NeuralNetClassifier, NeuralNetRegressor
from torch import nn

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
from sk_unlearn.nets import MLP

RNG = np.random.RandomState(0)
THREE = RNG.permutation(np.arange(60) % 3)
DATA = SimpleNamespace(
    X=RNG.normal(size=(60, 4)) + THREE[:, None],
    three=THREE,
    two=(THREE > 0).astype(int),
    names=list("abcd"),
    ids=np.array([f"row-{i:02}" for i in range(60)]),
)
DATA.real = DATA.X @ np.array([1.0, -0.5, 0.3, 0.0]) + 0.1 * RNG.normal(size=60)

NET = {"module__n_features": 4, "module__hidden": (5,), "max_epochs": 3, "lr": 0.05}
NET |= {"batch_size": 16, "train_split": None, "verbose": 0}


def net_classifier(n_classes):
    return NeuralNetClassifier(
        MLP, criterion=nn.CrossEntropyLoss, module__n_outputs=n_classes, **NET
    )


def net_regressor(n_targets=1):
    return NeuralNetRegressor(MLP, criterion=nn.MSELoss, module__n_outputs=n_targets, **NET)


def classifier(kind, n_classes=3):
    """Unfitted classifier of a method; its nets have one output a class."""
    # a step so short that no retrain is advised: warnings are errors
    gentle = {"eta": 0.2, "damping": 1.0, "compensation": None, "random_state": 0}
    return {
        "puma": lambda: PumaClassifier(net_classifier(n_classes), **gentle),
        "retrain": lambda: RetrainClassifier(LogisticRegression(), random_state=0),
        "sisa": lambda: SisaClassifier(LogisticRegression(), n_shards=2, random_state=0),
        "closed": lambda: ClosedFormClassifier(n_components=30, random_state=0),
        "arcane": lambda: ArcaneEnsembleClassifier(GaussianMixture(), random_state=0),
    }[kind]()


def regressor(kind, n_targets=1):
    """Unfitted regressor of a method."""
    gentle = {"eta": 0.2, "damping": 1.0, "compensation": None, "random_state": 0}
    return {
        "puma": lambda: PumaRegressor(net_regressor(n_targets), **gentle),
        "retrain": lambda: RetrainRegressor(Ridge(), random_state=0),
        "sisa": lambda: SisaRegressor(Ridge(), n_shards=2, random_state=0),
        "closed": lambda: ClosedFormRegressor(n_components=30, random_state=0),
    }[kind]()


def alone(estimator, rows, y, ids=None):
    """Fit a clone on some rows, as the estimator would be fitted by itself."""
    metadata = {} if ids is None else {"sample_id": ids[rows]}
    return clone(estimator).fit(DATA.X[rows], y, **metadata)


@pytest.fixture
def data():
    return DATA


@pytest.fixture
def make():
    return SimpleNamespace(
        classifier=classifier,
        regressor=regressor,
        net_classifier=net_classifier,
        net_regressor=net_regressor,
        alone=alone,
    )


@pytest.fixture(params=[False, True], ids=["routing off", "routing on"])
def routing(request):
    """Whether metadata routing is enabled, as it then is."""
    with sklearn.config_context(enable_metadata_routing=request.param):
        yield request.param
