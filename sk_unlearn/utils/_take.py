"""Copies of some rows of any container that hold nothing of the other rows."""

import numpy as np
from scipy import sparse

from sk_unlearn.utils._containers import is_pandas, is_polars
from sk_unlearn.utils._sklearn import safe_indexing

__all__ = ["drop_rows", "take_rows"]

_NOT_INDEXABLE = ("bsr", "coo", "dia")
# Up to here a few long copies are faster than a mask.
_FEW = 8


def drop_rows(array, indices):
    """Copy all rows of an array but some.

    Parameters
    ----------
    array : ndarray of shape (n_rows, ...)
    indices : ndarray of int, ascending, distinct

    Returns
    -------
    rest : ndarray of shape (n_rows - len(indices), ...)
    """
    if len(indices) > _FEW or not array.flags.c_contiguous:
        return np.delete(array, indices, axis=0)
    stops = [*np.asarray(indices).tolist(), len(array)]
    starts = [0, *(stop + 1 for stop in stops[:-1])]
    rest = np.empty((len(array) - len(indices), *array.shape[1:]), array.dtype)
    # without out, the bytes would come in the order of the machine
    parts = [array[i:j] for i, j in zip(starts, stops, strict=True)]
    return np.concatenate(parts, out=rest)


def take_rows(data, indices):
    """Copy some rows.

    Categories and levels of pandas objects, and categories of polars ones, that no copied row
    has are dropped: they name rows that are gone. Sparse formats without row access become
    CSR.

    Parameters
    ----------
    data : array-like, sparse matrix, DataFrame or Series
    indices : ndarray of int

    Returns
    -------
    taken : container of the same kind
    """
    if type(data) is np.ndarray:
        return data[indices]
    if sparse.issparse(data) and data.format in _NOT_INDEXABLE:
        data = data.tocsr()
    taken = safe_indexing(data, indices)
    if is_polars(taken):
        return _rebuilt(taken)
    return _pruned(taken) if is_pandas(taken) else taken


def _rebuilt(taken):
    """Polars object without the buffers of the rows that it was taken from.

    Taken strings and lists go on pointing into the memory of all rows, and are pickled with
    it; numbers are copied.
    """
    if is_polars(taken, "DataFrame"):
        return taken.with_columns([_rebuilt(series) for series in taken.get_columns()])
    dtype = taken.dtype
    if dtype.is_numeric() or dtype.is_temporal():
        return taken
    values = taken.to_list()
    if type(dtype).__name__ == "Enum":
        used = set(values)
        dtype = type(dtype)([name for name in dtype.categories if name in used])
    return type(taken)(taken.name, values, dtype=dtype)


def _pruned(taken):
    """Pandas object without unused categories and levels."""
    index = _pruned_index(taken.index)
    if index is not taken.index:
        taken = taken.set_axis(index, axis=0)
    if is_pandas(taken, "Series"):
        categorical = is_pandas(taken.dtype, "CategoricalDtype")
        return taken.cat.remove_unused_categories() if categorical else taken
    for column, dtype in enumerate(taken.dtypes):
        if is_pandas(dtype, "CategoricalDtype"):
            used = taken.iloc[:, column].cat.remove_unused_categories()
            taken.isetitem(column, used)
    return taken


def _pruned_index(index):
    if is_pandas(index, "MultiIndex"):
        index = index.remove_unused_levels()
        return index.set_levels([_pruned_index(level) for level in index.levels])
    if is_pandas(index, "CategoricalIndex"):
        return index.remove_unused_categories()
    return index
