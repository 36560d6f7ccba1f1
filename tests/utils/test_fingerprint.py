import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import sparse

from sk_unlearn.utils._fingerprint import fingerprint

DATA = np.arange(24.0).reshape(6, 4)
FRAME = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"], "c": pd.Categorical(["u", "v"])})


@given(arrays(np.float64, array_shapes(max_dims=3)), st.data())
def test_any_changed_number_is_noticed(array, data):
    before = fingerprint(array)
    where = data.draw(st.integers(0, array.size - 1))
    changed = array.copy()
    changed.reshape(-1)[where] += 1.0
    assert fingerprint(array.copy()) == before
    if changed.tobytes() != array.tobytes():
        assert fingerprint(changed) != before


@pytest.mark.parametrize(
    "layout", [np.asfortranarray, lambda X: np.repeat(X, 2, axis=0)[::2], pickle.dumps]
)
def test_the_content_counts_wherever_it_lies(layout):
    X = layout(DATA)
    X = pickle.loads(X) if isinstance(X, bytes) else X
    other = layout(DATA + np.eye(6, 4))
    other = pickle.loads(other) if isinstance(other, bytes) else other
    assert fingerprint(X) == fingerprint(X.copy(order="K"))
    assert fingerprint(X) != fingerprint(other)


@pytest.mark.parametrize(
    ("data", "change"),
    [
        (DATA.tolist(), lambda d: d[2].__setitem__(1, -1.0)),
        (["a", "b"], lambda d: d.__setitem__(0, "c")),
        (np.array(["a", None, 1.5], dtype=object), lambda d: d.__setitem__(1, "x")),
        (FRAME, lambda d: d.__setitem__("b", ["x", "z"])),
        (FRAME["a"], lambda d: d.__setitem__(0, 7.0)),
        (sparse.csr_matrix(DATA), lambda d: d.data.__setitem__(3, -1.0)),
        (sparse.csc_array(DATA), lambda d: d.data.__setitem__(3, -1.0)),
        ({"a": 1}, lambda d: d.__setitem__("a", 2)),
    ],
)
def test_every_container_is_read(data, change):
    data = pickle.loads(pickle.dumps(data))
    before = fingerprint(data)
    assert fingerprint(pickle.loads(pickle.dumps(data))) == before
    change(data)
    assert fingerprint(data) != before


def test_shape_type_and_column_names_count():
    assert fingerprint(DATA) != fingerprint(DATA.reshape(4, 6))
    assert fingerprint(np.zeros(2, np.float64)) != fingerprint(np.zeros(2, np.int64))
    assert fingerprint(FRAME) != fingerprint(FRAME.rename(columns={"a": "z"}))
    assert fingerprint(None) == fingerprint(None)
    lone = np.array(["\ud800"], dtype=object)  # a surrogate has no UTF-8
    assert fingerprint(lone) == fingerprint(lone.copy())
