"""Forward passes chunk by chunk: each chunk is converted and checked while it is in a cache."""

from dataclasses import dataclass

import numpy as np
import torch
from skorch import NeuralNet

from sk_unlearn.nets._batches import as_tensor
from sk_unlearn.nets._inspect import bare_module, embeds, net_dtype

__all__ = ["ForwardPass", "Reader", "in_chunks", "net_device"]

# Input of one chunk on a CPU. What a chunk needs then stays in a core's caches from layer to
# layer: against one pass over 10,000 rows a wide perceptron takes 0.6 to 0.7 times as long, a
# small convolutional net half. Fewer rows read large weights too often, more gain nothing.
_CACHE_BYTES, _FEWEST_ROWS, _MOST_ROWS = 3 * 2**19, 128, 2048
# ... and at most, which is what other devices get, where a launch costs more than a cache
_MOST_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Reader:
    """How a net reads rows; nets that read alike share what is read.

    Attributes
    ----------
    dtype : torch.dtype
    keep_integers : bool
    device : torch.device
    """

    dtype: torch.dtype
    keep_integers: bool
    device: torch.device

    @classmethod
    def of(cls, net):
        """The reader of a trained net."""
        module = bare_module(net.module_)
        return cls(net_dtype(module), embeds(module), net_device(net))

    def __call__(self, rows, verify=None):
        """Rows as a tensor on the net's device, which may share their memory."""
        rows = as_tensor(rows, dtype=self.dtype, keep_integers=self.keep_integers)
        if verify is not None:
            verify(rows)
        return rows.to(self.device)


class ForwardPass:
    """A trained net, put into evaluation mode and ready for one chunk after the other.

    Parameters
    ----------
    net : skorch.NeuralNet
        Trained.
    link : callable
        Maps the module's output to what is asked for.

    Attributes
    ----------
    read : Reader
    """

    def __init__(self, net, link):
        net.check_is_fitted()
        self.read = Reader.of(net)
        self._link = link
        self._infer = net.infer if _overrides_infer(net) else net.module_
        self._writes = None
        if net.module_.training:
            net.module_.eval()

    def __call__(self, rows):
        """Output for the rows that :attr:`read` gave, on the CPU.

        The first chunk is a copy, which shows whether the module writes to its input: that
        may be the caller's own memory, or what the next net reads.
        """
        own = rows if self._writes is False else rows.clone()
        before = own._version
        output = self._link(self._infer(own))
        if self._writes is None:
            self._writes = own._version != before
        return output.cpu()


def in_chunks(passes, X, combine, *, verify=None, chunk_size=None):
    """Send rows through several nets, one after the other for each chunk.

    Parameters
    ----------
    passes : sequence of callable
        Each with an attribute ``read``; see :class:`ForwardPass`.
    X : array-like of shape (n, ...)
    combine : callable
        Maps the list of the nets' outputs for a chunk, ndarrays of shape (n_chunk, ...), to
        one array of as many rows.
    verify : callable, default=None
        Called with each chunk as a CPU tensor before any net sees it.
    chunk_size : int, default=None
        Rows in a chunk; None takes what fits a core's caches on a CPU, 16 MiB elsewhere. It
        depends on shapes alone, so that the same rows give the same bits.

    Returns
    -------
    combined : ndarray of shape (n, ...)
    """
    if not isinstance(X, (np.ndarray, torch.Tensor)):
        X = as_tensor(X, dtype=passes[0].read.dtype, keep_integers=passes[0].read.keep_integers)
    size, whole = chunk_size or _chunk_rows(passes, X), None
    for start in range(0, max(len(X), 1), size):
        rows = slice(start, start + size)
        part = combine(_outputs(passes, X[rows], verify))
        if size >= len(X):
            return part
        if whole is None:
            whole = np.empty((len(X), *part.shape[1:]), part.dtype)
        whole[rows] = part
    return whole


def _outputs(passes, rows, verify):
    seen, outputs = {}, []
    with torch.no_grad():
        for step in passes:
            if step.read not in seen:
                seen[step.read] = step.read(rows, verify)
            outputs.append(step(seen[step.read]).numpy())
    return outputs


def net_device(net):
    """Where a net computes."""
    parameter = next(bare_module(net.module_).parameters(), None)
    return torch.device(net.device or "cpu") if parameter is None else parameter.device


def _chunk_rows(passes, X):
    item = max(step.read.dtype.itemsize for step in passes)
    row_bytes = max(1, X[:1].size if isinstance(X, np.ndarray) else X[:1].numel()) * item
    most = max(1, _MOST_BYTES // row_bytes)
    if any(step.read.device.type != "cpu" for step in passes):
        return most
    return min(max(_CACHE_BYTES // row_bytes, _FEWEST_ROWS), _MOST_ROWS, most)


def _overrides_infer(net):
    return type(net).infer is not NeuralNet.infer
