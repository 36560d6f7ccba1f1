"""What a call that trains many nets is given, checked before any work."""

import numpy as np
from sklearn.base import clone

from sk_unlearn.nets._prepare import prepare

__all__ = ["checked"]


def checked(net, X, y, row_sets, seeds, start, epochs, stacked, width):
    """The arguments of :func:`~sk_unlearn.nets.train_nets` in one form, or an error.

    Returns
    -------
    net : skorch.NeuralNet
        A prepared copy.
    X, y : array-like
        Of all nets.
    row_sets : list of ndarray of int
    seeds : list of int or None
    start : list of NetState or None
    epochs : int
    """
    if row_sets is None:
        ends = np.cumsum([len(part) for part in X])
        row_sets = np.split(np.arange(ends[-1]), ends[:-1])
        X, y = np.concatenate(list(map(np.asarray, X))), np.concatenate(list(map(np.asarray, y)))
    n_rows = _n_rows(X)
    row_sets = [_rows(rows, k, n_rows) for k, rows in enumerate(row_sets)]
    if not row_sets:
        raise ValueError("row_sets must name the rows of at least one net, got none.")
    if seeds is None and start is None:
        raise ValueError("seeds may be None only where start gives states to go on from.")
    for name, values in (("seeds", seeds), ("start", start)):
        if values is not None and len(values) != len(row_sets):
            raise ValueError(
                f"{name} must have one entry for each of {len(row_sets)} row sets, "
                f"got {len(values)}."
            )
    seeds = [None] * len(row_sets) if seeds is None else [int(seed) for seed in seeds]
    start = [None] * len(row_sets) if start is None else list(start)
    for k, (seed, state) in enumerate(zip(seeds, start, strict=True)):
        if seed is None and state.rng is None:
            raise ValueError(f"start[{k}] has no generator to go on with; give seeds.")
    if stacked not in ("auto", True, False):
        raise ValueError(f"stacked must be 'auto', True or False, got {stacked!r}.")
    if width is not None and width < 1:
        raise ValueError(f"width must be at least 1, got {width}.")
    epochs = net.max_epochs if epochs is None else epochs
    if epochs < 0:
        raise ValueError(f"epochs must not be negative, got {epochs}.")
    return prepare(clone(net)), X, y, row_sets, seeds, start, epochs


def _n_rows(X):
    if isinstance(X, dict):
        return len(next(iter(X.values())))
    several = isinstance(X, (list, tuple)) and len(X) and hasattr(X[0], "shape")
    return len(X[0] if several else X)


def _rows(rows, k, n_rows):
    rows = np.asarray(rows)
    if rows.ndim != 1 or not len(rows) or rows.dtype.kind not in "iu":
        raise ValueError(f"row_sets[{k}] must hold the numbers of one or more rows, got {rows!r}.")
    rows = rows.astype(np.int64)
    if rows.min() < 0 or rows.max() >= n_rows:
        raise ValueError(
            f"row_sets[{k}] must be within 0 ... {n_rows - 1}, got {rows.min()} ... {rows.max()}."
        )
    return rows
