"""Losses and first derivatives over many rows, without per-row gradients."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ._chunks import check_chunk_size, row_chunks, rows_per_chunk
from ._linearize import directional_derivative, grads, leaves
from ._model import RowwiseModel
from ._work import BACKWARD, count_passes


def checked_chunk_size(
    model: RowwiseModel,
    params: Mapping[str, Tensor],
    X: Tensor,
    y: Tensor,
    chunk_size: int | None,
) -> int:
    """Check the batch and return the number of rows to take at once."""
    if len(X) != len(y):
        raise ValueError(f"X has {len(X)} rows, y has {len(y)}.")
    check_chunk_size(chunk_size)
    return rows_per_chunk(model, params, X) if chunk_size is None else chunk_size


def row_losses(
    model: RowwiseModel,
    params: Mapping[str, Tensor],
    X: Tensor,
    y: Tensor,
    *,
    chunk_size: int | None = None,
) -> Tensor:
    """Loss of each row.

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
    losses : Tensor of shape (n,)
        Without graph.

    Notes
    -----
    Cost: one forward pass, a third of a gradient pass.

    Examples
    --------
    >>> import torch
    >>> from sk_unlearn.functional import RowwiseModel, row_losses
    >>> net = torch.nn.Linear(2, 3).eval()
    >>> model = RowwiseModel(net, torch.nn.CrossEntropyLoss(reduction="none"))
    >>> row_losses(model, model.parameters(), torch.ones(5, 2), torch.zeros(5).long()).shape
    torch.Size([5])
    """
    size = checked_chunk_size(model, params, X, y, chunk_size)
    params = {name: param.detach() for name, param in params.items()}
    with torch.no_grad():
        parts = [model.row_losses(params, X[c], y[c]) for c in row_chunks(len(X), size)]
    if len(parts) == 1:
        return parts[0]
    return torch.cat(parts) if parts else next(iter(params.values())).new_zeros(0)


def weighted_gradient(
    model: RowwiseModel,
    params: Mapping[str, Tensor],
    X: Tensor,
    y: Tensor,
    weights: Tensor | None = None,
    *,
    chunk_size: int | None = None,
) -> Tensor:
    """Weighted sum of the gradients of the row losses.

    Parameters
    ----------
    model : RowwiseModel
    params : mapping of str to Tensor
        The active parameters.
    X : Tensor of shape (n, ...)
    y : Tensor of shape (n, ...)
    weights : Tensor of shape (n,) or None, default=None
        Weight w_i of each row, of either sign; None means ones. Rows of weight zero are
        not computed.
    chunk_size : int or None, default=None
        Rows per pass; None chooses by the memory that one row takes.

    Returns
    -------
    gradient : Tensor of shape (d,)
        sum_i w_i g_i: a sum, not a mean.

    Notes
    -----
    Cost: one gradient pass over the rows of non-zero weight.

    Examples
    --------
    >>> import torch
    >>> from sk_unlearn.functional import RowwiseModel, weighted_gradient
    >>> net = torch.nn.Linear(1, 1).eval()
    >>> model = RowwiseModel(net, lambda s, y: 0.5 * (s[:, 0] - y) ** 2, active=("bias",))
    >>> params = {"bias": torch.tensor([3.0])}
    >>> X, y = torch.zeros(2, 1), torch.tensor([1.0, 2.0])
    >>> weighted_gradient(model, params, X, y, torch.tensor([1.0, 10.0]))
    tensor([12.])
    """
    check_chunk_size(chunk_size)
    if weights is not None:
        if weights.shape != (len(X),):
            raise ValueError(f"weights must be of shape ({len(X)},), got {tuple(weights.shape)}.")
        used = weights.nonzero()[:, 0]
        if len(used) < len(X):
            X, y, weights = X[used], y[used], weights[used]
    return _losses_and_gradient(model, params, X, y, weights, chunk_size)[1]


def losses_and_gradient(
    model: RowwiseModel,
    params: Mapping[str, Tensor],
    X: Tensor,
    y: Tensor,
    *,
    weights: Tensor | None = None,
    chunk_size: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Loss of each row, and the weighted sum of the gradients of the row losses, in one pass.

    Parameters
    ----------
    model, params, X, y, chunk_size
        As in :func:`weighted_gradient`.
    weights : Tensor of shape (n,) or None, default=None
        Of the rows in the gradient; None means 1.

    Returns
    -------
    losses : Tensor of shape (n,)
        Without graph.
    gradient : Tensor of shape (d,)

    Notes
    -----
    Cost: one gradient pass.

    Examples
    --------
    >>> import torch
    >>> from sk_unlearn.functional import RowwiseModel, losses_and_gradient
    >>> net = torch.nn.Linear(1, 1).eval()
    >>> model = RowwiseModel(net, lambda s, y: 0.5 * (s[:, 0] - y) ** 2, active=("bias",))
    >>> params, X, y = {"bias": torch.tensor([3.0])}, torch.zeros(2, 1), torch.tensor([1.0, 2.0])
    >>> losses_and_gradient(model, params, X, y)
    (tensor([2.0000, 0.5000]), tensor([3.]))
    """
    return _losses_and_gradient(model, params, X, y, weights, chunk_size)


def _losses_and_gradient(model, params, X, y, weights, chunk_size):
    size = checked_chunk_size(model, params, X, y, chunk_size)
    record = leaves(params)
    total, parts = None, []
    for chunk in row_chunks(len(X), size):
        with torch.enable_grad():
            losses = model.row_losses(record, X[chunk], y[chunk])
        parts.append(losses.detach())
        # As cotangent the weights take the dtype of the losses, whatever the caller's.
        cotangent = torch.ones_like(losses) if weights is None else weights[chunk].to(losses)
        if losses.requires_grad:
            count_passes(len(losses), BACKWARD)
            pulled = grads(losses, tuple(record.values()), cotangent)
            vector = model.flatten(dict(zip(record, pulled, strict=True)))
            total = vector if total is None else total.add_(vector)
    if total is None:
        total = torch.zeros_like(model.flatten(params))
    if len(parts) == 1:
        return parts[0], total
    return torch.cat(parts) if parts else total.new_zeros(0), total


def directional_derivatives(
    model: RowwiseModel,
    params: Mapping[str, Tensor],
    X: Tensor,
    y: Tensor,
    v: Tensor,
    *,
    chunk_size: int | None = None,
) -> Tensor:
    """Derivative of every row loss in one direction.

    One forward-mode pass differentiates the vector of row losses along `v`; no per-row
    gradient is ever formed. Where an operation of the module has no forward-mode
    derivative, a double backward pass gives the same numbers.

    Parameters
    ----------
    model : RowwiseModel
    params : mapping of str to Tensor
        The active parameters.
    X : Tensor of shape (n, ...)
    y : Tensor of shape (n, ...)
    v : Tensor of shape (d,)
        Direction.
    chunk_size : int or None, default=None
        Rows per pass; None chooses by the memory that one row takes.

    Returns
    -------
    derivatives : Tensor of shape (n,)
        v . g_i of each row.

    Raises
    ------
    UnsupportedNetError
        If an operation supports neither forward mode nor a double backward pass.

    Notes
    -----
    Cost: two forward passes where most of the work is in the first active layer, at most
    three where it is in later ones.

    Examples
    --------
    >>> import torch
    >>> from sk_unlearn.functional import RowwiseModel, directional_derivatives
    >>> net = torch.nn.Linear(1, 1).eval()
    >>> model = RowwiseModel(net, lambda s, y: 0.5 * (s[:, 0] - y) ** 2, active=("bias",))
    >>> params = {"bias": torch.tensor([3.0])}
    >>> X, y = torch.zeros(2, 1), torch.tensor([1.0, 2.0])
    >>> directional_derivatives(model, params, X, y, torch.tensor([10.0]))
    tensor([20., 10.])
    """
    size = checked_chunk_size(model, params, X, y, chunk_size)
    tangents = model.unflatten(v.detach())
    parts = []
    for chunk in row_chunks(len(X), size):
        rows, targets = X[chunk], y[chunk]
        derivative = directional_derivative(
            lambda p, rows=rows, targets=targets: model.row_losses(p, rows, targets),
            params,
            tangents,
        )
        parts.append(derivative.detach())
    return torch.cat(parts) if parts else v.new_zeros(0)
