"""Rounds of stacked training, and which nets take part."""

import itertools
from unittest import mock

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from skorch import NeuralNetClassifier
from skorch.callbacks import EpochScoring
from torch import nn, optim

from sk_unlearn import SisaClassifier
from sk_unlearn.exact import _stacks, _update
from sk_unlearn.exact._learners import StackedNetLearner
from sk_unlearn.exact._stacks import reason_alone, size_reason
from sk_unlearn.nets import MLP, prepare
from sk_unlearn.utils._digest import state_digest
from sk_unlearn.utils._seeding import isolated_rng
from sk_unlearn.utils.estimator_checks import check_exact_forget

RNG = np.random.RandomState(0)
Y = RNG.permutation(np.arange(60) % 3)
X = (RNG.normal(size=(60, 4)) + 2 * Y[:, None]).astype(np.float32)


def net(module=MLP, **params):
    defaults = {
        "module__n_features": 4,
        "module__n_outputs": 3,
        "module__hidden": (5,),
        "criterion": nn.CrossEntropyLoss,
        "max_epochs": 3,
        "batch_size": 8,
        "train_split": None,
        "iterator_train__shuffle": True,
        "verbose": 0,
    }
    return NeuralNetClassifier(module, **{**defaults, **params})


def test_chains_take_their_steps_together(monkeypatch):
    widths = []

    def counted(net, tensors, row_sets, *rest, train=_stacks.train_stacks, **options):
        widths.append(len(row_sets))
        return train(net, tensors, row_sets, *rest, **options)

    monkeypatch.setattr(_stacks, "train_stacks", counted)
    clf = SisaClassifier(net(), n_shards=3, n_slices=4, random_state=0).fit(X, Y)
    assert widths == [3] * 4
    place, rows = clf._placement_, []
    for shard, block in ((0, 1), (1, 3), (2, 3)):
        rows.append(np.flatnonzero((place.part == shard) & (place.block == block))[0])
    widths.clear()
    clf.forget(rows)
    assert widths == [1, 1, 3]  # the two that have one step left wait
    assert clf.receipts_[-1].solver["steps_retrained"] == 5


def test_empty_slices_start_and_go_on_in_one_round():
    """Momentum of a net in its first step and of one in a later step cannot share a stack."""
    momentum = net(optimizer__momentum=0.9, max_epochs=4)
    proba = np.where(Y == 0, 1.0, 0.0)  # the first shard, the last slice
    make = SisaClassifier(momentum, n_shards=2, n_slices=3, random_state=0)
    clf = make.fit(X, Y, forget_proba=proba)
    assert {len(chain.steps) for chain in clf._chains_.values()} == {3}
    part, block = clf._placement_.part, clf._placement_.block
    gone = np.flatnonzero((part == 1) & (block > 0))
    clf.forget(np.r_[gone, np.flatnonzero((part == 0) & (block == 2))[:1]])
    assert [len(chain.steps) for chain in clf._chains_.values()] == [3, 1]


def test_progress_counts_steps(monkeypatch):
    class Bar(_update.tqdm):
        def close(self):
            seen.append((self.n, self.total))
            super().close()

    seen = []
    monkeypatch.setattr(_update, "tqdm", Bar)
    for estimator in (net(), LogisticRegression()):
        slices = 3 if hasattr(estimator, "module") else 1
        SisaClassifier(estimator, n_shards=2, n_slices=slices, verbose=1, random_state=0).fit(X, Y)
    assert {(6, 6), (2, 2)} <= set(seen)


def test_an_interrupt_leaves_model_and_files(tmp_path, monkeypatch):
    clf = SisaClassifier(net(), n_shards=2, checkpoints=tmp_path, random_state=0).fit(X, Y)
    before = state_digest(clf._exact_state()), sorted(tmp_path.rglob("*.safetensors"))
    calls = []

    def interrupted(*args, train=_stacks.train_stacks, **options):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return train(*args, **options)

    first = int(np.flatnonzero(clf._placement_.block == 0)[0])
    monkeypatch.setattr(_stacks, "train_stacks", interrupted)
    with pytest.raises(KeyboardInterrupt):
        clf.forget(first)
    assert (state_digest(clf._exact_state()), sorted(tmp_path.rglob("*.safetensors"))) == before
    assert clf.forget(first).receipts_[-1].solver["checkpoints_lost"] == 0


def test_training_that_diverged_is_reported():
    with pytest.warns(ConvergenceWarning, match="diverged"):
        SisaClassifier(net(lr=1e30), random_state=0).fit(X, Y)


@pytest.mark.parametrize("fault", ["width", "draws"])
def test_a_planted_fault_is_found(fault, monkeypatch):
    """Bits that depend on the nets beside; draws that depend on what was trained before."""

    def by_width(net, tensors, row_sets, *rest, train=_stacks.train_stacks, **options):
        states = train(net, tensors, row_sets, *rest, **options)
        for state in states:
            next(iter(state.tensors.values())).mul_(1 + 2**-20 * len(row_sets))
        return states

    turns = itertools.count()

    def by_turn(self, state, seed, begin=StackedNetLearner.begin):
        return begin(self, state, seed + next(turns))

    make = SisaClassifier(net(), n_slices=3)
    check_exact_forget(make)
    if fault == "width":
        monkeypatch.setattr(_stacks, "train_stacks", by_width)
    else:
        monkeypatch.setattr(StackedNetLearner, "begin", by_turn)
    with pytest.raises(AssertionError, match="fresh fit"):
        check_exact_forget(make)


@pytest.mark.parametrize("optimizer", [optim.SGD, optim.Adam])
def test_a_step_draws_on_as_after_building_the_whole_net(optimizer):
    template = prepare(net(optimizer=optimizer))
    learner = StackedNetLearner(template, "", None)
    with isolated_rng(7):
        clone(template).initialize()
        expected = torch.get_rng_state()
    fresh = learner.begin(None, 7)
    resumed = [learner.begin(learner.state(fresh), seed) for seed in (5, 7)][1]
    assert torch.equal(fresh.rng, expected)
    assert torch.equal(resumed.rng, expected)
    assert (resumed.epochs, resumed.batches, resumed.losses) == (0, 0, ())


# ---------------------------------------------------------------------------- decisions


class Own(MLP):
    """With a forward of its own, in which rows see each other."""

    def forward(self, X):
        return super().forward(X - X.mean(dim=0))


@pytest.mark.parametrize(
    ("estimator", "n_shards", "reason"),
    [
        (net(), 1, "there is one net"),
        (LogisticRegression(), 3, "LogisticRegression is not a skorch net"),
        (net(module__hidden=(2000, 2000), batch_size=500), 3, "would take longer"),
        (net(callbacks=[EpochScoring("accuracy", on_train=True)]), 3, "callback"),
        (net(optimizer=optim.Adagrad), 3, "Adagrad"),
        (net(module=Own), 3, "Own"),
    ],
)
def test_what_trains_alone_says_why(estimator, n_shards, reason):
    clf = SisaClassifier(estimator, n_shards=n_shards, random_state=0).fit(X, Y)
    assert not clf.stacked_
    assert all(reason in why for why in clf.alone_because_)
    clf.forget(0)
    assert all(reason in why for why in clf.alone_because_)


@pytest.mark.parametrize("rows", [X, X[:1], X * 1e6, np.full_like(X, np.nan), X[::-1]])
def test_the_decision_does_not_look_at_the_rows(rows):
    assert reason_alone(prepare(net()), rows, Y[: len(rows)], 3) is None
    assert "Own" in reason_alone(prepare(net(module=Own)), rows, Y[: len(rows)], 3)


def test_size_is_what_a_lone_net_would_compute_in_vain():
    linear = {"module__n_features": 2**10 - 1, "module__n_outputs": 2**8, "module__hidden": ()}
    for size in (16, 32, 48, 512):  # 2**18 parameters, at most 16 rows more
        assert size_reason(net(**linear, batch_size=size), 20) is None
    for size in (8, 33):
        assert "262144 parameters" in size_reason(net(**linear, batch_size=size), 20)


def test_size_is_what_a_stack_on_a_device_computes_for_nets_that_are_not_there():
    linear = {"module__n_features": 2**10 - 1, "module__n_outputs": 2**8, "module__hidden": ()}
    own = net(**linear, batch_size=512, device="cuda")
    assert _stacks.n_slots(own.set_params(device="cuda:1"), 100) == 50  # 1 MiB each
    with mock.patch.object(_stacks, "n_slots", lambda net, n_nets: n_nets):
        assert size_reason(own, 16) is None  # 2**31
        assert "of 17 at once" in size_reason(own, 17)
