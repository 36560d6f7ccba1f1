"""Say so where a net reads numbers of a scale on which nets train badly."""

import numpy as np
from sklearn.compose import TransformedTargetRegressor

from sk_unlearn.exceptions import InputScaleWarning, TargetScaleWarning
from sk_unlearn.nets._inspect import is_net
from sk_unlearn.utils._warn import warn_user

__all__ = ["warn_of_scales"]

_LARGEST_DEVIATION, _LARGEST_MEAN = 32, 256
# of a column, times the root of their number: the size of a row if all columns were like it
_SMALLEST_SIZE, _SMALLEST_RANGE = 0.25, 0.5
_SMALLEST_DEVIATION = 1 / 32  # of targets
_NUMBERS = 2**21  # looked at, of rows evenly spread; this takes some milliseconds


def warn_of_scales(owner, estimator, X, y=None):
    """Warn of inputs and targets that a user's net reads and whose scale is far from 1.

    Parameters
    ----------
    owner : estimator
        That was told to fit.
    estimator : estimator
        Unfitted net, or what has one inside. Only nets that read what was given to ``fit``,
        behind no other step, are of interest.
    X : array-like of shape (n_rows, ...)
    y : array-like, default=None
        Real targets.

    Warns
    -----
    InputScaleWarning
        Not of sparse, integer or binary columns, nor of one value only.
    TargetScaleWarning
    """
    if _net_reads(estimator, "X"):
        warn_of_inputs(owner, X)
    if y is not None and _net_reads(estimator, "y"):
        _warn_of_targets(owner, y)


def warn_of_inputs(owner, X):
    """Warn of inputs whose scale is far from 1; a net reads them as they are.

    Parameters
    ----------
    owner : estimator
        That was told to fit.
    X : ndarray of shape (n_rows, ...)
        Integers that a net looks up in a table are none of it.
    """
    if not isinstance(X, np.ndarray) or X.dtype.kind != "f" or not X.size:
        return
    columns = _some_rows(X)
    found = _far_from_one(columns, _SMALLEST_SIZE / np.sqrt(columns.shape[1]))
    if found is None:
        return
    worst, n_bad, what = found
    name = type(owner).__name__
    warn_user(
        f"A net in {name} reads X as it is, and {_column_name(owner, X, worst)} has {what}"
        f"{_more(n_bad - 1, 'column')}: nets train badly on inputs far from unit scale. "
        f"Scale them: make_forget_pipeline(StandardScaler(), {name}(...)), or divide X by a "
        "number.",
        InputScaleWarning,
    )


def _warn_of_targets(owner, y):
    y = np.asarray(y)
    if y.dtype.kind not in "fiu" or not y.size:
        return
    found = _far_from_one(_some_rows(y), _SMALLEST_DEVIATION)
    if found is None:
        return
    worst, n_bad, what = found
    column = "y" if y.ndim == 1 else f"column {worst} of y"
    name = type(owner).__name__
    warn_user(
        f"The net given to {name}(estimator=...) is trained on y as it is, and {column} has "
        f"{what}{_more(n_bad - 1, 'column')}: nets train badly on targets far from unit scale. "
        f"Scale y by fixed numbers, or set estimator=None for a net that scales targets by "
        "itself. (RetrainRegressor and SisaRegressor with n_slices=1 also take "
        "TransformedTargetRegressor(net, transformer=StandardScaler()), fitted anew with the "
        "net.)",
        TargetScaleWarning,
    )


def _net_reads(estimator, what):
    """Whether a net gets ``"X"`` or ``"y"`` of ``fit`` as they are."""
    while estimator is not None and not is_net(estimator):
        steps = getattr(estimator, "steps", None)
        if steps:
            if what == "X" and any(step not in (None, "passthrough") for _, step in steps[:-1]):
                return False
            estimator = steps[-1][1]
        elif isinstance(estimator, TransformedTargetRegressor):
            estimator = None if what == "y" else estimator.regressor
        else:
            estimator = getattr(estimator, "estimator", None)
    return estimator is not None


def _some_rows(values):
    n_rows = len(values)
    values = values.reshape(n_rows, -1)
    n_looked_at = max(64, _NUMBERS // values.shape[1])
    return values[:: -(-n_rows // n_looked_at)]


def _far_from_one(columns, smallest):
    """The worst column, how many there are, and what is wrong; None where all is well."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean = columns.mean(axis=0, dtype=np.float64)
        deviation = columns.std(axis=0, dtype=np.float64)
    large = (deviation > _LARGEST_DEVIATION) | (np.abs(mean) > _LARGEST_MEAN)
    small = deviation < smallest
    if small.any():
        # rare events have little deviation, but of values that are not little; nor is one value
        values = columns[:, small]
        width, often = np.ptp(values, axis=0), 2 * np.count_nonzero(values, axis=0) >= len(values)
        small[small] = often & (width > 0) & (width < _SMALLEST_RANGE)
    bad = large | small
    if not bad.any():
        return None
    with np.errstate(divide="ignore"):
        off = np.where(deviation > 0, np.abs(np.log2(deviation)), 0)
        off = np.maximum(off, np.log2(np.abs(mean) / _LARGEST_MEAN) + 5)
    worst = int(np.argmax(np.where(bad, off.round(2), -1)))  # the first of equals
    if deviation[worst] > _LARGEST_DEVIATION or small[worst]:
        what = f"a standard deviation of about {deviation[worst]:.1g}"
    else:
        what = f"a mean of about {mean[worst]:.1g}"
    return worst, int(bad.sum()), what


def _column_name(owner, X, column):
    names = getattr(owner, "feature_names_in_", None)
    if names is not None:
        return f"column {names[column]!r}"
    place = np.unravel_index(column, X.shape[1:])
    return f"column {column}" if len(place) == 1 else f"element {tuple(map(int, place))} of a row"


def _more(n_more, noun):
    if not n_more:
        return ""
    return f" ({n_more} more {noun}{'s' * (n_more > 1)} too large or too small)"
