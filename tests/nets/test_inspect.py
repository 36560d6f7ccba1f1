import numpy as np
import pytest
import torch
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from skorch.callbacks import Checkpoint, EarlyStopping, LoadInitState, TrainEndCheckpoint
from torch import nn

from sk_unlearn.nets import MLP
from sk_unlearn.nets._inspect import keeps_integers, refused_fit_params, state_loader


class CustomLoad(LoadInitState):
    pass


class Preset(NeuralNetClassifier):
    @property
    def _default_callbacks(self):
        return [*super()._default_callbacks, ("resume", LoadInitState(Checkpoint()))]


class Bag(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.EmbeddingBag(5, 2)

    def forward(self, X, offsets=None):
        return self.table(X)


class Anything(Bag):
    def forward(self, X, **more):
        return self.table(X)


def net(*callbacks, kind=NeuralNetClassifier, module=Bag, **params):
    return kind(module, callbacks=list(callbacks) or None, **params)


@pytest.mark.parametrize(
    ("estimator", "name"),
    [
        (net(LoadInitState(Checkpoint())), "LoadInitState"),
        (net(("resume", CustomLoad(TrainEndCheckpoint()))), "CustomLoad"),
        (net(kind=Preset), "LoadInitState"),
        (net(callbacks__print_log=LoadInitState(Checkpoint())), "LoadInitState"),
        (net(EarlyStopping(), Checkpoint(load_best=True)), "Checkpoint(load_best=True)"),
        (make_pipeline(StandardScaler(), net(LoadInitState(Checkpoint()))), "LoadInitState"),
        (FrozenEstimator(net(LoadInitState(Checkpoint()))), "LoadInitState"),
        (net(Checkpoint(), ("end", TrainEndCheckpoint())), None),
        (net(EarlyStopping(load_best=True)), None),
        (net(Checkpoint), None),
        (NeuralNetClassifier(Bag, callbacks="disable"), None),
        (LogisticRegression(), None),
        (None, None),
    ],
)
def test_callbacks_that_load_weights_are_found(estimator, name):
    assert state_loader(estimator) == name


@pytest.mark.parametrize(
    ("estimator", "refused"),
    [
        (net(), ["sample_weight", "net__offsets"]),
        (net(module=Anything), []),
        (net(module=Bag()), ["sample_weight", "net__offsets"]),
        (LogisticRegression(), []),
        (make_pipeline(StandardScaler(), net()), []),
    ],
)
def test_fit_params_that_forward_does_not_take(estimator, refused):
    given = {"offsets": 1, "sample_weight": 2, "net__offsets": 3}
    assert refused_fit_params(estimator, given) == refused
    assert refused_fit_params(estimator, {}) == []


def test_integers_are_kept_for_embeddings_only():
    tokens = np.arange(6).reshape(2, 3)
    assert keeps_integers(net(), tokens)
    assert keeps_integers(net(), tokens.tolist())
    assert keeps_integers(make_pipeline(StandardScaler(), net()), tokens)
    assert keeps_integers(FrozenEstimator(net().initialize()), tokens)
    assert not keeps_integers(net(), tokens.astype(np.float32))
    assert not keeps_integers(net(module=MLP(3, 2)), tokens)
    assert not keeps_integers(None, tokens)
    generator = torch.get_rng_state()
    keeps_integers(net(), tokens)
    assert torch.equal(torch.get_rng_state(), generator)
