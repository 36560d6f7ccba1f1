"""Checks of the per-row metadata given to ``fit``: ids, groups, forget masks."""

import numpy as np

from sk_unlearn.utils._values import as_array, read_values

__all__ = ["check_forget_mask", "check_keys", "check_sample_id", "python_scalar"]


def python_scalar(key):
    """Key as the Python object that equal keys of any NumPy type share."""
    return key.item() if isinstance(key, np.generic) else key


def check_keys(values, n_rows, *, name, owner):
    """Validate one int or str a row.

    Parameters
    ----------
    values : array-like of shape (n_rows,)
    n_rows : int
    name, owner : str
        Parameter and caller, for the message.

    Returns
    -------
    keys : ndarray of shape (n_rows,), integer or object (str) dtype
        A copy.

    Raises
    ------
    ValueError
        If the shape differs, a value is neither int nor str, or integers need more than 64
        bits.
    """
    where = f"The {name!r} parameter of {_caller(owner)}"
    keys = read_values(values, where)
    if len(keys) != n_rows:
        raise ValueError(
            f"{where} must have shape (n_samples,) = ({n_rows},), got shape {keys.shape}."
        )
    if keys.dtype == bool:
        raise ValueError(f"{where} must be all int or all str, got {bool(keys[0])} of type bool.")
    if keys.dtype.kind in "iu":
        return keys.astype(np.int64 if keys.dtype != np.uint64 else np.uint64)
    return keys if isinstance(keys[0], str) else _as_integers(keys.tolist(), where)


def _as_integers(keys, where):
    dtype = np.int64 if max(keys, default=0) < 2**63 else np.uint64
    limits = np.iinfo(dtype)
    for key in keys:
        if not limits.min <= key <= limits.max:
            raise ValueError(
                f"{where} must hold integers of at most 64 bits, all of them int64 or all of "
                f"them uint64, got {key}. Pass them as str instead."
            )
    return np.array(keys, dtype=dtype)


def check_sample_id(values, n_rows, *, owner):
    """Validate ids: one distinct int or str a row; see :func:`check_keys`."""
    keys = check_keys(values, n_rows, name="sample_id", owner=owner)
    unique, first, count = np.unique(keys, return_index=True, return_counts=True)
    if len(unique) < n_rows:
        twice = unique[count > 1].tolist()[0]
        raise ValueError(
            f"The 'sample_id' parameter of {_caller(owner)} must be unique, got {twice!r} "
            f"{count[count > 1][0]} times (first at position {first[count > 1][0]}). "
            "Several rows of one person share a group, not an id."
        )
    return keys


def check_forget_mask(mask, n_rows, *, owner):
    """Validate the boolean mask of rows to forget right after ``fit``.

    Returns
    -------
    mask : ndarray of shape (n_rows,), bool
    """
    where = f"The 'forget' parameter of {_caller(owner)}"
    rule = f"a boolean mask of shape (n_samples,) = ({n_rows},)"
    try:
        mask = as_array(mask, where, "True or False a row")
    except ValueError as error:
        raise ValueError(f"{where} must be {rule}: {error}") from None
    if mask.dtype != bool or mask.shape != (n_rows,):
        raise ValueError(
            f"{where} must be {rule}, got dtype {mask.dtype} and shape {mask.shape}. "
            "Cross-validation slices a mask with the rows; an array of positions would "
            "reach every fold unsliced."
        )
    if mask.all():
        raise ValueError(f"{where} marks all {n_rows} rows; at least one row must remain.")
    return mask


def _caller(owner):
    """Of a class it is ``fit`` that was called."""
    return f"{owner}.fit" if owner[:1].isupper() else owner
