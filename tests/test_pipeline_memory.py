"""A cache of trained nets behind other steps: one training a fold, the same results."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from skorch import NeuralNetClassifier
from torch import nn

from sk_unlearn import PumaClassifier
from sk_unlearn.model_selection import forget_params
from sk_unlearn.nets import MLP, _memory
from sk_unlearn.pipeline import make_forget_pipeline

RNG = np.random.RandomState(0)
Y = np.arange(60) % 3
X = (RNG.normal(size=(60, 4)) + Y[:, None]).astype(np.float32)
FORGET = RNG.rand(60) < 0.1
GRID = {
    "pumaclassifier__eta": [0.3, 1.0, 2.0],
    "pumaclassifier__damping": [1e-3, 1e-2, 1e-1, 1.0],
}
pytestmark = pytest.mark.filterwarnings("ignore::sk_unlearn.exceptions.RetrainAdvisedWarning")


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
        MLP, criterion=nn.CrossEntropyLoss, max_epochs=1, verbose=0, train_split=None, **options
    )
    cheap = {"compensation": None, "n_curvature_rows": 10, "tol": 0.5, "random_state": 0}
    return PumaClassifier(net, memory=memory, **{**cheap, **params})


def plain(memory):
    return make_pipeline(StandardScaler(), puma(memory))


def forgetting(memory):
    return make_forget_pipeline(StandardScaler(), puma(memory), random_state=0)


def seeded_by_the_pipeline(memory):
    return make_forget_pipeline(Normalizer(), puma(memory, random_state=None), random_state=0)


@pytest.mark.parametrize(
    ("make", "routing"),
    [
        (plain, False),
        (plain, True),
        (forgetting, False),
        (forgetting, True),
        (seeded_by_the_pipeline, False),
    ],
)
def test_a_grid_trains_once_a_fold_and_finds_the_same(tmp_path, trainings, make, routing):
    step = "pumaclassifier" if make is plain and not routing else None
    params = forget_params(X, forget=FORGET, step=step)

    def search(memory, grid):
        with config_context(enable_metadata_routing=routing):
            found = GridSearchCV(make(memory), grid, cv=5, refit=False, error_score="raise")
            return found.fit(X, Y, **params).cv_results_

    with_memory = search(tmp_path, GRID)
    assert len(trainings) == 5
    trainings.clear()
    some = {"pumaclassifier__eta": [0.3, 2.0], "pumaclassifier__damping": [1e-2]}
    without = search(None, some)
    assert len(trainings) == 10
    same = [with_memory["params"].index(params) for params in without["params"]]
    for name, values in without.items():
        if name.startswith(("split", "mean_test", "std_test")):
            assert np.array_equal(values, with_memory[name][same]), name


def test_candidates_that_change_the_inputs_train_their_own(tmp_path, trainings):
    grid = {"pumaclassifier__eta": [0.3, 1.0], "standardscaler__with_std": [False, True]}
    for pipe in (plain(tmp_path), forgetting(tmp_path / "other")):
        step = "pumaclassifier" if "Forget" not in type(pipe).__name__ else None
        params = forget_params(X, forget=FORGET, step=step)
        trainings.clear()
        GridSearchCV(pipe, grid, cv=3, refit=False, error_score="raise").fit(X, Y, **params)
        assert len(trainings) == 2 * 3


def test_it_can_be_cleared_through_the_step(tmp_path, trainings):
    pipe = forgetting(tmp_path).fit(X, Y)
    pipe[-1].clear_memory()
    pipe.fit(X, Y)
    assert len(trainings) == 2


def test_an_open_seed_is_refused(tmp_path, trainings):
    pipe = make_forget_pipeline(StandardScaler(), puma(tmp_path, random_state=None))
    for unseeded in (pipe, make_forget_pipeline(Normalizer(), pipe)):
        with pytest.raises(ValueError, match=r"The memory of PumaClassifier .* random_state=None"):
            unseeded.fit(X, Y)
    assert not trainings
    make_forget_pipeline(Normalizer(), pipe, random_state=0).fit(X, Y)
    assert len(trainings) == 1
