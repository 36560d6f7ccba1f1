"""Train the nets of one stack on one thread."""

import torch
from sklearn.base import clone

from sk_unlearn.nets._inspect import bare_module, net_dtype
from sk_unlearn.nets._stacked_batches import StackedBatches, batch_options, n_batches
from sk_unlearn.nets._stacked_optimizer import StackedOptimizer
from sk_unlearn.nets._stacked_schedule import Schedule
from sk_unlearn.nets._stacked_state import NetState
from sk_unlearn.nets._stacked_steps import StackedSteps
from sk_unlearn.utils._seeding import isolated_rng

__all__ = ["train_stack"]


def train_stack(net, X, y, row_sets, states, epochs, check, kept, n_slots=None):
    """Train nets side by side.

    Parameters
    ----------
    net : skorch.NeuralNet
        Prepared and unfitted.
    X, y : Tensor
        On the device of the net.
    row_sets : list of Tensor of int64
        Rows of each net; on the CPU.
    states : list of NetState
        Where each net starts; ``rng`` is set.
    epochs : int
    check : callable
        Called before every step; raises to break the training off.
    kept : KeptSteps
        What earlier calls for nets of these settings left, and where this one leaves its steps.
    n_slots : int, default=None
        Nets in the stack; those that are missing are made up. None: as many as are given.

    Returns
    -------
    states : list of NetState
        In the order given.
    """
    n_nets = len(states)
    missing = 0 if n_slots is None else n_slots - n_nets
    row_sets, states = row_sets + missing * [row_sets[0][:1]], states + missing * [states[0]]
    steps = kept.take(len(states))
    template = kept.template() or _initialised(net) if steps is None else steps.net
    options, schedule = batch_options(template), Schedule(template)
    size, drop_last = options["batch_size"], options["drop_last"]
    counts = [n_batches(len(rows), size, drop_last) for rows in row_sets]
    order = sorted(range(len(states)), key=lambda k: (-counts[k], schedule.clock(states[k])))
    states = [states[k] for k in order]
    batches = StackedBatches(
        [row_sets[k] for k in order],
        [_generator(state) for state in states],
        **options,
        dtype=net_dtype(bare_module(template.module_)),
        device=X.device,
    )
    steps = steps or StackedSteps(template, states, batches.n_rows)
    with torch.no_grad():
        steps.begin(states, X, y)
        optimizer = StackedOptimizer(steps.nets.stacks, states, batches.counts, schedule)
        losses = [_epoch(steps, batches, optimizer, check) for _ in range(epochs)]
    trained = {
        k: _state(steps.nets, optimizer, batches, states[i], losses, i)
        for i, k in enumerate(order)
        if k < n_nets
    }
    kept.give_back(len(states), steps)
    return [trained[k] for k in range(n_nets)]


def _initialised(net):
    with isolated_rng(0):
        return clone(net).initialize()


def _epoch(steps, batches, optimizer, check):
    """Train one epoch; return each net's mean loss over its rows."""
    shape = batches.sizes.shape
    losses = torch.zeros(shape, dtype=torch.float64, device=batches.device)
    optimizer.start_epoch()
    for batch, rows in enumerate(batches.epoch()):
        check()
        step = steps.for_nets(batches.n_nets[batch])
        means, gradients = step(rows, batches.valid[batch], batches.share[batch])
        optimizer.step(batch, gradients)
        losses[batch, : step.n_nets] = means
    weighted = torch.where(batches.sizes > 0, losses.cpu() * batches.sizes, 0.0)
    return weighted.sum(0) / batches.sizes.sum(0)


def _state(nets, optimizer, batches, before, losses, i):
    return NetState(
        nets.tensors(i, before.tensors),
        optimizer.state(i),
        batches.generators[i].get_state(),
        before.epochs + len(losses),
        before.batches + len(losses) * batches.counts[i],
        (*before.losses, *(float(loss[i]) for loss in losses)),
    )


def _generator(state):
    generator = torch.Generator()
    generator.set_state(state.rng)
    return generator
