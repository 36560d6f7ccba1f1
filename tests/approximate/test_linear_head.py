"""PUMA on a linear net: the closed form is chosen, kept, and equals the iterative solve."""

import copy

import numpy as np
import pytest
import torch

from sk_unlearn import PumaClassifier
from sk_unlearn.approximate import _curvature_cache
from sk_unlearn.functional import HeadCurvature
from sk_unlearn.nets import default_classifier

pytestmark = pytest.mark.filterwarnings("ignore::sk_unlearn.exceptions.RetrainAdvisedWarning")

RNG = np.random.RandomState(0)
Y = np.arange(300) % 3
X = (RNG.normal(size=(300, 6)) + 0.7 * np.eye(3, 6)[Y]).astype(np.float32)


@pytest.fixture(scope="module")
def fitted():
    net = default_classifier(n_features=6, n_outputs=3, n_rows=300, hidden=(), device="cpu")
    return PumaClassifier(net, random_state=0, n_curvature_rows=100).fit(X, Y)


def parameters(clf):
    return np.concatenate(
        [p.detach().numpy().ravel() for p in clf.estimator_.module_.parameters()]
    )


def trained(clf):
    return np.setdiff1d(np.arange(300), clf.validation_indices_)


def test_the_step_is_that_of_conjugate_gradients(fitted):
    rows = trained(fitted)[:5]
    closed, by_cg = copy.deepcopy(fitted), copy.deepcopy(fitted)
    by_cg.set_params(curvature="hessian", tol=1e-5, adaptive_damping=False)
    start = parameters(fitted)
    steps = [parameters(clf.forget(rows)) - start for clf in (closed, by_cg)]
    np.testing.assert_allclose(steps[0], steps[1], atol=1e-3 * np.abs(steps[1]).max())
    assert closed.receipts_[-1].solver["steps"][0]["solves"][0]["n_products"] == 0
    assert by_cg.receipts_[-1].solver["steps"][0]["solves"][0]["n_products"] > 0


def test_the_inverse_is_built_once_and_updated(fitted, monkeypatch):
    monkeypatch.setattr(_curvature_cache, "MAX_MOVED", 10.0)
    clf, counted, build = copy.deepcopy(fitted), [], HeadCurvature.build
    monkeypatch.setattr(
        HeadCurvature, "build", lambda *a, **k: counted.append(1) or build(*a, **k)
    )
    for row in trained(fitted)[:5]:
        clf.forget([row])
    assert len(counted) == 1
    head = clf._curvature_cache_.kept
    assert np.isin(head.position, clf._rows_.position).all()
    assert len(head.position) == len(head.curvature.roots)
    clf.influences()
    assert len(counted) == 1
    clf.influences(damping=0.1)
    assert len(counted) == 2


@pytest.mark.parametrize("limit", ["MAX_MOVED", "MAX_GONE"])
def test_it_is_built_anew_when_it_has_aged(fitted, monkeypatch, limit):
    monkeypatch.setattr(_curvature_cache, "MAX_MOVED", 10.0)
    monkeypatch.setattr(_curvature_cache, limit, 0.0)
    clf = copy.deepcopy(fitted)
    clf.forget(trained(fitted)[:1])
    first = clf._curvature_cache_.kept
    gone = first.position[:2] if limit == "MAX_GONE" else trained(clf)[2:3]
    clf.forget(gone)
    head, last = clf._curvature_cache_.kept, clf.receipts_[-1].solver["steps"][0]
    assert head.moved == last["step_ratio"]
    assert not np.isin(gone, head.position).any()


def test_several_steps_do_not_use_it(fitted):
    clf = copy.deepcopy(fitted).set_params(n_steps=2)
    clf.forget(trained(fitted)[:4])
    assert clf._curvature_cache_.kept is None


def test_other_parameters_between_requests():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(120, 6)).astype(np.float32), rng.integers(0, 3, 120)
    net = default_classifier(n_features=6, n_outputs=3, n_rows=120, hidden=(), device="cpu")
    clf = PumaClassifier(net, damping=0.1, random_state=0).fit(X, y).forget(range(5))
    weight = clf.estimator_.module_.state_dict()["layers.1.weight"].clone()
    clf.set_params(params="*bias").forget(range(5, 9))
    assert torch.equal(weight, clf.estimator_.module_.state_dict()["layers.1.weight"])
    assert len(clf.receipts_) == 2
