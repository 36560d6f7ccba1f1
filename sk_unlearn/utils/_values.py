"""Values by which a caller names rows, read by their type: nothing is guessed or converted.

NumPy would turn ``[1, True]`` into integers, masked entries into what lies below the mask and
dates into integers, and would call whatever an object offers. A wrong guess here removes the
wrong rows.
"""

from array import array
from collections import deque

import numpy as np
import torch
from scipy import sparse

__all__ = ["as_array", "plain_scalar", "read_values", "shown"]

_SEQUENCES = (list, tuple, range, deque, array)
_LONGEST = 200  # characters of a value in a message


def shown(value):
    """What an object looks like, for a message, whatever its ``repr`` does."""
    try:
        text = repr(value)
        return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
    except Exception:
        return f"an object of type {type(value).__name__}"


def plain_scalar(value):
    """The bool, int or str that a value is, as Python's own type; None for all others."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, np.timedelta64):  # to NumPy an integer
        return None
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, int):
        return int.__int__(value)
    return str.__str__(value) if isinstance(value, str) else None


def read_values(values, where, *, what="int or str", also=()):
    """One-dimensional values of one kind.

    Parameters
    ----------
    values : array-like of shape (n_values,)
        A sequence of Python's own, or an array, Series or tensor. Not an iterator, which could
        be read once only, nor a dict.
    where : str
        What holds the values, for the message.
    what : str, default="int or str"
        What it should hold, for the message.
    also : tuple of type, default=()
        Further types to take elements from, such as sets where order says nothing.

    Returns
    -------
    values : ndarray of shape (n_values,)
        Of dtype bool, an integer dtype, or object: all str, or all int where some need more than
        64 bits. An empty one is of int64.

    Raises
    ------
    ValueError
        Naming the first value that is no bool, int or str, or of another kind than those before.
    """
    kinds = (*_SEQUENCES, *also)
    base = next((kind for kind in kinds if isinstance(values, kind)), None)
    if base is range:
        return _of_range(values, where)
    if base is not None:
        return _of_elements(list(base.__iter__(values)), where, what)
    found = as_array(values, where, what)
    if found.ndim != 1:
        raise ValueError(
            f"{where} must be one-dimensional, got {shown(values)} of {found.ndim} dimensions, "
            f"shape {found.shape}."
        )
    if not len(found):
        return np.zeros(0, dtype=np.int64)
    if found.dtype.kind in "iub":
        return found
    # tolist makes integers of dates
    elements = found.tolist() if found.dtype.kind == "U" else list(found)
    return _of_elements(elements, where, what)


def as_array(values, where, what):
    """An array-like of any shape as an array, or a ValueError that says what it is instead."""
    if isinstance(values, (list, tuple)):
        return _of_elements(list(values), where, what)
    if isinstance(values, np.ma.MaskedArray) and np.ma.getmaskarray(values).any():
        raise ValueError(
            f"{where} must hold values, got a masked array in which "
            f"{np.count_nonzero(np.ma.getmaskarray(values))} are masked. Pass "
            "values.compressed(), or fill them."
        )
    if isinstance(values, np.ndarray):
        return np.asarray(values)
    if sparse.issparse(values) or not hasattr(type(values), "__array__"):
        raise ValueError(
            f"{where} must hold {what}, in a list, tuple, array or Series if several, got "
            f"{shown(values)} of type {type(values).__name__}."
        )
    try:
        if isinstance(values, torch.Tensor):
            return values.detach().cpu().numpy()
        found = np.asarray(values)
    except Exception as error:
        raise ValueError(
            f"{where} cannot be read as an array: {type(values).__name__} raised "
            f"{type(error).__name__}: {error}"
        ) from None
    return np.asarray(found.data) if isinstance(found, np.ma.MaskedArray) else found


def _of_range(values, where):
    if (len(values) and max(abs(values[0]), abs(values[-1])) >= 2**62) or len(values) > 2**40:
        raise ValueError(f"{where} holds more than any data has rows, got {values!r}.")
    return np.arange(values.start, values.stop, values.step, dtype=np.int64)


def _of_elements(elements, where, what):
    plain = [plain_scalar(element) for element in elements]
    if not plain:
        return np.zeros(0, dtype=np.int64)
    for element, value in zip(elements, plain, strict=True):
        if value is None:
            nested = f" (shape {_shape(elements)})" if isinstance(element, (list, tuple)) else ""
            raise ValueError(
                f"{where} must hold {what}, got {shown(element)} of type "
                f"{type(element).__name__}{nested}."
            )
    kinds = {type(value) for value in plain}
    if len(kinds) > 1:
        first = plain[0]
        other = next(value for value in plain if type(value) is not type(first))
        raise ValueError(
            f"{where} must hold values of one type, got a mixture of {type(first).__name__} and "
            f"{type(other).__name__}: {shown(first)} and {shown(other)} of type "
            f"{type(other).__name__}."
        )
    if kinds == {bool}:
        return np.array(plain, dtype=bool)
    if kinds == {int} and min(plain) >= -(2**63) and max(plain) < 2**63:
        return np.array(plain, dtype=np.int64)
    found = np.empty(len(plain), dtype=object)
    found[:] = plain
    return found


def _shape(elements):
    return len(elements), len(elements[0]) if isinstance(elements[0], (list, tuple)) else 0
