"""Work that is really done, counted where it is done, in gradient passes over single rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# Of a gradient pass, as is usual: a backward pass is a product by the inputs and one by the
# outputs' gradients in each layer. Where only one of them is needed it is half of that.
FORWARD, BACKWARD = 1 / 3, 2 / 3
# Arithmetic of a gradient pass over a row for each parameter of a linear layer.
_PER_PARAMETER = 6
# Factorisations and products of matrices of some hundred rows are faster by this, for the same
# arithmetic, than passes over rows in batches, and a pass of a net with fewer parameters than this
# takes as long as of one with as many, since it is calls that take the time. Fitted to
# benchmarks/bench_forget_cost.py, which compares with time.
_MATRIX_SPEED, _LEAST_PARAMETERS = 8, 2**14


class Work:
    """A running count.

    Attributes
    ----------
    row_passes : float
        Gradient passes over one row.
    """

    def __init__(self) -> None:
        self.row_passes = 0.0


_counting: ContextVar[Work | None] = ContextVar("counting", default=None)


@contextmanager
def measured_work() -> Iterator[Work]:
    """Count the work of the block; an outer count goes on with it.

    Examples
    --------
    >>> import torch
    >>> from sk_unlearn.functional import RowwiseModel, measured_work, weighted_gradient
    >>> model = RowwiseModel(torch.nn.Linear(2, 1).eval(), lambda s, y: (s[:, 0] - y) ** 2)
    >>> with measured_work() as work:
    ...     _ = weighted_gradient(
    ...         model, model.parameters(), torch.ones(6, 2), torch.ones(6), chunk_size=6
    ...     )
    >>> round(work.row_passes, 6)
    6.0
    """
    outer, work = _counting.get(), Work()
    token = _counting.set(work)
    try:
        yield work
    finally:
        _counting.reset(token)
        if outer is not None:
            outer.row_passes += work.row_passes


def count_passes(n_rows: int, passes: float) -> None:
    """Add passes over rows, of which a gradient pass is one."""
    work = _counting.get()
    if work is not None:
        work.row_passes += n_rows * passes


def count_flops(flops: float, n_parameters: int) -> None:
    """Add arithmetic of matrices, in passes of a net whose layers multiply by so many numbers."""
    count_passes(1, matrix_passes(flops, n_parameters))


def matrix_passes(flops: float, n_parameters: int) -> float:
    """Gradient passes over one row that take as long as some arithmetic of matrices."""
    return flops / (_PER_PARAMETER * max(n_parameters, _LEAST_PARAMETERS) * _MATRIX_SPEED)
