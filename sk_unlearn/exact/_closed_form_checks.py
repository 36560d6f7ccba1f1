"""What closed-form models refuse before any work."""

import numbers

import numpy as np
from scipy import sparse
from sklearn.utils import check_array, column_or_1d, indexable
from sklearn.utils.validation import validate_data

from sk_unlearn.exact._embedding import is_plain
from sk_unlearn.nets import is_net
from sk_unlearn.nets._inspect import keeps_integers
from sk_unlearn.utils._inputs import (
    check_labels,
    check_net_input,
    check_net_training_data,
    check_targets,
)

__all__ = [
    "MOST_FEATURES",
    "check_alpha",
    "check_inputs",
    "check_more_targets",
    "check_new_rows",
    "check_public",
    "check_training_rows",
    "check_weights",
    "check_width",
]

MOST_FEATURES = 2**14  # of which the sums of products take 2 GiB
_FLOATS = (np.float32, np.float64)


def check_training_rows(estimator, X, y):
    """Validate training data; record its shape and kind on the estimator.

    Returns
    -------
    X : ndarray, csr_array, or what a transformer takes
    y : ndarray
    """
    owner, classification = type(estimator).__name__, estimator._classification
    if y is None:
        raise ValueError(f"{owner} requires y to be passed, but the target y is None")
    inner = frozen(estimator.features)
    if is_plain(inner) and sparse.issparse(X):
        check_targets(y, owner=owner, classification=classification)
        X, y = validate_data(
            estimator,
            X,
            y,
            accept_sparse="csr",
            dtype=_FLOATS,
            multi_output=not classification,
            y_numeric=not classification,
        )
        estimator._row_shape_, estimator._integer_rows_ = X.shape[1:], False
        X = sparse.csr_array(X)
    elif is_plain(inner) or is_net(inner):
        keep = is_net(inner) and keeps_integers(inner, X)
        return check_net_training_data(
            estimator, X, y, classification=classification, keep_integers=keep
        )
    else:
        check_targets(y, owner=owner, classification=classification)
        X, y = indexable(X, np.asarray(y))
        y = column_or_1d(y, warn=True) if classification else check_array(y, ensure_2d=False)
    if classification:
        check_labels(y)
    return X, y


def frozen(features):
    """What is in a FrozenEstimator, or what is not in one."""
    return getattr(features, "estimator", features)


def check_new_rows(estimator, X):
    """Validate rows against what ``fit`` saw."""
    inner = frozen(estimator.features)
    if is_plain(inner) and sparse.issparse(X):
        X = validate_data(estimator, X, accept_sparse="csr", dtype=_FLOATS, reset=False)
        return sparse.csr_array(X) if estimator._is_sparse_ else X.toarray()
    if is_plain(inner) or is_net(inner):
        return check_net_input(estimator, X)
    return X


def check_inputs(X, owner):
    """Rows that can be kept in blocks: an array or a sparse matrix in CSR form."""
    if sparse.issparse(X):
        return sparse.csr_array(X)
    if hasattr(X, "columns"):
        raise ValueError(
            f"{owner}(keep='inputs') keeps arrays and sparse matrices, got a table of type "
            f"{type(X).__name__}. Pass an array, or leave keep at 'features'."
        )
    return np.asarray(X)


def check_more_targets(estimator, X, y):
    """Validate targets of rows that are added."""
    owner, classification = type(estimator).__name__, estimator._classification
    check_targets(y, owner=owner, classification=classification)
    known = estimator._rows_.y
    if classification:
        _, y = indexable(X, column_or_1d(y, warn=True))
        check_labels(y)
        kinds = {np.asarray(labels).dtype.kind in "OUST" for labels in (known[:1], y)}
        if len(kinds) > 1:
            raise ValueError(
                f"The labels in y must be of the type of those of fit, {known[:1].tolist()[0]!r}, "
                f"got {y[:1].tolist()[0]!r}."
            )
        return y
    _, y = indexable(X, check_array(y, ensure_2d=False, dtype="numeric"))
    if y.shape[1:] != known.shape[1:]:
        raise ValueError(
            f"{owner} was fitted on targets of shape (n_samples, *{known.shape[1:]}), got y of "
            f"shape {y.shape}."
        )
    return y


def check_alpha(alpha, head, owner):
    """Refuse a list of penalties that is none."""
    if isinstance(alpha, (str, numbers.Real)):
        return
    where = f"The 'alpha' parameter of {owner}"
    if head != "ridge":
        raise ValueError(f"{where} must be a number or 'auto' with head={head!r}, got {alpha!r}.")
    values = list(alpha)
    if not values:
        raise ValueError(f"{where} must be a number, 'auto' or a list of numbers, got {alpha!r}.")
    for value in values:
        if not isinstance(value, numbers.Real) or not 0 < value < float("inf"):
            raise ValueError(f"{where} must hold positive numbers, got {value!r}.")


def check_width(n_features, owner):
    """Refuse more features than there is room for their products."""
    if n_features > MOST_FEATURES:
        raise ValueError(
            f"{owner} keeps sums of products of all pairs of features, at most {MOST_FEATURES} "
            f"of them, got {n_features}. Take features=None with n_components, or reduce the "
            "columns, for example HashingVectorizer(n_features=2**12)."
        )


def check_weights(weights, n_rows, owner):
    """Weights that say how often each row counts, int64."""
    where = f"The 'sample_weight' parameter of {owner}"
    weights = np.asarray(weights)
    if weights.shape != (n_rows,):
        raise ValueError(
            f"{where} must have shape (n_samples,) = ({n_rows},), got shape {weights.shape}."
        )
    if weights.dtype.kind not in "fiu" or not np.isfinite(weights).all():
        raise ValueError(f"{where} must hold finite integers, got dtype {weights.dtype}.")
    odd = (weights != np.rint(weights)) | (weights < 0) | (weights > 2**20)
    if odd.any():
        raise ValueError(
            f"{where} must hold integers from 0 to 2^20, which say how often a row counts: sums "
            f"of others would not be exact. Got {weights[odd][0].item()!r}. Multiply all by a "
            "factor that makes them whole."
        )
    if not weights.any():
        raise ValueError(f"{where} must hold a positive number, all are 0.")
    return weights.astype(np.int64)


def check_public(public, n_rows, owner):
    """Mask of the rows that a net may be trained on."""
    public = np.asarray(public)
    if public.dtype != bool or public.shape != (n_rows,):
        raise ValueError(
            f"The 'public' parameter of {owner}.fit must be a boolean mask of shape (n_samples,) "
            f"= ({n_rows},), got dtype {public.dtype} and shape {public.shape}."
        )
    if public.sum() < 2:
        raise ValueError(
            f"The 'public' parameter of {owner}.fit marks {int(public.sum())} rows; a net needs "
            "at least two to be trained on."
        )
    return public
