"""What a container of rows is, decided by its type.

Never by an attribute that it seems to have: columns of a DataFrame and labels of a Series are
attributes too, and a column may be called "cat", "dtype" or "levels".
"""

import sys

import numpy as np
import torch
from scipy import sparse
from sklearn import get_config

__all__ = ["as_labels", "dispatched", "is_frame", "is_pandas", "is_polars"]

_NULLABLE = ("BooleanArray", "IntegerArray", "FloatingArray")


def is_pandas(data, *kinds):
    """Whether data is of some classes of pandas, DataFrame or Series if none is named."""
    return _is_of("pandas", data, kinds or ("DataFrame", "Series"))


def is_polars(data, *kinds):
    """Whether data is of some classes of polars, DataFrame or Series if none is named."""
    return _is_of("polars", data, kinds or ("DataFrame", "Series"))


def is_frame(data):
    """Whether data is a table with named columns, of pandas or polars."""
    return is_pandas(data, "DataFrame") or is_polars(data, "DataFrame")


def _is_of(library, data, kinds):
    module = sys.modules.get(library)  # what was never imported has no instances
    return module is not None and isinstance(data, tuple(getattr(module, k) for k in kinds))


def dispatched(data):
    """Data as NumPy holds it where scikit-learn would compute in another array library.

    Rows, labels and what is learned from them are NumPy's here, whatever
    ``sklearn.set_config(array_api_dispatch=True)`` says: removals train with rows that are taken
    from those of ``fit``, under whatever is configured then.

    Parameters
    ----------
    data : array-like

    Returns
    -------
    data : array-like
        The same object where scikit-learn would read it by NumPy.
    """
    if not get_config()["array_api_dispatch"] or isinstance(data, np.ndarray):
        return data
    if isinstance(data, torch.Tensor):
        return data.detach().cpu().numpy()
    if sparse.issparse(data) or not hasattr(type(data), "__array_namespace__"):
        return data
    try:
        return np.from_dlpack(data) if hasattr(type(data), "__dlpack__") else np.asarray(data)
    except Exception as error:
        raise TypeError(
            f"Array API dispatch is on and NumPy, which holds rows here, cannot read "
            f"{type(data).__name__} ({error}). Pass a NumPy array."
        ) from None


def as_labels(y):
    """Targets as an array of their own type, that of the values where pandas has one of its own.

    Parameters
    ----------
    y : array-like

    Returns
    -------
    y : ndarray
        Booleans and integers of pandas' nullable types stay what they are; scikit-learn makes
        floats of them.

    Raises
    ------
    ValueError
        If pandas says that targets are missing.
    """
    y = dispatched(y)
    if _is_of("pandas", y, ("Series", "Index")) or _is_of("pandas.arrays", y, _NULLABLE):
        missing = np.flatnonzero(y.isna())
        if len(missing):
            raise ValueError(
                f"Input y contains NaN: {len(missing)} targets are missing, the first at position "
                f"{missing[0]}. Leave these rows out."
            )
        plain = getattr(y.dtype, "numpy_dtype", None)
        if plain is not None:
            return y.to_numpy(dtype=plain)
    return np.asarray(y)
