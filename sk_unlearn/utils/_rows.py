"""The rows that a fitted estimator was trained on and has not forgotten."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sk_unlearn.exceptions import TrainingDataChangedError
from sk_unlearn.utils._fingerprint import fingerprint
from sk_unlearn.utils._take import take_rows

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

        def pick(value):
            return None if value is None else take_rows(value, indices)

        return replace(
            self,
            X=pick(self.X),
            y=pick(self.y),
            sample_id=pick(self.sample_id),
            groups=pick(self.groups),
            fit_params={
                name: pick(value) if name in self.per_row else value
                for name, value in self.fit_params.items()
            },
            position=self.position[indices],
            checksum=None,
        )

    def drop(self, indices):
        """Own copies of all rows but some; see :meth:`take`."""
        kept = np.ones(len(self), dtype=bool)
        kept[indices] = False
        return self.take(np.flatnonzero(kept))

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
