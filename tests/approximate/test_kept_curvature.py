"""Curvature that a request of PUMA leaves for the next one, of a net with a hidden layer."""

import copy
import pickle

import numpy as np
import pytest
import torch

from sk_unlearn import PumaClassifier
from sk_unlearn.approximate import _curvature_cache, _curvature_system
from sk_unlearn.functional import RowSpace

pytestmark = pytest.mark.filterwarnings("ignore::sk_unlearn.exceptions.RetrainAdvisedWarning")

RNG = np.random.RandomState(0)
Y = np.arange(300) % 3
X = (RNG.normal(size=(300, 6)) + np.eye(3, 6)[Y]).astype(np.float32)


@pytest.fixture(scope="module")
def fitted():
    return PumaClassifier(random_state=0, n_curvature_rows=100, damping=0.1).fit(X, Y)


@pytest.fixture
def built(monkeypatch):
    """Numbers of rows of the systems that were built."""
    counted, build = [], RowSpace.build
    monkeypatch.setattr(
        RowSpace, "build", lambda *a, **k: counted.append(len(a[2])) or build(*a, **k)
    )
    return counted


def trained(clf):
    return np.setdiff1d(clf._rows_.position, clf.validation_indices_)


def parameters(clf):
    return np.concatenate(
        [p.detach().numpy().ravel() for p in clf.estimator_.module_.parameters()]
    )


def kept_of(clf):
    return clf._curvature_cache_.kept


def test_small_requests_build_once_and_drop_their_rows(fitted, built):
    clf = copy.deepcopy(fitted).forget(trained(fitted)[:1])
    for _ in range(4):  # a row that the system knows each time
        clf.forget(kept_of(clf).position[:1])
    kept = kept_of(clf)
    assert len(built) == 1
    assert len(kept.position) == built[0] - 4 == len(kept.curvature._inputs[0])
    assert np.isin(kept.position, clf._rows_.position).all()
    lengths = [receipt.solver["steps"][0]["step_ratio"] for receipt in clf.receipts_]
    assert kept.moved == pytest.approx(sum(lengths))
    assert 0 < kept.moved < _curvature_cache.MAX_MOVED


def test_a_later_step_is_that_of_a_system_built_anew_where_nothing_moved(fitted, built):
    # with eta=0 the parameters stay, so that the kept system and a new one are of one point
    clf = copy.deepcopy(fitted).set_params(n_curvature_rows=None, tol=1e-2, compensation=None)
    clf.set_params(eta=0.0).forget(trained(fitted)[:4]).set_params(eta=1.0)
    before, other = parameters(clf), copy.deepcopy(clf)  # a copy has no cache
    rows = trained(clf)[5:9]
    steps = [parameters(one.forget(rows)) - before for one in (clf, other)]
    assert len(built) == 2
    assert np.linalg.norm(steps[0] - steps[1]) < 0.02 * np.linalg.norm(steps[1])
    assert steps[1].any()


@pytest.mark.parametrize("limit", ["MAX_MOVED", "MAX_GONE"])
def test_it_is_built_anew_when_it_has_aged(fitted, built, monkeypatch, limit):
    monkeypatch.setattr(_curvature_cache, limit, 0.0)
    clf = copy.deepcopy(fitted).forget(trained(fitted)[:1])
    gone = kept_of(clf).position[:2]
    clf.forget(gone)
    assert len(built) == 2
    assert kept_of(clf).moved == clf.receipts_[-1].solver["steps"][0]["step_ratio"]
    assert not np.isin(gone, kept_of(clf).position).any()


@pytest.mark.parametrize(
    ("changed", "n_built"),
    [
        ({"tol": 0.2}, 1),  # what is exact enough for .1 is for .2
        ({"tol": 0.05}, 2),
        ({"damping": 0.2}, 2),
        ({"n_curvature_rows": 150}, 2),
        ({"params": "layers.3.*"}, 1),  # another kind of system: that of a linear head
        ({"curvature": "hessian"}, 1),
        ({"n_steps": 2}, 3),
    ],
)
def test_other_settings_between_requests(fitted, built, changed, n_built):
    clf = copy.deepcopy(fitted).forget(trained(fitted)[:1])
    clf.set_params(**changed).forget(trained(clf)[:2])
    assert len(built) == n_built


def test_nothing_of_a_request_stays_in_it(fitted):
    clf = copy.deepcopy(fitted).forget(trained(fitted)[:1])
    rows = kept_of(clf).position[:3]
    clf.forget(rows)
    space = kept_of(clf).curvature
    assert space._known == []  # gradients of the rows that left
    for row in rows:
        assert not (space._inputs[0][:, :6] == torch.from_numpy(X[row])).all(dim=1).any()
    held = [value for value in vars(space).values() if isinstance(value, torch.nn.Module)]
    assert not held
    assert not hasattr(space._layout, "module")
    assert not hasattr(pickle.loads(pickle.dumps(clf)), "_curvature_cache_")


def test_large_systems_are_not_kept(fitted, built, monkeypatch):
    monkeypatch.setattr(_curvature_system, "MAX_BYTES", 1000)
    clf = copy.deepcopy(fitted).forget(trained(fitted)[:1])
    assert kept_of(clf) is None
    clf.forget(trained(clf)[:1])
    assert len(built) == 2


def test_a_request_that_fails_leaves_it_as_it_was(fitted, monkeypatch):
    clf = copy.deepcopy(fitted).forget(trained(fitted)[:1])
    before, position = kept_of(clf), kept_of(clf).position.copy()

    def broken(*args, **kwargs):
        raise RuntimeError("planted")

    monkeypatch.setattr("sk_unlearn.approximate._trusted_step.removal_step", broken)
    with pytest.raises(RuntimeError, match="planted"):
        clf.forget(before.position[:2])
    assert kept_of(clf) is before
    assert np.array_equal(kept_of(clf).position, position)


def scale_parameters(clf):
    for value in clf.estimator_.module_.parameters():
        value.data.mul_(0.5)  # torch does not count this as a write


def load(clf):
    module = clf.estimator_.module_
    module.load_state_dict({k: v + 0.01 for k, v in module.state_dict().items()})


def smooth_labels(clf):
    clf.estimator_.set_params(criterion__label_smoothing=0.5)


@pytest.mark.parametrize("change", [scale_parameters, load, smooth_labels])
def test_a_net_that_somebody_changed_gets_curvature_of_its_own(fitted, built, change):
    clf = copy.deepcopy(fitted).forget(trained(fitted)[:1])
    change(clf)
    clf.forget(trained(clf)[:1])
    assert len(built) == 2
    change(clf)
    clf.influences()
    assert len(built) == 3 - (change is smooth_labels)  # the same value again is no change


def test_held_out_rows_leave_it_as_it_is(fitted, built):
    clf = copy.deepcopy(fitted).forget(trained(fitted)[:1])
    clf.forget(clf.validation_indices_[:2]).forget(trained(clf)[:1])
    assert len(built) == 1


def test_clear_memory_drops_it(fitted):
    clf = copy.deepcopy(fitted).forget(trained(fitted)[:1])
    assert clf.clear_memory() is clf
    assert not hasattr(clf, "_curvature_cache_")
    clf.forget(trained(clf)[:1])
