"""Rows in blocks: the same rows as an array, and nothing of those that left."""

import pickle

import numpy as np
import pytest
import torch

from sk_unlearn import PumaClassifier
from sk_unlearn.approximate import _net_rows, _row_store
from sk_unlearn.approximate._net_rows import NetRows, RowBatch
from sk_unlearn.approximate._row_store import RowBlocks, StoredRows
from sk_unlearn.utils._rows import TrainingRows

pytestmark = pytest.mark.filterwarnings("ignore::sk_unlearn.exceptions.RetrainAdvisedWarning")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(_row_store, "BLOCK_BYTES", 80)
    monkeypatch.setattr(_row_store, "WHOLE_BYTES", 160)
    monkeypatch.setattr(_net_rows, "PART_BYTES", 200)


@pytest.mark.parametrize("seed", range(20))
def test_removals_and_lookups_are_those_of_an_array(seed):
    rng = np.random.RandomState(seed)
    X = rng.rand(37, 2)
    hit = np.sort(rng.choice(37, rng.randint(1, 30), replace=False))
    rows, expected = RowBlocks.without(X, hit), np.delete(X, hit, axis=0)
    assert rows.shape == expected.shape
    assert np.array_equal(np.asarray(rows), expected)
    some = np.sort(rng.choice(len(expected), len(expected) // 2, replace=False))
    assert np.array_equal(rows[some], expected[some])
    assert np.array_equal(np.asarray(rows.drop(some)), np.delete(expected, some, axis=0))
    assert not any(np.shares_memory(block, X) for block in rows.blocks)


def test_no_rows_are_asked_for():
    rows = RowBlocks.without(np.arange(80.0).reshape(40, 2), np.array([0]))
    assert rows[np.zeros(0, dtype=int)].shape == (0, 2)
    assert rows.drop(np.zeros(0, dtype=int)).blocks == rows.blocks


@pytest.mark.parametrize("indices", [[-1, 2], [0, 39], [39], [3, -1]])
def test_indices_out_of_range_are_refused(indices):
    rows = RowBlocks.without(np.arange(80.0).reshape(40, 2), np.array([0]))
    for ask in (rows.__getitem__, rows.drop):
        with pytest.raises(IndexError, match="from 0 to 38"):
            ask(np.array(indices))


def test_rows_are_looked_up_in_any_order():
    rows = RowBlocks.without(np.arange(80.0).reshape(40, 2), np.array([0]))
    assert rows[np.array([3, 38, 1, 3])][:, 0].tolist() == [8.0, 78.0, 4.0, 8.0]


def test_a_row_can_be_asked_for_twice():
    rows = RowBlocks.without(np.arange(80.0).reshape(40, 2), np.array([0]))
    assert rows[np.array([4, 4, 38])][:, 0].tolist() == [10.0, 10.0, 78.0]


def test_a_removal_shares_the_blocks_that_it_leaves_alone():
    rows = RowBlocks.without(np.arange(80.0).reshape(40, 2), np.array([0]))
    rest = rows.drop(np.array([12]))
    shared = [block for block in rest.blocks if any(block is other for other in rows.blocks)]
    assert len(shared) == len(rows.blocks) - 1


def test_stored_rows_show_an_array_and_hold_none_of_the_rest():
    X, y = np.arange(80.0).reshape(40, 2), np.arange(40)
    borrowed = StoredRows.of(TrainingRows.borrow(X, y, 40, sample_id=np.arange(40) + 100))
    assert borrowed.X is X
    rest = borrowed.drop(np.array([3, 39])).drop(np.array([0]))
    kept = np.setdiff1d(np.arange(40), [3, 39, 0])
    assert isinstance(rest.stored, RowBlocks)
    assert np.array_equal(rest.X, X[kept])
    assert np.array_equal(rest.y, kept)
    assert np.array_equal(rest.ids, kept + 100)
    assert rest.checksum is None
    some = rest.take(np.array([1, 5]))
    assert np.array_equal(some.X, X[kept[[1, 5]]])
    again = pickle.loads(pickle.dumps(rest))
    assert np.array_equal(again.X, rest.X)
    marker = X[3].tobytes()
    assert marker in pickle.dumps(borrowed)
    assert marker not in pickle.dumps(rest)


def test_parts_are_all_rows_in_order():
    X, y = np.arange(80.0).reshape(40, 2), np.arange(40)

    def convert(X, y):
        return RowBatch(torch.from_numpy(X.copy()), torch.from_numpy(y.copy()))

    for held in (X, RowBlocks.without(X, np.array([], dtype=int))):
        rows = NetRows(held, y, convert, torch.device("cpu"))
        parts = list(rows.parts())
        assert len(parts) > 2
        assert torch.equal(torch.cat([part.X for part in parts]), torch.from_numpy(X))
        assert torch.equal(torch.cat([part.y for part in parts]), torch.from_numpy(y))
        assert torch.equal(rows.take([1, 38]).X, torch.from_numpy(X[[1, 38]]))


@pytest.mark.parametrize("compensation", ["l1", "l2"])
def test_a_model_is_the_same_with_blocks_and_without(monkeypatch, compensation):
    rng = np.random.RandomState(0)
    y = np.arange(120) % 3
    X = (rng.normal(size=(120, 5)) + y[:, None]).astype(np.float32)
    settings = {"random_state": 0, "n_curvature_rows": 40, "compensation": compensation}
    fitted = PumaClassifier(**settings).fit(X, y)

    def removed():
        clf = pickle.loads(pickle.dumps(fitted))
        proba = clf.forget([1, 2, 50]).forget([0, 119]).predict_proba(X)
        return clf, proba, clf.influences()

    blocks, proba, influences = removed()
    assert isinstance(blocks._rows_.stored, RowBlocks)
    monkeypatch.setattr(_row_store, "WHOLE_BYTES", 2**30)
    whole, expected, phi = removed()
    assert isinstance(whole._rows_.stored, np.ndarray)
    # other chunks, other rounding; wrong rows move probabilities by tenths
    np.testing.assert_allclose(proba, expected, atol=1e-3)
    np.testing.assert_allclose(influences, phi, atol=1e-2 * np.abs(phi).max())


def test_pickling_leaves_the_cache_of_the_estimator():
    rng = np.random.RandomState(0)
    X, y = rng.normal(size=(60, 4)), np.arange(60) % 2
    clf = PumaClassifier(random_state=0, n_curvature_rows=20).fit(X, y).forget([1])
    pickled = pickle.dumps(clf)
    assert clf._curvature_cache_.curvature is not None
    assert not hasattr(pickle.loads(pickled), "_curvature_cache_")


def test_a_class_leaves_when_its_last_row_does():
    rng = np.random.RandomState(0)
    y = np.array(["a", "b", "c"])[np.arange(60) % 3]
    X = rng.normal(size=(60, 4)) + (np.arange(60) % 3)[:, None]
    clf = PumaClassifier(random_state=0).fit(X, y)
    clf.forget(np.flatnonzero(y == "b")[:-1])
    assert list(clf.classes_) == ["a", "b", "c"]
    clf.forget(np.flatnonzero(y == "b"))
    assert list(clf.classes_) == ["a", "c"]
    assert clf.forget([0]).predict_proba(X).shape == (60, 2)


def test_the_net_keeps_no_list_of_the_rows_it_was_trained_on():
    rng = np.random.RandomState(0)
    X, y = rng.normal(size=(60, 4)).astype(np.float32), np.arange(60) % 2
    clf = PumaClassifier(random_state=0).fit(X, y).forget([1])
    assert len(clf.estimator_.train_split.train) == 0
    with pytest.raises(ValueError, match="split was fixed"):
        clf.estimator_.fit(X, y)
