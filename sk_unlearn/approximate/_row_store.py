"""Training rows in blocks, so that a removal copies only the blocks it touches."""

from dataclasses import dataclass, replace

import numpy as np

from sk_unlearn.utils._rows import TrainingRows
from sk_unlearn.utils._take import drop_rows

__all__ = ["RowBlocks", "StoredRows"]

# What a removal copies for a row that leaves.
BLOCK_BYTES = 2**17
# Smaller arrays stay whole.
WHOLE_BYTES = 2**21


class RowBlocks:
    """Rows of an array as consecutive blocks that are never written to.

    Parameters
    ----------
    blocks : sequence of ndarray
        At least one; rows of one shape and dtype.

    Notes
    -----
    Successive removals share the blocks that they leave alone. A block that is hit is
    copied without the rows, so that no block holds a row that left.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_unlearn.approximate._row_store import RowBlocks
    >>> rows = RowBlocks([np.eye(3)[:2], np.eye(3)[2:]]).drop(np.array([1]))
    >>> np.asarray(rows)
    array([[1., 0., 0.],
           [0., 0., 1.]])
    """

    def __init__(self, blocks):
        self.blocks = tuple(blocks)
        self.stops = np.cumsum([len(block) for block in self.blocks])

    @classmethod
    def without(cls, array, indices):
        """Copies of all rows of an array but some."""
        size = max(1, BLOCK_BYTES // max(1, array[:1].nbytes))
        parts = [array[i : i + size] for i in range(0, len(array), size)]
        borrowed = cls(parts)
        kept = borrowed.drop(indices).blocks
        given = set(map(id, parts))
        return cls([part.copy() if id(part) in given else part for part in kept])

    def __len__(self):
        return int(self.stops[-1])

    @property
    def shape(self):
        """Shape of the array that the blocks make up."""
        return (len(self), *self.blocks[0].shape[1:])

    @property
    def dtype(self):
        """Of the rows."""
        return self.blocks[0].dtype

    def __array__(self, dtype=None, copy=None):
        if copy is False:
            raise ValueError("blocks become one array only by a copy.")
        joined = np.concatenate(self.blocks)
        return joined if dtype is None else joined.astype(dtype, copy=False)

    def __getitem__(self, indices):
        """Copies of some rows, shape (len(indices), ...)."""
        indices = np.asarray(indices, dtype=np.int64)
        if not (indices[1:] >= indices[:-1]).all():
            order = np.argsort(indices)
            taken = np.empty((len(indices), *self.shape[1:]), self.dtype)
            taken[order] = self[indices[order]]
            return taken
        taken = np.empty((len(indices), *self.shape[1:]), self.dtype)
        for k, place, start, end in self._split(indices):
            self.blocks[k].take(place, axis=0, out=taken[start:end], mode="clip")
        return taken

    def _split(self, indices):
        """Each block with a share of the indices: its number, its rows, and their slice."""
        indices = np.asarray(indices, dtype=np.int64)
        if len(indices) and not self._holds(indices):
            raise IndexError(f"indices must ascend from 0 to {len(self) - 1}, got {indices!r}.")
        ends = np.searchsorted(indices, self.stops)
        starts = np.concatenate([[0], ends[:-1]])
        first = np.concatenate([[0], self.stops[:-1]])
        place = indices - np.repeat(first, ends - starts)
        for k in np.flatnonzero(ends > starts).tolist():
            start, end = int(starts[k]), int(ends[k])
            yield k, place[start:end], start, end

    def _holds(self, indices):
        ascending = bool((indices[1:] >= indices[:-1]).all())
        return ascending and indices[0] >= 0 and indices[-1] < len(self)

    def drop(self, indices):
        """All rows but some.

        Parameters
        ----------
        indices : ndarray of int, ascending

        Returns
        -------
        rest : RowBlocks
        """
        blocks = list(self.blocks)
        for k, place, *_ in self._split(indices):
            blocks[k] = drop_rows(blocks[k], place)
        return RowBlocks([block for block in blocks if len(block)] or blocks[:1])


@dataclass(frozen=True)
class StoredRows(TrainingRows):
    """Training rows whose own copies are kept in blocks where there are many.

    To others ``X`` is the array that it always was, joined anew each time it is read;
    ``stored`` is what is held.
    """

    @classmethod
    def of(cls, rows):
        """The same rows, held this way from the next removal on."""
        return cls(**{name: getattr(rows, name) for name in rows.__dataclass_fields__})

    @property
    def stored(self):
        """ndarray or RowBlocks of shape (n_rows, ...)."""
        return self.__dict__["X"]

    def take(self, indices):
        """Own copies of some rows; see :meth:`TrainingRows.take`."""
        rest = super(StoredRows, replace(self, X=None)).take(indices)
        return replace(rest, X=self.stored[indices])

    def drop(self, indices):
        """Own copies of all rows but some; blocks without them are shared."""
        held = self.stored
        if isinstance(held, RowBlocks):
            blocks = held.drop(indices)
        elif held.nbytes > WHOLE_BYTES:
            blocks = RowBlocks.without(held, indices)
        else:
            blocks = drop_rows(held, indices)
        rest = super(StoredRows, replace(self, X=None)).drop(indices)
        return replace(rest, X=blocks)


def _joined(rows):
    held = rows.__dict__["X"]
    return np.asarray(held) if isinstance(held, RowBlocks) else held


def _hold(rows, value):
    rows.__dict__["X"] = value


# after the dataclass is made, which would take a property for the default of the field
StoredRows.X = property(_joined, _hold, doc="Rows as one array; blocks are joined to a copy.")
