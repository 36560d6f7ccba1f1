"""PUMA on digits with the default net: what a user sees."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from skorch import NeuralNetBinaryClassifier, NeuralNetClassifier

from sk_unlearn import PumaClassifier
from sk_unlearn.exceptions import RetrainAdvisedWarning, UnsupportedNetError


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return train_test_split(X / 16, y, random_state=0, stratify=y)


@pytest.fixture(scope="module")
def trained(digits):
    return PumaClassifier(random_state=0).fit(digits[0], digits[2])


@pytest.fixture
def puma(trained):
    return copy.deepcopy(trained)


def random_rows(digits, share, seed=0):
    n_rows = len(digits[0])
    return np.sort(np.random.RandomState(seed).choice(n_rows, int(share * n_rows), replace=False))


def mean_loss(clf, X, y):
    proba = clf.predict_proba(X)[np.arange(len(y)), np.searchsorted(clf.classes_, y)]
    return float(-np.log(proba).mean())


def flat(clf):
    return torch.cat([p.detach().reshape(-1) for p in clf.estimator_.module_.parameters()])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Retraining is advised")
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_forgetting_moves_towards_the_retrained_model(digits, puma, seed):
    # 3e-3 is the better damping on unstandardised digits: see the user guide
    puma.set_params(damping=3e-3)
    X, X_test, y, y_test = digits
    rows = random_rows(digits, 0.05, seed)
    kept = np.setdiff1d(np.arange(len(X)), rows)
    retrained = PumaClassifier(random_state=0).fit(X[kept], y[kept], sample_id=kept)
    before, accuracy, parameters = (
        mean_loss(puma, X[rows], y[rows]),
        puma.score(X_test, y_test),
        flat(puma),
    )
    puma.forget(rows)
    goal, after = mean_loss(retrained, X[rows], y[rows]), mean_loss(puma, X[rows], y[rows])
    assert before < goal, "a retrained model fits rows worse that it never saw"
    assert abs(after - goal) < 0.8 * abs(before - goal)
    assert abs(puma.score(X_test, y_test) - accuracy) <= 0.01
    assert not torch.equal(flat(puma), parameters)


def test_eta_is_monotone_in_forget_loss_until_the_warning(digits, puma):
    rows = random_rows(digits, 0.05)
    losses, warned = [mean_loss(puma, digits[0][rows], digits[2][rows])], []
    for eta in (0.1, 0.3, 1, 3, 10):
        clf = copy.deepcopy(puma).set_params(eta=eta)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            clf.forget(rows)
        warned.append(any(w.category is RetrainAdvisedWarning for w in caught))
        if not warned[-1]:
            losses.append(mean_loss(clf, digits[0][rows], digits[2][rows]))
    assert losses == sorted(losses)
    assert len(losses) >= 3
    assert warned[-1], "an eta of 10 is far beyond the expansion"


@pytest.mark.slow
def test_mislabelled_rows_raise_the_warning_and_random_rows_do_not(digits):
    X, _, y, _ = digits
    rows = random_rows(digits, 0.01)
    wrong = y.copy()
    wrong[rows] = (wrong[rows] + 1 + rows % 9) % 10
    clf = PumaClassifier(random_state=0).fit(X, wrong)
    with pytest.warns(RetrainAdvisedWarning):
        clf.forget(rows)
    assert clf.receipts_[-1].advice
    phi = PumaClassifier(random_state=0).fit(X, wrong).influences()
    top = np.argsort(phi)[::-1][: 2 * len(rows)]
    assert np.isin(rows, top).mean() > 0.5, "mislabelled rows rank first"


def test_random_rows_raise_no_warning(digits, puma):
    puma.forget(random_rows(digits, 0.01, seed=3))
    assert puma.receipts_[-1].advice == ()


def test_held_out_rows_cost_nothing_and_move_nothing(digits, puma):
    held_out = np.flatnonzero(~puma._trained_)
    assert len(held_out) == pytest.approx(0.1 * len(digits[0]), rel=0.1)
    before = flat(puma)
    puma.forget(held_out[:5])
    assert torch.equal(flat(puma), before)
    assert puma.receipts_[-1].cost.gradient_passes == 0
    assert puma.receipts_[-1].n_forgotten == 5
    with pytest.raises(ValueError, match="rows that the net was trained on"):
        puma.forget(np.delete(np.arange(len(digits[0])), held_out))


def test_cache_is_not_pickled_and_not_needed(digits, puma):
    puma.forget([1])
    assert hasattr(puma, "_curvature_cache_")
    twin = pickle.loads(pickle.dumps(puma))
    assert not hasattr(twin, "_curvature_cache_")
    puma.forget([2])
    twin.forget([2])
    scale = float(flat(puma).norm())
    assert float((flat(puma) - flat(twin)).norm()) < 0.01 * scale


def test_training_state_is_gone_after_forgetting(puma):
    assert puma.estimator_.optimizer_.state_dict()["state"]
    assert len(puma.estimator_.history) > 0
    puma.forget([0])
    assert not puma.estimator_.optimizer_.state_dict()["state"]
    assert len(puma.estimator_.history) == 0


def test_preview_is_near_the_bill(digits, puma):
    rows = random_rows(digits, 0.01)
    preview = puma.forget_cost(rows)
    bill = puma.forget(rows).receipts_[-1].cost
    assert preview.n_forgotten == bill.n_forgotten
    assert 0.3 < preview.gradient_passes / bill.gradient_passes < 3


class Convolutional(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.features = torch.nn.Sequential(
            torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Flatten()
        )
        self.head = torch.nn.Linear(72, 10)

    def forward(self, X):
        return self.head(self.features(X))


def net_on(module, **params):
    settings = {"max_epochs": 15, "lr": 0.1, "verbose": 0, "device": "cpu", "batch_size": 32}
    settings |= {"criterion": torch.nn.CrossEntropyLoss, "optimizer__weight_decay": 1e-4}
    return NeuralNetClassifier(module, **(settings | params))


@pytest.mark.filterwarnings("ignore:Retraining is advised")
def test_convolutional_net_on_images(digits):
    X, y = digits[0].reshape(-1, 1, 8, 8).astype(np.float32), digits[2]
    clf = PumaClassifier(net_on(Convolutional), random_state=0).fit(X, y)
    before = flat(clf)
    rows = np.flatnonzero(y == 7)
    clf.set_params(params="head.*").forget(rows)
    assert 7 not in clf.classes_
    assert clf.predict_proba(X[:5]).shape == (5, 9)
    n_head = 72 * 10 + 10
    moved = flat(clf) != before
    assert not moved[:-n_head].any()
    assert moved[-n_head:].any()
    with pytest.raises(ValueError, match="fitted on rows of shape"):
        clf.predict(X[:, :, :4])


class Head(torch.nn.Linear):
    def __init__(self, n_outputs=10, squeeze=False):
        super().__init__(64, n_outputs)
        self.squeeze = squeeze

    def forward(self, X):
        scores = super().forward(X)
        return scores.squeeze(-1) if self.squeeze else scores


@pytest.mark.filterwarnings("ignore:Retraining is advised")
def test_weighted_criterion_and_binary_nets(digits):
    X, y = digits[0].astype(np.float32), digits[2]
    weighted = net_on(Head, criterion__weight=torch.linspace(0.5, 2, 10))
    clf = PumaClassifier(weighted, random_state=0).fit(X, y)
    last = slice(len(X) - 40, len(X))  # skorch's default split holds out the first rows
    before = mean_loss(clf, X[last], y[last])
    assert mean_loss(clf.forget(last), X[last], y[last]) > before
    binary = NeuralNetBinaryClassifier(
        Head, module__n_outputs=1, module__squeeze=True, max_epochs=5, verbose=0, device="cpu"
    )
    clf = PumaClassifier(binary, random_state=0).fit(X, np.where(y > 4, "high", "low"))
    assert list(clf.forget(range(10)).classes_) == ["high", "low"]
    assert clf.predict_proba(X[:3]).shape == (3, 2)


def test_unsupported_nets_are_refused_before_training(digits):
    X, y = digits[0].astype(np.float32), digits[2]
    for net, reason in [
        (net_on(Head, criterion__reduction="sum"), "mean"),
        (net_on(Head, module__n_outputs=4), "outputs"),
    ]:
        clf = PumaClassifier(net)
        with pytest.raises((UnsupportedNetError, ValueError), match=reason):
            clf.fit(X, y)
        assert not hasattr(clf, "estimator_")
    with pytest.raises(UnsupportedNetError, match="matches"):
        PumaClassifier(net_on(Head), params="nothing.*").fit(X, y)
    from sklearn.linear_model import LogisticRegression

    with pytest.raises(UnsupportedNetError, match="skorch net"):
        PumaClassifier(LogisticRegression()).fit(X, y)


@pytest.mark.filterwarnings("ignore::sk_unlearn.exceptions.RetrainAdvisedWarning")
def test_same_bits_twice(digits, puma):
    twin = copy.deepcopy(puma)
    puma.forget(range(20))
    twin.forget(range(20))
    assert torch.equal(flat(puma), flat(twin))
