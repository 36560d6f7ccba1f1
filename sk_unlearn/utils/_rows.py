"""The rows that a fitted estimator was trained on and has not forgotten."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sk_unlearn.exceptions import TrainingDataChangedError
from sk_unlearn.utils._fingerprint import fingerprint
from sk_unlearn.utils._take import drop_rows, take_rows

__all__ = ["TrainingRows"]


@dataclass(frozen=True)
class TrainingRows:
    """Training rows with their identity; every method returns a new object.

    Attributes
    ----------
    X, y : array-like of n_rows rows
        Held by reference as given to ``fit`` until the first removal, own copies of the
        retained rows afterwards.
    n_fit : int
        Rows given to ``fit``; positions in requests refer to these.
    sample_id : ndarray of shape (n_rows,) or None
        None means that positions are the ids.
    groups : ndarray of shape (n_rows,) or None
    fit_params : dict
        Further metadata of ``fit``.
    per_row : frozenset of str
        Entries of ``fit_params`` that had one value a row in ``fit``; sliced with the rows.
    position : ndarray of shape (n_rows,), int64
        Where each row stood in the last ``fit``, ascending.
    checksum : tuple or None
        Of borrowed data; None once the rows are the estimator's own.
    """

    X: Any
    y: Any
    n_fit: int
    sample_id: np.ndarray | None = None
    groups: np.ndarray | None = None
    fit_params: dict = field(default_factory=dict)
    per_row: frozenset = frozenset()
    position: np.ndarray | None = None
    checksum: tuple | None = None

    @classmethod
    def borrow(cls, X, y, n_rows, **metadata):
        """Hold the caller's arrays, with a checksum to notice later changes."""
        rows = cls(X, y, n_rows, position=np.arange(n_rows), **metadata)
        per_row = {name for name, value in rows.fit_params.items() if _is_per_row(value, n_rows)}
        return replace(rows, per_row=frozenset(per_row), checksum=rows._fingerprints())

    def __len__(self):
        return len(self.position)

    @property
    def ids(self):
        """ndarray of shape (n_rows,): ``sample_id``, or positions in the last ``fit``."""
        return self.position if self.sample_id is None else self.sample_id

    def verify(self, owner):
        """Raise if borrowed data is no longer what ``fit`` saw."""
        if self.checksum is None:
            return
        changed = [
            name
            for name, before, now in zip(
                ("X", "y", "fit_params"), self.checksum, self._fingerprints(), strict=True
            )
            if before != now
        ]
        if changed:
            raise TrainingDataChangedError(
                f"{owner} holds the training rows by reference, and {' and '.join(changed)} "
                "changed since fit: what the retained rows are is no longer known. Undo the "
                "change, or fit again (pass a copy to fit if the array must be reused)."
            )

    def take(self, indices):
        """Own copies of some rows.

        Parameters
        ----------
        indices : ndarray of int, ascending, into the current rows

        Returns
        -------
        rows : TrainingRows
        """
        return self._picked(lambda value: take_rows(value, indices))

    def drop(self, indices):
        """Own copies of all rows but some; see :meth:`take`."""
        kept = None

        def pick(value):
            nonlocal kept
            if type(value) is np.ndarray and value.flags.c_contiguous:
                return drop_rows(value, indices)
            if kept is None:
                kept = drop_rows(np.arange(len(self)), indices)
            return take_rows(value, kept)

        return self._picked(pick)

    def _picked(self, pick):
        """The rows that ``pick`` copies from an array with one entry a row."""
        names = ("X", "y", "sample_id", "groups", "position")
        per_row = {name: getattr(self, name) for name in names}
        return replace(
            self,
            **{name: None if value is None else pick(value) for name, value in per_row.items()},
            fit_params={
                name: pick(value) if name in self.per_row else value
                for name, value in self.fit_params.items()
            },
            checksum=None,
        )

    def _fingerprints(self):
        return (
            fingerprint(self.X),
            fingerprint(self.y),
            fingerprint(list(self.fit_params.values())),
        )


def _is_per_row(value, n_rows):
    return not isinstance(value, (str, bytes, dict)) and (
        (hasattr(value, "shape") and len(value.shape) > 0 and value.shape[0] == n_rows)
        or (isinstance(value, (list, tuple)) and len(value) == n_rows)
    )
