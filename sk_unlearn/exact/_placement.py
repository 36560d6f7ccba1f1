"""Where a training row goes: a function of its own id, never of the other rows."""

import numpy as np

from sk_unlearn.utils._seeding import keyed_uniform

__all__ = ["check_forget_proba", "keyed_bins", "placement_keys"]


def placement_keys(rows):
    """What decides where rows go: their groups, since these leave together, or their ids.

    Parameters
    ----------
    rows : TrainingRows

    Returns
    -------
    keys : ndarray of shape (n_rows,), int or str
    """
    return rows.ids if rows.groups is None else rows.groups


def keyed_bins(seed, component, keys, n_bins, forget_proba=None):
    """Spread keys over bins, those likely to be erased towards the first.

    The bin is ``floor(n_bins * u * (1 - p) ** n_bins)`` for a keyed uniform number u and
    the row's own probability p: without probabilities every bin is as likely; a row with
    p well above ``1 / n_bins`` goes to the first bins, so that few of them absorb the
    requests. No quantile of the probabilities of other rows enters, so that a placement
    never changes when rows leave.

    Parameters
    ----------
    seed : int
    component : str
    keys : ndarray of shape (n_rows,)
    n_bins : int
    forget_proba : ndarray of shape (n_rows,), default=None

    Returns
    -------
    bins : ndarray of shape (n_rows,), int64 in [0, n_bins)

    Examples
    --------
    >>> import numpy as np
    >>> from sk_unlearn.exact._placement import keyed_bins
    >>> keys = np.arange(1000)
    >>> np.bincount(keyed_bins(0, "shard", keys, 4)).round(-2)
    array([300, 200, 300, 300])
    >>> np.bincount(keyed_bins(0, "shard", keys, 4, np.full(1000, 0.9)), minlength=4)
    array([1000, 0, 0, 0])
    """
    u = keyed_uniform(seed, component, keys)
    if forget_proba is not None:
        u = u * (1.0 - forget_proba) ** n_bins
    return np.minimum((u * n_bins).astype(np.int64), n_bins - 1)


def check_forget_proba(forget_proba, n_rows, groups, *, owner):
    """Validate the probabilities that rows will be erased.

    Parameters
    ----------
    forget_proba : array-like of shape (n_rows,)
    n_rows : int
    groups : ndarray of shape (n_rows,) or None
    owner : str
        Named in errors.

    Returns
    -------
    forget_proba : ndarray of shape (n_rows,), float64

    Raises
    ------
    ValueError
        If the shape differs, a value is outside of [0, 1] or not finite, or rows of one
        group, which are placed together, have different values.
    """
    values = np.asarray(forget_proba)
    if values.shape != (n_rows,) or values.dtype.kind not in "biuf":
        raise ValueError(
            f"{owner} needs forget_proba of shape ({n_rows},), one number a row, got shape "
            f"{values.shape} and dtype {values.dtype}."
        )
    values = values.astype(np.float64)
    outside = np.flatnonzero(~((values >= 0) & (values <= 1)))
    if len(outside):
        raise ValueError(
            f"{owner} needs forget_proba in [0, 1], got {values[outside[0]]} at position "
            f"{outside[0]}."
        )
    if groups is not None:
        _, first, code = np.unique(groups, return_index=True, return_inverse=True)
        differs = np.flatnonzero(values != values[first][code])
        if len(differs):
            at = differs[0]
            raise ValueError(
                f"{owner} places the rows of one group together, so that they need the same "
                f"forget_proba: group {groups[at]!r} has {values[first[code[at]]]} and "
                f"{values[at]}."
            )
    return values
