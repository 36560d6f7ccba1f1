"""Estimators whose nets are on a CUDA device: as on the CPU, in memory that is given back."""

import copy
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from skorch import NeuralNetClassifier, NeuralNetRegressor
from torch import nn, optim

from sk_unlearn import (
    ArcaneEnsembleClassifier,
    PumaClassifier,
    PumaRegressor,
    RetrainClassifier,
    SisaClassifier,
)
from sk_unlearn.nets import MLP, default_density
from sk_unlearn.utils.estimator_checks import parametrize_with_forget_checks

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.filterwarnings("ignore::sk_unlearn.exceptions.RetrainAdvisedWarning"),
]
RNG = np.random.RandomState(0)
Y = RNG.permutation(np.arange(120) % 3)
X = (RNG.normal(size=(120, 4)) + 2 * Y[:, None]).astype(np.float32)
TARGET = (X @ np.arange(4.0) / 10).astype(np.float32)


class DoubleMLP(MLP):
    """In float64, so that what devices round differently stays small."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.double()


def net(device, *, module=DoubleMLP, hidden=(8,)):
    return make_net(NeuralNetClassifier, device, module, hidden, 3, nn.CrossEntropyLoss)


def make_net(kind, device, module, hidden, n_outputs, criterion):
    return kind(
        module,
        module__n_features=4,
        module__n_outputs=n_outputs,
        module__hidden=hidden,
        criterion=criterion,
        optimizer=optim.Adam,
        lr=0.01,
        max_epochs=4,
        batch_size=16,
        train_split=None,
        iterator_train__shuffle=True,
        verbose=0,
        device=device,
    )


def regression_net(device):
    return make_net(NeuralNetRegressor, device, DoubleMLP, (8,), 1, nn.MSELoss)


def puma(device, *, hidden=(8,), **params):
    return PumaClassifier(net(device, hidden=hidden), random_state=0, **params)


def weighted(device):
    own = net(device).set_params(criterion__weight=torch.tensor([1.0, 2.0, 0.5]).double())
    return PumaClassifier(own, random_state=0)


ESTIMATORS = {
    "retrain": lambda device: RetrainClassifier(net(device), random_state=0),
    "sisa": lambda device: SisaClassifier(net(device), n_shards=3, n_slices=2, random_state=0),
    "arcane": lambda device: ArcaneEnsembleClassifier(
        default_density(n_features=4, device=device), random_state=0
    ),
    "puma": puma,
    "puma, held damping": partial(puma, adaptive_damping=False),
    "puma, all weighted": partial(puma, compensation="l2", strict=True),
    "puma, Hessian": partial(puma, curvature="hessian", damping=1.0),
    "puma, linear": partial(puma, hidden=()),
    "puma, of classes": weighted,
    "puma, regression": lambda device: PumaRegressor(regression_net(device), random_state=0),
    "puma, sampled": partial(puma, n_curvature_rows=40),
    "puma, steps": partial(puma, n_steps=2),
    "puma, some parameters": partial(puma, params="layers.3.*"),
}
PUMAS = [name for name in ESTIMATORS if name.startswith("puma")]


def fitted(name, device):
    return ESTIMATORS[name](device).fit(X, TARGET if "regression" in name else Y)


def outputs(estimator):
    kind = "predict_proba" if hasattr(estimator, "predict_proba") else "predict"
    return getattr(estimator, kind)(X)


@pytest.mark.parametrize("name", sorted(set(ESTIMATORS) - {"arcane"}))
def test_close_to_the_cpu(name):
    expected, found = (fitted(name, device) for device in ("cpu", "cuda"))
    np.testing.assert_allclose(outputs(found), outputs(expected), rtol=1e-6)
    for rows in (0, range(1, 7), [7]):
        expected.forget(rows)
        found.forget(rows)
        np.testing.assert_allclose(outputs(found), outputs(expected), rtol=1e-6)


def test_mixtures_predict_what_those_on_the_cpu_predict():
    """They start from draws along eigenvectors, whose signs are up to the library."""
    expected, found = (fitted("arcane", device).forget([0, 1]) for device in ("cpu", "cuda"))
    assert np.mean(found.predict(X) == expected.predict(X)) > 0.9


@pytest.mark.parametrize("name", PUMAS)
def test_influences_close_to_the_cpu(name):
    expected, found = (fitted(name, device).influences() for device in ("cpu", "cuda"))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_copies_go_on_alike(name):
    first = fitted(name, "cuda").forget([0, 1])
    second, third = copy.deepcopy(first), pickle.loads(pickle.dumps(first))
    for each in (first, second, third):
        each.forget([5, 6])
    np.testing.assert_allclose(outputs(third), outputs(second), rtol=1e-6)
    # a copy is without the curvature that was kept, and computes it where it is now
    np.testing.assert_allclose(outputs(second), outputs(first), rtol=0.05, atol=0.01)


CHECKED = ["arcane", "puma", "puma, linear", "puma, regression", "retrain", "sisa"]


@parametrize_with_forget_checks([ESTIMATORS[name]("cuda") for name in CHECKED])
def test_forget_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("name", ["puma", "sisa"])
def test_requests_leave_the_generators_alone(name):
    clf = fitted(name, "cuda")
    before = torch.cuda.get_rng_state(), torch.get_rng_state()
    clf.forget(0)
    assert torch.equal(before[0], torch.cuda.get_rng_state())
    assert torch.equal(before[1], torch.get_rng_state())


def test_memory_is_given_back():
    for _ in range(3):  # the first load libraries and have workspaces made
        before = torch.cuda.memory_allocated()
        clf = fitted("sisa", "cuda").forget(0).forget(1)
        del clf
        after = torch.cuda.memory_allocated()
    assert after <= before + 2**20


def test_requests_do_not_reserve_more_and_more():
    clf = SisaClassifier(net("cuda", module=MLP), n_shards=3, n_slices=2, random_state=0)
    clf.fit(X, Y)
    reserved = []
    for row in range(12):
        clf.forget(row)
        reserved.append(torch.cuda.memory_reserved())
    assert reserved[-1] == reserved[3]
