"""What a request takes: counted, bounded by a share of a retrain, and forecast."""

import copy
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes, load_digits
from skorch import NeuralNetClassifier
from torch import nn

from sk_unlearn import PumaClassifier, PumaRegressor, RetrainClassifier, SisaClassifier
from sk_unlearn.approximate import _trusted_step
from sk_unlearn.approximate._budget import LEAST_PRODUCTS, MOST_WORK, Budget, most_work
from sk_unlearn.functional import BACKWARD, FORWARD, Work
from sk_unlearn.nets import MLP

pytestmark = pytest.mark.filterwarnings("ignore::sk_unlearn.exceptions.RetrainAdvisedWarning")


class ConvNet(nn.Module):
    def __init__(self, n_outputs=10):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(64, n_outputs),
        )

    def forward(self, X):
        return self.layers(X)


class Flat(nn.Module):
    """Tanh layers; half of the outputs come by a product of its own, which no layer explains."""

    def __init__(self, n_outputs=10):
        super().__init__()
        self.first, self.last = nn.Linear(64, 16), nn.Linear(16, n_outputs)
        self.scale = nn.Parameter(torch.ones(n_outputs))

    def forward(self, X):
        return self.scale * self.last(torch.tanh(self.first(X.flatten(1))))


def net(module=ConvNet, epochs=4, **params):
    settings = {"criterion": nn.CrossEntropyLoss, "optimizer": torch.optim.Adam, "verbose": 0}
    settings |= {"batch_size": 64, "train_split": None, "device": "cpu", "lr": 3e-3}
    return NeuralNetClassifier(module, max_epochs=epochs, **(settings | params))


@pytest.fixture(scope="module")
def images():
    X, y = load_digits(return_X_y=True)
    return (X[:600] / 16).astype(np.float32).reshape(-1, 1, 8, 8), y[:600]


class Counter:
    """Rows that go through a module, forwards and back."""

    def __init__(self, kind):
        self.kind, self.forward, self.backward = kind, 0, 0

    def __enter__(self):
        self.handle = nn.modules.module.register_module_forward_hook(self._see)
        return self

    def __exit__(self, *error):
        self.handle.remove()

    def _see(self, module, inputs, output):
        if not isinstance(module, self.kind):
            return
        self.forward += len(output)
        if output.requires_grad:
            output.register_hook(self._see_gradient)

    def _see_gradient(self, gradient):
        self.backward += len(gradient)

    @property
    def passes(self):
        return FORWARD * self.forward + BACKWARD * self.backward


SETTINGS = [
    {},
    {"compensation": None},
    {"compensation": "l2"},
    {"n_steps": 2},
    {"tol": 1e-2, "strict": True},
    {"damping": 1e-6},
    {"curvature": "hessian", "damping": 10.0},
    {"performance": lambda module, X, y: nn.functional.cross_entropy(module(X), y)},
    {"n_curvature_rows": None},
    {"chunk_size": 50},
]


@pytest.mark.parametrize("module", [ConvNet, Flat])
@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: "-".join(s) or "default")
def test_receipts_hold_what_went_through_the_net(images, settings, module):
    clf = PumaClassifier(net(module), random_state=0, **settings).fit(*images)
    for rows in (range(12), [40]):  # the first request, and one that finds what it left
        n_trained = clf._n_trained
        with Counter(module) as seen:
            cost = clf.forget(rows).receipts_[-1].cost
        claimed = cost.gradient_passes * n_trained
        assert seen.forward > 0
        assert seen.backward > 0
        # a derivative along a direction goes forward, and is not seen; nor arithmetic of matrices
        assert 0.9 * seen.passes <= claimed <= 2.5 * seen.passes
        assert cost.share_of_retrain * clf._n_trained * 4 == pytest.approx(claimed)


def test_a_training_that_stopped_early_is_the_measure(images):
    from skorch.callbacks import EarlyStopping

    stopping = {"callbacks": [EarlyStopping("train_loss", patience=1, threshold=0.9)]}
    clf = PumaClassifier(net(epochs=500, **stopping), random_state=0).fit(*images)
    n_epochs = len(clf.estimator_.history)
    assert n_epochs < 20
    cost = clf.forget([3]).receipts_[-1].cost
    n_rows = clf._n_trained + 1
    assert cost.share_of_retrain * n_epochs * (n_rows - 1) == pytest.approx(
        cost.gradient_passes * n_rows
    )


@pytest.mark.parametrize("epochs", [6, 12])
@pytest.mark.parametrize("damping", [1e-3, 1e-7])
def test_a_request_takes_a_share_of_a_retrain(images, epochs, damping):
    """However little damping, and however often it has to be raised."""
    X, y = np.tile(images[0], (3, 1, 1, 1)), np.tile(images[1], 3)
    clf = PumaClassifier(net(epochs=epochs), random_state=0, damping=damping).fit(X, y)
    for rows in ([5], range(40), np.flatnonzero(y == 3)):
        one = copy.deepcopy(clf)
        cost = one.forget(rows).receipts_[-1].cost
        assert cost.share_of_retrain <= 1.1 * MOST_WORK


def test_requests_in_many_steps_are_bounded_too(images):
    X, y = np.tile(images[0], (3, 1, 1, 1)), np.tile(images[1], 3)
    clf = PumaClassifier(net(epochs=12), random_state=0, n_steps=40).fit(X, y)
    few = copy.deepcopy(clf).set_params(n_steps=1).forget(range(60)).receipts_[-1]
    receipt = clf.forget(range(60)).receipts_[-1]
    steps = receipt.solver["steps"]
    n_left = sum(step["n_forgotten"] for step in steps)
    assert n_left == sum(step["n_forgotten"] for step in few.solver["steps"])  # none stayed behind
    assert len(steps) < 40
    assert receipt.cost.share_of_retrain <= 1.25 * MOST_WORK


def test_solves_are_bounded_but_never_forbidden():
    work = Work()
    budget = Budget(work, 600.0)
    assert budget.products(10, 100) == 10  # three solves of two passes a product
    assert budget.products(10, 7) == 7
    work.row_passes = 1e9
    assert budget.products(10, 100) == LEAST_PRODUCTS
    assert not budget.allows(0)
    assert most_work(10, 1000) == MOST_WORK * 10 * 1000


@pytest.fixture
def bent(monkeypatch):
    """Every attempt looks too far from a straight line."""
    monkeypatch.setattr(_trusted_step, "MAX_NONLINEARITY", 1e-9)
    monkeypatch.setattr(_trusted_step, "SHORT", 1e-5)
    monkeypatch.setattr(_trusted_step, "_powers", lambda too_long: 2)


def test_a_step_that_cannot_be_solved_again_is_shortened(images, bent):
    """Without another solve the net must not be left where a bent step leads."""
    clf = PumaClassifier(net(epochs=2), random_state=0).fit(*images)
    before = {n: p.detach().clone() for n, p in clf.estimator_.module_.named_parameters()}
    report = clf.forget(range(5)).receipts_[-1].solver["steps"][0]
    assert report["stopped"].startswith("a request may take")
    assert len(report["attempts"]) == 1
    moved = dict(clf.estimator_.module_.named_parameters())
    length = sum(float((moved[n].detach() - p).square().sum()) for n, p in before.items()) ** 0.5
    norm = sum(float(p.square().sum()) for p in before.values()) ** 0.5
    assert length / norm == pytest.approx(report["step_ratio"], rel=1e-2)
    assert report["shortened"] < 0.2


def kinds():
    digits = load_digits(return_X_y=True)
    flat = (digits[0][:400] / 16).astype(np.float32), digits[1][:400]
    many = np.random.default_rng(0)
    labels = np.repeat(np.arange(60), 5)
    wide = many.normal(size=(60, 8))[labels] * 2 + many.normal(size=(300, 8))
    rows, target = load_diabetes(return_X_y=True)
    target = ((target - target.mean()) / target.std()).astype(np.float32)
    small = {"module__n_features": 64, "module__n_outputs": 10}
    return {
        "default": (PumaClassifier(), *flat),
        "regression": (PumaRegressor(), (20 * rows).astype(np.float32), target),
        "deep": (PumaClassifier(net(MLP, 15, module__hidden=(32, 32), **small)), *flat),
        "linear": (PumaClassifier(net(MLP, 15, module__hidden=(), **small)), *flat),
        "convolutions": (PumaClassifier(net(epochs=5)), flat[0].reshape(-1, 1, 8, 8), flat[1]),
        "few epochs": (PumaClassifier(net(MLP, 2, **small)), *flat),
        "many classes": (PumaClassifier(), wide.astype(np.float32), labels),
    }


def test_forecasts_hold():
    """benchmarks/bench_forget_cost.py is the long version."""
    inside, spans = [], []
    for seed, (model, X, y) in enumerate(kinds().values()):
        model.set_params(random_state=seed).fit(X, y)
        random = np.random.default_rng(seed)
        group = [] if y.dtype.kind == "f" else [np.flatnonzero(y == y[1])]
        for rows in ([7], random.choice(len(y), len(y) // 20, replace=False), *group, [11]):
            foreseen = model.forget_cost(rows)
            found = model.forget(rows).receipts_[-1].cost
            assert foreseen.share_low <= foreseen.share_of_retrain <= foreseen.share_high
            assert found.share_low == found.share_high == found.share_of_retrain
            if found.share_of_retrain:
                held = foreseen.share_low <= found.share_of_retrain <= foreseen.share_high
                inside.append(held)
                spans.append(foreseen.share_high / foreseen.share_low)
    assert len(inside) >= 20
    assert np.mean(inside) >= 0.95
    assert np.median(spans) < 60


@pytest.mark.parametrize("make", [RetrainClassifier, SisaClassifier])
def test_exact_methods_know_their_work(images, make):
    X, y = images[0].reshape(len(images[0]), -1)[:120], images[1][:120]
    model = make(random_state=0).fit(X, y)
    foreseen = model.forget_cost([3])
    assert foreseen.share_low == foreseen.share_high == foreseen.share_of_retrain
    assert model.forget([3]).receipts_[-1].cost == foreseen


def test_rows_of_curvature_are_what_work_pays_for(images):
    clf = PumaClassifier(net(epochs=4), random_state=0).fit(*images)
    assert clf._n_sampled(clf._n_trained) < 300
    longer = PumaClassifier(net(epochs=60), random_state=0).fit(*images)
    assert longer._n_sampled(longer._n_trained) == 300
    assert clf.set_params(n_curvature_rows=None)._n_sampled(540) == 540


def test_many_classes_cost_what_the_receipt_says():
    """One row of 300 classes: no work that is of the order of classes squared."""
    random = np.random.default_rng(0)
    y = np.repeat(np.arange(300), 3)
    X = (random.normal(size=(300, 16))[y] * 4 + random.normal(size=(len(y), 16))).astype(
        np.float32
    )
    clf = PumaClassifier(random_state=0).fit(X, y)
    with Counter(MLP) as seen, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cost = clf.forget([5]).receipts_[-1].cost
    claimed = cost.gradient_passes * len(y)
    assert 0.9 * seen.passes <= claimed <= 2.5 * seen.passes
    assert cost.share_of_retrain < 0.3


def test_work_is_counted_inside_and_outside():
    from sk_unlearn.functional import count_passes, measured_work

    with measured_work() as outer:
        count_passes(3, 1.0)
        with measured_work() as inner:
            count_passes(4, 0.5)
    count_passes(1, 1.0)  # nobody counts
    assert (outer.row_passes, inner.row_passes) == (5.0, 2.0)
    assert replace(Budget(outer, 8.0)).allows(3.0)
