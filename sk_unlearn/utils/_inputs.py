"""Checks of data for estimators whose input goes straight into a net."""

import numpy as np
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

__all__ = ["check_labels", "check_net_input", "check_net_training_data"]

# the first one is what integers (images) become; floats keep their dtype and their memory
_DTYPES = (np.float32, np.float64)


def check_net_training_data(estimator, X, y, *, classification):
    """Validate training data and record its shape on the estimator.

    Parameters
    ----------
    estimator : estimator
        Gets ``n_features_in_``, ``feature_names_in_`` and the shape of a row.
    X : array-like of shape (n_samples, n_features) or (n_samples, ...)
    y : array-like of shape (n_samples,), or (n_samples, n_targets) for regression
    classification : bool

    Returns
    -------
    X : ndarray, float32 or float64
    y : ndarray
    """
    X, y = validate_data(
        estimator,
        X,
        y,
        dtype=_DTYPES,
        allow_nd=True,
        multi_output=not classification,
        y_numeric=not classification,
    )
    if classification:
        check_labels(y)
    _check_magnitude(X, "X")
    if not classification:
        _check_magnitude(y, "y")
    estimator._row_shape_ = X.shape[1:]
    return X, y


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
            raise ValueError(
                f"The labels in y must be all str or all numbers, got {y[0]!r} of type "
                f"{type(y[0]).__name__} and {other!r} of type {type(other).__name__}."
            ) from None
    check_classification_targets(y)


def check_net_input(estimator, X):
    """Validate rows to predict against the shape seen in ``fit``.

    Returns
    -------
    X : ndarray, float32 or float64
    """
    X = validate_data(estimator, X, dtype=_DTYPES, allow_nd=True, reset=False)
    if X.shape[1:] != estimator._row_shape_:
        raise ValueError(
            f"{type(estimator).__name__} was fitted on rows of shape {estimator._row_shape_}, "
            f"got X of shape {X.shape}."
        )
    _check_magnitude(X, "X")
    return X


def _check_magnitude(values, name):
    if values.dtype != np.float64:
        return
    largest = max(values.max(), -values.min())
    if largest > np.finfo(np.float32).max:
        raise ValueError(
            f"{name} holds {largest:.3g}, too large for the float32 arithmetic of a net: "
            "scale it first, for example with StandardScaler."
        )
