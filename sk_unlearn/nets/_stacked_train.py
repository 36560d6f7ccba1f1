"""Train the nets of one stack on one thread."""

from functools import partial

import torch

from sk_unlearn.nets._inspect import bare_module, net_dtype
from sk_unlearn.nets._stacked_batches import StackedBatches, batch_options, n_batches
from sk_unlearn.nets._stacked_loss import StackedLoss
from sk_unlearn.nets._stacked_optimizer import StackedOptimizer
from sk_unlearn.nets._stacked_schedule import Schedule
from sk_unlearn.nets._stacked_state import NetState
from sk_unlearn.nets._stacked_step import StackedNets, StackedStep

__all__ = ["train_stack"]


def train_stack(net, X, y, row_sets, states, epochs, check):
    """Train nets side by side.

    Parameters
    ----------
    net : skorch.NeuralNet
        Initialised; its module gives the architecture.
    X, y : Tensor
        On the device of the net.
    row_sets : list of Tensor of int64
        Rows of each net; on the CPU.
    states : list of NetState
        Where each net starts; ``rng`` is set.
    epochs : int
    check : callable
        Called before every step; raises to break the training off.

    Returns
    -------
    states : list of NetState
        In the order given.
    """
    options = batch_options(net)
    module = bare_module(net.module_).train()
    schedule = Schedule(net)
    size, drop_last = options["batch_size"], options["drop_last"]
    counts = [n_batches(len(rows), size, drop_last) for rows in row_sets]
    order = sorted(range(len(states)), key=lambda k: (-counts[k], schedule.clock(states[k])))
    states = [states[k] for k in order]
    batches = StackedBatches(
        [row_sets[k] for k in order],
        [_generator(state) for state in states],
        **options,
        dtype=net_dtype(module),
        device=X.device,
    )
    nets = StackedNets(module, states)
    optimizer = StackedOptimizer(nets.stacks, states, batches.counts, schedule)
    steps = _Steps(nets, StackedLoss(net, y), X, y, batches)
    with torch.no_grad():
        losses = [_epoch(steps, batches, optimizer, check) for _ in range(epochs)]
    trained = {
        k: _state(nets, optimizer, batches, states[i], losses, i) for i, k in enumerate(order)
    }
    return [trained[k] for k in range(len(order))]


class _Steps:
    """Steps for full and for thinned-out stacks.

    Each width that a step is made for costs a recording. So there is one for all nets, for
    half of them and so on; where fewer nets have a batch, some are computed for nothing.
    """

    def __init__(self, nets, loss, X, y, batches):
        self._make = partial(StackedStep, nets, loss, X, y, n_rows=batches.n_rows)
        self._widths = [len(batches.counts)]
        while self._widths[-1] > 1:
            self._widths.append(-(-self._widths[-1] // 2))
        self._steps = {}

    def for_nets(self, n_nets):
        width = min(width for width in self._widths if width >= n_nets)
        if width not in self._steps:
            self._steps[width] = self._make(n_nets=width)
        return self._steps[width]


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
