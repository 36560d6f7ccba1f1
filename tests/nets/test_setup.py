import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from skorch import NeuralNetClassifier
from skorch.dataset import ValidSplit
from torch import nn

from sk_unlearn.exceptions import UnsupportedNetError
from sk_unlearn.nets import MLP, prepare

RNG = np.random.RandomState(0)
X, y = RNG.normal(size=(33, 4)).astype(np.float32), np.arange(33) % 3


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(0.2), nn.Linear(5, 3)
        )

    def forward(self, X):
        return self.layers(X)


class NormedImages(nn.Module):
    def __init__(self, size):
        super().__init__()
        pool = nn.AdaptiveAvgPool2d(size)
        self.layers = nn.Sequential(
            pool, nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(size * size, 3)
        )

    def forward(self, X):
        return self.layers(X)


class FrozenNorm(Normed):
    def train(self, mode=True):
        super().train(mode)
        self.layers[1].eval()
        return self


class OwnInfer(NeuralNetClassifier):
    def infer(self, x, **fit_params):
        return self.module_(x[:, :4], **fit_params)


def net(module=Normed, kind=NeuralNetClassifier, **params):
    settings = {"criterion": nn.CrossEntropyLoss, "max_epochs": 2, "verbose": 0, "batch_size": 16}
    return kind(module, **{"train_split": None, **settings, **params})


@pytest.mark.parametrize(
    ("settings", "rows", "remedy"),
    [
        ({}, 33, "n_rows=33 and batch_size=16. Set iterator_train__drop_last=True, or another"),
        ({}, 17, "n_rows=17"),
        ({"batch_size": 1}, 33, "batch_size=1. Set a larger batch_size"),
        ({"batch_size": 1, "iterator_train__drop_last": True}, 33, "a larger batch_size"),
        ({"batch_size": -1}, 1, "more than one row"),
        ({"train_split": ValidSplit(3), "batch_size": 7}, 33, "n_rows=22"),
        ({"iterator_train__num_workers": 0}, 33, "drop_last"),
        ({"callbacks": "disable"}, 33, "drop_last"),
        ({"iterator_train__sampler": range(17)}, 33, "n_rows=17"),
    ],
)
def test_a_batch_of_one_row_is_refused_before_training(settings, rows, remedy):
    trained = prepare(net(**settings))
    message = rf"batch normalisation in Normed of NeuralNetClassifier .*{remedy}"
    with pytest.raises(UnsupportedNetError, match=message):
        trained.fit(X[:rows], y[:rows])
    assert len(trained.history) == 1
    assert trained.history[0]["batches"] == []


@pytest.mark.parametrize(
    ("settings", "data"),
    [
        ({"iterator_train__drop_last": True}, X),
        ({"batch_size": 11}, X),
        ({}, X[:32]),
        ({"module": FrozenNorm}, X),
        ({"iterator_train__sampler": range(32)}, X),
        ({"module": NormedImages, "module__size": 2}, RNG.normal(size=(33, 1, 6, 6))),
        ({"module": MLP, "module__n_features": 4, "module__n_outputs": 3}, X),
    ],
)
def test_a_batch_of_one_row_is_no_reason_where_nothing_fails(settings, data):
    prepare(net(**settings)).fit(data.astype(np.float32), y[: len(data)])


def test_images_reduced_to_one_pixel_fail_too():
    with pytest.raises(UnsupportedNetError, match="batch of one row"):
        prepare(net(NormedImages, module__size=1)).fit(RNG.normal(size=(33, 1, 6, 6)), y)


def test_the_trial_uses_the_nets_own_infer_and_leaves_no_trace():
    wide = np.hstack([X, X])
    with pytest.raises(UnsupportedNetError, match="batch of one row"):
        prepare(net(kind=OwnInfer)).fit(wide, y)
    images = RNG.normal(size=(33, 1, 6, 6)).astype(np.float32)
    weights = []
    for make in (lambda net: net, prepare):
        torch.manual_seed(0)
        trained = make(net(NormedImages, module__size=2, iterator_train__shuffle=True))
        weights.append(trained.fit(images, y).module_.state_dict())
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name


def test_divergence_is_a_warning_with_a_remedy():
    params = {"module__n_features": 4, "module__n_outputs": 3}
    wild = prepare(net(MLP, lr=1e30, **params))
    with pytest.warns(ConvergenceWarning, match=r"diverged: layers.*lower the learning rate"):
        wild.fit(X, y)
    prepare(net(MLP, lr=0.01, **params)).fit(X, y)


def test_statistics_that_are_not_finite_count_too():
    huge = X.copy()
    huge[0] = 3e38
    with pytest.warns(ConvergenceWarning, match=r"layers\.1\.running_"):
        prepare(net(batch_size=11, lr=0.0)).fit(huge, y)
