"""Parameters of an estimator as plain values, for a receipt."""

import numpy as np

__all__ = ["described_params"]

_PLAIN = (type(None), bool, int, float, str)
_MOST_ITEMS = 20  # longer containers may hold data


def described_params(estimator, *, deep=True):
    """Parameters of an estimator and of what it wraps, ready for JSON and without data.

    Parameters
    ----------
    estimator : estimator
    deep : bool, default=True
        Whether those of what it wraps are among them.

    Returns
    -------
    params : dict of str to object
        Numbers, strings and short containers of them as they are; classes and functions by
        name; anything else, arrays and estimators among it, by its type.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from sk_unlearn import RetrainRegressor
    >>> from sk_unlearn.utils._describe import described_params
    >>> described_params(RetrainRegressor(Ridge(alpha=0.5)))["estimator__alpha"]
    0.5
    """
    return {name: _described(value) for name, value in estimator.get_params(deep=deep).items()}


def _described(value, depth=0):
    if isinstance(value, np.generic) and value.dtype.kind in "biufU":
        value = value.item()
    for kind in _PLAIN:  # of the builtin type: a subclass may hide anything behind its repr
        if isinstance(value, kind):
            return value if type(value) is kind else kind(value)
    if isinstance(value, (list, tuple, dict)) and len(value) <= _MOST_ITEMS and depth < 2:
        if isinstance(value, dict):
            return {str(key): _described(item, depth + 1) for key, item in value.items()}
        return [_described(item, depth + 1) for item in value]
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        return f"{type(value).__name__} of shape {tuple(shape)}"
    if isinstance(value, (list, tuple, dict)):
        return f"{type(value).__name__} of length {len(value)}"
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"
