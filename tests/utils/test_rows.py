import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from sk_unlearn.exceptions import TrainingDataChangedError
from sk_unlearn.utils._rows import TrainingRows
from sk_unlearn.utils._take import drop_rows

N = 10


def borrow(X=None, y=None, **metadata):
    X = np.arange(3.0 * N).reshape(N, 3) if X is None else X
    return TrainingRows.borrow(X, np.arange(N) if y is None else y, N, **metadata)


@given(st.lists(st.sets(st.integers(0, N - 1), max_size=4), max_size=4))
def test_dropping_keeps_every_attribute_in_step(requests):
    X = np.arange(3.0 * N).reshape(N, 3)
    rows = borrow(
        X,
        sample_id=np.arange(N) + 50,
        groups=np.arange(N) % 2,
        fit_params={"sample_weight": np.arange(N) / 10, "flag": "x" * N, "k": np.arange(3)},
    )
    left = list(range(N))
    for request in requests:
        hit = [slot for slot, position in enumerate(left) if position in request]
        rows = rows.drop(np.array(hit, dtype=int))
        left = [position for position in left if position not in request]
    assert len(rows) == len(left)
    assert rows.position.tolist() == left == rows.y.tolist()
    assert np.array_equal(rows.X, X[left])
    assert rows.ids.tolist() == [50 + p for p in left]
    assert rows.groups.tolist() == [p % 2 for p in left]
    assert rows.fit_params["sample_weight"].tolist() == [p / 10 for p in left]
    assert rows.fit_params["flag"] == "x" * N
    assert len(rows.fit_params["k"]) == 3
    assert rows.n_fit == N


def test_rows_are_borrowed_then_owned():
    X = np.zeros((N, 2))
    rows = borrow(X)
    assert rows.X is X
    own = rows.drop(np.array([0]))
    assert not np.shares_memory(own.X, X)
    X[3] = 1
    own.verify("Net")
    with pytest.raises(TrainingDataChangedError, match=r"Net holds.*X changed since fit"):
        rows.verify("Net")
    X[3] = 0
    rows.verify("Net")


def test_every_borrowed_part_is_watched():
    y, weight = np.zeros(N), np.ones(N)
    rows = borrow(y=y, fit_params={"sample_weight": weight})
    weight[2] = 5
    with pytest.raises(TrainingDataChangedError, match=", and fit_params changed"):
        rows.verify("Net")
    y[0] = 1
    with pytest.raises(TrainingDataChangedError, match="y and fit_params"):
        rows.verify("Net")


@pytest.mark.parametrize(
    "convert",
    [np.asfortranarray, pd.DataFrame, sparse.csr_matrix, np.ndarray.tolist, lambda X: X[::-1]],
)
def test_containers_keep_their_kind(convert):
    X = convert(np.arange(2.0 * N).reshape(N, 2))
    taken = borrow(X).take(np.array([1, 4]))
    assert type(taken.X) is type(X)
    dense = taken.X.toarray() if sparse.issparse(taken.X) else np.asarray(taken.X)
    whole = X.toarray() if sparse.issparse(X) else np.asarray(X)
    assert np.array_equal(dense, whole[[1, 4]])
    taken.verify("Net")


@pytest.mark.parametrize("kind", [sparse.coo_matrix, sparse.coo_array, sparse.dia_matrix])
def test_sparse_formats_without_rows_become_csr(kind):
    X = np.diag(np.arange(1.0, N + 1))
    for data in (kind(X), kind(sparse.csr_matrix(X)).tobsr()):
        taken = borrow(data).take(np.array([1, 4]))
        assert taken.X.format == "csr"
        assert np.array_equal(taken.X.toarray(), X[[1, 4]])


def secrets(**options):
    return pd.Categorical([f"secret-{i}" for i in range(N)], **options)


@pytest.mark.parametrize(
    "index",
    [
        pd.RangeIndex(N),
        pd.Index([f"secret-{i}" for i in range(N)]),
        pd.CategoricalIndex(secrets()),
        pd.MultiIndex.from_product([[0, 1], [f"secret-{i}" for i in range(N // 2)]]),
        pd.MultiIndex.from_arrays([secrets(), np.arange(N)]),
    ],
)
def test_frames_keep_no_names_of_rows_that_left(index):
    frame = pd.DataFrame(
        {
            "a": np.arange(N, dtype=np.int16),
            "b": secrets(ordered=True),
            "c": np.arange(N) / 10,
            "d": [f"secret-{i}" for i in range(N)],
        },
        index=index,
    )
    y = pd.Series(secrets(), index=index)
    rows = borrow(frame, y, fit_params={"weight": y, "both": frame})
    left = rows.take(np.array([1, 6]))
    content = pickle.dumps(left)
    gone = {0, 2, 3, 4, 5, 7, 8, 9} - ({1} if isinstance(index, pd.MultiIndex) else set())
    for i in gone:
        assert f"secret-{i}".encode() not in content
    pd.testing.assert_frame_equal(left.X, frame.iloc[[1, 6]], check_categorical=False)
    pd.testing.assert_series_equal(left.y, y.iloc[[1, 6]], check_categorical=False)
    assert left.X["b"].cat.ordered
    assert left.X["b"].cat.categories.tolist() == ["secret-1", "secret-6"]
    assert frame["b"].cat.categories.size == y.cat.categories.size == N
    rows.verify("Net")


@pytest.mark.parametrize(
    "array",
    [
        np.arange(40),
        np.arange(80.0).reshape(40, 2),
        np.array(["a"] * 40),
        np.arange(40, dtype=">i4"),  # the bytes of another machine
        np.array(["a"] * 40, dtype=">U3"),
        np.zeros(40, dtype=np.dtype([("a", "i1"), ("b", "f8")], align=True)),
    ],
)
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("indices", [[], [0], [39], [0, 1, 20, 39], list(range(3, 20))])
def test_rows_are_dropped_as_numpy_deletes_them(array, order, indices):
    array = np.asarray(array, order=order)
    rest = drop_rows(array, np.array(indices, dtype=int))
    np.testing.assert_array_equal(rest, np.delete(array, indices, axis=0))
    assert rest.dtype == array.dtype
    assert not np.shares_memory(rest, array)
