"""Checks of the per-row metadata given to ``fit``: ids, groups, forget masks."""

import numpy as np

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
    keys = _as_keys(values)
    if keys.ndim != 1 or len(keys) != n_rows:
        raise ValueError(
            f"{where} must have shape (n_samples,) = ({n_rows},), got shape {keys.shape}."
        )
    if keys.dtype.kind in "iu":
        return keys.astype(np.int64 if keys.dtype != np.uint64 else np.uint64)
    if keys.dtype.kind == "U":
        return keys.astype(object)
    if keys.dtype.kind == "O":
        if all(isinstance(key, str) for key in keys):
            return _as_keys([python_scalar(key) for key in keys])
        if all(_is_integer(key) for key in keys):
            return _as_integers([int(key) for key in keys], where)
        odd = [key for key in keys if not isinstance(key, str) and not _is_integer(key)]
        got = repr(odd[0]) if odd else "a mixture of int and str"
        raise ValueError(f"{where} must be all int or all str, got {got}.")
    raise ValueError(
        f"{where} must be all int or all str, got dtype {keys.dtype} (first value {keys[:1]})."
    )


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


def _is_integer(key):
    return isinstance(key, (int, np.integer)) and not isinstance(key, bool)


def _as_keys(values):
    if isinstance(values, (list, tuple)):
        # np.asarray would silently turn [1, "a"] into strings
        keys = np.empty(len(values), dtype=object)
        keys[:] = values
        return keys
    return np.asarray(values)


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
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.shape != (n_rows,):
        raise ValueError(
            f"The 'forget' parameter of {_caller(owner)} must be a boolean mask of shape "
            f"(n_samples,) = ({n_rows},), got dtype {mask.dtype} and shape {mask.shape}. "
            "Cross-validation slices a mask with the rows; an array of positions would "
            "reach every fold unsliced."
        )
    if mask.all():
        raise ValueError(
            f"The 'forget' parameter of {_caller(owner)} marks all {n_rows} rows; at least one "
            "row must remain."
        )
    return mask


def _caller(owner):
    """Of a class it is ``fit`` that was called."""
    return f"{owner}.fit" if owner[:1].isupper() else owner
