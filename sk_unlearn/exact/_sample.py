"""The rows by which a closed-form model is judged: few, and drawn by their ids."""

from dataclasses import dataclass

import numpy as np
import torch

from sk_unlearn.utils._seeding import keyed_uniform

__all__ = ["Sample"]

_ROWS = 256
_SPARE = 4 * _ROWS  # candidates, so that the loss of one is no pass over all ids


@dataclass(frozen=True)
class Sample:
    """The 256 rows with the smallest keyed hashes of their ids, and their features.

    Which these are follows from the rows that are left alone.

    Attributes
    ----------
    candidates : ndarray of int
        Slots of the rows with the smallest hashes, smallest first.
    hashes : ndarray of float
        Of the candidates.
    complete : bool
        Whether the candidates are all rows.
    slots : ndarray of int
        The first 256 of them.
    features : Tensor of shape (n, n_features), int32
    """

    candidates: np.ndarray
    hashes: np.ndarray
    complete: bool
    slots: np.ndarray
    features: torch.Tensor

    @classmethod
    def draw(cls, seed, slots, ids, features_of):
        """Draw from all rows.

        Parameters
        ----------
        seed : int
        slots, ids : ndarray of shape (n_rows,)
        features_of : callable
            Maps slots to features.
        """
        hashes = keyed_uniform(seed, "sample", ids)
        n = min(_SPARE, len(slots))
        first = np.argpartition(hashes, n - 1)[:n] if n < len(slots) else np.arange(n)
        # equal hashes: all of them, or none, so that the order of equals is that of the rows
        first = np.flatnonzero(hashes <= hashes[first].max()) if n < len(slots) else first
        first = first[np.argsort(hashes[first], kind="stable")]
        return cls._of(slots[first], hashes[first], n == len(slots), features_of)

    @classmethod
    def _of(cls, candidates, hashes, complete, features_of, known=None):
        slots = candidates[:_ROWS]
        if known is None:
            features = features_of(slots).to(torch.int32)
        else:
            where = {slot: row for row, slot in enumerate(known.slots.tolist())}
            old = np.array([where.get(slot, -1) for slot in slots.tolist()])
            features = torch.empty((len(slots), known.features.shape[1]), dtype=torch.int32)
            features[torch.from_numpy(old >= 0)] = known.features[torch.from_numpy(old[old >= 0])]
            if (old < 0).any():
                features[torch.from_numpy(old < 0)] = features_of(slots[old < 0]).to(torch.int32)
        return cls(candidates, hashes, complete, slots, features)

    def without(self, seed, leave, slots, ids, features_of):
        """The sample of the rows that are left.

        Parameters
        ----------
        seed : int
        leave : ndarray of int
            Slots of the rows that leave.
        slots, ids : ndarray
            Of the rows that are left.
        features_of : callable
        """
        kept = ~np.isin(self.candidates, leave)
        if kept.all():
            return self
        if not self.complete and kept.sum() < _ROWS:
            return Sample.draw(seed, slots, ids, features_of)
        candidates, hashes = self.candidates[kept], self.hashes[kept]
        return Sample._of(candidates, hashes, self.complete, features_of, known=self)

    def plus(self, seed, slots, ids, features_of):
        """The sample of these rows and others, at slots behind theirs."""
        hashes = keyed_uniform(seed, "sample", ids)
        within = np.ones(len(slots), bool) if self.complete else hashes < self.hashes[-1]
        candidates = np.concatenate([self.candidates, slots[within]])
        hashes = np.concatenate([self.hashes, hashes[within]])
        order = np.argsort(hashes, kind="stable")[:_SPARE]
        complete = self.complete and len(candidates) <= _SPARE
        return Sample._of(candidates[order], hashes[order], complete, features_of, known=self)

    def renewed(self, features_of):
        """The same rows in another frame."""
        return Sample._of(self.candidates, self.hashes, self.complete, features_of)
