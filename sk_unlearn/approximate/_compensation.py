"""Re-weighting of the retained rows that makes up for the harm of a removal."""

import torch

__all__ = ["compensate"]


def compensate(influence, damage, *, kind, bound=1.0, strict=False):
    """Smallest weights that cancel a predicted damage to first order.

    Minimises the size of ``weights`` subject to ``sum(weights * influence) == -damage``
    and ``abs(weights) <= bound``.

    Parameters
    ----------
    influence : Tensor of shape (n,)
        Change of the criterion for a unit of weight on each row.
    damage : float
        Predicted change of the criterion by the removal; positive is harm.
    kind : {"l1", "l2"} or None
        "l1" minimises the sum of absolute weights: a fractional knapsack filled in the
        order of absolute influence, so that few rows carry weight. It is the exact
        optimum of the linear programme. "l2" minimises the sum of squares: every row
        carries a little. None gives no weight to any row.
    bound : float, default=1.0
        Largest absolute weight; 1 at most doubles a row or takes it out.
    strict : bool, default=False
        Whether to also spend a predicted improvement (``damage < 0``).

    Returns
    -------
    weights : Tensor of shape (n,)
    unmet : float
        Part of the damage that the bound left uncompensated, at least 0.

    Notes
    -----
    Cost: one sort of n numbers.

    Examples
    --------
    >>> import torch
    >>> from sk_unlearn.approximate._compensation import compensate
    >>> compensate(torch.tensor([1.0, -4.0, 2.0]), 5.0, kind="l1")
    (tensor([ 0.0000,  1.0000, -0.5000]), 0.0)
    """
    weights = torch.zeros_like(influence)
    if kind is None or damage == 0 or (damage < 0 and not strict):
        return weights, 0.0
    if kind == "l1" and _fill_one(weights, influence, damage, bound):
        return weights, 0.0
    # in float64: the budget is a small difference of sums over all rows
    size, order = influence.double().abs().sort(descending=True, stable=True)
    filled = _knapsack if kind == "l1" else _clipped_projection
    amount = filled(size, abs(damage), bound)
    unmet = abs(damage) - float(amount @ size)
    direction = -torch.sign(influence[order]) * (1.0 if damage > 0 else -1.0)
    weights[order] = amount.to(weights.dtype) * direction + 0.0  # no negative zeros
    return weights, unmet if unmet > 1e-9 * abs(damage) else 0.0


def _fill_one(weights, influence, damage, bound):
    """Give all the weight to the row of the largest influence, if that is enough."""
    if not len(influence):
        return False
    row = int(influence.abs().argmax())
    largest = float(influence[row])
    if not 0 < abs(damage) <= bound * abs(largest):
        return False
    weights[row] = -damage / largest
    return True


def _knapsack(size, budget, bound):
    """Fill the largest first: amounts in [0, bound] with ``amount @ size == budget``."""
    before = torch.cumsum(size, 0) - size
    room = (budget - bound * before) / size.clamp_min(torch.finfo(size.dtype).tiny)
    return room.clamp(0.0, bound)


def _clipped_projection(size, budget, bound):
    """Amounts ``min(scale * size, bound)`` with ``amount @ size == budget``."""
    clipped = torch.cumsum(size, 0) - size
    energy = torch.flip(torch.cumsum(torch.flip(size**2, (0,)), 0), (0,))
    scale = (budget - bound * clipped) / energy.clamp_min(torch.finfo(size.dtype).tiny)
    fits = torch.nonzero(scale * size <= bound)
    if not len(fits):
        return torch.full_like(size, bound)
    return (scale[fits[0, 0]] * size).clamp(0.0, bound)
