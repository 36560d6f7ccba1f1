"""From what a caller asks to forget to rows of the training set."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from sk_unlearn.exceptions import ForgetRequestError
from sk_unlearn.utils._ids import python_scalar

__all__ = ["ForgetRequest", "check_note", "resolve_request"]


@dataclass(frozen=True)
class ForgetRequest:
    """A validated request.

    Attributes
    ----------
    hit : ndarray of int64, ascending
        Rows to forget, as indices into the current :class:`TrainingRows`.
    n_requested : int
        Distinct rows asked for.
    n_already : int
        Of these, rows that were forgotten before.
    groups : tuple of int or str
        The groups asked for, where it was by groups.
    note : str or None
        Of whoever asks, for the receipt.
    """

    hit: np.ndarray
    n_requested: int
    n_already: int
    groups: tuple = ()
    note: str | None = None


def resolve_request(rows, forgotten, X_idx=None, *, sample_id=None, groups=None):
    """Validate a request and find its rows.

    Parameters
    ----------
    rows : TrainingRows
    forgotten : object
        Answers ``knows_id(id) -> bool`` and ``rows_of_group(group) -> int``, the number
        of rows forgotten before, for keys that no current row has.
    X_idx : int, slice, array-like of int or boolean mask of shape (n_samples,)
        Positions in the ``X`` of the last ``fit``.
    sample_id, groups : int, str or array-like of these
        Exactly one of the three must be given.

    Returns
    -------
    request : ForgetRequest

    Raises
    ------
    ForgetRequestError
        Naming the offending value.
    """
    given = [
        name
        for name, value in (("X_idx", X_idx), ("sample_id", sample_id), ("groups", groups))
        if value is not None
    ]
    if len(given) != 1:
        raise ForgetRequestError(
            "Exactly one of X_idx, sample_id and groups says what to forget, got "
            f"{' and '.join(given) or 'none of them'}."
        )
    if X_idx is not None:
        request = _by_position(rows, X_idx)
    elif sample_id is not None:
        request = _by_id(rows, forgotten, sample_id)
    else:
        request = _by_group(rows, forgotten, groups)
    if len(request.hit) == len(rows):
        raise ForgetRequestError(
            f"The request covers all {len(rows)} rows that are left; at least one must "
            "remain. Delete the estimator instead."
        )
    return request


def _by_position(rows, X_idx):
    positions = _positions(X_idx, rows.n_fit)
    slot = np.searchsorted(rows.position, positions)
    slot[slot == len(rows)] = 0
    present = rows.position[slot] == positions
    return ForgetRequest(slot[present], len(positions), int((~present).sum()))


def _positions(X_idx, n_fit):
    """Distinct positions, ascending."""
    if isinstance(X_idx, slice):
        return _slice_positions(X_idx, n_fit)
    asked = np.asarray(X_idx)
    if asked.dtype == bool:
        if asked.shape != (n_fit,):
            raise ForgetRequestError(
                f"A boolean X_idx must have shape (n_samples,) = ({n_fit},), the rows of the "
                f"last fit, got shape {asked.shape}."
            )
        return np.flatnonzero(asked)
    if asked.size == 0 and asked.ndim == 1:
        return np.zeros(0, dtype=np.int64)
    if asked.ndim > 1:
        raise ForgetRequestError(f"X_idx must be 0- or 1-dimensional, got shape {asked.shape}.")
    if asked.dtype.kind not in "iu" or isinstance(X_idx, (list, tuple)):
        _require_integers(X_idx if isinstance(X_idx, (list, tuple)) else asked, n_fit)
    asked = asked.reshape(-1)
    outside = (asked < 0) | (asked >= n_fit)
    if outside.any():
        raise ForgetRequestError(_outside(asked[outside][0], n_fit))
    asked = asked.astype(np.int64)
    return np.unique(asked) if len(asked) > 1 else asked


def _require_integers(values, n_fit):
    """Name the first value that is no integer, or is none that an array could hold."""
    values = values.reshape(-1).tolist() if isinstance(values, np.ndarray) else values
    for value in values:
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
            raise ForgetRequestError(
                f"X_idx must hold integers, a slice or a boolean mask, got {value!r} of type "
                f"{type(value).__name__}."
            )
        if not 0 <= value < n_fit:
            raise ForgetRequestError(_outside(value, n_fit))


def _outside(position, n_fit):
    return f"X_idx must lie in [0, {n_fit}), the rows of the last fit, got {position}."


def _slice_positions(asked, n_fit):
    for bound in (asked.start, asked.stop, asked.step):
        if bound is None:
            continue
        if isinstance(bound, bool) or not isinstance(bound, (int, np.integer)) or bound < 0:
            raise ForgetRequestError(
                f"Bounds of a slice X_idx must be non-negative integers, got {bound!r}."
            )
        if bound > n_fit:
            raise ForgetRequestError(
                f"Bounds of a slice X_idx must be at most {n_fit}, the rows of the last fit, "
                f"got {bound!r}."
            )
    if asked.step == 0:
        raise ForgetRequestError("The step of a slice X_idx must be positive, got 0.")
    return np.arange(n_fit)[asked]


def _by_id(rows, forgotten, sample_id):
    if rows.sample_id is None:
        try:
            return _by_position(rows, _integers(sample_id))
        except ForgetRequestError as error:
            raise ForgetRequestError(
                f"No sample_id was given to fit, so ids are positions: {error}"
            ) from None
    asked = list(dict.fromkeys(_scalars(sample_id, "sample_id")))
    where = {key: row for row, key in enumerate(rows.sample_id.tolist())}
    absent = [key for key in asked if key not in where]
    for key in absent:
        if not forgotten.knows_id(key):
            raise ForgetRequestError(f"sample_id {key!r} is not among the ids given to fit.")
    hit = np.array(sorted(where[key] for key in asked if key in where), dtype=np.int64)
    return ForgetRequest(hit, len(asked), len(absent))


def _by_group(rows, forgotten, groups):
    if rows.groups is None:
        raise ForgetRequestError(
            f"groups={groups!r} asks for groups, but no groups were given to fit."
        )
    asked = list(dict.fromkeys(_scalars(groups, "groups")))
    present = set(rows.groups.tolist())
    n_already = 0
    for key in asked:
        before = forgotten.rows_of_group(key)
        if key not in present and before == 0:
            raise ForgetRequestError(f"group {key!r} is not among the groups given to fit.")
        n_already += before
    wanted = set(asked)
    hit = np.array(
        [row for row, key in enumerate(rows.groups.tolist()) if key in wanted], dtype=np.int64
    )
    return ForgetRequest(hit, len(hit) + n_already, n_already, groups=tuple(asked))


def check_note(note):
    """Return a note as a plain str or None, or refuse it."""
    if note is not None and not isinstance(note, str):
        raise ForgetRequestError(
            f"note must be a str or None, got {note!r} of type {type(note).__name__}."
        )
    return None if note is None else str(note)


def _scalars(values, name):
    """The ints and strs of a request, as Python objects."""
    if isinstance(values, (str, bytes, np.generic)) or not isinstance(values, Iterable):
        values = [values]
    if getattr(values, "ndim", 1) != 1:
        # a string of 0 dimensions would be read letter by letter, a table by column
        raise ForgetRequestError(
            f"{name} must be an int, a str or one-dimensional, got {values!r} of "
            f"{values.ndim} dimensions."
        )
    values = values.tolist() if hasattr(values, "tolist") else values
    keys = [python_scalar(key) for key in values]
    for key in keys:
        if isinstance(key, bool) or not isinstance(key, (str, int)):
            raise ForgetRequestError(
                f"{name} must hold int or str, got {key!r} of type {type(key).__name__}."
            )
    return keys


def _integers(sample_id):
    keys = _scalars(sample_id, "sample_id")
    for key in keys:
        if isinstance(key, str):
            raise ForgetRequestError(f"sample_id must be int, got {key!r}.")
    return keys  # a list: it also holds the integers that no array does
