"""Parameters of several nets in one block of memory each, laid out for speed and equal bits."""

import math

import torch

from sk_unlearn.nets._stacked_batches import VECTOR

__all__ = ["ParameterStack", "narrow"]


def narrow(weight):
    """Whether a layer has too few outputs to fill vectors.

    Along its outputs a product takes scalar code; along the rows of a batch it does not.
    """
    return len(weight) < VECTOR


class ParameterStack:
    """One parameter of every net: a buffer with one row a net.

    A row is padded with zeros to a whole number of vector turns, so that an element-wise
    update of any rows of the buffer treats each net alike. Matrices of a wide layer are kept
    transposed: ``X @ W.T`` reads them up to three times as fast then (784-128, batch 32: 90
    instead of 260 microseconds a net), and autograd returns their gradients in that order.
    Those of a :func:`narrow` layer are kept as they are.

    Parameters
    ----------
    values : list of Tensor
        One a net, of equal shape.
    device : torch.device
        Of the buffer.

    Attributes
    ----------
    buffer : Tensor of shape (n_nets, n_padded)
    """

    def __init__(self, values, device):
        self.shape = values[0].shape
        self.size = values[0].numel()
        self.transposed = len(self.shape) == 2 and not narrow(values[0])
        padded = math.ceil(self.size / VECTOR) * VECTOR
        self.buffer = values[0].new_zeros(len(values), padded, device=device)
        self._gradient = None if padded == self.size else torch.zeros_like(self.buffer)
        self.load(values)

    def load(self, values):
        """Take on other values, in the same memory."""
        for row, value in zip(self.buffer, values, strict=True):
            row[: self.size] = self.flat(value)

    def memory(self):
        """What the parameters and their gradients are written to."""
        return [self.buffer] if self._gradient is None else [self.buffer, self._gradient]

    def flat(self, value):
        """Elements of one net's tensor in the order of the buffer."""
        return (value.mT if self.transposed else value).reshape(-1)

    def padded(self, value):
        """One net's tensor as a row of the buffer."""
        row = self.buffer.new_zeros(self.buffer.shape[1])
        row[: self.size] = self.flat(value)
        return row

    def unflat(self, row):
        """Copy of one net's tensor from a row of the buffer or of a buffer like it."""
        shape = self.shape[::-1] if self.transposed else self.shape
        value = row[: self.size].view(shape)
        return (value.mT if self.transposed else value).clone(
            memory_format=torch.contiguous_format
        )

    def leaves(self, n_nets):
        """View of the first nets' parameters that autograd may differentiate.

        Parameters
        ----------
        n_nets : int

        Returns
        -------
        leaves : Tensor of shape (n_nets, ...)
        """
        shape = self.shape[::-1] if self.transposed else self.shape
        view = self.buffer[:n_nets, : self.size].view(n_nets, *shape)
        return (view.mT if self.transposed else view).detach()

    def gradient(self, value):
        """Gradient with respect to ``leaves``, laid out as the buffer.

        Parameters
        ----------
        value : Tensor of shape (n_nets, ...)

        Returns
        -------
        gradient : Tensor of shape (n_nets, n_padded)
        """
        n_nets = len(value)
        flat = (value.mT if self.transposed else value).reshape(n_nets, self.size)
        if self._gradient is None:
            return flat.contiguous()
        padded = self._gradient[:n_nets]
        padded[:, : self.size] = flat
        return padded
