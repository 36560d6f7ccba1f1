"""What early stopping adds to the objective of a net: a ridge in the metric of its optimiser."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from sk_unlearn.nets._inspect import bare_module

__all__ = ["UNKNOWN", "ProximalTerm", "proximal_term"]

# Where neither the optimiser's steps nor their length are known, or only SGD's kind of metric is
# missing. Between the dampings that are best for nets of this package's default training.
UNKNOWN = 1e-2
# Least and most of a row's or column's factor, in means of its layer: an input that no batch has
# shown may not move without bound.
RANGE = 1e-2, 1e2


@dataclass(frozen=True)
class ProximalTerm:
    """Diagonal of (theta - theta_0)^T diag(gamma) (theta - theta_0) / 2.

    ``steps`` of an optimiser that multiplies gradients by lr P answer a change of the objective
    along a direction of curvature h with 1 - (1 - lr P h)^steps of what its minimum would, about
    h / (h + 1 / (lr P steps)): early stopping is a proximal term of 1 / (lr P steps).

    Attributes
    ----------
    layers : tuple of (str, str or None, Tensor, Tensor)
        Weight and bias of a layer, and factors of rows and columns: gamma is their outer
        product, the bias a last column.
    others : dict of str to Tensor
        Gamma of the other parameters.
    source : str
        Where it comes from, in words.
    """

    layers: tuple
    others: dict
    source: str

    def ridge(self, params, decay, factor=1.0):
        """``factor`` gamma plus weight decay of some parameters, by name, with layers' rank kept.

        Parameters
        ----------
        params : mapping of str to Tensor
        decay : mapping of str to float
        factor : float
        """
        found = {}
        for weight, bias, rows, columns in self.layers:
            if weight not in params and bias not in params:
                continue
            added = decay[weight if weight in params else bias]
            r, c = _with_constant(rows * factor, columns, added)
            has_bias = bias is not None
            grid = torch.outer(r, c[:-1] if has_bias else c)
            if weight in params:
                found[weight] = grid.view_as(params[weight]).to(params[weight])
            if bias in params:
                found[bias] = (r * c[-1]).to(params[bias])
        for name, value in self.others.items():
            if name in params:
                found[name] = (value * factor + decay[name]).to(params[name])
        return {name: found[name] for name in params}


def proximal_term(net, n_rows):
    """The term that a net's own training amounts to.

    Parameters
    ----------
    net : skorch.NeuralNet
        Trained.
    n_rows : int
        Rows that it was trained on.

    Returns
    -------
    term : ProximalTerm
        Of SGD, Adam and their kin; a constant of 0.01 for other optimisers, and for Adam's kin
        where the optimiser's state is not there.
    """
    module, optimizer = bare_module(net.module_), getattr(net, "optimizer_", None)
    moved = {name: p for name, p in module.named_parameters() if p.requires_grad}
    known, source = {}, "a constant"
    if isinstance(optimizer, torch.optim.Optimizer):
        groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
        for name, p in moved.items():
            if id(p) in groups:
                known[name] = _gamma(net, optimizer, groups[id(p)], p, n_rows)
        if any(value is not None for value in known.values()):
            source = type(optimizer).__name__
    gamma = {}
    for name, p in moved.items():
        value = known.get(name)
        if value is None or not bool(torch.isfinite(value).all() and (value > 0).all()):
            value = torch.full(p.shape, UNKNOWN, dtype=torch.float64)
        gamma[name] = value.detach().cpu()
    layers, others = [], dict(gamma)
    for weight, bias in _pairs(module, gamma):
        grid = others.pop(weight).flatten(1)
        if bias is not None:
            grid = torch.cat([grid, others.pop(bias)[:, None]], dim=1)
        layers.append((weight, bias, *_rank_one(grid)))
    return ProximalTerm(tuple(layers), {k: v.float() for k, v in others.items()}, source)


def _pairs(module, gamma):
    """Weight and bias of each linear layer or convolution."""
    seen = set()
    for path, layer in module.named_modules():
        if not isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            continue
        prefix = f"{path}." if path else ""
        weight, bias = f"{prefix}weight", f"{prefix}bias"
        if weight in gamma and weight not in seen:
            bias = bias if bias in gamma and bias not in seen else None
            seen |= {weight, bias}
            yield weight, bias


def _rank_one(grid):
    """Factors of rows and columns with the means of a positive matrix."""
    mean = float(grid.mean())
    rows, columns = grid.mean(1) / mean, grid.mean(0) / mean
    rows, columns = rows.clamp(*RANGE), columns.clamp(*RANGE)
    return (rows * mean).float(), columns.float()


def _with_constant(rows, columns, added):
    """Factors of the outer product plus a constant."""
    if not added:
        return rows, columns
    row, column = rows.mean(), columns.mean()
    mean = row * column + added
    return rows * column + added, (columns * row + added) / mean


def _gamma(net, optimizer, group, p, n_rows):
    """1 / (sum of lr P) of one parameter, shaped like it; None where it is not known."""
    state = optimizer.state.get(p, {})
    metric = _metric(optimizer, group, state, p)
    length = _length(net, optimizer, group, state, n_rows)
    if metric is None or not length > 0:
        return None
    gamma = metric / length
    if _is_decoupled(optimizer, group):  # shrinks weights beside the loss: a ridge in P
        gamma = gamma * (1 + float(group.get("weight_decay", 0.0)) * length)
    return gamma


def _kinds(optimizer):
    return {kind.__name__ for kind in type(optimizer).__mro__}


def _is_decoupled(optimizer, group):
    return bool(group.get("decoupled_weight_decay")) or "AdamW" in _kinds(optimizer)


def _metric(optimizer, group, state, p):
    """1 / P at the end of training."""
    kinds = _kinds(optimizer)
    if "SGD" in kinds:
        momentum = float(group.get("momentum", 0.0))
        dampening = float(group.get("dampening", 0.0)) if momentum else 0.0
        gain = (1 - dampening) / (1 - momentum) if momentum < 1 else 0.0
        return torch.full(p.shape, 1 / gain, dtype=torch.float64) if gain > 0 else None
    if kinds & {"Adam", "AdamW", "NAdam"}:
        moment = state.get("max_exp_avg_sq", state.get("exp_avg_sq"))
        if moment is None:
            return None
        seen = 1 - float(group["betas"][1]) ** float(state.get("step", 0))
        return (moment.double() / seen).sqrt() + float(group["eps"]) if seen > 0 else None
    if "RMSprop" in kinds and "square_avg" in state:
        moment = state["square_avg"].double()
        if group.get("centered") and "grad_avg" in state:
            moment = (moment - state["grad_avg"].double().square()).clamp_min(0)
        seen = 1 - float(group["alpha"]) ** float(state.get("step", 0))  # it starts at zero
        if not seen > 0:
            return None
        return (1 - float(group.get("momentum", 0.0))) * (
            (moment / seen).sqrt() + float(group["eps"])
        )
    if "Adagrad" in kinds and "sum" in state:
        # its rate falls with the root of the steps: their sum is twice the last times the steps
        return (state["sum"].double().sqrt() + float(group["eps"])) / 2
    return None


def _length(net, optimizer, group, state, n_rows):
    """Sum of the learning rates of the steps that led to the net's parameters."""
    epochs = _epochs_kept(net)
    first = optimizer.param_groups[0]
    now = float(group["lr"])
    ratio = now / float(first["lr"]) if float(first["lr"]) > 0 else 1.0
    total, n_steps = 0.0, 0
    for epoch in epochs:
        batches = epoch.get("batches", ())
        n = int(epoch.get("train_batch_count", 0)) or sum("train_loss" in b for b in batches)
        n = n or -(-n_rows // _batch_size(net, n_rows))
        rates = [float(b["event_lr"]) for b in batches if "event_lr" in b]
        if rates:
            rate = sum(rates) / len(rates) * ratio
        elif "event_lr" in epoch:
            rate = float(epoch["event_lr"]) * ratio
        else:  # a schedule that nobody wrote down: between its ends
            rate = (now + float(group.get("initial_lr", now))) / 2
        total, n_steps = total + n * rate, n_steps + n
    if not n_steps:  # trained elsewhere
        return float(state.get("step", 0.0)) * (now + float(group.get("initial_lr", now))) / 2
    return total


def _epochs_kept(net):
    """Records of the epochs that led to the parameters: up to the best, if that was restored."""
    epochs = list(getattr(net, "history", None) or ())
    for _, callback in getattr(net, "callbacks_", None) or ():
        if getattr(callback, "load_best", False) and hasattr(callback, "best_epoch_"):
            return epochs[: int(callback.best_epoch_)] or epochs
    return epochs


def _batch_size(net, n_rows):
    size = getattr(net, "batch_size", -1)
    return n_rows if not isinstance(size, int) or size < 1 else size
