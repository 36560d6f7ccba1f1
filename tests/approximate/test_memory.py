"""A cache of trained nets: one training a fold, the same results."""

import numpy as np
import pytest
from joblib import Memory
from sklearn import config_context
from sklearn.model_selection import GridSearchCV
from skorch import NeuralNetClassifier
from torch import nn

from sk_unlearn import PumaClassifier
from sk_unlearn.nets import MLP, _memory
from sk_unlearn.utils._digest import state_digest

RNG = np.random.RandomState(0)
Y = np.arange(60) % 3
X = (RNG.normal(size=(60, 4)) + Y[:, None]).astype(np.float32)
FORGET = RNG.rand(60) < 0.1


@pytest.fixture
def trainings(monkeypatch):
    counted, fit_net = [], _memory.fit_net

    def count(net, X, y):
        counted.append(len(X))
        return fit_net(net, X, y)

    monkeypatch.setattr(_memory, "fit_net", count)
    return counted


def puma(memory, **params):
    options = {"module__n_features": 4, "module__n_outputs": 3, "module__hidden": (6,)}
    net = NeuralNetClassifier(
        MLP, criterion=nn.CrossEntropyLoss, max_epochs=3, verbose=0, train_split=None, **options
    )
    return PumaClassifier(net, memory=memory, **{"random_state": 0, **params})


@pytest.mark.filterwarnings("ignore::sk_unlearn.exceptions.RetrainAdvisedWarning")
@pytest.mark.parametrize("routing", [False, True])
def test_a_grid_trains_once_a_fold_and_finds_the_same(tmp_path, trainings, routing):
    grid = {"eta": [0.3, 1.0, 2.0], "damping": [1e-3, 1e-2, 1e-1, 1.0]}

    def search(memory):
        with config_context(enable_metadata_routing=routing):
            found = GridSearchCV(puma(memory), grid, cv=5, refit=False)
            return found.fit(X, Y, forget=FORGET).cv_results_

    with_memory = search(tmp_path)
    assert len(trainings) == 5
    trainings.clear()
    without = search(None)
    assert len(trainings) == 60
    for name, values in without.items():
        if not name.endswith("_time"):
            assert np.array_equal(values, with_memory[name]), name


def test_the_key_covers_net_data_and_seed(tmp_path, trainings):
    memory = Memory(tmp_path, verbose=0)
    first = puma(memory).fit(X, Y)
    again = puma(memory, eta=0.5).fit(X, Y)
    assert len(trainings) == 1
    assert state_digest(first.estimator_) == state_digest(again.estimator_)
    for change in ({"random_state": 1}, {"estimator__max_epochs": 4}, {"estimator__lr": 0.02}):
        puma(memory).set_params(**change).fit(X, Y)
    puma(memory).fit(X + 1e-3, Y)
    puma(memory).fit(X, np.roll(Y, 1))
    assert len(trainings) == 6


def test_a_redefined_module_is_another(tmp_path, trainings, monkeypatch):
    puma(tmp_path).fit(X, Y)
    monkeypatch.setattr(_memory, "code_digest", lambda net: "changed")
    puma(tmp_path).fit(X, Y)
    assert len(trainings) == 2


def test_it_can_be_cleared(tmp_path, trainings):
    clf = puma(str(tmp_path)).fit(X, Y)
    assert clf.clear_memory() is clf
    clf.fit(X, Y)
    assert len(trainings) == 2
    assert list(puma(None).clear_memory().fit(X, Y).classes_) == [0, 1, 2]


def test_an_open_seed_is_refused(tmp_path):
    with pytest.raises(ValueError, match="random_state"):
        puma(tmp_path, random_state=None).fit(X, Y)
