"""Mini-batches sliced from tensors, drawn as torch's DataLoader draws them."""

import numpy as np
import torch
from skorch.dataset import Dataset
from skorch.utils import is_pandas_ndframe
from torch.utils.data import DataLoader, Subset

from sk_unlearn.utils._generators import own_generator

__all__ = ["ArrayDataset", "TensorBatches", "as_tensor"]

# Shuffled rows are gathered a block of batches at a time, which measures faster than batch
# by batch (1, 4 and 16 MiB: 1.10, 1.09 and 1.05 times a plain loop) and bounds the copy.
_BLOCK_BYTES = 16 * 2**20
# Allocations of torch start on this boundary; a batch that starts off it may take another
# code path in a BLAS and differ from DataLoader's freshly stacked batch in the last bit.
_ALIGNMENT = 64


def as_tensor(array, *, dtype=None, keep_integers=False):
    """Convert one array to a contiguous CPU or device tensor that a net can read.

    Parameters
    ----------
    array : ndarray, Tensor, DataFrame or Series, or (nested) list of numbers
    dtype : torch.dtype, default=None
        What floating-point values are cast to; None means torch's default dtype.
    keep_integers : bool, default=False
        Whether integers become int64 (embeddings, class labels) instead of ``dtype``.

    Returns
    -------
    tensor : Tensor
        May share memory with ``array``; never to be written to.

    Raises
    ------
    TypeError
        If the values are not numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_unlearn.nets import as_tensor
    >>> as_tensor(np.eye(2)).dtype
    torch.float32
    """
    dtype = torch.get_default_dtype() if dtype is None else dtype
    if not isinstance(array, torch.Tensor):
        array = _numeric(array)
        if not array.flags.writeable or min(array.strides, default=0) < 0:
            array = array.copy()  # torch has no read-only tensors and no negative strides
        tensor = torch.from_numpy(array)
    else:
        tensor = array.detach()
    integral = not tensor.is_floating_point() and not tensor.is_complex()
    wanted = torch.int64 if keep_integers and integral else dtype
    return tensor.to(wanted).contiguous()


def _numeric(array):
    array = array.to_numpy() if is_pandas_ndframe(array) else np.asarray(array)
    if array.dtype.kind == "O":
        array = array.astype(np.float64)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"A net reads numbers, got an array of dtype {array.dtype}.")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.dtype in (np.longdouble, np.uint16, np.uint32, np.uint64):
        array = array.astype(np.float64 if array.dtype.kind == "f" else np.int64)
    return array


class ArrayDataset(Dataset):
    """A skorch dataset that converts its arrays to tensors once.

    Containers of several inputs (dict, list, tuple) and sparse matrices are left to
    skorch's own dataset, row by row and without a cast.

    Parameters
    ----------
    X : array-like of shape (n, ...), or whatever skorch's Dataset takes
        A DataFrame becomes one 2-D tensor (skorch would pass its columns to the module
        as keyword arguments; pass a dict for that).
    y : array-like of shape (n,) or (n, k), default=None
    length : int, default=None
        Number of rows, where it is not ``len(X)``.
    dtype : torch.dtype, default=None
        Of the net's parameters; floating-point values are cast to it.
    device : str or torch.device, default=None
        Where the tensors are kept; skorch moves each batch to its own device in any case.
        Data that would fill more than half of a GPU's free memory stays where it is.
    float_target : bool, default=False
        Whether integers in ``y`` are cast to ``dtype`` too (regression, binary
        cross-entropy) instead of int64 (class labels).
    keep_integers : bool, default=False
        Whether integers in ``X`` become int64 (embeddings) instead of ``dtype``.

    Attributes
    ----------
    X, y : as given
    tensors : tuple (Tensor, Tensor or None), or None
        What is trained on; None where skorch's own path is used.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_unlearn.nets import ArrayDataset
    >>> X, y = ArrayDataset(np.zeros((3, 2)), np.array([0, 1, 1])).tensors
    >>> X.dtype, y.dtype
    (torch.float32, torch.int64)
    """

    def __init__(
        self,
        X,
        y=None,
        length=None,
        *,
        dtype=None,
        device=None,
        float_target=False,
        keep_integers=False,
    ):
        super().__init__(X, y, length=length)
        self.tensors = None
        if not (is_array(X) and (y is None or _is_target(y))):
            return
        Xt = _to_device(as_tensor(X, dtype=dtype, keep_integers=keep_integers), device)
        if y is not None:
            y = as_tensor(y, dtype=dtype, keep_integers=not float_target).to(Xt.device)
        self.tensors = (Xt, y)

    def __getitem__(self, i):
        if self.tensors is None:
            return super().__getitem__(i)
        X, y = self.tensors
        return self.transform(X[i], None if y is None else y[i])


def is_array(X):
    """Whether X is one dense block of numbers with rows, as opposed to a container."""
    if is_pandas_ndframe(X):
        return all(dtype.kind in "biuf" for dtype in np.atleast_1d(X.dtypes))
    dense = isinstance(X, np.ndarray) or (torch.is_tensor(X) and X.layout == torch.strided)
    return dense and X.ndim > 0


def _is_target(y):
    if isinstance(y, (list, tuple)):
        return all(np.ndim(value) == 0 for value in y)
    return is_array(y)


def _to_device(tensor, device):
    if device is None or torch.device(device) == tensor.device:
        return tensor
    if torch.device(device).type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if tensor.nbytes > free // 2:
            return tensor
    return tensor.to(device)


class TensorBatches:
    """Iterate over a dataset as ``torch.utils.data.DataLoader`` does, by slicing tensors.

    The batches, their order and the numbers drawn from torch's global generator are
    those of the DataLoader, so that a net trained through either has the same weights.
    Anything but an :class:`ArrayDataset`, or a ``torch.utils.data.Subset`` of one, is
    handed to a DataLoader.

    Parameters
    ----------
    dataset : torch Dataset
    batch_size : int, default=1
    shuffle : bool, default=False
    drop_last : bool, default=False
        Whether to leave out a last batch that is smaller than the others.
    generator : torch.Generator, default=None
        Source of the order of rows; None means torch's global generator.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_unlearn.nets import ArrayDataset, TensorBatches
    >>> [len(X) for X, _ in TensorBatches(ArrayDataset(np.zeros((5, 2))), batch_size=2)]
    [2, 2, 1]
    """

    def __init__(self, dataset, batch_size=1, shuffle=False, drop_last=False, generator=None):
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.generator = generator
        # built for its argument checks, and used where the rows are not tensors
        self._loader = DataLoader(
            dataset, batch_size, shuffle, drop_last=drop_last, generator=generator
        )

    def __len__(self):
        return len(self._loader)

    def __iter__(self):
        root, rows = _resolve(self.dataset)
        if root is None:
            return iter(self._loader)
        # DataLoader draws this seed for worker processes when an epoch starts
        torch.empty((), dtype=torch.int64).random_(generator=self.generator or own_generator())
        return self._batches(*root.tensors, rows)

    def _batches(self, X, y, rows):
        n_rows = len(X) if rows is None else len(rows)
        if self.shuffle:
            order = torch.randperm(n_rows, generator=self._epoch_generator())
            rows = order if rows is None else rows[order]
        size = self.batch_size
        stop = n_rows - n_rows % size if self.drop_last else n_rows
        step = size * _batches_per_block(X, size)
        for start in range(0, stop, step):
            end = min(start + step, stop)
            # a copy even when the order is plain: a module may work in place on its input
            if rows is None:
                Xb, yb = X[start:end].clone(), None if y is None else y[start:end].clone()
            else:
                index = rows[start:end].to(X.device)
                Xb = X.index_select(0, index)  # several times faster than X[index]
                yb = None if y is None else y.index_select(0, index)
            if yb is None:
                yb = torch.zeros(end - start, 1)  # skorch's placeholder, one a row
            yield from zip(Xb.split(size), yb.split(size), strict=True)
        if self.shuffle and self.generator is not None:
            torch.randperm(n_rows, generator=self.generator)  # as RandomSampler ends an epoch

    def _epoch_generator(self):
        if self.generator is not None:
            return self.generator
        seed = torch.empty((), dtype=torch.int64).random_(generator=own_generator()).item()
        return torch.Generator().manual_seed(seed)


def _batches_per_block(X, batch_size):
    row_bytes = X[:1].nbytes
    if (batch_size * row_bytes) % _ALIGNMENT:
        return 1
    return max(1, _BLOCK_BYTES // max(1, batch_size * row_bytes))


def _resolve(dataset):
    """The array dataset under nested subsets and the rows chosen from it (None: all)."""
    rows = None
    while type(dataset) is Subset:
        indices = torch.as_tensor(np.asarray(dataset.indices), dtype=torch.int64)
        rows = indices if rows is None else indices[rows]
        dataset = dataset.dataset
    sliceable = isinstance(dataset, ArrayDataset) and dataset.tensors is not None
    # a length of the user's own means that rows are not counted along the first axis
    if sliceable and len(dataset) == len(dataset.tensors[0]):
        return dataset, rows
    return None, None
