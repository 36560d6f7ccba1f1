"""How many rows go through a network at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

# Graph memory of one chunk when the caller names no chunk size. Measured on a 784-128-10
# network, larger chunks gain nothing on a CPU.
CHUNK_BYTES = 2**28


def saved_bytes(build: Callable[[int], object]) -> int:
    """Bytes that autograd keeps for one more row.

    Parameters
    ----------
    build : callable
        ``build(k)`` records the graph on the first k rows.

    Returns
    -------
    n_bytes : int
        Difference between two rows and one, so that parameters are not counted.
    """
    sizes = []
    for n_rows in (1, 2):
        seen: dict[int, int] = {}

        def pack(tensor: Tensor, seen: dict[int, int] = seen) -> Tensor:
            storage = tensor.untyped_storage()
            seen[storage.data_ptr()] = tensor.numel() * tensor.element_size()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            kept = build(n_rows)
        sizes.append(sum(seen.values()))
        del kept
    return max(1, sizes[1] - sizes[0])


def choose_chunk_size(bytes_per_row: int) -> int:
    """Rows whose graph fits in ``CHUNK_BYTES``, at least one."""
    return max(1, CHUNK_BYTES // bytes_per_row)


def row_chunks(n_rows: int, chunk_size: int) -> Iterator[slice]:
    """Consecutive slices of at most `chunk_size` rows.

    Raises
    ------
    ValueError
        If `chunk_size` is not a positive integer.
    """
    check_chunk_size(chunk_size)
    for start in range(0, n_rows, chunk_size):
        yield slice(start, min(start + chunk_size, n_rows))


def check_chunk_size(chunk_size: int | None) -> None:
    """Refuse a chunk size that is neither None nor a positive integer."""
    if chunk_size is None:
        return
    if isinstance(chunk_size, bool) or not isinstance(chunk_size, int) or chunk_size < 1:
        raise ValueError(f"chunk_size must be None or a positive int, got {chunk_size!r}.")


def rows_per_chunk(model, params, X: Tensor) -> int:
    """Rows of X whose forward graph fits in ``CHUNK_BYTES``, at least one.

    Parameters
    ----------
    model : RowwiseModel
    params : mapping of str to Tensor
    X : Tensor of shape (n, ...)

    Notes
    -----
    Cost: a forward pass over three rows; worth asking once for many small passes.
    """
    if len(X) < 2:
        return 1
    record = {name: param.detach().requires_grad_() for name, param in params.items()}
    with torch.enable_grad():
        return choose_chunk_size(saved_bytes(lambda k: model.forward(record, X[:k])))
