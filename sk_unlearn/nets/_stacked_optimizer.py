"""One torch optimiser for all nets of a stack, which updates none that has no batch left."""

from itertools import groupby

import torch

from sk_unlearn.nets._replay import record

__all__ = ["StackedOptimizer"]

# What a schedule may change while a net trains.
_SCHEDULED = ("lr", "momentum", "betas")


class StackedOptimizer:
    """torch's own optimiser over blocks of nets that take their steps together.

    Nets that start at the same step and have equally many batches an epoch form a block:
    consecutive rows of every buffer. A block without a batch has no gradient, and torch's
    optimisers leave such a parameter and its state alone, step count included.

    Parameters
    ----------
    stacks : dict of str to ParameterStack
    states : list of NetState
        One a net, in the order of the rows.
    counts : list of int
        Batches an epoch of each net, descending.
    schedule : Schedule
    """

    def __init__(self, stacks, states, counts, schedule):
        self.stacks = stacks
        self.schedule = schedule
        self.blocks, groups = [], {}
        keys = [(n, *_progress(state, schedule)) for n, state in zip(counts, states, strict=True)]
        for key, members in groupby(range(len(keys)), keys.__getitem__):
            members = list(members)
            rows = slice(members[0], members[-1] + 1)
            parameters = [stack.buffer[rows].requires_grad_() for stack in stacks.values()]
            self.blocks.append((rows, key[0], parameters))
            clock = schedule.clock(states[members[0]])
            # a fused step takes momentum of all parameters of a group, or of none
            together = (clock, key[0] if schedule.per_batch else None, key[-1])
            groups.setdefault(together, []).extend(parameters)
        options = {**schedule.options, "fused": True, "foreach": None}
        self._optimizer = schedule.kind([{"params": p} for p in groups.values()], **options)
        self._recordings, self._begun = {}, set()
        self._clocks = [list(together) for together in groups]
        for rows, _, parameters in self.blocks:
            for (name, stack), parameter in zip(stacks.items(), parameters, strict=True):
                self._restore(stack, parameter, [s.optimizer.get(name, {}) for s in states[rows]])

    def start_epoch(self):
        """Set the options that hold in the coming epoch."""
        if not self.schedule.per_batch:
            for group, clock in zip(self._optimizer.param_groups, self._clocks, strict=True):
                self._set(group, clock[0])
                clock[0] += 1

    def step(self, batch, gradients):
        """Update the nets that have this batch.

        Parameters
        ----------
        batch : int
            Which batch of the epoch it is.
        gradients : list of Tensor of shape (n_nets, n_padded)
            One a stack, for the first nets. Those of equally many nets must lie in the
            same memory at every call.
        """
        if self.schedule.per_batch:
            for group, clock in zip(self._optimizer.param_groups, self._clocks, strict=True):
                if batch < clock[1]:
                    self._set(group, clock[0])
                    clock[0] += 1
        active = tuple(batch < count for _, count, _ in self.blocks)
        settings = [[g.get(key) for key in _SCHEDULED] for g in self._optimizer.param_groups]
        known, recording = self._recordings.get((active, len(gradients[0])), (None, None))
        if known == settings:
            recording.repeat()
        else:
            self._step(active, gradients, settings)

    def _step(self, active, gradients, settings):
        """Take a step, and record it if steps like it may follow."""
        for (rows, _, parameters), is_active in zip(self.blocks, active, strict=True):
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient[rows] if is_active else None
        if self.schedule.per_batch or active not in self._begun:
            self._optimizer.step()
            self._begun.add(active)  # a first step makes the state, which no later one must
        else:
            recording = record(self._optimizer.step)
            self._recordings[active, len(gradients[0])] = settings, recording

    def state(self, net):
        """What the optimiser keeps for one net.

        Parameters
        ----------
        net : int

        Returns
        -------
        state : dict of str to dict
            By parameter name.
        """
        rows, _, parameters = next(b for b in self.blocks if b[0].start <= net < b[0].stop)
        found = {}
        for (name, stack), parameter in zip(self.stacks.items(), parameters, strict=True):
            kept = self._optimizer.state.get(parameter)
            if kept:
                found[name] = {k: _one(stack, v, net - rows.start) for k, v in kept.items()}
        return found

    def _set(self, group, clock):
        settings = self.schedule.settings(clock)
        group.update({key: settings[key] for key in _SCHEDULED if key in settings})

    def _restore(self, stack, parameter, states):
        if states[0]:
            self._optimizer.state[parameter] = {
                key: _several(stack, [state[key] for state in states]) for key in states[0]
            }


def _progress(state, schedule):
    """What nets of one block must have in common besides the number of batches."""
    kept = next(iter(state.optimizer.values()), {})
    steps = [float(value) for key, value in kept.items() if key == "step"]
    return schedule.clock(state), sorted(kept), steps, kept.get("momentum_buffer") is None


def _one(stack, value, row):
    if torch.is_tensor(value) and value.ndim > 0:
        return stack.unflat(value[row])
    return value.clone() if torch.is_tensor(value) else value


def _several(stack, values):
    if not torch.is_tensor(values[0]):
        return values[0]
    if values[0].ndim == 0:  # the step count, which the nets of a block share
        return values[0].to(stack.buffer.device, copy=True)
    return torch.stack([stack.padded(value) for value in values])
