"""Rows in blocks, of which some can leave without a copy of the rest."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from sk_unlearn.utils._rows import TrainingRows
from sk_unlearn.utils._take import drop_rows

__all__ = ["BlockedRows", "RowBlocks", "slots_of"]

# A block is copied whole when one of its rows leaves: small, so that a thousand copies are cheap.
# Each request copies the list of all blocks: not so small that a million rows make it long.
_BYTES, _FEWEST, _MOST = 2**15, 16, 256


def slots_of(n_rows, first=0):
    """Numbers of so many rows, ascending: small ones, since each request copies all of them."""
    return np.arange(first, first + n_rows, dtype=np.int32)


class RowBlocks:
    """Copies of rows that keep their slots when others leave.

    Immutable: what :meth:`without` returns shares all blocks but those that lose a row, in
    which zeros stand in its place.

    Parameters
    ----------
    blocks : list of ndarray or csr_array
        Of `size` rows each, the last one of fewer.
    slots : ndarray of int32, ascending
        Where the rows are that have not left.
    size : int
    """

    def __init__(self, blocks, slots, size):
        self.blocks = blocks
        self.slots = slots
        self.size = size

    @classmethod
    def of(cls, rows):
        """Blocks of an array or of a sparse matrix in CSR form."""
        n_rows, size = rows.shape[0], _MOST
        if not sparse.issparse(rows):
            size = min(max(_BYTES // max(1, rows[:1].nbytes), _FEWEST), _MOST)
        blocks = [rows[start : start + size].copy() for start in range(0, n_rows, size)]
        return cls(blocks, slots_of(n_rows), size)

    def __len__(self):
        return len(self.slots)

    @property
    def shape(self):
        """Of the rows that have not left."""
        return (len(self.slots), *self.blocks[0].shape[1:])

    @property
    def is_sparse(self):
        """Whether the rows are sparse."""
        return sparse.issparse(self.blocks[0])

    @property
    def rows(self):
        """Copies of all rows that have not left, as one array."""
        return self.take(self.slots)

    def __getitem__(self, index):
        return self.take(self.slots[index])

    def __array__(self, dtype=None, copy=None):
        rows = self.rows
        rows = rows.toarray() if self.is_sparse else rows
        return rows if dtype is None else rows.astype(dtype)

    def take(self, slots):
        """Copies of some rows.

        Parameters
        ----------
        slots : ndarray of int

        Returns
        -------
        rows : ndarray or csr_array
        """
        slots = np.asarray(slots)
        if not slots.size:
            return self.blocks[0][:0].copy()
        where, inside = np.divmod(slots, self.size)
        if (where == where[0]).all():
            return self.blocks[where[0]][inside]
        order = np.argsort(where, kind="stable")
        starts = np.flatnonzero(np.diff(where[order], prepend=-1)).tolist()
        parts = [order[i:j] for i, j in zip(starts, [*starts[1:], len(order)], strict=True)]
        if self.is_sparse:
            taken = [self.blocks[where[part[0]]][inside[part]] for part in parts]
            back = np.empty_like(order)
            back[order] = np.arange(len(order))
            return sparse.vstack(taken, format="csr")[back]
        blocks = [self.blocks[where[part[0]]] for part in parts]
        # strings of several lengths are of several types
        dtype = np.result_type(*{block.dtype for block in blocks})
        rows = np.empty((len(slots), *blocks[0].shape[1:]), dtype=dtype)
        for part, block in zip(parts, blocks, strict=True):
            rows[part] = block[inside[part]]
        return rows

    def chunks(self, n_rows):
        """The rows that have not left, about so many at a time, in order."""
        step = max(1, n_rows // self.size) * self.size
        stops = np.arange(step, len(self.blocks) * self.size, step)
        stops = np.searchsorted(self.slots, stops)
        for slots in np.split(self.slots, stops):
            if len(slots):
                yield slots, self.take(slots)

    def without(self, slots, kept):
        """Rows without some of them.

        Parameters
        ----------
        slots : ndarray of int
            Of the rows that leave.
        kept : ndarray of int, ascending
            Of the rows that stay.

        Returns
        -------
        rest : RowBlocks
        """
        blocks, inside = list(self.blocks), {}
        for slot in slots.tolist():
            inside.setdefault(slot // self.size, []).append(slot % self.size)
        for block, rows in inside.items():
            blocks[block] = _emptied(blocks[block], rows)
        return RowBlocks(blocks, kept, self.size)

    def plus(self, rows):
        """These rows and more at their end."""
        blocks = list(self.blocks)
        n_slots = sum(block.shape[0] for block in blocks)
        slots = np.concatenate([self.slots, slots_of(rows.shape[0], n_slots)])
        room = self.size - blocks[-1].shape[0]
        if room:
            stack = sparse.vstack if sparse.issparse(rows) else np.concatenate
            blocks[-1] = stack([blocks[-1], rows[:room]])
        starts = range(room, rows.shape[0], self.size)
        blocks += [rows[start : start + self.size].copy() for start in starts]
        return RowBlocks(blocks, slots, self.size)


def _emptied(block, rows):
    if sparse.issparse(block):
        kept = np.ones(block.shape[0], dtype=block.dtype)
        kept[rows] = 0
        block = sparse.csr_array(block.multiply(kept[:, None]))
        block.eliminate_zeros()
        return block
    block = block.copy()
    block[rows] = np.zeros((), dtype=block.dtype)
    return block


@dataclass(frozen=True)
class BlockedRows(TrainingRows):
    """Training rows whose ``X`` and ``y`` are the estimator's own, in :class:`RowBlocks`."""

    def drop(self, indices):
        """All rows but some, without a copy of the rest."""
        leave = self.position[indices]
        kept = drop_rows(self.position, indices)

        def pick(value):
            if isinstance(value, RowBlocks):
                return value.without(leave, kept)
            # positions are looked up below
            return kept if value is self.position else drop_rows(value, indices)

        return self._picked(pick)

    def weights(self, slots):
        """How often the rows at some slots count; None where all count once."""
        counts = self.fit_params.get("sample_weight")
        return None if counts is None else counts[np.searchsorted(self.position, slots)]
