"""The nets of a stack: their tensors, and a step of training that is repeated."""

import torch
from torch.func import functional_call, vmap

from sk_unlearn.nets._replay import record
from sk_unlearn.nets._stacked_linear import NetProducts, StackedLinear
from sk_unlearn.nets._stacked_parameters import ParameterStack

__all__ = ["StackedNets", "StackedStep", "first_names"]


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
        self.device = next(module.parameters()).device
        # in the order of the parameters, one name for a tensor that two layers share
        named = [*dict(module.named_parameters()), *dict(module.named_buffers())]
        self.stacks = {
            name: ParameterStack([state.tensors[name] for state in states], self.device)
            for name in named
            if name in trainable
        }
        self.module, self._first_name = module, first_names(module)
        self.fixed = {name: self._fixed(states, name) for name in named if name not in trainable}
        self._views = {}
        self._forward = vmap(lambda tensors, X: functional_call(module, tensors, (X,)))

    def load(self, states):
        """Take on other states, in the same memory."""
        for name, stack in self.stacks.items():
            stack.load([state.tensors[name] for state in states])
        for name, value in self.fixed.items():
            value.copy_(self._fixed(states, name))

    def _fixed(self, states, name):
        return torch.stack([_tensor(self.module, s, name).to(self.device) for s in states])

    def memory(self):
        """All that :meth:`load` and a step write to."""
        return [each for stack in self.stacks.values() for each in stack.memory()] + [
            *self.fixed.values()
        ]

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
        with NetProducts(), StackedLinear():
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
        with NetProducts():
            found = torch.autograd.grad(
                losses, list(leaves.values()), coefficients, materialize_grads=True
            )
        return [
            stack.gradient(value) for stack, value in zip(self.stacks.values(), found, strict=True)
        ]


class StackedStep:
    """Losses and gradients of one batch of the first nets of a stack.

    The operations are recorded on the first batch and repeated on all others.

    Parameters
    ----------
    nets : StackedNets
    loss : StackedLoss
    X, y : Tensor
        Rows and targets that the batches are taken from.
    n_nets, n_rows : int
        Size of a batch.
    """

    def __init__(self, nets, loss, X, y, n_nets, n_rows):
        self.n_nets = n_nets
        self.nets, self._loss = nets, loss
        self.read_from(X, y)
        self._flat = [rows.new_zeros(n_nets * n_rows, *rows.shape[1:]) for rows in (X, y)]
        self.X, self._y = [flat.unflatten(0, (n_nets, n_rows)) for flat in self._flat]
        self._share = next(iter(nets.stacks.values())).buffer.new_zeros(n_nets, n_rows)
        self._valid = torch.zeros_like(self._share, dtype=torch.bool)
        self._last = self._recording = None

    def read_from(self, X, y):
        """Take batches from other rows and targets, of the same shape and type."""
        self._source = X, y

    def memory(self):
        """All that a call writes to, but for the parameters."""
        recorded = [] if self._recording is None else self._recording.written
        return [*self._flat, self._valid, self._share, *recorded]

    def release(self):
        """Let go of the rows, and of what was told last."""
        self._source = self._last = None
        if self._recording is not None:
            self._recording.release()

    def __call__(self, rows, valid, share):
        """Compute one batch.

        Parameters
        ----------
        rows : Tensor of shape (at least n_nets, n_rows), int64
        valid : Tensor of the shape of `rows`, bool
        share : Tensor of the shape of `rows`
            See :meth:`~sk_unlearn.nets._stacked_loss.StackedLoss.coefficients`. Neither
            may be changed between two calls that name the same tensor.

        Returns
        -------
        means : Tensor of shape (n_nets,)
            Mean loss of each net's rows.
        gradients : list of Tensor of shape (n_nets, n_padded)
            As the buffers of the parameters. Both are overwritten by the next call.
        """
        self.load(rows, valid, share)
        if self._recording is None:
            self._recording = record(self.compute)
            return self._recording.result
        return self._recording.repeat()

    def load(self, rows, valid, share):
        """Fetch a batch; parameters as for a call."""
        flat = rows[: self.n_nets].reshape(-1)
        for source, target in zip(self._source, self._flat, strict=True):
            torch.index_select(source, 0, flat, out=target)
        if share is not self._last:  # mostly the batches of all nets are full
            self._valid.copy_(valid[: self.n_nets])
            self._share.copy_(share[: self.n_nets])
            self._last = share

    @torch.enable_grad()
    def compute(self):
        """What a call returns, of the batch that was fetched last and without recording."""
        return self.compute_from(self.nets(self.X))

    @torch.enable_grad()
    def compute_from(self, output):
        """What a call returns, of the nets' outputs."""
        losses = self._loss.elements(output, self._y)
        coefficients = self._loss.coefficients(losses, self._y, self._valid, self._share)
        gradients = self.nets.gradients(losses, coefficients)
        return (losses.detach() * coefficients).sum((1, 2)), gradients


def first_names(module):
    """For each name of a parameter, the first name of the same tensor."""
    first = {id(value): name for name, value in module.named_parameters()}
    every = module.named_parameters(remove_duplicate=False)
    return {name: first[id(value)] for name, value in every}


def _tensor(module, state, name):
    """A fixed tensor of one net; buffers that are not saved are alike in all."""
    return state.tensors[name] if name in state.tensors else module.get_buffer(name)
