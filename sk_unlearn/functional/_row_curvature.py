"""How much each row contributes to the Gauss-Newton matrix."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ._chunks import row_chunks
from ._gradients import checked_chunk_size
from ._model import RowwiseModel
from ._sampling import inclusion_probabilities
from ._score_curvature import ScoreCurvature


def row_curvature(
    model: RowwiseModel,
    params: Mapping[str, Tensor],
    X: Tensor,
    y: Tensor,
    *,
    chunk_size: int | None = None,
) -> Tensor:
    """Estimated size of each row's term of the Gauss-Newton matrix.

    The trace of the row's loss Hessian at its scores, times one plus the squared norm of
    the row where rows are real numbers: for a linear model the trace of the row's term
    exactly. In a trained net few rows, those it is unsure of, hold most of the total.

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
    size : Tensor of shape (n,), float64, on the CPU
        Not negative for a loss that is convex in the scores.

    Notes
    -----
    Cost: one forward pass, a third of a gradient pass.

    Examples
    --------
    >>> import torch
    >>> from sk_unlearn.functional import RowwiseModel, row_curvature
    >>> net = torch.nn.Linear(1, 1).eval()
    >>> model = RowwiseModel(net, lambda s, y: 0.5 * (s[:, 0] - y) ** 2)
    >>> row_curvature(model, model.parameters(), torch.tensor([[0.0], [2.0]]), torch.zeros(2))
    tensor([1., 5.], dtype=torch.float64)
    """
    size = checked_chunk_size(model, params, X, y, chunk_size)
    params = {name: param.detach() for name, param in params.items()}
    parts = []
    for chunk in row_chunks(len(X), size):
        with torch.no_grad():
            scores = model.forward(params, X[chunk])
        dense = ScoreCurvature(model.loss, scores, y[chunk]).dense()
        trace = dense.diagonal(dim1=1, dim2=2).sum(dim=1).clamp_min(0)
        if X.is_floating_point():
            trace = trace * (1 + X[chunk].flatten(1).square().sum(dim=1))
        parts.append(trace.double().cpu())
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)


def sample_rows(size: Tensor, n_rows: int, draw: Tensor) -> tuple[Tensor, Tensor | None]:
    """Rows that stand for all, picked with probability proportional to their size.

    Parameters
    ----------
    size : Tensor of shape (n,)
        Of :func:`row_curvature`.
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
