import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin

from sk_unlearn.utils._inputs import check_net_input, check_net_training_data

X, y = np.arange(8.0).reshape(4, 2), np.array([0, 1, 0, 1])


class Net(ClassifierMixin, BaseEstimator):
    pass


def check(X=X, y=y, classification=True):
    net = Net()
    return net, *check_net_training_data(net, X, y, classification=classification)


@pytest.mark.parametrize(
    ("dtype", "kept"),
    [(np.float64, np.float64), (np.float32, np.float32), (np.uint8, np.float32)],
)
def test_floats_keep_their_type(dtype, kept):
    given = X.astype(dtype)
    _, found, _ = check(given)
    assert found.dtype == kept
    assert np.array_equal(found, X)
    assert np.shares_memory(found, given) == (dtype == kept)


def test_images_and_frames():
    net, found, _ = check(np.zeros((4, 1, 3, 3), np.float32))
    assert found.shape == (4, 1, 3, 3)
    with pytest.raises(ValueError, match=r"rows of shape \(1, 3, 3\), got X of shape \(4, 1, 2"):
        check_net_input(net, np.zeros((4, 1, 2, 3)))
    frame = pd.DataFrame(X, columns=["a", "b"])
    net, _, _ = check(frame)
    assert net.feature_names_in_.tolist() == ["a", "b"]
    assert check_net_input(net, frame).tolist() == X.tolist()
    with pytest.raises(ValueError, match="feature names"):
        check_net_input(net, frame[["b", "a"]])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"X": sparse.csr_matrix(X)}, "[Ss]parse"),
        ({"X": np.where(X == 3, np.nan, X)}, "NaN"),
        ({"X": np.where(X == 3, np.inf, X)}, "infinity"),
        ({"X": X * 1e300}, r"7e\+300, too large for the float32 .*StandardScaler"),
        ({"X": -X * 1e300}, "too large"),
        ({"X": X[:3]}, "inconsistent"),
        ({"X": X.astype(complex)}, "Complex"),
        ({"y": np.array([0.1, 0.2, 0.3, 0.4])}, "continuous"),
        ({"y": y * 1e300, "classification": False}, "y holds 1e.300"),
        ({"y": None}, "requires y"),
    ],
)
def test_bad_data_is_refused_with_the_reason(bad, message):
    with pytest.raises((ValueError, TypeError), match=message):
        check(**bad)


INTEGERS = [np.int8, np.uint16, np.int32, np.int64]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_stay_integers_on_request(dtype):
    given, net = X.astype(dtype), Net()
    found, _ = check_net_training_data(net, given, y, classification=True, keep_integers=True)
    assert np.shares_memory(found, given)
    assert check_net_input(net, given).dtype == dtype
    assert check_net_input(net, pd.DataFrame(given)).dtype == dtype
    assert check_net_input(net, given.tolist()).dtype == np.int64


def test_integers_to_predict_become_what_fit_saw():
    net = Net()
    check_net_training_data(net, X, y, classification=True, keep_integers=True)
    assert check_net_input(net, X.astype(int)).dtype == np.float32
    assert check()[1].dtype == np.float64


@pytest.mark.parametrize(
    ("labels", "one", "other"),
    [
        (["a", 1, "b", 2], "'a' of type str", "1 of type int"),
        ([1.5, "a", 2, "b"], "1.5 of type float", "'a' of type str"),
        (("a", True, "a", False), "'a' of type str", "True of type bool"),
        (["a", b"a", "b", "b"], "'a' of type str", "b'a' of type bytes"),
        ([["a"], [1], ["a"], [1]], "'a' of type str", "1 of type int"),
        (["a", None, "b", "b"], "'a' of type str", "None of type NoneType"),
    ],
)
def test_lists_of_mixed_labels_are_refused(labels, one, other):
    with pytest.raises(ValueError, match=f"labels in y must be all .* {one} and {other}"):
        check(y=labels)


@pytest.mark.parametrize("labels", [["a", "b", np.str_("c"), "a"], [0, 1.0, True, np.int8(2)]])
def test_lists_of_labels_of_one_kind_pass(labels):
    assert check(y=labels)[2].tolist() == labels


def test_float32_range_is_enough():
    _, found, _ = check(X * 1e37)
    assert found.max() == 7e37
    net, *_ = check()
    with pytest.raises(ValueError, match="too large"):
        check_net_input(net, X * 1e300)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.int64, object])
@pytest.mark.parametrize("form", [np.asarray, np.asfortranarray, pd.DataFrame, list])
def test_rows_to_predict_are_those_that_were_given(dtype, form):
    net, given = check()[0], form(X.astype(dtype))
    found = check_net_input(net, given)
    assert found.dtype in (np.float32, np.float64)
    assert np.array_equal(found, X)


@pytest.mark.parametrize("names", [None, ["a", "b"]])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, object])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300, -1e39])
def test_values_that_no_net_can_read_are_refused(names, dtype, value):
    given = X.astype(dtype)
    with np.errstate(over="ignore"):
        given[-1, 0] = value
    net = check(X if names is None else pd.DataFrame(X, columns=names))[0]
    given = given if names is None else pd.DataFrame(given, columns=names)
    with pytest.raises(ValueError, match=r"NaN|infinity|large"), np.errstate(over="ignore"):
        check_net_input(net, given)


@pytest.mark.parametrize(
    "given",
    [X[:0], X[0], X[:, :1], X[:, :, None], X.astype(complex), [["a", "b"]], sparse.csr_matrix(X)],
)
def test_rows_of_another_form_are_refused(given):
    with pytest.raises((ValueError, TypeError)):
        check_net_input(check()[0], given)


@pytest.mark.parametrize("bad", [[1e300, -1e300], [-1e39, 0], [np.inf, -np.inf], [np.nan, 0]])
def test_values_whose_sum_may_be_zero_are_seen(bad):
    net, given = check()[0], X.copy()
    given[-1] = bad
    with pytest.raises(ValueError, match=r"NaN|infinity|too large"), np.errstate(invalid="ignore"):
        check_net_input(net, given)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_numbers_pass_though_their_sum_overflows(dtype):
    net, given = check()[0], np.full((6, 2), 3e38, dtype)
    assert check_net_input(net, given) is given


def test_names_that_are_missing_are_told_of():
    net = check(pd.DataFrame(X, columns=["a", "b"]))[0]
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        check_net_input(net, X)


def test_scikit_learns_switch_for_finite_values_counts():
    net, given = check()[0], np.where(X == 7, np.nan, X)
    with config_context(assume_finite=True):
        assert np.isnan(check_net_input(net, given)).any()
