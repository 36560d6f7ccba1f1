"""Forgetting is a fresh fit on what remains, bit for bit, in every configuration."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joblib import parallel_config
from sklearn.linear_model import SGDClassifier
from sklearn.mixture import GaussianMixture
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from skorch import NeuralNetClassifier
from torch import nn, optim

from sk_unlearn import ArcaneEnsembleClassifier, SisaClassifier
from sk_unlearn.exact import _ensemble
from sk_unlearn.exact._chain import Restart
from sk_unlearn.nets import MLP
from sk_unlearn.utils._digest import state_digest
from sk_unlearn.utils.estimator_checks import check_exact_forget

N_ROWS = 40
RNG = np.random.RandomState(0)
Y = RNG.permutation(np.arange(N_ROWS) % 3)
X = (RNG.normal(size=(N_ROWS, 4)) + 2 * Y[:, None]).astype(np.float32)
IDS = {
    "positions": np.arange(N_ROWS),
    "integers": RNG.permutation(1000)[:N_ROWS] - 500,
    "strings": np.array([f"r{i}" for i in RNG.permutation(N_ROWS)], dtype=object),
}
NET = {"module__n_features": 4, "module__n_outputs": 3, "module__hidden": (5,), "verbose": 0}


def net(optimizer="adam", **params):
    options = {"adam": {"optimizer": optim.Adam}, "sgd": {"optimizer__momentum": 0.9}}[optimizer]
    return NeuralNetClassifier(
        MLP,
        criterion=nn.CrossEntropyLoss,
        max_epochs=3,
        batch_size=8,
        train_split=None,
        iterator_train__shuffle=True,
        **{**NET, **options, **params},
    )


def fitted(estimator, rows, ids):
    return estimator.fit(X[rows], Y[rows], sample_id=ids[rows])


def models(estimator):
    """Everything learned, by name; models, states between steps and where rows went."""
    chains = estimator._chains_
    saved = {k: [estimator._store_.load(s) for s in c.saved] for k, c in chains.items()}
    return {
        "models": state_digest(estimator.estimators_),
        "classes": state_digest(estimator.classes_),
        "saved": state_digest(saved),
        "keys": [(k, [s.key for s in c.saved], c.steps, c.digest) for k, c in chains.items()],
        "proba": state_digest(estimator.predict_proba(X)),
    }


def assert_exact(make, ids, requests, order_seed=0):
    """``make`` fitted and asked for ``requests`` equals it fitted on what remains."""
    estimator = fitted(make(), np.arange(N_ROWS), ids)
    for rows in requests:
        estimator.forget(sample_id=ids[rows])
    gone = np.concatenate(requests)
    kept = np.setdiff1d(np.arange(N_ROWS), gone)
    fresh = fitted(make(), np.random.RandomState(order_seed).permutation(kept), ids)
    found, expected = models(estimator), models(fresh)
    assert [name for name in expected if found[name] != expected[name]] == []
    return estimator


@st.composite
def forget_sequences(draw):
    """Requests in order: ends, a remainder, whole classes, random rows, with repeats."""
    kinds = {
        "first": np.array([0]),
        "last": np.array([N_ROWS - 1]),
        "remainder": np.arange(N_ROWS - N_ROWS % 7, N_ROWS),
        "class": np.flatnonzero(draw(st.sampled_from([0, 1, 2])) == Y),
        "half": np.arange(0, N_ROWS, 2),
    }
    names = draw(st.lists(st.sampled_from([*kinds, "random"]), min_size=1, max_size=3))
    sequence = []
    for name in names:
        if name == "random":
            rows = draw(st.sets(st.integers(0, N_ROWS - 1), min_size=1, max_size=8))
            sequence.append(np.array(sorted(rows)))
        else:
            sequence.append(kinds[name])
    return sequence


@settings(max_examples=25)
@given(
    optimizer=st.sampled_from(["adam", "sgd"]),
    n_shards=st.integers(1, 5),
    n_slices=st.integers(1, 4),
    disk=st.booleans(),
    ids=st.sampled_from(sorted(IDS)),
    requests=forget_sequences(),
    at_once=st.booleans(),
)
def test_sisa_equals_a_fresh_fit(
    tmp_path_factory, optimizer, n_shards, n_slices, disk, ids, requests, at_once
):
    checkpoints = tmp_path_factory.mktemp("states") if disk else None

    def make():
        return SisaClassifier(
            net(optimizer),
            n_shards=n_shards,
            n_slices=n_slices,
            checkpoints=checkpoints,
            random_state=0,
        )

    if at_once:
        requests = [np.unique(np.concatenate(requests))]
    assert_exact(make, IDS[ids], requests)


@settings(max_examples=25)
@given(
    n_blocks=st.integers(1, 4),
    selection=st.sampled_from([0.3, 0.7, 1.0]),
    disk=st.booleans(),
    ids=st.sampled_from(sorted(IDS)),
    requests=forget_sequences(),
    at_once=st.booleans(),
)
def test_arcane_equals_a_fresh_fit(
    tmp_path_factory, n_blocks, selection, disk, ids, requests, at_once
):
    checkpoints = tmp_path_factory.mktemp("states") if disk else None

    def make():
        return ArcaneEnsembleClassifier(
            n_blocks=n_blocks, selection=selection, checkpoints=checkpoints, random_state=0
        )

    if at_once:
        requests = [np.unique(np.concatenate(requests))]
    assert_exact(make, IDS[ids], requests)


@pytest.mark.parametrize(
    "make",
    [
        lambda: SisaClassifier(SGDClassifier(loss="log_loss"), n_slices=3, random_state=0),
        lambda: SisaClassifier(GaussianNB(), n_shards=2, n_slices=3, random_state=0),
        lambda: SisaClassifier(make_pipeline(StandardScaler(), net()), random_state=0),
        lambda: SisaClassifier(
            DecisionTreeClassifier(max_features=1), aggregation="hard", random_state=0
        ),
        lambda: ArcaneEnsembleClassifier(GaussianMixture(2), selection=0.5, random_state=0),
    ],
    ids=["partial_fit", "counts", "pipeline", "trees", "mixture"],
)
def test_other_estimators_equal_a_fresh_fit(make):
    for requests in ([[0], [1, 2, 3], [39]], [np.flatnonzero(Y == 1), [0, 1]]):
        assert_exact(make, IDS["strings"], [np.array(rows) for rows in requests])


@pytest.mark.parametrize("kind", ["sisa", "arcane"])
def test_a_whole_part_and_a_whole_block(kind):
    def make():
        if kind == "sisa":
            return SisaClassifier(net(), n_shards=3, n_slices=3, random_state=0)
        return ArcaneEnsembleClassifier(n_blocks=3, random_state=0)

    place = fitted(make(), np.arange(N_ROWS), IDS["strings"])._placement_
    part = place.part[0]
    for rows in (
        np.flatnonzero(place.part == part),
        *(np.flatnonzero((place.part == part) & (place.block == block)) for block in range(3)),
    ):
        assert_exact(make, IDS["strings"], [rows])


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["loky", "threading"])
@pytest.mark.parametrize("kind", ["sisa", "arcane"])
def test_two_workers_give_the_bits_of_one(kind, backend, tmp_path):
    def make(n_jobs):
        if kind == "sisa":
            return SisaClassifier(
                net(), n_shards=3, checkpoints=tmp_path, n_jobs=n_jobs, random_state=0
            )
        return ArcaneEnsembleClassifier(
            checkpoints=tmp_path, n_jobs=n_jobs, random_state=0, verbose=1
        )

    rows = np.array([0, 7, 21])
    one = fitted(make(1), np.arange(N_ROWS), IDS["strings"]).forget(rows)
    with parallel_config(backend):
        two = fitted(make(2), np.arange(N_ROWS), IDS["strings"]).forget(rows)
    assert models(one) == models(two)


def test_groups_stay_together_and_leave_exactly():
    groups = np.arange(N_ROWS) // 4
    for make in (
        lambda: SisaClassifier(net(), n_shards=3, n_slices=3, random_state=0),
        lambda: ArcaneEnsembleClassifier(n_blocks=4, random_state=0),
    ):
        clf = make().fit(X, Y, groups=groups)
        for group in range(10):
            blocks = {clf._placement_.block[i] for i in np.flatnonzero(groups == group)}
            assert len(blocks) == 1
        clf.forget(groups=[3, 5])
        kept = np.flatnonzero(~np.isin(groups, [3, 5]))
        fresh = make().fit(X[kept], Y[kept], sample_id=kept, groups=groups[kept])
        assert models(clf) == models(fresh)


def test_a_leaky_restart_is_found(monkeypatch):
    """A restart from the last state, which saw the row, must fail the public check."""

    def leaky(chain, steps, store=None):
        if chain is None or not chain.saved:
            return Restart()
        kept = chain.saved[: len(steps) - 1]
        return Restart(len(kept), kept[-1].state, kept) if kept else Restart()

    make = SisaClassifier(net(), n_shards=2, n_slices=3)
    check_exact_forget(make)
    monkeypatch.setattr(_ensemble, "restart", leaky)
    with pytest.raises(AssertionError, match="fresh fit"):
        check_exact_forget(make)
