"""Rows as tensors of a net: a few at once, or all in turn."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sk_unlearn.approximate._row_store import RowBlocks

__all__ = ["NetRows", "RowBatch"]

# Rows are converted this much at a time: small beside the graph of a pass over them. On devices
# other than the CPU launches should be few.
PART_BYTES, DEVICE_PART_BYTES = 2**22, 2**26


@dataclass(frozen=True)
class RowBatch:
    """Rows of a model as tensors."""

    X: torch.Tensor
    y: torch.Tensor

    def __len__(self):
        return len(self.y)

    def take(self, indices):
        """Copies of some rows."""
        indices = torch.as_tensor(indices, dtype=torch.int64, device=self.y.device)
        return RowBatch(self.X[indices], self.y[indices])

    def part(self, rows):
        """Consecutive rows, in the same memory."""
        return RowBatch(self.X[rows], self.y[rows])

    def join(self, other):
        """These rows, then the others."""
        return RowBatch(torch.cat([self.X, other.X]), torch.cat([self.y, other.y]))

    def parts(self):
        """The rows in batches, in order."""
        yield self


@dataclass(frozen=True)
class NetRows:
    """Rows of an estimator that become tensors only when they are asked for.

    Neither a cast of all rows nor a copy of them is ever made.

    Attributes
    ----------
    X : ndarray or RowBlocks of shape (n_rows, ...)
    y : ndarray of shape (n_rows, ...)
    convert : callable
        ``convert(X, y)`` makes a :class:`RowBatch`.
    device : torch.device
        Of the tensors.
    """

    X: Any
    y: np.ndarray
    convert: Any
    device: torch.device

    def __len__(self):
        return len(self.y)

    def take(self, indices):
        """Copies of some rows, as a :class:`RowBatch`."""
        indices = np.asarray(indices, dtype=np.int64)
        return self.convert(self.X[indices], self.y[indices])

    def parts(self):
        """The rows in batches, in order."""
        start = 0
        for block in self._runs():
            yield self.convert(block, self.y[start : start + len(block)])
            start += len(block)

    def _runs(self):
        """Consecutive rows, converted at a time."""
        part_bytes = PART_BYTES if self.device.type == "cpu" else DEVICE_PART_BYTES
        if not isinstance(self.X, RowBlocks):
            size = max(1, part_bytes // max(1, self.X[:1].nbytes))
            yield from (self.X[i : i + size] for i in range(0, len(self), size))
            return
        run, n_bytes = [], 0
        for block in self.X.blocks:
            run.append(block)
            n_bytes += block.nbytes
            if n_bytes >= part_bytes:
                yield np.concatenate(run)
                run, n_bytes = [], 0
        if run:
            yield np.concatenate(run)
