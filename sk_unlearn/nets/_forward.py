"""Forward passes chunk by chunk: each chunk is converted while it is in a cache."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from skorch import NeuralNet

from sk_unlearn.nets._batches import as_tensor
from sk_unlearn.nets._in_place import LayerPass
from sk_unlearn.nets._inspect import EMBEDDINGS, bare_module, net_dtype
from sk_unlearn.nets._spared import spared_net

__all__ = ["ForwardPass", "Reader", "in_chunks"]

# Input of one chunk on a CPU, so that what follows from it stays in the caches from layer to
# layer: against one pass over 10,000 rows a wide perceptron takes 0.7 times as long, a small
# convolutional net half. Fewer rows read the weights too often. Rows of several axes are
# images and the like, of which layers make more numbers than they get.
_FLAT_BYTES, _SHAPED_BYTES = 6 * 2**20, 3 * 2**19
_FEWEST_ROWS, _MOST_ROWS = 128, 4096
# ... and at most, which is what other devices get, where a launch costs more than a cache
_MOST_BYTES = 16 * 2**20
# Products of fewer rows take other code in the BLAS, with other last bits. Filled up, what is
# predicted for a row mostly does not depend on how many are asked for at once; where layers have
# sizes that are no multiple of a vector it can still do, in the last bits.
_FULL_ROWS = 16
# Up to here a copy is cheaper than a forward pass of one row.
_COPY_BYTES = 2**18


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
        # one walk over the parts: three take as long as a small net needs for a row
        device = dtype = None
        embeds = False
        module = bare_module(net.module_)
        for part in _all_parts(module):
            embeds = embeds or isinstance(part, EMBEDDINGS)
            for parameter in part._parameters.values():
                if parameter is None:
                    continue
                device = parameter.device if device is None else device
                if dtype is None and parameter.requires_grad and parameter.is_floating_point():
                    dtype = parameter.dtype
        device = torch.device(net.device or "cpu") if device is None else device
        return cls(dtype or net_dtype(module), embeds, device)

    def __call__(self, rows):
        """Rows as a tensor on the net's device, which may share their memory.

        Parameters
        ----------
        rows : array-like of shape (n, ...)
        """
        if type(rows) is not torch.Tensor or rows.dtype != self.dtype:
            rows = as_tensor(rows, dtype=self.dtype, keep_integers=self.keep_integers)
        return rows.detach().contiguous().to(self.device)


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
        if not hasattr(net, "module_"):
            net.check_is_fitted()  # says so
        self.read = Reader.of(net)
        self._link = link
        if net.module_.training:
            net.module_.eval()
        net, self._judge = spared_net(net)
        self._infer = net.infer if _overrides_infer(net) else LayerPass(net.module_)
        self._writes = False if getattr(self._infer, "spares_input", False) else None

    def __call__(self, rows):
        """Output for the rows that :attr:`read` gave, on the CPU."""
        if self._writes is False:
            return self._output(rows)
        whole = rows.nbytes <= _COPY_BYTES or self._writes or rows.shape[0] == 1
        own = rows.clone() if whole else rows[:1].clone()
        before = own._version
        output = self._output(own)
        # a module that writes to its input would write to the caller's own memory, or to what
        # the next net reads
        self._writes = self._writes or own._version != before
        return output if whole else self(rows)

    def _output(self, rows):
        output = self._link(self._infer(rows)).cpu()
        if self._judge is not None:
            self._judge()
            self._judge = None
        return output


def in_chunks(passes, X, combine, *, chunk_size=None):
    """Send rows through several nets, one after the other for each chunk.

    Parameters
    ----------
    passes : sequence of callable
        Each with an attribute ``read``; see :class:`ForwardPass`.
    X : array-like of shape (n, ...)
    combine : callable
        Maps the list of the nets' outputs for a chunk, ndarrays of shape (n_chunk, ...), to
        one array of as many rows.
    chunk_size : int, default=None
        Rows in a chunk; None takes what fits a core's caches on a CPU, 16 MiB elsewhere. It
        depends on shapes alone, so that the same rows give the same bits.

    Returns
    -------
    combined : ndarray of shape (n, ...)
    """
    readers, whole = list(dict.fromkeys(step.read for step in passes)), None
    X = _sliceable(X, readers[0])
    reads = [readers.index(step.read) for step in passes]
    size, n = chunk_size or _chunk_rows(readers, X), X.shape[0]
    with torch.no_grad():
        for start in range(0, max(n, 1), size):
            rows = slice(start, start + size)
            chunk, n_rows = _filled(X[rows], min(size, _FULL_ROWS))
            own = [read(chunk) for read in readers]
            outputs = [step(own[i]).numpy() for step, i in zip(passes, reads, strict=True)]
            part = combine([output[:n_rows] for output in outputs])
            if size >= n:
                # a module may hand its input on, which may be the caller's own memory
                return part.copy() if any(_shares(part, one) for one in own) else part
            if whole is None:
                whole = np.empty((n, *part.shape[1:]), part.dtype)
            whole[rows] = part
    return whole


def _all_parts(module, seen=None):
    """All parts of a module, itself first, each once."""
    seen = set() if seen is None else seen
    if id(module) in seen:
        return []
    seen.add(id(module))
    found = [module]
    for child in module._modules.values():
        if child is not None:
            found += _all_parts(child, seen)
    return found


def _shares(array, rows):
    is_array = isinstance(rows, torch.Tensor) and rows.device.type == "cpu"
    return is_array and np.may_share_memory(array, rows.numpy())


def _filled(rows, least):
    """Rows, repeated to at least so many, and their number."""
    n_rows = rows.shape[0]
    if 0 < n_rows < least:
        repeated = [rows] * -(-least // n_rows)
        rows = torch.cat(repeated) if isinstance(rows, torch.Tensor) else np.concatenate(repeated)
        rows = rows[:least]
    return rows, n_rows


def _sliceable(X, read):
    """Rows that can be sliced: a tensor where torch can share the memory, else an array."""
    if isinstance(X, torch.Tensor):
        return X
    if not isinstance(X, np.ndarray):
        return as_tensor(X, dtype=read.dtype, keep_integers=read.keep_integers)
    shared = X.dtype in (np.float32, np.float64) and X.flags.writeable
    return torch.from_numpy(X) if shared and X.flags.c_contiguous else X


def _chunk_rows(readers, X):
    row_bytes = max(1, math.prod(X.shape[1:])) * max(read.dtype.itemsize for read in readers)
    most = max(1, _MOST_BYTES // row_bytes)
    if any(read.device.type != "cpu" for read in readers):
        return most
    wanted = (_FLAT_BYTES if X.ndim <= 2 else _SHAPED_BYTES) // row_bytes
    return min(max(wanted, _FEWEST_ROWS), _MOST_ROWS, most)


def _overrides_infer(net):
    return type(net).infer is not NeuralNet.infer
