"""Checks of data for estimators whose input goes straight into a net."""

import numpy as np
from scipy import sparse
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from sk_unlearn.utils._containers import as_labels, dispatched

__all__ = [
    "check_label_types",
    "check_labels",
    "check_net_input",
    "check_net_training_data",
    "check_targets",
]

# the first one is what integers (images) become; floats keep their dtype and their memory
_DTYPES = (np.float32, np.float64)
_INTEGERS = tuple(np.dtype(code).type for code in np.typecodes["AllInteger"])


def check_net_training_data(
    estimator, X, y, *, classification, keep_integers=False, scales_targets=False
):
    """Validate training data and record its shape and kind on the estimator.

    Parameters
    ----------
    estimator : estimator
        Gets ``n_features_in_``, ``feature_names_in_``, the shape of a row and whether rows
        are integers.
    X : array-like of shape (n_samples, n_features) or (n_samples, ...)
    y : array-like of shape (n_samples,), or (n_samples, n_targets) for regression
    classification : bool
    keep_integers : bool, default=False
        Whether integers in ``X`` stay integers, as nets with embeddings need them.
    scales_targets : bool, default=False
        Whether real targets are scaled before a net gets them, so that large ones do no harm.

    Returns
    -------
    X : ndarray, float32 or float64, or an integer type with ``keep_integers``
    y : ndarray
    """
    check_targets(y, owner=type(estimator).__name__, classification=classification)
    y = y if y is None else as_labels(y)
    X, y = validate_data(
        estimator,
        _typed(X, keep_integers),
        y,
        dtype=_dtypes(keep_integers),
        allow_nd=True,
        multi_output=not classification,
        y_numeric=not classification,
    )
    if classification:
        check_labels(y)
    _check_magnitude(X, "X")
    if not classification and not scales_targets:
        _check_magnitude(y, "y")
    estimator._row_shape_ = X.shape[1:]
    estimator._integer_rows_ = X.dtype.kind in "iu"
    return X, y


def check_targets(y, *, owner, classification):
    """Refuse targets that no estimator here takes, by what they are as given.

    Parameters
    ----------
    y : array-like
    owner : str
        The caller, for the message.
    classification : bool

    Raises
    ------
    TypeError
        If ``y`` is sparse.
    ValueError
        If a row has several labels, or labels are of several types.
    """
    if sparse.issparse(y):
        raise TypeError(
            f"The 'y' parameter of {owner}.fit must be dense, got a sparse matrix of shape "
            f"{y.shape}. Pass y.toarray()."
        )
    if not classification:
        return
    if _labels_of_a_row(y) != 1:
        shape = getattr(y, "shape", None)
        got = f"shape {tuple(shape)}" if shape is not None else "lists of labels"
        raise ValueError(
            f"The 'y' parameter of {owner}.fit must hold one label a row, shape (n_samples,), "
            f"got {got}: a class cannot leave where rows have several labels or outputs. Give "
            f"each column an estimator of its own: MultiOutputClassifier({owner}(...))."
        )
    check_label_types(y)


def _labels_of_a_row(y):
    if isinstance(y, (list, tuple)):
        rows = [row for row in y if isinstance(row, (list, tuple, set, np.ndarray))]
        return max((np.size(r if isinstance(r, np.ndarray) else list(r)) for r in rows), default=1)
    shape = getattr(y, "shape", ())
    return shape[1] if len(shape) == 2 else 1


def check_label_types(y):
    """Refuse a list of labels that NumPy would silently turn into strings.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
    """
    if not isinstance(y, (list, tuple)):
        return
    first = {}
    for label in y:
        if isinstance(label, (list, tuple)) and len(label) == 1:
            label = label[0]  # a column
        kind = next((kind for kind in (str, bytes) if isinstance(label, kind)), object)
        first.setdefault(kind, label)
    if len(first) > 1:
        raise _several_types(*list(first.values())[:2])


def check_labels(y):
    """Refuse targets that are no labels, and labels of several types, which have no order.

    Parameters
    ----------
    y : ndarray of shape (n_samples,)
    """
    if y.dtype.hasobject:
        try:
            np.unique(y)
        except TypeError:
            other = next((label for label in y if type(label) is not type(y[0])), y[-1])
            raise _several_types(y[0], other) from None
    check_classification_targets(y)


def _several_types(one, other):
    return ValueError(
        f"The labels in y must be all str or all numbers, got {one!r} of type "
        f"{type(one).__name__} and {other!r} of type {type(other).__name__}."
    )


def check_net_input(estimator, X):
    """Validate rows to predict against the shape and kind seen in ``fit``.

    Returns
    -------
    X : ndarray, float32 or float64, or an integer type where ``fit`` kept integers
    """
    if not _has_form(estimator, X) or not _sums_up(X):
        X = _check_form(estimator, X)
    _check_magnitude(X, "X")
    return X


def _has_form(estimator, X):
    """Whether validate_data would hand X back as it is, without a word, if it is finite.

    It takes as long as a small net does for a row.
    """
    return (
        type(X) is np.ndarray
        and X.dtype in _DTYPES
        and X.ndim > 1
        and len(X) > 0
        and X.shape[1:] == estimator._row_shape_
        and not hasattr(estimator, "feature_names_in_")  # it warns where names are missing
    )


def _sums_up(X):
    """Whether all values are surely finite; the sum of large ones may overflow."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.isfinite(X.sum())


def _check_form(estimator, X):
    keep = estimator._integer_rows_
    X = validate_data(
        estimator,
        _typed(X, keep),
        dtype=_dtypes(keep),
        allow_nd=True,
        reset=False,
    )
    if X.shape[1:] != estimator._row_shape_:
        raise ValueError(
            f"{type(estimator).__name__} was fitted on rows of shape {estimator._row_shape_}, "
            f"got X of shape {X.shape}."
        )
    return X


def _typed(X, keep_integers):
    X = dispatched(X)
    # scikit-learn converts what has no dtype to the first one, without asking what it holds
    return np.asarray(X) if keep_integers and isinstance(X, (list, tuple)) else X


def _dtypes(keep_integers):
    return _DTYPES + _INTEGERS * keep_integers


def _check_magnitude(values, name):
    if values.dtype != np.float64:
        return
    largest = max(values.max(), -values.min())
    if largest > np.finfo(np.float32).max:
        raise ValueError(
            f"{name} holds {largest:.3g}, too large for the float32 arithmetic of a net: "
            "scale it first, for example with StandardScaler."
        )
