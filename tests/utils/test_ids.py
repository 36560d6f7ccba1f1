import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sk_unlearn.utils._ids import check_forget_mask, check_keys, check_sample_id


def keys(values, n_rows=None):
    n_rows = len(values) if n_rows is None else n_rows
    return check_keys(values, n_rows, name="groups", owner="Net")


@given(st.lists(st.integers(-(2**63), 2**63 - 1)) | st.lists(st.text()))
def test_keys_keep_their_values(values):
    assert keys(values).tolist() == values
    if values:
        assert keys(np.array(values, dtype=object)).tolist() == values


def test_numpy_strings_become_python_ones():
    found = keys(np.array(["ä", "b"]))
    assert found.dtype == object
    assert [type(key) for key in found] == [str, str]
    assert keys(np.array([2**63], dtype=np.uint64)).tolist() == [2**63]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, "a"], "mixture"),
        ([1.0, 2.0], "1.0"),
        (np.array([0.5]), "float64"),
        ([True, False], "True"),
        ([None], "None"),
        (np.zeros((2, 2), int), r"\(2, 2\)"),
    ],
)
def test_other_keys_are_refused(values, message):
    with pytest.raises(ValueError, match=message) as caught:
        keys(values)
    assert "'groups' parameter of Net.fit" in str(caught.value)


def test_wrong_length_is_refused():
    with pytest.raises(ValueError, match=r"\(3,\), got shape \(2,\)"):
        keys([1, 2], 3)


@given(st.lists(st.integers(0, 5), min_size=1))
def test_ids_are_distinct(values):
    if len(set(values)) == len(values):
        assert check_sample_id(values, len(values), owner="Net").tolist() == values
        return
    with pytest.raises(ValueError, match="must be unique") as caught:
        check_sample_id(values, len(values), owner="Net")
    named = int(str(caught.value).split("got ")[1].split(" ")[0])
    assert values.count(named) > 1
    assert f"first at position {values.index(named)}" in str(caught.value)


def test_forget_masks():
    mask = np.array([True, False])
    assert check_forget_mask(mask.tolist(), 2, owner="Net").tolist() == [True, False]
    for bad in ([0, 1], [True], [[True, False]], np.array([True, False], dtype=object)):
        with pytest.raises(ValueError, match="must be a boolean mask"):
            check_forget_mask(bad, 2, owner="Net")
    with pytest.raises(ValueError, match="marks all 2 rows"):
        check_forget_mask([True, True], 2, owner="Net")


@pytest.mark.parametrize("kind", [list, lambda values: np.array(values, dtype=object)])
def test_integers_of_64_bits_are_kept_and_others_named(kind):
    for values in ([0, 2**64 - 1], [2**63], [-(2**63), 2**63 - 1]):
        assert keys(kind(values)).tolist() == values
    for values, odd in (([1, 2**70], 2**70), ([1, -(2**70)], -(2**70)), ([-1, 2**63], -1)):
        with pytest.raises(ValueError, match=f"parameter of Net.fit .*64 bits.*got {odd}"):
            keys(kind(values))


@pytest.mark.parametrize("values", [["a", "b"], [1, 2]])
def test_numpy_scalars_become_python_ones(values):
    scalars = list(np.array(values))
    for given_keys in (scalars, np.array(scalars, dtype=object)):
        assert [type(key) for key in keys(given_keys).tolist()] == [type(values[0])] * 2
    assert type(scalars[0]) is not type(values[0])


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, object])
def test_keys_are_the_estimators_own(dtype):
    names = ["a", "b"] if dtype is object else [1, 2]
    values = np.array([np.array(names)[0], names[1]], dtype=dtype)
    before = list(values)
    found = keys(values)
    assert [type(key) for key in values] == [type(key) for key in before]
    values[0] = values[1]
    assert found.tolist() == names
