"""What is refused before training, through the estimators that need it."""

import pickle

import numpy as np
import pytest
import torch
from skorch import NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor
from torch import nn

from sk_unlearn import PumaClassifier, PumaRegressor
from sk_unlearn.exceptions import UnsupportedNetError
from sk_unlearn.nets import MLP, _differentiable, prepare
from sk_unlearn.nets._differentiable import check_differentiable

RNG = np.random.RandomState(0)
X = RNG.normal(size=(60, 5)).astype(np.float32)
LABELS = np.arange(60) % 3
CROSS = {"criterion": nn.CrossEntropyLoss}
SIZES = {"module__n_features": 5, "module__hidden": (6,), "max_epochs": 2, "verbose": 0}


class Untrained(Exception):
    pass


class Flat(MLP):
    def forward(self, X):
        return super().forward(X).squeeze(-1)


class Keeper(nn.Module):
    """Keeps its last batch, and constants that no state dict holds."""

    def __init__(self, n_features=5):
        super().__init__()
        self.last = None
        self.constant = torch.randn(n_features)
        self.norm = nn.BatchNorm1d(n_features)
        self.head = nn.Linear(n_features, 3)

    def forward(self, X):
        self.last = X.detach()
        return self.head(self.norm(X) + self.constant)


def net(kind, n_outputs, module=MLP, **settings):
    return kind(module, module__n_outputs=n_outputs, **(SIZES | settings))


def refuse_to_train(self, *args, **kwargs):
    raise Untrained


@pytest.mark.parametrize(
    ("estimator", "settings", "message"),
    [
        (
            NeuralNetClassifier,
            {"module__n_features": 4, "criterion": nn.CrossEntropyLoss},
            "mat1 and mat2 shapes.*module__n_features",
        ),
        (NeuralNetClassifier, {"criterion": nn.MultiMarginLoss}, "MultiMarginLoss"),
        (NeuralNetRegressor, {"n_outputs": 1}, "MSELoss.*3 classes.*NeuralNetClassifier"),
    ],
)
def test_classifier_nets_are_refused_before_training(monkeypatch, estimator, settings, message):
    monkeypatch.setattr(estimator, "fit", refuse_to_train)
    given = net(estimator, **({"n_outputs": 3} | settings))
    with pytest.raises(UnsupportedNetError, match=f"(?s){message}"):
        PumaClassifier(given, random_state=0).fit(X, LABELS)


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("settings", [{}, {"train_split": None}])
def test_regressors_do_not_take_criteria_of_labels(monkeypatch, n_outputs, settings):
    monkeypatch.setattr(NeuralNetClassifier, "fit", refuse_to_train)
    given = net(NeuralNetClassifier, n_outputs, criterion=nn.CrossEntropyLoss, **settings)
    with pytest.raises(UnsupportedNetError, match=r"reads class labels.*NeuralNetRegressor"):
        PumaRegressor(given, random_state=0).fit(X, X[:, 0])


def test_outputs_without_columns_are_unlearned():
    binary = net(NeuralNetBinaryClassifier, 1)
    clf = PumaClassifier(binary, random_state=0).fit(X, LABELS > 0).forget([1])
    assert clf.predict_proba(X).shape == (60, 2)
    reg = PumaRegressor(net(NeuralNetRegressor, 1, Flat), random_state=0)
    assert reg.fit(X, X[:, 0]).forget([1]).predict(X).shape == (60,)


def test_huber_is_accepted_whatever_rows_come_first():
    huber = net(NeuralNetRegressor, 1, criterion=nn.HuberLoss)
    y = np.r_[np.full(2, 100.0), X[2:, 0]]
    assert PumaRegressor(huber, random_state=0).fit(X, y).forget([1]).receipts_


@pytest.mark.parametrize("instance", [False, True])
def test_a_batch_that_the_module_keeps_is_forgotten(instance):
    torch.manual_seed(0)
    kept = NeuralNetClassifier(
        Keeper() if instance else Keeper,
        criterion=nn.CrossEntropyLoss,
        max_epochs=2,
        batch_size=100,
        verbose=0,
    )
    planted = X.copy()
    planted[7] = [1.25, 2.5, -3.75, 0.625, 8.5]
    clf = PumaClassifier(kept, validation_fraction=None, random_state=0).fit(planted, LABELS)
    before = clf.estimator_.module_
    assert planted[7].tobytes() in pickle.dumps(before)
    clf.forget([7])
    del planted
    after = clf.estimator_.module_
    assert np.float32([1.25, 2.5, -3.75, 0.625, 8.5]).tobytes() not in pickle.dumps(clf)
    assert torch.equal(before.constant, after.constant)
    assert torch.equal(before.norm.running_mean, after.norm.running_mean)


class TestTriedOnce:
    @pytest.fixture
    def tries(self, monkeypatch):
        calls = []
        check = _differentiable._check
        monkeypatch.setattr(_differentiable, "_PASSED", {})
        monkeypatch.setattr(_differentiable, "_check", lambda *a: [calls.append(a), check(*a)])
        return calls

    def test_equal_nets_once_and_others_anew(self, tries):
        for _ in range(3):
            check_differentiable(prepare(net(NeuralNetClassifier, 3, **CROSS)), X, LABELS)
        assert len(tries) == 1
        check_differentiable(prepare(net(NeuralNetClassifier, 4, **CROSS)), X, LABELS)
        check_differentiable(
            prepare(net(NeuralNetClassifier, 3, **CROSS)), X, LABELS, params="*3*"
        )
        check_differentiable(prepare(net(NeuralNetClassifier, 3, **CROSS)), X * 2, LABELS)
        assert len(tries) == 4

    def test_what_was_refused_is_refused_again(self, tries):
        wrong = prepare(net(NeuralNetClassifier, 2, **CROSS))
        for _ in range(2):
            with pytest.raises(UnsupportedNetError):
                check_differentiable(wrong, X, LABELS)
        # the labels count, not only the first two
        few = np.minimum(LABELS, 1)
        check_differentiable(wrong, X, few)
        with pytest.raises(UnsupportedNetError):
            check_differentiable(wrong, X, LABELS)

    def test_instances_are_not_kept(self, tries):
        module = MLP(n_features=5, n_outputs=3)
        for _ in range(2):
            check_differentiable(
                prepare(NeuralNetClassifier(module, **CROSS, verbose=0)), X, LABELS
            )
        assert len(tries) == 2
        assert not _differentiable._PASSED

    def test_few_are_kept(self, tries, monkeypatch):
        monkeypatch.setattr(_differentiable, "_MOST_PASSED", 2)
        for k in range(4):
            check_differentiable(prepare(net(NeuralNetClassifier, 3 + k, **CROSS)), X, LABELS)
        assert len(_differentiable._PASSED) == 2
