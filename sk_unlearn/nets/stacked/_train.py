"""Stacks as jobs: which nets train together, and their epochs."""

import math
from itertools import chain

import numpy as np
import torch
from joblib import Parallel, delayed, effective_n_jobs

from sk_unlearn.nets._inspect import bare_module
from sk_unlearn.nets._interrupt import StopSign
from sk_unlearn.nets._schedule import Schedule
from sk_unlearn.nets._state import NetState
from sk_unlearn.nets.stacked._batches import StackedBatches, batch_options, n_batches
from sk_unlearn.nets.stacked._loss import StackedLoss
from sk_unlearn.nets.stacked._module import StackedNets, padded
from sk_unlearn.nets.stacked._optimizer import StackedOptimizer
from sk_unlearn.utils._generators import without_draws
from sk_unlearn.utils._threads import reproducible_threads

__all__ = ["default_width", "train_stacks"]

# Most nets in a stack: from about 20 small ones on the cost of a step beside the arithmetic is
# little a net.
_WIDTH = 50
_STACK_BYTES = 64 * 2**20  # of parameters; gradients and optimiser state come on top
# Threads take turns in Python. From about this many steps of a net on, workers of their own
# gain more than starting them takes (some ten seconds, mostly imports).
_STEPS_FOR_PROCESSES = 500_000


def default_width(module):
    """Most nets of a stack, each with a module like this one."""
    n_bytes = sum(value.nbytes for value in module.parameters())
    return min(_WIDTH, max(1, _STACK_BYTES // n_bytes))


def train_stacks(net, tensors, row_sets, states, epochs, *, n_jobs=None, width=None, n_slots=None):
    """Train what was checked before, side by side; return a NetState of each net.

    Parameters
    ----------
    net : skorch.NeuralNet
        Prepared and initialised, of a kind that :func:`can_stack` allows; left as found.
    tensors : tuple of Tensor
        Rows, and targets as the criterion reads them.
    row_sets, states : list of ndarray of int, list of NetState
        Rows of each net, and where it starts.
    epochs, n_jobs : int
    width, n_slots : int, default=None
        Most nets in a stack; nets in every stack, some of them made up.
    """
    sizes, n_workers = [len(rows) for rows in row_sets], effective_n_jobs(n_jobs)
    width = n_slots or width or default_width(bare_module(net.module_))
    n_stacks = math.ceil(len(sizes) / width)
    if n_slots is None:  # stacks of one size take as long with few nets as with many
        n_stacks = max(n_stacks, min(n_workers, len(sizes)))
    order = sorted(range(len(sizes)), key=lambda k: -sizes[k])
    stacks = [part.tolist() for part in np.array_split(order, n_stacks)]
    n_steps = epochs * sum(sizes) / batch_options(net)["batch_size"]
    processes = n_steps > _STEPS_FOR_PROCESSES and tensors[0].is_cpu
    # joblib maps arrays into the memory of its workers; what is on a device stays there
    arrays = [tensor.numpy() if tensor.is_cpu else tensor for tensor in tensors]
    stop = StopSign()
    jobs = [
        (net, *arrays, *([each[k] for k in members] for each in (row_sets, states)))
        for members in stacks
    ]
    with stop.shown_on_error():
        if n_workers == 1:  # for a net of a few steps, joblib takes as long as a step
            results = [_train_stack(*job, epochs, n_slots, stop) for job in jobs]
        else:
            parallel = Parallel(n_jobs=n_jobs, prefer="processes" if processes else "threads")
            results = parallel(delayed(_train_stack)(*job, epochs, n_slots, stop) for job in jobs)
    found = dict(zip(chain(*stacks), chain(*results), strict=True))
    return [found[k] for k in range(len(sizes))]


def _train_stack(net, X, y, row_sets, states, epochs, n_slots, stop):
    """One job. Rows are copied: joblib hands large arrays to its workers read-only."""
    used, places = np.unique(np.concatenate(row_sets), return_inverse=True)
    X, y = (torch.as_tensor(rows[used]).to(net.device or "cpu") for rows in (X, y))
    row_sets = torch.from_numpy(places).split([len(rows) for rows in row_sets])
    # a stack draws from the generators of its nets
    with stop.working(), reproducible_threads(), without_draws(), torch.no_grad():
        return _train(net, X, y, row_sets, states, epochs, n_slots, stop.check)


def _train(net, X, y, row_sets, states, epochs, n_slots, check):
    n_nets, options, schedule = len(states), batch_options(net), Schedule(net)
    missing = max(0, (n_slots or 0) - n_nets)
    row_sets, states = [*row_sets, *missing * [row_sets[0][:1]]], states + missing * [states[0]]
    counts = [n_batches(rows, options) for rows in row_sets]
    order = sorted(range(len(states)), key=lambda k: (-counts[k], schedule.clock(states[k])))
    row_sets, states, counts = ([each[k] for k in order] for each in (row_sets, states, counts))
    generators = [torch.Generator() for _ in states]
    for generator, state in zip(generators, states, strict=True):
        generator.set_state(state.rng)
    n_rows, loss = padded(options["batch_size"]), StackedLoss(net, y)
    nets = StackedNets(bare_module(net.module_), states, loss, X, y, n_rows)
    batches = StackedBatches(row_sets, generators, options, nets.values)
    optimizer = StackedOptimizer(nets, states, counts, schedule)
    losses = [_epoch(nets, batches, optimizer, check, n_slots) for _ in range(epochs)]
    trained = {
        k: NetState(
            {**states[i].tensors, **nets.unpacked(nets.values[i])},
            optimizer.state(i),
            generators[i].get_state(),
            states[i].epochs + epochs,
            states[i].batches + epochs * counts[i],
            (*states[i].losses, *(float(each[i]) for each in losses)),
        )
        for i, k in enumerate(order)
        if k < n_nets
    }
    return [trained[k] for k in range(n_nets)]


def _epoch(nets, batches, optimizer, check, n_slots):
    """Train one epoch; return each net's mean loss over its rows."""
    losses = torch.zeros(batches.sizes.shape, dtype=torch.float64, device=nets.values.device)
    each = zip(batches.epoch(), batches.valid, batches.share, batches.n_nets, strict=True)
    for batch, (rows, valid, share, n) in enumerate(each):
        check()
        if n_slots is not None:  # kernels follow from the size of a stack: all nets take part
            n = n_slots
        losses[batch, :n] = nets.step(rows[:n], valid[:n], share[:n])
        optimizer.step(batch)
    optimizer.end_epoch()
    losses = torch.where(batches.sizes > 0, losses.cpu() * batches.sizes, 0.0)
    return losses.sum(0) / batches.sizes.sum(0)
