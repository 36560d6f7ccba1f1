"""Where PUMA could go wrong without anybody noticing."""

import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.datasets import make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetClassifier
from skorch.dataset import Dataset
from skorch.helper import predefined_split

from sk_unlearn import PumaClassifier
from sk_unlearn.exceptions import RemovalFailedError
from sk_unlearn.nets import MLP

pytestmark = pytest.mark.filterwarnings("ignore:Retraining is advised")
WEIGHT = torch.tensor([1.0, 5.0, 0.2])


class Softmax(torch.nn.Linear):
    def __init__(self):
        super().__init__(6, 3, dtype=torch.float64)


@pytest.fixture(scope="module")
def rows():
    return make_classification(120, 6, n_informative=4, n_classes=3, random_state=0)


def net(module=MLP, **params):
    sizes = {"module__n_features": 6, "module__n_outputs": 3} if module is MLP else {}
    settings = {"max_epochs": 10, "lr": 0.1, "train_split": None, "verbose": 0, "device": "cpu"}
    settings |= {"criterion": torch.nn.CrossEntropyLoss}
    return NeuralNetClassifier(module, **sizes, **(settings | params))


def flat(clf):
    return torch.cat([p.detach().reshape(-1) for p in clf.estimator_.module_.parameters()])


def test_class_weights_keep_the_divisor_of_fit(rows):
    X, y = rows
    leaving = np.flatnonzero(y == 1)[:25]
    weighted = net(
        Softmax, criterion__weight=WEIGHT.double(), optimizer__weight_decay=0.01, batch_size=-1
    )
    settings = {"compensation": None, "validation_fraction": None, "n_curvature_rows": None}
    settings |= {"eta": 0.1}  # short enough not to be cut
    clf = PumaClassifier(weighted, random_state=0, damping=1e-3, tol=1e-10, **settings).fit(X, y)
    before = flat(clf)
    W, Y = WEIGHT.double(), torch.from_numpy(y)
    X_ = torch.from_numpy(np.c_[X])
    kept = torch.ones(120, dtype=torch.bool)
    kept[leaving] = False

    def objective(theta, mask):
        scores = X_ @ theta[:18].reshape(3, 6).T + theta[18:]
        losses = torch.nn.functional.cross_entropy(scores, Y, weight=W, reduction="none")
        return losses[mask].sum() / W[Y].sum()

    hessian = torch.autograd.functional.hessian(lambda t: objective(t, kept), before)
    slope = torch.autograd.functional.jacobian(lambda t: objective(t, ~kept), before)
    ridge = (0.01 + 1e-3) * torch.eye(21, dtype=torch.float64)
    step = torch.linalg.solve(hessian + ridge, 0.1 * slope)
    np.testing.assert_allclose(flat(clf.forget(leaving)) - before, step, rtol=1e-6, atol=1e-12)


def test_a_step_that_cannot_be_computed_raises_and_changes_nothing(rows):
    X, y = rows
    clf = PumaClassifier(net(), random_state=1, curvature="hessian", damping=1e-4).fit(X, y)
    before = flat(clf)
    with pytest.raises(RemovalFailedError, match="nothing was forgotten"):
        clf.forget(range(12))
    assert torch.equal(flat(clf), before)
    assert len(clf.receipts_) == 0
    clf.set_params(curvature="gauss_newton", damping=1e-2).forget(range(12))
    assert clf.receipts_[-1].n_forgotten == 12


def test_a_step_longer_than_the_parameters_is_cut(rows):
    X, y = rows
    clf = PumaClassifier(net(Softmax), random_state=0, compensation=None, damping=1e-6).fit(X, y)
    before = flat(clf)
    clf.set_params(eta=1e4).forget(np.setdiff1d(np.arange(20), clf.validation_indices_))
    assert clf.receipts_[-1].solver["steps"][0]["step_ratio"] > 1
    assert float((flat(clf) - before).norm()) <= float(before.norm()) * (1 + 1e-9)


def test_a_diverged_net_is_named(rows):
    X, y = rows
    with pytest.warns(ConvergenceWarning, match="diverged"):
        clf = PumaClassifier(net(lr=1e30), random_state=0).fit(X, y)
    with pytest.raises(RemovalFailedError, match="diverged"):
        clf.forget([1])


def test_parameters_set_after_fit_are_validated(rows):
    clf = PumaClassifier(net(), random_state=0).fit(*rows).set_params(compensation="l3")
    with pytest.raises(ValueError, match="'compensation' parameter"):
        clf.forget([1])


def test_an_adopted_net_leaves_nothing_behind(rows):
    X, y = rows[0].astype(np.float32), rows[1].astype(np.int64)
    trained = net().fit(X, y)
    weights = trained.module_.layers[1].weight.detach().numpy().tobytes()
    clf = PumaClassifier(FrozenEstimator(trained), compensation=None, random_state=0).fit(X, y)
    assert weights in pickle.dumps(clf)
    assert weights not in pickle.dumps(clf.forget([7]))
    assert trained.module_.layers[1].weight.detach().numpy().tobytes() == weights
    assert clf.forget([8]).receipts_[-1].n_forgotten == 1


def test_loose_tolerance_still_compensates(rows):
    X, y = rows
    base = PumaClassifier(net(max_epochs=40), random_state=0, damping=1e-2).fit(X, y)
    order = np.argsort(base.influences())
    harmful = order[~np.isin(order, base.validation_indices_)][:5]
    reports = []
    for tol in (0.01, 0.34, 0.5):
        clf = copy.deepcopy(base).set_params(tol=tol).forget(harmful)
        reports.append(clf.receipts_[-1].solver["steps"][0])
    assert all(report["n_weighted"] > 0 for report in reports)
    assert abs(reports[0]["criterion_change_predicted"]) < 0.1 * reports[0]["damage"]


def test_criterion_rows_that_are_training_rows_are_refused(rows):
    X, y = rows[0].astype(np.float32), rows[1].astype(np.int64)
    overlapping = net(train_split=predefined_split(Dataset(X[:30], y[:30])))
    with pytest.raises(ValueError, match="30 of the 30 validation rows"):
        PumaClassifier(overlapping).fit(X, y)
