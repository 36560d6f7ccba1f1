"""Train the nets of one stack on one thread."""

import torch
from torch.func import functional_call, vmap

from sk_unlearn.nets._inspect import bare_module
from sk_unlearn.nets._stacked_batches import StackedBatches, n_batches
from sk_unlearn.nets._stacked_loss import StackedLoss
from sk_unlearn.nets._stacked_optimizer import StackedOptimizer
from sk_unlearn.nets._stacked_parameters import ParameterStack
from sk_unlearn.nets._stacked_schedule import Schedule
from sk_unlearn.nets._stacked_state import NetState

__all__ = ["StackedNets", "first_names", "train_stack"]


class StackedNets:
    """The modules of several nets as functions of one set of stacked tensors.

    Parameters
    ----------
    module : torch.nn.Module
        Of the nets' architecture; its own values are not used.
    states : list of NetState
    """

    def __init__(self, module, states):
        trainable = {name for name, value in module.named_parameters() if value.requires_grad}
        # in the order of the parameters, one name for a tensor that two layers share
        named = [*dict(module.named_parameters()), *dict(module.named_buffers())]
        self.stacks = {
            name: ParameterStack([state.tensors[name] for state in states])
            for name in named
            if name in trainable
        }
        self.fixed = {
            name: torch.stack([_tensor(module, state, name) for state in states])
            for name in named
            if name not in trainable
        }
        self._first_name = first_names(module)
        self._views = {}
        self._forward = vmap(lambda tensors, X: functional_call(module, tensors, (X,)))

    def leaves(self, n_nets):
        """Trainable tensors of the first nets, by name."""
        if n_nets not in self._views:
            self._views[n_nets] = {
                name: stack.leaves(n_nets).requires_grad_() for name, stack in self.stacks.items()
            }
        return self._views[n_nets]

    def __call__(self, X):
        """Outputs of the first nets on their own rows.

        Parameters
        ----------
        X : Tensor of shape (n_nets, n_rows, ...)

        Returns
        -------
        output : Tensor of shape (n_nets, n_rows, ...)
        """
        fixed = {name: value[: len(X)] for name, value in self.fixed.items()}
        return self._forward({**self.leaves(len(X)), **fixed}, X)

    def tensors(self, net, before):
        """Copies of one net's tensors under the names of ``before``."""
        trained = {
            name: stack.unflat(stack.buffer[net].detach()) for name, stack in self.stacks.items()
        }
        return {
            name: trained.get(self._first_name.get(name), value) for name, value in before.items()
        }

    def gradients(self, losses, coefficients):
        """Gradients of ``(losses * coefficients).sum()``, laid out as the buffers."""
        leaves = self.leaves(len(losses))
        found = torch.autograd.grad(
            losses, list(leaves.values()), coefficients, materialize_grads=True
        )
        return [
            stack.gradient(value) for stack, value in zip(self.stacks.values(), found, strict=True)
        ]


def train_stack(net, X, y, row_sets, states, epochs):
    """Train nets side by side.

    Parameters
    ----------
    net : skorch.NeuralNet
        Initialised; its module gives the architecture.
    X, y : Tensor
    row_sets : list of Tensor of int64
        Rows of each net.
    states : list of NetState
        Where each net starts; ``rng`` is set.
    epochs : int

    Returns
    -------
    states : list of NetState
        In the order given.
    """
    options = net.get_params_for("iterator_train")
    batch_size = options.get("batch_size", net.batch_size)
    drop_last = options.get("drop_last", False)
    schedule = Schedule(net)
    counts = [n_batches(len(rows), batch_size, drop_last) for rows in row_sets]
    order = sorted(range(len(states)), key=lambda k: (-counts[k], schedule.clock(states[k])))
    # a stack of one takes other code in the BLAS: a second copy keeps it company
    members = order if len(order) > 1 else order * 2
    states = [states[k] for k in members]
    batches = StackedBatches(
        [row_sets[k] for k in members],
        [_generator(state) for state in states],
        batch_size=batch_size,
        shuffle=options.get("shuffle", False),
        drop_last=drop_last,
    )
    module = bare_module(net.module_).train()
    nets = StackedNets(module, states)
    loss = StackedLoss(net, y, batches.valid)
    optimizer = StackedOptimizer(nets.stacks, states, batches.counts, schedule)
    losses = [_epoch(nets, X, y, batches, loss, optimizer) for _ in range(epochs)]
    trained = {
        k: _state(nets, optimizer, batches, states[i], losses, i) for i, k in enumerate(members)
    }
    return [trained[k] for k in range(len(order))]


def _epoch(nets, X, y, batches, loss, optimizer):
    """Train one epoch; return each net's mean loss over its rows."""
    index = batches.epoch()
    total = X.new_zeros(len(batches.counts), dtype=torch.float64)
    optimizer.start_epoch()
    for batch, rows in enumerate(index):
        n_nets = max(2, sum(count > batch for count in batches.counts))
        flat = rows[:n_nets].reshape(-1)
        Xb, yb = X.index_select(0, flat), y.index_select(0, flat)
        elements = loss.elements(nets(Xb.unflatten(0, (n_nets, -1))), yb)
        coefficients = loss.coefficients(elements, yb, batch)
        optimizer.step(batch, nets.gradients(elements, coefficients))
        means = (elements.detach() * coefficients).sum((1, 2))
        total[:n_nets] += batches.sizes[batch, :n_nets] * means
    return total / batches.sizes.sum(0)


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


def first_names(module):
    """For each name of a parameter, the first name of the same tensor."""
    first = {id(value): name for name, value in module.named_parameters()}
    every = module.named_parameters(remove_duplicate=False)
    return {name: first[id(value)] for name, value in every}


def _tensor(module, state, name):
    """A fixed tensor of one net; buffers that are not saved are alike in all."""
    return state.tensors[name] if name in state.tensors else module.get_buffer(name)
