"""torch's fused optimiser steps over blocks of nets, which update none that has no batch left.

The operations are called directly: ``torch.optim`` takes 50 microseconds to find out each time
what to call, as long as a step of a small net.
"""

from functools import partial
from itertools import groupby
from types import SimpleNamespace

import torch

__all__ = ["OPTIMIZERS", "StackedOptimizer"]


class StackedOptimizer:
    """Optimiser of all nets of a stack.

    Nets that start at the same step and have equally many batches an epoch, ``counts``, form a
    block: consecutive rows of the buffers, with one step of the optimiser. ``counts`` descend.
    """

    def __init__(self, nets, states, counts, schedule):
        self._nets, self._schedule, self._blocks = nets, schedule, []
        self._update = OPTIMIZERS[schedule.kind]
        keys = [
            (n, schedule.clock(state), _progress(state))
            for n, state in zip(counts, states, strict=True)
        ]
        for (count, clock, _), members in groupby(range(len(keys)), keys.__getitem__):
            members = list(members)
            rows = slice(members[0], members[-1] + 1)
            block = SimpleNamespace(rows=rows, count=count, clock=clock)
            block.tensors = nets.values[rows], nets.gradients[rows]
            block.state = self._together([states[k].optimizer for k in members])
            self._blocks.append(block)

    def step(self, batch):
        """Update the nets that have this batch of the epoch, by the gradients of ``nets``."""
        for block in self._blocks:
            if batch < block.count:
                self._update(*block.tensors, block.state, self._schedule.settings(block.clock))
                block.clock += self._schedule.per_batch

    def end_epoch(self):
        """Let schedules by epoch go on."""
        for block in self._blocks:
            block.clock += not self._schedule.per_batch

    def state(self, net):
        """What torch's optimiser would keep for one net, by parameter name."""
        block = next(b for b in self._blocks if b.rows.start <= net < b.rows.stop)
        found = {name: {} for name in self._nets.names} if block.state else {}
        for key, value in block.state.items():
            several = value.ndim and self._nets.unpacked(value[net - block.rows.start])
            for name, kept in found.items():
                kept[key] = several[name] if several else value.clone()
        return found

    def _together(self, states):
        """One state of several nets, which share the step count."""
        found, row = {}, torch.zeros_like(self._nets.values[0])
        for key, value in next(iter(states[0].values()), {}).items():
            if value.ndim == 0:
                found[key] = value.to(row.device, copy=True)
                continue
            each = [{name: kept[key] for name, kept in state.items()} for state in states]
            found[key] = torch.stack([self._nets.packed(own, row.clone()) for own in each])
        return found


def _progress(state):
    """What nets of one block must have in common besides clock and number of batches."""
    kept = next(iter(state.optimizer.values()), {})
    return sorted(kept), float(kept.get("step", 0.0))


def _adam(update, values, gradients, state, settings):
    if not state:
        state["step"] = values.new_zeros((), dtype=torch.float32)
        for key in ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")[: 2 + settings["amsgrad"]]:
            state[key] = torch.zeros_like(values)
    state["step"] += 1
    update(
        [values],
        [gradients],
        [state["exp_avg"]],
        [state["exp_avg_sq"]],
        [state["max_exp_avg_sq"]] if settings["amsgrad"] else [],
        [state["step"]],
        lr=settings["lr"],
        beta1=settings["betas"][0],
        beta2=settings["betas"][1],
        **{key: settings[key] for key in ("weight_decay", "eps", "amsgrad", "maximize")},
    )


def _sgd(values, gradients, state, settings):
    is_first = not state
    if settings["momentum"] and is_first:
        state["momentum_buffer"] = torch.zeros_like(values)
    kept = ("lr", "momentum", "dampening", "weight_decay", "nesterov", "maximize")
    options = {key: settings[key] for key in kept}
    torch._fused_sgd_(
        [values], [gradients], list(state.values()), is_first_step=is_first, **options
    )


OPTIMIZERS = {
    torch.optim.SGD: _sgd,
    torch.optim.Adam: partial(_adam, torch._fused_adam_),
    torch.optim.AdamW: partial(_adam, torch._fused_adamw_),
}
