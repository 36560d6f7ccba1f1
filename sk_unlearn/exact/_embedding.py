"""What a closed-form model reads: the rows, or what a frozen estimator makes of them."""

import numpy as np
import torch
from scipy import sparse
from sklearn.frozen import FrozenEstimator
from sklearn.utils import get_tags

from sk_unlearn.base import BaseForgetEstimator
from sk_unlearn.exceptions import UnsupportedNetError
from sk_unlearn.nets import carries_training, is_net
from sk_unlearn.nets._activations import Activations
from sk_unlearn.utils._sklearn import num_samples, safe_indexing

__all__ = [
    "EmbeddedRows",
    "Embedding",
    "check_features",
    "is_plain",
    "is_trained_here",
]

_BLOCK = 64


def is_plain(features):
    """Whether the rows themselves are read."""
    return features is None or (isinstance(features, str) and features == "passthrough")


def is_trained_here(features):
    """Whether a net is to be trained on public rows."""
    return is_net(features)


def check_features(features, owner, *, public):
    """Refuse a feature map that learns, or learned, from rows that can be forgotten.

    Parameters
    ----------
    features : estimator, "passthrough" or None
    owner : str
    public : bool
        Whether some rows are public.
    """
    if public and not is_trained_here(features):
        raise ValueError(
            f"The 'public' parameter of {owner}.fit marks the rows that a net in features= is "
            f"trained on, and features={features!r} trains none. Leave it out."
        )
    if is_plain(features):
        return
    frozen = isinstance(features, FrozenEstimator)
    inner = features.estimator if frozen else features
    where = f"The 'features' parameter of {owner}"
    if isinstance(inner, BaseForgetEstimator):
        raise UnsupportedNetError(
            f"{where} must not hold training rows, got {inner!r}, which was trained on rows that "
            "can be forgotten: features made by it would remember them. Pass a net that was "
            "trained on other rows, as FrozenEstimator(net)."
        )
    if is_net(inner):
        if not frozen and not public:
            raise UnsupportedNetError(
                f"{where} must be a trained net in a FrozenEstimator, got {type(inner).__name__}, "
                "which would learn from rows that can be forgotten. Or say by fit(..., "
                "public=mask) which rows it may be trained on."
            )
        if not frozen and carries_training(inner):
            raise UnsupportedNetError(
                f"{where} holds a module instance that has been trained: a clone would start "
                "from what it learned. Pass the module's class, or a fresh instance."
            )
        if frozen and not inner.initialized_:
            raise UnsupportedNetError(f"{where} holds a net that is not initialized.")
        return
    if not hasattr(inner, "transform"):
        raise UnsupportedNetError(
            f"{where} must be None, 'passthrough', a transformer or FrozenEstimator(net), got "
            f"{features!r}."
        )
    if not frozen and get_tags(inner).requires_fit:
        raise UnsupportedNetError(
            f"{where} must learn nothing from rows, got {type(inner).__name__}. Pass a stateless "
            "transformer, or FrozenEstimator(transformer) if it was fitted on other rows; or put "
            f"it before: make_forget_pipeline({type(inner).__name__}(), {owner}(...))."
        )


class Embedding:
    """Rows as numbers, always by the same blocks on the same kind of device.

    The numbers of a row do not depend on its company: rows go through in blocks of one size,
    and one at a time where a trial shows that their place in a block matters.

    Parameters
    ----------
    features : estimator, "passthrough" or None
    layer : str or None
    X : array-like
        Rows for the trial.
    """

    def __init__(self, features, layer, X):
        self.features, self.layer, self.size = features, layer, _BLOCK
        self.device = _device_of(features)
        if not is_plain(features):
            first = np.arange(num_samples(X))[:_BLOCK]
            turned = self._block(X, first[::-1])[::-1]
            self.size = _BLOCK if _same(self._block(X, first), turned) else 1

    def __call__(self, X):
        """Numbers of some rows.

        Returns
        -------
        rows : ndarray of shape (n, n_columns), float32 or float64, or csr_array
        """
        if is_plain(self.features):
            return _canonical(X) if sparse.issparse(X) else X.reshape(len(X), -1)
        n_rows = num_samples(X)
        parts = [
            self._block(X, np.arange(start, min(start + self.size, n_rows)))
            for start in range(0, n_rows, self.size)
        ]
        joined = sparse.vstack(parts, format="csr") if sparse.issparse(parts[0]) else None
        return _checked(np.concatenate(parts) if joined is None else joined)

    def check_device(self, owner):
        """Refuse to read rows that change a model elsewhere than its others were read."""
        now = _device_of(self.features)
        if now != self.device:
            raise UnsupportedNetError(
                f"The net in features= of {owner} was on {self.device!r} in fit and is on "
                f"{now!r} now, where the last bits of its activations are others: what a row "
                f"added could not be taken away. Load it where there is {self.device!r}, or fit "
                "again."
            )

    def _block(self, X, indices):
        """What is made of some rows, in a block filled up by repeating the last one."""
        inner = getattr(self.features, "estimator", self.features)
        apply = Activations(inner, self.layer) if is_net(inner) else inner.transform
        filled = np.concatenate([indices, np.repeat(indices[-1:], self.size - len(indices))])
        out = apply(safe_indexing(X, filled))
        if sparse.issparse(out):
            out = _canonical(out)
        else:
            out = np.asarray(out)
            out = out.reshape(len(out), -1)
        return out[: len(indices)]


class EmbeddedRows:
    """Rows that are kept as inputs and read anew wherever their numbers are needed.

    Parameters
    ----------
    inputs : RowBlocks
    read : callable
    """

    def __init__(self, inputs, read):
        self.inputs, self.read = inputs, read

    def take(self, slots):
        """Numbers of some rows."""
        return self.read(self.inputs.take(slots))

    def chunks(self, n_rows):
        """Numbers of all rows, about so many at a time, in order."""
        for slots, inputs in self.inputs.chunks(n_rows):
            yield slots, self.read(inputs)


def _device_of(features):
    """Kind of device that a net in ``features`` is on; of all else "cpu"."""
    inner = getattr(features, "estimator", features)
    return torch.device(inner.device).type if is_net(inner) else "cpu"


def _canonical(rows):
    """Copy in CSR form with sorted indices, each once."""
    rows = sparse.csr_array(rows, copy=True)
    rows.sum_duplicates()
    return rows


def _same(one, other):
    if sparse.issparse(one):
        return (one != other).nnz == 0
    return np.array_equal(one, other)


def _checked(rows):
    """Finite floats."""
    values = rows.data if sparse.issparse(rows) else rows
    if values.dtype.kind not in "fiub":
        raise ValueError(
            f"The transformer in features= must give numbers, got dtype {values.dtype}."
        )
    if not np.isfinite(values).all():
        raise ValueError("The features that features= makes of X hold NaN or infinity.")
    return rows if values.dtype in (np.float32, np.float64) else rows.astype(np.float32)
