"""Which rows matter: sizes from one forward pass, and a sample by size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ._chunks import row_chunks
from ._gradients import checked_chunk_size
from ._model import RowwiseModel
from ._sampling import inclusion_probabilities
from ._score_curvature import DENSE_SCORES, ScoreCurvature

# Entries of the Hessians, or of products with them, that are formed at once. On a CPU they should
# not leave the cache; on other devices launches should be few.
HESSIAN_NUMBERS, DEVICE_HESSIAN_NUMBERS = 2**20, 2**26


class RowSizes(NamedTuple):
    """What single rows contribute to derivatives of a sum of losses, roughly.

    Attributes
    ----------
    curvature : Tensor of shape (n,), float64, on the CPU
        Of the row's term of the Gauss-Newton matrix. Not negative.
    gradient : Tensor of shape (n,), float64, on the CPU
        Of the row's gradient. Not negative.
    """

    curvature: Tensor
    gradient: Tensor


def row_sizes(
    model: RowwiseModel,
    params: Mapping[str, Tensor],
    X: Tensor,
    y: Tensor,
    *,
    chunk_size: int | None = None,
) -> RowSizes:
    """Estimate the size of each row's curvature and gradient from one forward pass.

    With s the scores of a row and l its loss: the trace of the Hessian of l at s, and the
    norm of the gradient of l at s, times one plus the squared norm of the row, or its
    root, where rows are real numbers. For a linear model these are the trace of the row's
    Gauss-Newton matrix and the norm of its gradient exactly; with more than 32 scores and
    another loss than cross entropy the trace is an estimate. In a trained net few rows, those
    it is unsure of, hold most of the total.

    Parameters
    ----------
    model : RowwiseModel
    params : mapping of str to Tensor
        The active parameters.
    X : Tensor of shape (n, ...)
    y : Tensor of shape (n, ...)
    chunk_size : int or None, default=None
        Rows per forward pass; None chooses by the memory that one row takes.

    Returns
    -------
    sizes : RowSizes

    Notes
    -----
    Cost: one forward pass, a third of a gradient pass, and at most 32 products with the
    second derivative of the loss: linear in the number of scores.

    Examples
    --------
    >>> import torch
    >>> from sk_unlearn.functional import RowwiseModel, row_sizes
    >>> net = torch.nn.Linear(1, 1, bias=True).eval()
    >>> model = RowwiseModel(net, lambda s, y: 0.5 * (s[:, 0] - y) ** 2)
    >>> X = torch.tensor([[0.0], [2.0]])
    >>> row_sizes(model, model.parameters(), X, torch.zeros(2)).curvature
    tensor([1., 5.], dtype=torch.float64)
    """
    size = checked_chunk_size(model, params, X, y, chunk_size)
    params = {name: param.detach() for name, param in params.items()}
    numbers = HESSIAN_NUMBERS if X.device.type == "cpu" else DEVICE_HESSIAN_NUMBERS
    curvatures, gradients = [torch.zeros(0)], [torch.zeros(0)]
    for chunk in row_chunks(len(X), size):
        with torch.no_grad():
            scores = model.forward(params, X[chunk])
        n_scores = max(1, scores[:1].numel())
        block = max(1, numbers // (n_scores * min(n_scores, DENSE_SCORES)))
        for part in row_chunks(len(scores), block):
            rows = slice(chunk.start + part.start, chunk.start + part.stop)
            trace, slope = _trace_and_slope(model.loss, scores[part], y[rows])
            if X.is_floating_point():
                reach = 1 + X[rows].flatten(1).square().sum(dim=1)
                trace, slope = trace * reach, slope * reach
            curvatures.append(trace.cpu())
            gradients.append(slope.sqrt().cpu())
    return RowSizes(torch.cat(curvatures).double(), torch.cat(gradients).double())


def _trace_and_slope(loss, scores, y):
    """Trace of each row's Hessian at its scores, and the squared norm of its gradient there."""
    curvature = ScoreCurvature(loss, scores, y)
    return curvature.trace(), curvature.slope.reshape(len(scores), -1).square().sum(dim=1)


def sample_rows(size: Tensor, n_rows: int, draw: Tensor) -> tuple[Tensor, Tensor | None]:
    """Rows that stand for all, picked with probability proportional to their size.

    Parameters
    ----------
    size : Tensor of shape (n,)
        Not negative; for curvature, of :func:`row_sizes`.
    n_rows : int
        Rows to pick, in expectation.
    draw : Tensor of shape (n,)
        A uniform number in [0, 1) for each row. Numbers that belong to rows keep the
        sample stable when other rows leave.

    Returns
    -------
    indices : Tensor of shape (k,), int64, ascending
    weights : Tensor of shape (k,) or None
        For an operator that is a mean over the picked rows: its expectation is then the
        mean over all rows. None where every row is picked.

    Examples
    --------
    >>> import torch
    >>> from sk_unlearn.functional import sample_rows
    >>> sample_rows(torch.tensor([1.0, 1.0, 2.0]), 2, torch.tensor([0.6, 0.4, 0.9]))
    (tensor([1, 2]), tensor([1.3333, 0.6667], dtype=torch.float64))
    """
    if n_rows >= len(size) or not size.any():
        return torch.arange(len(size)), None
    probabilities = inclusion_probabilities(size.double(), n_rows)
    picked = draw < probabilities
    if not picked.any():
        picked[size.argmax()] = True
    indices = picked.nonzero()[:, 0]
    return indices, len(indices) / (len(size) * probabilities[indices])
