import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from sk_unlearn.exceptions import TrainingDataChangedError
from sk_unlearn.utils._rows import TrainingRows

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
