"""One small estimator of each kind, as a service would hold them."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.mixture import GaussianMixture
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from torch import nn, optim

from sk_unlearn import (
    ArcaneEnsembleClassifier,
    ClosedFormClassifier,
    PumaClassifier,
    PumaRegressor,
    RetrainClassifier,
    RetrainRegressor,
    SisaClassifier,
    SisaRegressor,
)
from sk_unlearn.nets import default_classifier, default_density, default_regressor
from sk_unlearn.pipeline import make_forget_pipeline

RNG = np.random.RandomState(0)
THREE = np.arange(96) % 3
X = RNG.normal(size=(96, 4)) + 2 * THREE[:, None]
REAL = X @ np.array([1.0, -0.5, 0.3, 0.0]) + 0.1 * RNG.normal(size=96)


class Drops(nn.Module):
    """A module of a user's own, with draws in every step."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3))

    def forward(self, X):
        return self.layers(X)


def own_net(**params):
    return NeuralNetClassifier(
        Drops,
        criterion=nn.CrossEntropyLoss,
        optimizer=optim.Adam,
        lr=0.02,
        max_epochs=3,
        batch_size=16,
        train_split=None,
        iterator_train__shuffle=True,
        verbose=0,
        **params,
    )


def _small(make_net, **sizes):
    return make_net(n_rows=96, **sizes).set_params(max_epochs=3)


def _classifier():
    return _small(default_classifier, n_features=4, n_outputs=3)


def _regressor():
    return _small(default_regressor, n_features=4, n_outputs=1)


# a step so short that no retrain is advised: warnings are errors
GENTLE = {"eta": 0.2, "damping": 1.0, "compensation": None, "random_state": 0}
MAKERS = {
    "retrain, sklearn": lambda: RetrainClassifier(LogisticRegression(), random_state=0),
    "retrain, default net": lambda: RetrainClassifier(_classifier(), random_state=0),
    "retrain, own net": lambda: RetrainClassifier(own_net(), random_state=0),
    "retrain, regressor": lambda: RetrainRegressor(_regressor(), random_state=0),
    "closed form": lambda: ClosedFormClassifier(n_components=30, random_state=0),
    "closed form, inputs": lambda: ClosedFormClassifier("passthrough", random_state=0),
    "sisa, sklearn": lambda: SisaClassifier(GaussianNB(), n_shards=2, random_state=0),
    "sisa, PCA": lambda: SisaClassifier(
        make_pipeline(PCA(3), MLPClassifier((5,), max_iter=3)),
        n_shards=2,
        n_slices=1,
        random_state=0,
    ),
    "sisa, default net": lambda: SisaClassifier(
        _classifier(), n_shards=2, n_slices=2, random_state=0
    ),
    "sisa, own net": lambda: SisaClassifier(own_net(), n_shards=2, n_slices=2, random_state=0),
    "sisa, regressor": lambda: SisaRegressor(Ridge(), n_shards=2, n_slices=1, random_state=0),
    "arcane, sklearn": lambda: ArcaneEnsembleClassifier(GaussianMixture(2), random_state=0),
    "arcane, net": lambda: ArcaneEnsembleClassifier(
        default_density(n_features=4).set_params(max_epochs=2),
        n_blocks=2,
        random_state=0,
    ),
    "puma": lambda: PumaClassifier(_classifier(), **GENTLE),
    "puma, own net": lambda: PumaClassifier(own_net(), **GENTLE),
    "puma, regressor": lambda: PumaRegressor(_regressor(), **GENTLE),
    "pipeline": lambda: make_forget_pipeline(
        StandardScaler(), RetrainClassifier(_classifier()), random_state=0
    ),
    "pipeline, puma": lambda: make_forget_pipeline(
        StandardScaler(), PumaClassifier(_classifier(), **GENTLE), random_state=0
    ),
}


def target(name):
    return REAL if "regressor" in name else THREE


@pytest.fixture(params=MAKERS)
def kind(request):
    return request.param
