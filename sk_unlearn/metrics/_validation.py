"""Checks of arguments that the metrics share: parameter, rule and value in each message."""

import math
from numbers import Integral, Real

import numpy as np


def check_array(name, value, *, ndim, axes):
    """Finite float64 array with the stated number of axes.

    Parameters
    ----------
    name : str
    value : array-like
    ndim : int or tuple of int
    axes : str
        The shape in words, for the message.

    Returns
    -------
    array : ndarray of float64
    """
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(f"{name} must be of shape {axes}, got rows of unequal size.") from None
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold real numbers, got dtype {array.dtype}.")
    allowed = (ndim,) if isinstance(ndim, int) else ndim
    if array.ndim not in allowed or array.size == 0:
        raise ValueError(f"{name} must be of shape {axes} and not empty, got {array.shape}.")
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(f"{name} must be finite, got {array[where]} at {where}.")
    return array


def check_models(name, value, *, axes="(n_models, n_rows)", ndim=2, at_least=1, why="this metric"):
    """Array with one model in each row of its first axis, and enough of them."""
    array = check_array(name, value, ndim=ndim, axes=axes)
    if len(array) < at_least:
        raise ValueError(
            f"{name} must hold at least {at_least} models for {why}, got {len(array)}."
        )
    return array


def check_same(first, a, second, b, *, start=1):
    """Arrays agree in shape from axis `start` on."""
    if a.shape[start:] != b.shape[start:]:
        raise ValueError(
            f"{first} and {second} must have the same shape after axis {start - 1}, "
            f"got {a.shape} and {b.shape}."
        )


def check_probabilities(name, array):
    """Entries in [0, 1] that sum to one over the last axis."""
    if array.min() < 0 or array.max() > 1:
        worst = array.min() if array.min() < 0 else array.max()
        raise ValueError(f"{name} must hold probabilities in [0, 1], got {worst:g}.")
    total = array.sum(-1)
    gap = np.abs(total - 1)
    if gap.max() > 1e-3:
        worst = total.flat[gap.argmax()]
        raise ValueError(f"{name} must sum to 1 over its last axis, got a sum of {worst:g}.")


def check_labels(name, y, n_rows, n_classes, labels=None):
    """Column of each row's label.

    Parameters
    ----------
    name : str
    y : array-like of shape (n_rows,)
    n_rows, n_classes : int
    labels : array-like of shape (n_classes,) or None
        Label of each column; None: labels are the column numbers.

    Returns
    -------
    column : ndarray of int of shape (n_rows,)
    """
    y = np.asarray(y)
    if y.shape != (n_rows,):
        raise ValueError(f"{name} must be of shape ({n_rows},), one label a row, got {y.shape}.")
    if labels is None:
        if y.dtype.kind not in "biu" or y.min() < 0 or y.max() >= n_classes:
            outside = y if y.dtype.kind not in "biu" else y[(y < 0) | (y >= n_classes)]
            raise ValueError(
                f"{name} must hold column numbers, integers from 0 to {n_classes - 1}, unless "
                f"labels is given, got {outside[0]!r}."
            )
        return y.astype(np.intp)
    labels = np.asarray(labels)
    if labels.shape != (n_classes,) or len(np.unique(labels)) != n_classes:
        raise ValueError(
            f"labels must name each of the {n_classes} columns once, got {labels.tolist()}."
        )
    order = np.argsort(labels)
    known = np.isin(y, labels)
    if not known.all():
        raise ValueError(f"{name} must hold values of labels only, got {y[~known][0]!r}.")
    return order[np.searchsorted(labels[order], y)]


def check_mask(name, value, n_rows, *, both=True):
    """Boolean mask over the rows, with rows on both sides if `both`."""
    mask = np.asarray(value)
    if mask.shape != (n_rows,) or mask.dtype != bool:
        raise ValueError(
            f"{name} must be a boolean mask of shape ({n_rows},), "
            f"got dtype {mask.dtype} and shape {mask.shape}."
        )
    if not mask.any() or (both and mask.all()):
        rule = "rows on both sides" if both else "at least one row"
        raise ValueError(f"{name} must mark {rule}, got {mask.sum()} of {n_rows} rows.")
    return mask


def check_real(name, value, low=-math.inf, high=math.inf, *, inclusive=False):
    """Real number between two bounds, which are allowed themselves if `inclusive`."""
    inside = isinstance(value, Real) and not isinstance(value, bool)
    if inside:
        inside = low <= value <= high if inclusive else low < value < high
    if not inside:
        left, right = "[]" if inclusive else "()"
        raise ValueError(
            f"{name} must be a number in {left}{low:g}, {high:g}{right}, got {value!r}."
        )
    return float(value)


def check_count(name, value, low):
    """Integer that is at least `low`."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < low:
        raise ValueError(f"{name} must be an integer of at least {low}, got {value!r}.")
    return int(value)


def check_option(name, value, options):
    """One of several strings."""
    if not isinstance(value, str) or value not in options:
        raise ValueError(f"{name} must be one of {sorted(options)}, got {value!r}.")
    return value
