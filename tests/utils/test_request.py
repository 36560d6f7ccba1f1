from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sk_unlearn.exceptions import ForgetRequestError
from sk_unlearn.utils._request import resolve_request
from sk_unlearn.utils._rows import TrainingRows

N = 12
NOBODY = SimpleNamespace(knows_id=lambda key: False, rows_of_group=lambda key: 0)


def make_rows(gone=(), **metadata):
    rows = TrainingRows.borrow(np.zeros((N, 1)), np.zeros(N), N, **metadata)
    return rows.drop(np.array(sorted(gone), dtype=int))


positions = st.lists(st.integers(0, N - 1), max_size=2 * N)
gone = st.sets(st.integers(0, N - 1), max_size=N - 2)


@given(positions, gone)
def test_positions_mean_the_rows_of_the_last_fit(asked, gone):
    rows = make_rows(gone)
    wanted = set(asked) - gone
    if wanted == set(range(N)) - gone:
        with pytest.raises(ForgetRequestError, match=f"all {len(rows)} rows"):
            resolve_request(rows, NOBODY, asked)
        return
    request = resolve_request(rows, NOBODY, asked)
    assert set(rows.position[request.hit]) == wanted
    assert request.hit.tolist() == sorted(request.hit)
    assert request.n_requested == len(set(asked))
    assert request.n_already == len(set(asked) & gone)


@given(positions.filter(lambda asked: len(set(asked)) < N))
def test_masks_ids_and_arrays_are_the_same_request(asked):
    ids = np.array([f"id{i}" for i in range(N)], dtype=object)
    rows = make_rows(sample_id=ids)
    mask = np.isin(np.arange(N), asked)
    forms = [
        {"X_idx": np.array(asked, dtype=np.int16)},
        {"X_idx": mask},
        {"sample_id": ids[asked].tolist()},
    ]
    for form in forms:
        request = resolve_request(rows, NOBODY, **form)
        assert request.hit.tolist() == sorted(set(asked))
        assert request.n_requested == len(set(asked))


@given(
    st.slices(N).filter(
        lambda s: all(b is None or b >= 0 for b in (s.start, s.stop, s.step)) and s.step != 0
    )
)
def test_slices_are_python_slices(asked):
    expected = list(range(N))[asked]
    if len(expected) == N:
        return
    assert resolve_request(make_rows(), NOBODY, asked).hit.tolist() == expected


@pytest.mark.parametrize(
    ("asked", "offender"),
    [
        (-1, "-1"),
        ([0, N], str(N)),
        ([0, 2**63], str(2**63)),
        (1.0, "1.0"),
        ([1, 2.5], "2.5"),
        ([3, True], "True"),
        (np.nan, "nan"),
        ([True] * (N + 1), str(N + 1)),
        (True, r"shape \(\)"),
        (np.array("3"), "'3'"),
        (["x"], "'x'"),
        ([None], "None"),
        ([[0]], r"\(1, 1\)"),
        (slice(-3, None), "-3"),
        (slice(0, N + 1), str(N + 1)),
        (slice(0, 3, 0), "0"),
        (slice(0, 2.0), "2.0"),
        (slice(None, None, -1), "-1"),
    ],
)
def test_bad_positions_are_named(asked, offender):
    with pytest.raises(ForgetRequestError, match=offender):
        resolve_request(make_rows(), NOBODY, asked)


def test_unknown_ids_and_groups_are_named():
    rows = make_rows(sample_id=np.arange(N) + 100, groups=np.arange(N) % 3)
    with pytest.raises(ForgetRequestError, match="sample_id 7 is not"):
        resolve_request(rows, NOBODY, sample_id=[101, 7])
    with pytest.raises(ForgetRequestError, match="'101'"):
        resolve_request(rows, NOBODY, sample_id="101")
    with pytest.raises(ForgetRequestError, match="group 3 is not"):
        resolve_request(rows, NOBODY, groups=[0, 3])
    with pytest.raises(ForgetRequestError, match="True of type bool"):
        resolve_request(rows, NOBODY, groups=[True])
    with pytest.raises(ForgetRequestError, match="no groups were given"):
        resolve_request(make_rows(), NOBODY, groups=[0])
    with pytest.raises(ForgetRequestError, match=r"ids are positions.*12"):
        resolve_request(make_rows(), NOBODY, sample_id=[12])
    with pytest.raises(ForgetRequestError, match=r"ids are positions.*'a'"):
        resolve_request(make_rows(), NOBODY, sample_id=["a"])


def test_forgotten_keys_are_counted():
    groups = np.array([0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2])
    rows = make_rows({0, 2, 3, 4}, sample_id=np.arange(N) + 100, groups=groups)
    ledger = SimpleNamespace(
        knows_id=lambda key: key in (100, 102, 103, 104),
        rows_of_group=lambda key: {0: 1, 1: 3}.get(key, 0),
    )
    request = resolve_request(rows, ledger, sample_id=[100, 101, 104])
    assert (request.hit.tolist(), request.n_requested, request.n_already) == ([0], 3, 2)
    request = resolve_request(rows, ledger, groups=[0, 1])
    assert (request.hit.tolist(), request.n_requested, request.n_already) == ([0], 5, 4)


@pytest.mark.parametrize(
    "given", [{}, {"X_idx": 1, "groups": 2}, {"X_idx": 1, "sample_id": 1, "groups": 1}]
)
def test_exactly_one_parameter(given):
    with pytest.raises(ForgetRequestError, match="Exactly one of X_idx, sample_id and groups"):
        resolve_request(make_rows(), NOBODY, **given)


@pytest.mark.parametrize("name", ["sample_id", "groups"])
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize(
    ("asked", "offender"),
    [
        (1.5, r"1\.5"),
        (3.0, r"3\.0"),
        (np.float64(3), r"3\.0"),
        (np.array(3), r"array\(3\)"),
        (np.array("abc"), "'abc'"),
        (np.array([[1]]), "1"),
        (pd.DataFrame({"a": [1]}), "2 dimensions"),
        (b"a", "b'a'"),
        (2**70, str(2**70)),
        ([-(2**70)], str(-(2**70))),
        ([np.True_], "True"),
    ],
)
def test_bad_keys_are_named(name, named, asked, offender):
    letters = np.array(list("abcdefghijkl"), dtype=object)
    keys = letters if named else np.arange(N)
    with pytest.raises(ForgetRequestError, match=offender):
        resolve_request(make_rows(sample_id=keys, groups=keys), NOBODY, **{name: asked})
    if name == "sample_id":
        with pytest.raises(ForgetRequestError, match=offender):
            resolve_request(make_rows(), NOBODY, sample_id=asked)


@pytest.mark.parametrize("name", ["sample_id", "groups"])
@pytest.mark.parametrize(
    "asked",
    [
        torch.tensor([3]),
        np.int8(3),
        np.uint64(3),
        [np.int64(3), 3],
        np.array([3], object),
        {3},
        (3,),
    ],
)
def test_numpy_scalars_are_keys(name, asked):
    rows = make_rows(sample_id=np.arange(N), groups=np.arange(N))
    assert resolve_request(rows, NOBODY, **{name: asked}).hit.tolist() == [3]
    letters = np.array(list("abcdefghijkl"), dtype=object)
    rows = make_rows(sample_id=letters, groups=letters)
    for asked in (np.str_("d"), [np.str_("d"), "d"], np.array(["d"]), pd.Series(["d"])):
        assert resolve_request(rows, NOBODY, **{name: asked}).hit.tolist() == [3]
