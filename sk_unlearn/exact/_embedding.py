"""What a closed-form model reads: the rows, or what a frozen estimator makes of them."""

import numpy as np
from scipy import sparse
from sklearn.frozen import FrozenEstimator
from sklearn.utils import get_tags

from sk_unlearn.base import BaseForgetEstimator
from sk_unlearn.exceptions import UnsupportedNetError
from sk_unlearn.nets import carries_training, is_net
from sk_unlearn.nets._activations import Activations
from sk_unlearn.utils._sklearn import num_samples, safe_indexing

__all__ = ["check_features", "embed", "is_plain", "is_trained_here"]

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


def embed(features, layer, X):
    """Rows as numbers.

    Those of one row do not depend on its company: rows go through in blocks of the same size,
    and one at a time where a trial shows that their place in a block matters.

    Parameters
    ----------
    features : estimator, "passthrough" or None
    layer : str or None
    X : array-like

    Returns
    -------
    rows : ndarray of shape (n, n_columns), float32 or float64, or csr_array
    """
    if is_plain(features):
        return _canonical(X) if sparse.issparse(X) else X.reshape(len(X), -1)
    inner = features.estimator if isinstance(features, FrozenEstimator) else features
    apply = Activations(inner, layer) if is_net(inner) else inner.transform
    n_rows = num_samples(X)
    first = _block(apply, X, np.arange(n_rows)[:_BLOCK], _BLOCK)
    turned = _block(apply, X, np.arange(n_rows)[:_BLOCK][::-1], _BLOCK)
    alike = _same(first, turned[::-1])
    size = _BLOCK if alike else 1
    starts = range(0, n_rows, size)
    parts = [first] if alike else []
    for start in starts[len(parts) :]:
        parts.append(_block(apply, X, np.arange(start, min(start + size, n_rows)), size))
    rows = sparse.vstack(parts, format="csr") if sparse.issparse(first) else np.concatenate(parts)
    return _checked(rows)


def _block(apply, X, indices, size):
    """What is made of some rows, in a block filled up by repeating the last one."""
    filled = np.concatenate([indices, np.repeat(indices[-1:], size - len(indices))])
    out = apply(safe_indexing(X, filled))
    if sparse.issparse(out):
        out = _canonical(out)
    else:
        out = np.asarray(out)
        out = out.reshape(len(out), -1)
    return out[: len(indices)]


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
