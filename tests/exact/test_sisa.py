"""Votes, refusals, costs and files of SISA."""

import os
import pickle
import signal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge, SGDRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from torch import nn, optim

from sk_unlearn import SisaClassifier, SisaRegressor
from sk_unlearn.exact._placement import keyed_bins
from sk_unlearn.exact._voting import Vote
from sk_unlearn.nets import MLP
from sk_unlearn.utils._digest import state_digest

RNG = np.random.RandomState(0)
Y = RNG.permutation(np.arange(60) % 3)
X = (RNG.normal(size=(60, 4)) + 2 * Y[:, None]).astype(np.float32)
TARGET = X @ np.array([1.0, -1.0, 0.5, 0.0], dtype=np.float32)


def net(**params):
    defaults = {
        "module__n_features": 4,
        "module__n_outputs": 3,
        "module__hidden": (5,),
        "criterion": nn.CrossEntropyLoss,
        "optimizer": optim.Adam,
        "max_epochs": 4,
        "batch_size": 8,
        "train_split": None,
        "verbose": 0,
    }
    return NeuralNetClassifier(MLP, **{**defaults, **params})


def files(folder):
    return sorted(path.name for path in folder.rglob("*.safetensors"))


# ------------------------------------------------------------------------------- votes


def test_votes_are_weighted_means_over_the_models_that_know_a_class():
    rng = np.random.RandomState(0)
    columns, weights = [np.array([0, 1, 2]), np.array([0, 2]), np.array([1])], [5, 3, 2]
    probas = [rng.dirichlet(np.ones(len(c)), size=7) for c in columns]
    expected = np.zeros((7, 3))
    for row in range(7):
        for label in range(3):
            know = [i for i in range(3) if label in columns[i]]
            total = sum(
                weights[i] * probas[i][row, columns[i].tolist().index(label)] for i in know
            )
            expected[row, label] = total / sum(weights[i] for i in know)
    expected /= expected.sum(axis=1, keepdims=True)
    vote = Vote(columns, weights, 3)
    np.testing.assert_allclose(vote.mean(vote.count(probas)), expected)


@pytest.mark.parametrize("aggregation", ["soft", "hard"])
def test_shards_that_lack_a_class_still_vote(aggregation):
    y = np.array(["common"] * 40 + ["other"] * 18 + ["rare"] * 2)
    x = np.repeat([[0.0], [4.0], [8.0]], (40, 18, 2), axis=0) + RNG.normal(0, 0.1, (60, 1))
    clf = SisaClassifier(
        LogisticRegression(C=100), n_shards=4, aggregation=aggregation, random_state=1
    ).fit(x, y)
    known = [getattr(model, "classes_", ()) for model in clf.estimators_]
    assert any("rare" not in classes for classes in known)
    assert clf.predict([[0.0], [4.0], [8.0]]).tolist() == ["common", "other", "rare"]
    proba = clf.predict_proba(x)
    assert proba.shape == (60, 3)
    np.testing.assert_allclose(proba.sum(axis=1), 1)


def test_a_shard_is_the_net_trained_on_its_rows_alone():
    """One shard, one slice: the model of a plain training on the rows in training order."""
    clf = SisaClassifier(net(), n_shards=2, n_slices=1, random_state=0).fit(X, Y)
    alone = np.flatnonzero(clf._placement_.part == 1)
    other = SisaClassifier(net(), n_shards=2, n_slices=1, random_state=0)
    other.fit(X[alone], Y[alone], sample_id=alone)
    assert state_digest(other.estimators_[1]) == state_digest(clf.estimators_[1])
    assert other.estimators_[0] is None


def test_pipelines_own_their_scaler():
    clf = SisaClassifier(
        make_pipeline(StandardScaler(), LogisticRegression()), n_shards=3, random_state=0
    ).fit(X, Y)
    for shard, model in enumerate(clf.estimators_):
        rows = clf._placement_.part == shard
        np.testing.assert_allclose(model[0].mean_, X[rows].mean(axis=0), rtol=1e-5)


def test_regressors_average_by_rows():
    reg = SisaRegressor(Ridge(), n_shards=3, random_state=0).fit(X, TARGET)
    each = np.array([model.predict(X) for model in reg.estimators_])
    weights = np.bincount(reg._placement_.part, minlength=3)
    np.testing.assert_allclose(reg.predict(X), np.average(each, axis=0, weights=weights))
    median = SisaRegressor(Ridge(), n_shards=3, aggregation="median", random_state=0)
    np.testing.assert_allclose(median.fit(X, TARGET).predict(X), np.median(each, axis=0))
    two = SisaRegressor(Ridge(), n_shards=3, random_state=0).fit(X, np.c_[TARGET, -TARGET])
    np.testing.assert_allclose(two.predict(X), np.c_[reg.predict(X), -reg.predict(X)], rtol=1e-4)
    assert SisaRegressor(SGDRegressor(), random_state=0).fit(X, TARGET).score(X, TARGET) > 0.9


# ---------------------------------------------------------------------------- placement


@settings(max_examples=30)
@given(st.data())
def test_a_row_stays_where_it_is_whoever_else_is_there(data):
    n = data.draw(st.integers(2, 50))
    proba = np.array(data.draw(st.lists(st.floats(0, 1), min_size=n, max_size=n)))
    keys = np.array([f"k{i}" for i in range(n)], dtype=object)
    kept = np.array(sorted(data.draw(st.sets(st.integers(0, n - 1), min_size=1))))
    everywhere = keyed_bins(3, "shard", keys, 7, proba)
    assert keyed_bins(3, "shard", keys[kept], 7, proba[kept]).tolist() == (
        everywhere[kept].tolist()
    )


def test_rows_likely_to_leave_go_to_few_shards_and_late_slices():
    proba = np.where(np.arange(600) < 60, 0.6, 0.001)
    x, y = RNG.normal(size=(600, 2)), np.arange(600) % 2
    clf = SisaClassifier(LogisticRegression(), n_shards=10, random_state=0)
    place = clf.fit(x, y, forget_proba=proba)._placement_
    assert set(place.part[:60]) == {0}
    assert len(set(place.part[60:])) == 10
    sliced = SisaClassifier(
        net(module__n_features=2, max_epochs=1), n_shards=2, n_slices=5, random_state=0
    ).fit(x, y, forget_proba=proba)
    assert np.mean(sliced._placement_.block[:60] == 4) > 0.9


# --------------------------------------------------------------------------------- cost


def test_the_preview_is_what_it_costs():
    clf = SisaClassifier(net(), n_shards=3, n_slices=4, random_state=0).fit(X, Y)
    for request in ([0], [1, 2, 3], np.flatnonzero(Y == 2)):
        predicted = clf.forget_cost(request)
        assert clf.forget(request).receipts_[-1].cost == predicted


def test_expected_share_of_one_row_is_that_of_the_paper():
    """2/3 + 1/(3R) of a shard's work for a uniform request, slices of equal size."""
    n_slices, n_shards = 4, 2
    x, y = RNG.normal(size=(4000, 2)).astype(np.float32), np.arange(4000) % 2
    clf = SisaClassifier(
        net(module__n_features=2, max_epochs=10, batch_size=500),
        n_shards=n_shards,
        n_slices=n_slices,
        random_state=0,
    ).fit(x, y)
    shares = [clf.forget_cost(int(row)).share_of_retrain for row in range(0, 4000, 40)]
    expected = (2 / 3 + 1 / (3 * n_slices)) / n_shards
    assert np.mean(shares) == pytest.approx(expected, rel=0.1)


# -------------------------------------------------------------------------------- files


def test_files_are_those_of_the_retained_rows(tmp_path):
    def fit(rows, folder):
        clf = SisaClassifier(net(), n_shards=3, n_slices=3, checkpoints=folder, random_state=0)
        return clf.fit(X[rows], Y[rows], sample_id=rows)

    clf = fit(np.arange(60), tmp_path / "a")
    assert len(files(tmp_path)) == 3 * 2
    clf.forget([0, 5, 17])
    fit(np.setdiff1d(np.arange(60), [0, 5, 17]), tmp_path / "b")
    assert files(tmp_path / "a") == files(tmp_path / "b")
    clf.fit(X, Y)  # a new fit leaves nothing of the former one
    assert len(files(tmp_path / "a")) == 3 * 2


@pytest.mark.parametrize("damage", ["delete", "alter", "delete all"])
def test_a_lost_file_costs_time_and_is_on_the_receipt(tmp_path, damage):
    def fit(folder):
        clf = SisaClassifier(net(), n_shards=2, n_slices=4, checkpoints=folder, random_state=0)
        return clf.fit(X, Y)

    whole, hurt = fit(None), fit(tmp_path)
    late = int(np.flatnonzero((hurt._placement_.block == 3) & (hurt._placement_.part == 0))[0])
    chain = hurt._chains_[0]
    paths = {path.name: path for path in tmp_path.rglob("*.safetensors")}
    victims = [Path(s.name).name for s in chain.saved][0 if damage == "delete all" else -1 :]
    for name in victims:
        if damage == "alter":
            content = paths[name].read_bytes()
            paths[name].write_bytes(content[:-4] + b"\0\1\2\3")
        else:
            paths[name].unlink()
    whole.forget(late), hurt.forget(late)
    assert state_digest(whole.estimators_) == state_digest(hurt.estimators_)
    solver = hurt.receipts_[-1].solver
    assert solver["checkpoints_lost"] == len(victims)
    assert solver["steps_retrained"] == 1 + len(victims)
    assert hurt.receipts_[-1].cost.gradient_passes > whole.receipts_[-1].cost.gradient_passes
    again = whole.forget(late + 1), hurt.forget(late + 1)
    assert state_digest(again[0].estimators_) == state_digest(again[1].estimators_)


def test_a_pickle_goes_on_from_the_files(tmp_path):
    clf = SisaClassifier(net(), n_shards=2, checkpoints=tmp_path, random_state=0).fit(X, Y)
    other = pickle.loads(pickle.dumps(clf))
    assert other.forget(3).receipts_[-1].solver["checkpoints_lost"] == 0
    clf.forget(3)  # the copy removed files that both had
    assert state_digest(clf.estimators_) == state_digest(other.estimators_)


class Interrupts(Callback):
    """Sends the process a Ctrl-C in the second training step."""

    armed = False
    steps = 0

    def on_train_begin(self, net, **kwargs):
        type(self).steps += self.armed
        if self.armed and self.steps == 2:
            os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_leaves_model_and_files(tmp_path, monkeypatch):
    clf = SisaClassifier(
        net(callbacks=[Interrupts()]), n_shards=2, checkpoints=tmp_path, random_state=0
    ).fit(X, Y)
    before = state_digest(clf._exact_state()), files(tmp_path)
    first = int(np.flatnonzero(clf._placement_.block == 0)[0])
    monkeypatch.setattr(Interrupts, "armed", True)
    with pytest.raises(KeyboardInterrupt):
        clf.forget(first)
    assert (state_digest(clf._exact_state()), files(tmp_path)) == before
    monkeypatch.setattr(Interrupts, "armed", False)
    assert clf.forget(first).receipts_[-1].solver["checkpoints_lost"] == 0
    monkeypatch.setattr(Interrupts, "armed", True)
    monkeypatch.setattr(Interrupts, "steps", 0)
    with pytest.raises(KeyboardInterrupt):
        SisaClassifier(
            net(callbacks=[Interrupts()]), checkpoints=tmp_path / "new", random_state=0
        ).fit(X, Y)
    assert files(tmp_path / "new") == []


def _read_only(proba):
    proba.flags.writeable = False
    return proba


@pytest.mark.parametrize(
    "form", [lambda p: p.astype(np.longdouble), lambda p: p.astype(">f8"), np.float16, _read_only]
)
def test_probabilities_of_any_kind_are_counted(form):
    proba = np.array([[0.25, 0.75], [1.0, 0.0]])
    vote = Vote([np.arange(2)] * 2, [1, 3], 2)
    expected = vote.mean(vote.count([proba, proba]))
    np.testing.assert_array_equal(vote.mean(vote.count([form(proba.copy()), proba])), expected)


# ------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("params", "fit_params", "message"),
    [
        ({"n_shards": 61}, {}, "n_shards=61 and n_samples=60"),
        ({"n_shards": 0}, {}, "n_shards"),
        ({"n_slices": 0}, {}, "n_slices"),
        ({"estimator": LinearSVC()}, {}, "no predict_proba"),
        ({"estimator": LogisticRegression(), "n_slices": 3}, {}, "Set n_slices=1"),
        ({"estimator": FrozenEstimator(LogisticRegression())}, {}, "FrozenEstimator"),
        ({}, {"forget_proba": np.full(60, 1.5)}, r"\[0, 1\], got 1.5 at position 0"),
        ({}, {"forget_proba": np.full(60, np.nan)}, r"\[0, 1\], got nan"),
        ({}, {"forget_proba": np.zeros(59)}, r"shape \(60,\)"),
        (
            {},
            {"forget_proba": np.linspace(0, 1, 60), "groups": np.arange(60) // 2},
            "same forget_proba",
        ),
    ],
)
def test_refusals_come_before_any_work(params, fit_params, message):
    clf = SisaClassifier(**{"estimator": net(), **params})
    with pytest.raises(ValueError, match=message):
        clf.fit(X, Y, **fit_params)
    with pytest.raises(NotFittedError):
        clf.predict(X)


def test_unknown_fit_params_are_refused():
    with pytest.raises(TypeError, match="sample_weight"):
        SisaClassifier(net()).fit(X, Y, sample_weight=np.ones(60))


def test_parameters_changed_after_fit_count_at_the_next_fit():
    clf = SisaClassifier(net(), n_shards=3, random_state=0).fit(X, Y)
    fresh = SisaClassifier(net(), n_shards=3, random_state=0)
    clf.set_params(n_shards=7, estimator__lr=5.0).forget(0)
    kept = np.arange(1, 60)
    fresh.fit(X[kept], Y[kept], sample_id=kept)
    assert state_digest(clf.estimators_) == state_digest(fresh.estimators_)
