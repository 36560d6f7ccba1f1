"""Which rows are held out, and which are to be forgotten."""

from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np

from sk_unlearn.utils._seeding import derive_seed

__all__ = ["KINDS", "ForgetSet", "check_request", "draw_forget_set", "hold_out"]

KINDS = ("random", "hard", "class", "mislabelled")


@dataclass(frozen=True)
class ForgetSet:
    """Rows to forget, and the labels under which they are trained on.

    Attributes
    ----------
    name : str
    rows : ndarray of int, ascending
        Into the data given to ``compare_forgetting``.
    y : ndarray of shape (n_samples,)
        Differs from the given labels for "mislabelled" rows only.
    relabelled : bool
    """

    name: str
    rows: np.ndarray
    y: np.ndarray
    relabelled: bool = False


def check_request(forget, n_rows):
    """What to forget, by name: kinds stay strings, masks become row numbers.

    Parameters
    ----------
    forget : str, array-like, list of str, or dict of str to str or array-like
    n_rows : int

    Returns
    -------
    requests : dict of str to (str or ndarray of int)
    """
    if isinstance(forget, str):
        forget = {forget: forget}
    elif isinstance(forget, (list, tuple)) and any(isinstance(kind, str) for kind in forget):
        forget = {str(kind): kind for kind in forget}
    elif not isinstance(forget, dict):
        forget = {"forget": forget}
    if not forget:
        raise ValueError("forget must name at least one set of rows, got an empty dict.")
    return {str(name): _check_one(name, rows, n_rows) for name, rows in forget.items()}


def _check_one(name, rows, n_rows):
    if isinstance(rows, str):
        if rows not in KINDS:
            raise ValueError(f"forget must be one of {list(KINDS)} or mark rows, got {rows!r}.")
        return rows
    return row_numbers(f"forget[{name!r}]" if name != "forget" else "forget", rows, n_rows)


def row_numbers(name, rows, n_rows):
    """Distinct row numbers from a boolean mask or from numbers.

    Parameters
    ----------
    name : str
        Of the parameter.
    rows : array-like of bool, shape (n_rows,), or of int
    n_rows : int

    Returns
    -------
    numbers : ndarray of int, ascending
    """
    rows = np.asarray(rows)
    if rows.dtype == bool:
        if rows.shape != (n_rows,):
            raise ValueError(
                f"{name} must be a mask of shape (n_samples,) = ({n_rows},) or row numbers, "
                f"got shape {rows.shape}."
            )
        rows = np.flatnonzero(rows)
    if rows.ndim != 1 or not len(rows) or rows.dtype.kind not in "iu":
        raise ValueError(f"{name} must mark one or more rows, got {rows!r}.")
    if rows.min() < 0 or rows.max() >= n_rows:
        worst = rows.min() if rows.min() < 0 else rows.max()
        raise ValueError(f"{name} must lie in [0, {n_rows}), got {worst}.")
    return np.unique(rows)


def hold_out(test_size, y, requests, seed):
    """Rows that nothing is trained on: a share of each class, none of them to be forgotten.

    Parameters
    ----------
    test_size : float, int or array-like of bool
        Share or number of all rows, or the rows themselves.
    y : ndarray of shape (n_samples,)
    requests : dict
        See :func:`check_request`.
    seed : int

    Returns
    -------
    held_out : ndarray of int, ascending
    """
    n_rows = len(y)
    marked = np.zeros(n_rows, dtype=bool)
    for rows in requests.values():
        if not isinstance(rows, str):
            marked[rows] = True
    if not isinstance(test_size, Real) or isinstance(test_size, bool):
        held_out = row_numbers("test_size", test_size, n_rows)
        both = held_out[marked[held_out]]
        if len(both):
            raise ValueError(
                f"forget marks {len(both)} rows that test_size holds out, the first of them "
                f"{both[0]}: rows that are never trained on cannot be forgotten."
            )
        return held_out
    n_out = test_size if isinstance(test_size, Integral) else int(test_size * n_rows)
    free = np.flatnonzero(~marked)
    if not 1 <= n_out <= len(free):
        raise ValueError(
            f"test_size must hold out at least one row and at most the {len(free)} that forget "
            f"does not mark, got {test_size!r}, which is {n_out} rows."
        )
    rng = np.random.RandomState(derive_seed(seed, "held out"))
    free = free[rng.permutation(len(free))]
    # every class gives its share: a row's place is its rank within the class
    _, column = np.unique(y[free], return_inverse=True)
    place = np.empty(len(free))
    for label in range(column.max() + 1):
        members = np.flatnonzero(column == label)
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.sort(free[np.argsort(place, kind="stable")[:n_out]])


def draw_forget_set(name, request, y, train, *, forget_size, groups, losses, seed):
    """Forget set of a request.

    Parameters
    ----------
    name : str
    request : str or ndarray of int
    y : ndarray of shape (n_samples,)
    train : ndarray of int
        Rows that are trained on.
    forget_size : float or int
        Share or number of the rows trained on.
    groups : ndarray of shape (n_samples,) or None
    losses : callable
        Gives the loss of each row of `train` under a probe model.
    seed : int

    Returns
    -------
    forget_set : ForgetSet
    """
    if not isinstance(request, str):
        return ForgetSet(name, request, y)
    rng = np.random.RandomState(derive_seed(seed, "forget", request))
    if request == "class":
        keys = y if groups is None else groups
        chosen = rng.choice(np.unique(keys[train]))
        rows = train[keys[train] == chosen]
        if len(rows) == len(train):
            what = "class" if groups is None else "group"
            raise ValueError(f"forget='class' needs two {what}es or more, all rows are of one.")
        return ForgetSet(name, rows, y)
    n_forget = _count(forget_size, len(train))
    if request == "hard":
        return ForgetSet(name, np.sort(train[np.argsort(-losses())[:n_forget]]), y)
    rows = np.sort(rng.choice(train, n_forget, replace=False))
    if request == "random":
        return ForgetSet(name, rows, y)
    classes, column = np.unique(y, return_inverse=True)
    flipped = y.copy()
    flipped[rows] = classes[(column[rows] + rng.randint(1, len(classes), n_forget)) % len(classes)]
    return ForgetSet(name, rows, flipped, relabelled=True)


def _count(forget_size, n_train):
    share = not isinstance(forget_size, Integral)
    n_forget = max(1, round(forget_size * n_train)) if share else forget_size
    if isinstance(forget_size, bool) or forget_size <= 0 or n_forget >= n_train:
        raise ValueError(
            "forget_size must be a share in (0, 1) or a number of rows below the "
            f"{n_train} trained on, got {forget_size!r}."
        )
    return int(n_forget)
