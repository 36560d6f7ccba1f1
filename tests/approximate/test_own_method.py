"""The method of the guide, as it stands there, keeps every promise."""

import atexit
import shutil
import sys
import tempfile
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from skorch import NeuralNetClassifier, NeuralNetRegressor
from torch import nn

from sk_unlearn import PumaClassifier
from sk_unlearn.approximate import BaseNetForget, NetRegressorMixin
from sk_unlearn.base import Removal
from sk_unlearn.model_selection import compare_forgetting
from sk_unlearn.nets import MLP
from sk_unlearn.pipeline import make_forget_pipeline
from sk_unlearn.utils.estimator_checks import parametrize_with_forget_checks

EXAMPLE = Path(__file__).parents[2] / "examples" / "plot_own_method.py"
RNG = np.random.RandomState(0)
X, y = RNG.normal(size=(60, 4)), np.arange(60) % 3
X[:, 0] += 2 * y


CODE = EXAMPLE.read_text().split("# %%")[1]


def copied_into_an_empty_file():
    """The class, from a module of its own, so that it can be pickled."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "sk_unlearn_own_method.py").write_text(CODE)
    sys.path.append(str(folder))
    return import_module("sk_unlearn_own_method").NegGradClassifier


NegGrad = copied_into_an_empty_file()


class Normed(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


class Counted(NeuralNetClassifier):
    n_fits = 0

    def fit(self, *args, **kwargs):
        Counted.n_fits += 1
        return super().fit(*args, **kwargs)


class NoisyRegressor(NetRegressorMixin, BaseNetForget):
    """Adds noise to the parameters, and finds that this does not help."""

    def _remove(self, net, request):
        state = {k: v + 0.1 * torch.randn(v.shape) for k, v in net.module_.state_dict().items()}
        return state, Removal(request.cost(1), advice=("Retraining is advised: noise.",))

    def _row_passes(self, n_forgotten, n_retained):
        return 2, 1, 3


@parametrize_with_checks([NegGrad(random_state=0)])
def test_scikit_learn(estimator, check):
    check(estimator)


@parametrize_with_forget_checks([NegGrad(random_state=0)])
def test_forget(estimator, check):
    check(estimator)


def test_it_is_as_short_as_the_guide_says():
    code = [line for line in CODE.splitlines() if line.strip() and line.strip()[0] != "#"]
    assert len(code) < 60


def test_it_works_in_searches_and_pipelines():
    for pipe in (make_pipeline, make_forget_pipeline):
        model = pipe(StandardScaler(), NegGrad(random_state=0)).fit(X, y)
        (model if pipe is make_forget_pipeline else model[-1]).forget([0, 1])
        assert model.predict(X).shape == (60,)
    search = GridSearchCV(NegGrad(random_state=0), {"alpha": [0.9, 1.0]}, cv=2)
    assert search.fit(X, y, forget=np.arange(60) < 3).best_score_ > 0.3


def test_buffers_that_a_method_returns_are_those_of_the_net():
    net = NeuralNetClassifier(
        Normed, criterion=nn.CrossEntropyLoss, max_epochs=2, train_split=None, verbose=0
    )
    clf = NegGrad(net, random_state=0).fit(X, y)
    before = clf.estimator_.module_[1].num_batches_tracked.item()
    clf.forget([3, 17])
    assert clf.estimator_.module_[1].num_batches_tracked.item() == before + 2  # forward passes
    assert not clf.estimator_.history


def test_a_forecast_is_what_the_hook_says():
    clf = NegGrad(random_state=0).fit(X, y)
    expected, done = clf.forget_cost([0]), clf.forget([0]).receipts_[-1].cost
    assert expected.gradient_passes == pytest.approx(done.gradient_passes)
    assert expected.share_of_retrain == pytest.approx(done.share_of_retrain)


def test_methods_on_nets_share_one_training_and_one_set_of_controls():
    net = Counted(
        MLP,
        module__n_features=4,
        module__n_outputs=3,
        criterion=nn.CrossEntropyLoss,
        max_epochs=2,
        train_split=None,
        verbose=0,
    )
    settings = {"n_models": 5, "metrics": "klom", "random_state": 0, "forget_size": 3}
    methods = {"NegGrad+": NegGrad(net), "PUMA": PumaClassifier(net)}
    start = Counted.n_fits
    both = compare_forgetting(methods, X, y, **settings)
    of_both = Counted.n_fits - start
    alone = compare_forgetting({"PUMA": methods["PUMA"]}, X, y, **settings)
    assert of_both == Counted.n_fits - start - of_both > 0
    assert [r["estimator"] for r in both.records if r["control"]] == ["nothing", "retrained"]
    of_puma = [r for c in (both, alone) for r in c.records if r["estimator"] == "PUMA"]
    assert of_puma[0]["metrics"] == of_puma[1]["metrics"]


def test_another_share_of_held_out_rows_is_another_training():
    settings = {"n_models": 5, "metrics": "klom", "random_state": 0, "forget_size": 3}
    methods = {"a": NegGrad(), "b": PumaClassifier(validation_fraction=0.2)}
    found = compare_forgetting(methods, X, y, **settings)
    assert sum(r["control"] == "nothing" for r in found.records) == 2


def test_advice_of_a_method_is_followed():
    net = NeuralNetRegressor(
        MLP,
        module__n_features=4,
        module__n_outputs=1,
        max_epochs=2,
        train_split=None,
        verbose=0,
    )
    target, ids = y.astype(float), np.arange(60)
    reg = NoisyRegressor(net, random_state=0, on_advice="retrain").fit(X, target, sample_id=ids)
    row = int(np.setdiff1d(ids, reg.validation_indices_)[0])
    cost = reg.forget_cost([row])
    assert cost.share_low < cost.share_of_retrain < cost.share_high
    reg.forget([row])
    assert str(reg.receipts_[-1].guarantee) == "exact"
    rest = ids != row
    fresh = NoisyRegressor(net, random_state=0).fit(X[rest], target[rest], sample_id=ids[rest])
    assert np.array_equal(reg.predict(X), fresh.predict(X))
