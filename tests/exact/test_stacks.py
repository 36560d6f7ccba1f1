"""Shards trained side by side: the bits of a fresh fit, and to rounding those of each alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from skorch import NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import LRScheduler
from torch import nn, optim

from sk_unlearn import SisaClassifier, SisaRegressor
from sk_unlearn.exact import _sisa_base
from sk_unlearn.nets import MLP
from sk_unlearn.nets.stacked import _train
from sk_unlearn.utils._digest import state_digest

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
N_ROWS = 60
RNG = np.random.RandomState(0)
Y = RNG.permutation(np.arange(N_ROWS) % 3)
X = (RNG.normal(size=(N_ROWS, 4)) + 2 * Y[:, None]).astype(np.float32)
TARGET = X @ np.array([1.0, -1.0, 0.5, 0.0], dtype=np.float32)
UNEVEN = (
    np.linspace(0, 0.9, N_ROWS) ** 2
)  # likely to leave: the first shard is several times larger

CYCLE = LRScheduler(
    "CyclicLR", base_lr=0.01, max_lr=0.1, step_size_up=3, cycle_momentum=True, step_every="batch"
)
OPTIMIZERS = {
    "sgd": {"optimizer": optim.SGD, "lr": 0.05, "optimizer__momentum": 0.9},
    "nesterov, cyclic": {
        "optimizer": optim.SGD,
        "optimizer__momentum": 0.9,
        "optimizer__nesterov": True,
        "callbacks": [("schedule", CYCLE)],
    },
    "adam": {"optimizer": optim.Adam},
    "adamw, steps": {
        "optimizer": optim.AdamW,
        "optimizer__amsgrad": True,
        "callbacks": [("schedule", LRScheduler("StepLR", step_size=2, gamma=0.5))],
    },
}


def options(**params):
    defaults = {
        "module": MLP,
        "module__n_features": 4,
        "module__n_outputs": 3,
        "module__hidden": (5,),
        "max_epochs": 3,
        "batch_size": 8,
        "train_split": None,
        "iterator_train__shuffle": True,
        "verbose": 0,
    }
    return {**defaults, **params}


def net(**params):
    return NeuralNetClassifier(criterion=nn.CrossEntropyLoss, **options(**params))


LEARNED = ["estimators_", "classes_", "stacked_", "alone_because_", "_chains_"]


def differences(found, expected, names):
    """Names of attributes that differ in a bit."""
    found, expected = found._exact_state(), expected._exact_state()
    return [k for k in names if state_digest(found[k]) != state_digest(expected[k])]


def fit_rows(make, rows, proba):
    return make().fit(X[rows], Y[rows], sample_id=rows, forget_proba=proba[rows])


@settings(max_examples=15)
@given(
    optimizer=st.sampled_from(sorted(OPTIMIZERS)),
    n_shards=st.integers(2, 6),
    n_slices=st.integers(1, 4),
    place=st.sampled_from(["memory", "files", "lost files"]),
    n_jobs=st.sampled_from([1, 2]),
    drop_last=st.booleans(),
    uneven=st.booleans(),
    requests=st.lists(
        st.sets(st.integers(0, N_ROWS - 1), min_size=1, max_size=15), min_size=1, max_size=3
    ),
    order=st.randoms(use_true_random=False),
)
def test_forgetting_side_by_side_is_a_fresh_fit(
    tmp_path_factory,
    optimizer,
    n_shards,
    n_slices,
    place,
    n_jobs,
    drop_last,
    uneven,
    requests,
    order,
):
    folder = None if place == "memory" else tmp_path_factory.mktemp("states")
    proba = UNEVEN if uneven else np.zeros(N_ROWS)

    def make(n_jobs=n_jobs):
        return SisaClassifier(
            net(**OPTIMIZERS[optimizer], iterator_train__drop_last=drop_last),
            n_shards=n_shards,
            n_slices=n_slices,
            checkpoints=folder,
            n_jobs=n_jobs,
            random_state=0,
        )

    clf = fit_rows(make, np.arange(N_ROWS), proba)
    assert clf.stacked_
    kept = np.arange(N_ROWS)
    for rows in requests:
        if place == "lost files":
            for path in sorted(folder.rglob("*.safetensors"))[::2]:
                path.unlink()
        clf.forget(sorted(rows))
        kept = np.setdiff1d(kept, sorted(rows))
    kept = kept.tolist()
    order.shuffle(kept)
    fresh = fit_rows(lambda: make(1), np.array(kept), proba)
    # states between steps by content; those of untouched shards stay lost
    names = LEARNED + ["_store_"] * (place != "lost files")
    assert differences(clf, fresh, names) == []


@pytest.mark.cuda
@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("drop_last", [False, True])
def test_forgetting_on_a_cuda_device_is_a_fresh_fit(tmp_path, optimizer, n_jobs, drop_last):
    def make(folder=None):
        own = {**OPTIMIZERS[optimizer], "device": "cuda", "iterator_train__drop_last": drop_last}
        params = {"n_shards": 5, "n_slices": 3, "checkpoints": folder, "random_state": 0}
        return SisaClassifier(net(**own), n_jobs=n_jobs, **params)

    for place in (None, tmp_path):
        clf = fit_rows(lambda place=place: make(place), np.arange(N_ROWS), UNEVEN)
        assert clf.stacked_
        assert next(clf.estimators_[0].module_.parameters()).is_cuda
        kept = np.arange(N_ROWS)
        for rows in ([3], [40, 41, 42, 5], [7]):
            clf.forget(rows)
            kept = np.setdiff1d(kept, rows)
        assert differences(clf, fit_rows(make, kept, UNEVEN), LEARNED) == []


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_nets_that_are_made_up_change_nothing(optimizer, monkeypatch):
    """As on devices where all stacks have one size."""
    make = SisaClassifier(net(**OPTIMIZERS[optimizer]), n_shards=4, n_slices=2, random_state=0)
    expected = make.fit(X, Y).forget([3, 4]).estimators_
    monkeypatch.setattr(_sisa_base, "n_slots", lambda net, n_nets: n_nets + 1)
    nets, seen = _train.StackedNets, []

    def noted(module, states, *rest):
        seen.append(len(states))
        return nets(module, states, *rest)

    monkeypatch.setattr(_train, "StackedNets", noted)
    found = make.fit(X, Y).forget([3, 4]).estimators_
    assert set(seen) == {5}
    for a, b in zip(found, expected, strict=True):
        assert state_digest(a) == state_digest(b)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_a_shard_has_the_bits_of_one_that_is_alone(optimizer, device):
    """A stack of one is padded, a stack of four is not."""
    own = net(**OPTIMIZERS[optimizer], device=device)
    make = SisaClassifier(own, n_shards=4, random_state=0)
    everything = make.fit(X, Y).estimators_
    for shard in range(4):
        rows = np.flatnonzero(make.fit(X, Y)._placement_.part == shard)
        alone = make.fit(X[rows], Y[rows], sample_id=rows).estimators_
        assert [model is None for model in alone] == [i != shard for i in range(4)]
        assert state_digest(alone[shard]) == state_digest(everything[shard])


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_alone_and_side_by_side_agree_to_rounding(optimizer, monkeypatch):
    def fit():
        return SisaClassifier(net(**OPTIMIZERS[optimizer]), n_slices=4, random_state=0).fit(X, Y)

    stacked = fit()
    monkeypatch.setattr(_sisa_base, "reason_alone", lambda *args: "asked for")
    alone = fit()
    assert (stacked.stacked_, alone.stacked_) == (True, False)
    assert alone.alone_because_ == ["asked for"] * 3
    for a, b in zip(stacked.estimators_, alone.estimators_, strict=True):
        for one, other in zip(a.module_.parameters(), b.module_.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
        rates = [model.optimizer_.param_groups[0]["lr"] for model in (a, b)]
        assert rates[0] == pytest.approx(rates[1])
    keys = [{s.key for c in clf._chains_.values() for s in c.steps} for clf in (stacked, alone)]
    assert not keys[0] & keys[1]  # a state is never taken for one of the other kind


def test_default_nets_of_unlike_shards():
    """Shards of one row, one class, two classes and three: other outputs, other batches."""
    y = np.where(np.arange(N_ROWS) < 50, 0, Y)
    make = SisaClassifier(n_shards=9, max_epochs=4, random_state=3)
    everyone = np.arange(N_ROWS)
    clf = make.fit(X, y, sample_id=everyone)
    known = {len(chain.classes) for chain in clf._chains_.values()}
    assert known == {1, 2, 3}
    assert "its rows have one class" in clf.alone_because_
    for gone in ([3], [50, 51, 7], np.flatnonzero(clf._placement_.part == 0)[1:]):
        gone = np.asarray(gone)
        kept = np.setdiff1d(everyone, gone)
        removed = clone(make).fit(X, y, sample_id=everyone).forget(sample_id=gone)
        fresh = clone(make).fit(X[kept], y[kept], sample_id=kept)
        for name in ("estimators_", "alone_because_", "classes_"):
            assert state_digest(getattr(removed, name)) == state_digest(getattr(fresh, name))


@pytest.mark.parametrize("n_targets", [1, 2])
def test_regressors(n_targets):
    y = TARGET if n_targets == 1 else np.c_[TARGET, -TARGET].astype(np.float64)
    given = NeuralNetRegressor(
        criterion=nn.HuberLoss, **options(module__n_outputs=n_targets, lr=0.05)
    )
    for estimator in (None, given):
        reg = SisaRegressor(estimator, max_epochs=5, random_state=0).fit(X, y)
        assert reg.stacked_
        kept = np.arange(2, N_ROWS)
        fresh = SisaRegressor(estimator, max_epochs=5, random_state=0)
        fresh.fit(X[kept], y[kept], sample_id=kept)
        assert np.array_equal(reg.forget([0, 1]).predict(X), fresh.predict(X))


def test_binary_nets_and_trained_copies_of_an_instance():
    y = Y == 1
    binary = NeuralNetBinaryClassifier(**options(module__n_outputs=1, lr=0.1, max_epochs=60))
    clf = SisaClassifier(binary, random_state=0).fit(X, y)
    assert clf.stacked_
    assert clf.predict_proba(X).shape == (N_ROWS, 2)
    torch.manual_seed(0)
    module = MLP(4, 3, (5,))
    before = state_digest(module)
    clf = SisaClassifier(
        NeuralNetClassifier(
            module, criterion=nn.CrossEntropyLoss, max_epochs=30, train_split=None, verbose=0
        ),
        random_state=0,
    ).fit(X, Y)
    assert clf.stacked_
    assert state_digest(module) == before
    assert len({state_digest(model) for model in clf.estimators_}) == 3
