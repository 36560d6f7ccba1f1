"""How many rows go through a network at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

# Graph memory of one chunk when the caller names no chunk size.
CHUNK_BYTES = 2**28
# The same on a CPU. The C library returns larger blocks to the system when they are freed, and
# every chunk then fetches all its pages anew: half of the time of a pass with convolutions.
CPU_CHUNK_BYTES = 2**25
# But for fewer rows than this, reading the weights in every chunk takes longer.
CPU_CHUNK_ROWS = 32


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


def choose_chunk_size(bytes_per_row: int, device: torch.device) -> int:
    """Rows whose graph fits in ``CHUNK_BYTES``, or less on a CPU; at least one."""
    n_rows = CHUNK_BYTES // bytes_per_row
    if device.type == "cpu":
        n_rows = min(n_rows, max(CPU_CHUNK_BYTES // bytes_per_row, CPU_CHUNK_ROWS))
    return max(1, n_rows)


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


def rows_per_chunk(model, params, X: Tensor, *, kept: bool = False) -> int:
    """Rows of X to send through the network at once in a pass over them, at least one.

    As many as have their forward graph in 256 MiB; on a CPU as many as have it in 32 MiB, or
    32 rows.

    Parameters
    ----------
    model : RowwiseModel
    params : mapping of str to Tensor
    X : Tensor of shape (n, ...)
    kept : bool, default=False
        Whether the graph is kept for many products, so that its memory is fetched once: as
        many rows as have it in 256 MiB on a CPU too.

    Notes
    -----
    Cost: a forward pass over three rows; worth asking once for many small passes.
    """
    if len(X) < 2:
        return 1
    record = {name: param.detach().requires_grad_() for name, param in params.items()}
    with torch.enable_grad():
        n_bytes = saved_bytes(lambda k: model.forward(record, X[:k]))
    return max(1, CHUNK_BYTES // n_bytes) if kept else choose_chunk_size(n_bytes, X.device)
