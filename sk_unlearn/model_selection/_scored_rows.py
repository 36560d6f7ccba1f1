"""Whether ids mean the same rows to a scorer, to the estimator and to the splitter."""

import numpy as np
from scipy import sparse

from sk_unlearn.utils._digest import state_digest
from sk_unlearn.utils._ids import python_scalar
from sk_unlearn.utils._sklearn import num_samples
from sk_unlearn.utils._take import take_rows

__all__ = ["check_labels_of_ids", "check_metadata", "check_rows_of_ids"]

_MAX_COMPARED = 200  # a shifted or shuffled id is wrong for most rows: a few of them show it


def check_rows_of_ids(X, where, held, *, held_by):
    """Refuse ids that name one row here and another one there.

    Parameters
    ----------
    X : array-like
        Rows of the scorer.
    where : ndarray of int, shape (n_rows,)
        For each row of `held`, the row of `X` with the same id; -1 where there is none.
    held : array-like of n_rows rows
    held_by : str
        Who holds them, for the message.
    """
    known = np.flatnonzero(where >= 0)
    known = known[np.linspace(0, len(known) - 1, min(len(known), _MAX_COMPARED)).astype(int)]
    if len(known) and not _equal(take_rows(X, where[known]), take_rows(held, known)):
        raise ValueError(
            f"Rows that the scorer and {held_by} know by the same sample_id are not the same "
            "rows. Make the scorer with all rows that are cross-validated and their ids in the "
            "same order, and pass these ids, one for each row, as params={'sample_id': ids, ...}."
        )


def check_labels_of_ids(y, where, held, *, held_by):
    """Refuse labels that are others here than there; parameters as for the rows."""
    known = np.flatnonzero(where >= 0)
    ours = np.asarray(y, dtype=object)[where[known]]
    theirs = np.asarray(held, dtype=object)[known]
    differ = np.flatnonzero(ours != theirs)
    if len(differ):
        at = differ[0]
        raise ValueError(
            f"The scorer was made with label {ours[at]!r} for a row whose label is {theirs[at]!r} "
            f"to {held_by}: {len(differ)} of {len(known)} labels differ. Make the scorer with the "
            "labels that are cross-validated, in the same order and encoding."
        )


def check_metadata(n_scored, trained_on, sample_id, forget):
    """Refuse metadata that was not cut with the rows, or ids that are in two parts of a split.

    Parameters
    ----------
    n_scored : int
        Rows in the part that is scored.
    trained_on : callable
        ``trained_on(id)``, whether the estimator was fitted on a row of this id.
    sample_id, forget : array-like or None
        Of the part that is scored; metadata routing brings them.
    """
    for name, values in (("sample_id", sample_id), ("forget", forget)):
        if values is not None and num_samples(values) != n_scored:
            raise ValueError(
                f"{name} has {num_samples(values)} values for the {n_scored} rows that are "
                "scored: it was not cut with the rows, since it has not one value for each row "
                "of X."
            )
    if sample_id is None:
        return
    ids = [python_scalar(key) for key in sample_id]
    inside = [trained_on(key) for key in ids]
    if any(inside) and not all(inside):  # all of them: the training part itself is scored
        raise ValueError(
            f"sample_id {ids[inside.index(True)]!r} is that of a row that is scored and of a row "
            "that the estimator was fitted on: ids repeat across folds, or the splitter puts "
            "rows into both parts."
        )


def _equal(ours, theirs):
    ours, theirs = _array(ours), _array(theirs)
    if ours.shape != theirs.shape:
        return True  # converted on the way in: not to be compared
    if ours.dtype.kind in "biuf" and theirs.dtype.kind in "biuf":
        return np.array_equal(ours.astype(theirs.dtype), theirs, equal_nan=True)
    if ours.dtype.kind in "OU" and theirs.dtype.kind in "OU":
        return state_digest(ours.astype(object)) == state_digest(theirs.astype(object))
    return True


def _array(rows):
    return rows.toarray() if sparse.issparse(rows) else np.asarray(rows)
