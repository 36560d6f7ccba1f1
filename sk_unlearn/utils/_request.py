"""From what a caller asks to forget to rows of the training set."""

from dataclasses import dataclass

import numpy as np

from sk_unlearn.exceptions import ForgetRequestError
from sk_unlearn.utils._values import plain_scalar, read_values, shown

__all__ = ["ForgetRequest", "check_note", "resolve_request"]

# of keys, not of positions, for which NumPy has never read them
_UNORDERED = (set, frozenset, type({}.keys()), type({}.values()))


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
    # of one type: else all are converted
    slot = np.searchsorted(rows.position, positions.astype(rows.position.dtype))
    slot[slot == len(rows)] = 0
    present = rows.position[slot] == positions
    return ForgetRequest(slot[present], len(positions), int((~present).sum()))


def _positions(X_idx, n_fit):
    """Distinct positions, ascending."""
    if isinstance(X_idx, slice):
        return _slice_positions(X_idx, n_fit)
    asked = _read(X_idx, "X_idx", "integers, a slice or a boolean mask")
    if asked.dtype == bool:
        if asked.shape != (n_fit,):
            raise ForgetRequestError(
                f"A boolean X_idx must have shape (n_samples,) = ({n_fit},), the rows of the "
                f"last fit, got shape {asked.shape}."
            )
        return np.flatnonzero(asked)
    if asked.dtype == object and isinstance(asked[0], str):
        raise ForgetRequestError(
            f"X_idx must hold integers, a slice or a boolean mask, got {shown(asked[0])} of type "
            "str. Ids are given as sample_id."
        )
    outside = (asked < 0) | (asked >= n_fit)
    if outside.any():
        raise ForgetRequestError(_outside(asked[outside][0], n_fit))
    asked = asked.astype(np.int64)
    distinct = np.unique(asked) if len(asked) > 1 else asked
    if len(asked) == n_fit > len(distinct) and distinct[-1] <= 1:
        raise ForgetRequestError(
            f"X_idx holds {n_fit} integers that are 0 or 1, as many as the last fit had rows: "
            "read as positions they name at most two rows. Pass X_idx.astype(bool) if they "
            "indicate rows, or the distinct positions."
        )
    return distinct


def _outside(position, n_fit):
    return f"X_idx must lie in [0, {n_fit}), the rows of the last fit, got {position}."


def _slice_positions(asked, n_fit):
    for bound in (asked.start, asked.stop, asked.step):
        if bound is None:
            continue
        if isinstance(bound, bool) or not isinstance(bound, (int, np.integer)) or bound < 0:
            raise ForgetRequestError(
                f"Bounds of a slice X_idx must be non-negative integers, got {shown(bound)}."
            )
        if bound > n_fit:
            raise ForgetRequestError(
                f"Bounds of a slice X_idx must be at most {n_fit}, the rows of the last fit, "
                f"got {shown(bound)}."
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
    asked = list(dict.fromkeys(_keys(sample_id, "sample_id")))
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
            f"groups={shown(groups)} asks for groups, but no groups were given to fit."
        )
    asked = list(dict.fromkeys(_keys(groups, "groups")))
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


def _keys(values, name):
    """The ints and strs of a request, as Python objects."""
    keys = _read(values, name, "int or str", also=_UNORDERED)
    if keys.dtype == bool:
        raise ForgetRequestError(
            f"{name} must hold int or str, got {bool(keys.flat[0])} of type bool."
        )
    return keys.reshape(-1).tolist()


def _read(values, name, what, *, also=()):
    """Values of a request: one of shape () as it is, several of one dimension."""
    try:
        scalar = plain_scalar(values)
        if scalar is None:
            if isinstance(values, np.generic):
                kind = type(values).__name__
                raise ValueError(f"{name} must hold {what}, got {shown(values)} of type {kind}.")
            return read_values(values, name, what=what, also=also)
    except ValueError as error:
        raise ForgetRequestError(str(error)) from None
    if isinstance(scalar, bool):
        return np.array(scalar)
    one = np.empty(1, dtype=object)
    one[0] = scalar
    return one


def _integers(sample_id):
    keys = _keys(sample_id, "sample_id")
    for key in keys:
        if isinstance(key, str):
            raise ForgetRequestError(f"sample_id must be int, got {key!r}.")
    return keys  # a list: it also holds the integers that no array does
