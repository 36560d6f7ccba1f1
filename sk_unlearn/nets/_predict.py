"""Forward passes of a trained net over an array, without skorch's iterator."""

import numpy as np
import torch
from skorch import NeuralNet
from skorch.utils import to_numpy

from sk_unlearn.nets._batches import as_tensor, is_array
from sk_unlearn.nets._criteria import first_output, links, wants_labels
from sk_unlearn.nets._inspect import bare_module, embeds, net_dtype

__all__ = ["predict_proba", "predict_scores", "to_tensors"]

# Input of one chunk: within 4 % of one pass over everything, and bounded in memory.
_CHUNK_BYTES = 16 * 2**20


def to_tensors(net, X, y=None):
    """Rows as the tensors a trained net computes on: its dtype, its device.

    Parameters
    ----------
    net : skorch.NeuralNet
        Trained.
    X : array-like of shape (n, ...)
    y : array-like of shape (n,) or (n, k), default=None
        Class numbers become int64 where the criterion reads labels, else the net's dtype.

    Returns
    -------
    X : Tensor
    y : Tensor or None
    """
    module = bare_module(net.module_)
    dtype, device = net_dtype(module), _device(module, net)
    X = as_tensor(X, dtype=dtype, keep_integers=embeds(module)).to(device)
    if y is not None:
        labels = wants_labels(bare_module(net.criterion_))
        y = as_tensor(y, dtype=dtype, keep_integers=labels).to(device)
    return X, y


def predict_scores(net, X, *, chunk_size=None):
    """Raw output of a trained net's module, in evaluation mode and without a graph.

    Parameters
    ----------
    net : skorch.NeuralNet
        Trained.
    X : array-like of shape (n, ...)
        Dicts and lists of arrays go through skorch's own iterator.
    chunk_size : int, default=None
        Rows in one forward pass; None takes 16 MiB of input.

    Returns
    -------
    scores : ndarray of shape (n,), (n, K) or (n, ...)
        The first output, where the module returns several.
    """
    return _forward(net, X, first_output, chunk_size)


def predict_proba(net, X, *, chunk_size=None):
    """Class probabilities (or predictions of a regressor) of a trained net.

    Softmax of logits, two columns for one sigmoid or logit, the output itself otherwise,
    as the criterion requires; a user's own ``predict_nonlinearity`` comes first.

    Parameters
    ----------
    net : skorch.NeuralNet
    X : array-like of shape (n, ...)
    chunk_size : int, default=None

    Returns
    -------
    proba : ndarray of shape (n, K), or of the shape of the output
    """
    nonlinearity = net.predict_nonlinearity
    if nonlinearity is None:
        return _forward(net, X, first_output, chunk_size)
    if callable(nonlinearity):
        return _forward(net, X, lambda output: nonlinearity(first_output(output)), chunk_size)
    return _forward(net, X, links(net)[1], chunk_size)


def _forward(net, X, link, chunk_size):
    net.check_is_fitted()
    if not is_array(X):
        parts = [to_numpy(link(output)) for output in net.forward_iter(X)]
        return np.concatenate(parts)
    infer = net.infer if _overrides_infer(net) else net.module_
    if net.module_.training:
        net.module_.eval()
    module = bare_module(net.module_)
    device = _device(module, net)
    X = as_tensor(X, dtype=net_dtype(module), keep_integers=embeds(module))
    size = chunk_size or max(1, _CHUNK_BYTES // max(1, X[:1].nbytes))
    out, start = None, 0
    with torch.no_grad():
        X = _shield(infer, X, device)
        while start < len(X) or out is None:
            part = link(infer(X[start : start + size].to(device))).cpu()
            if size >= len(X):
                return part.numpy()
            if out is None:
                out = torch.empty((len(X), *part.shape[1:]), dtype=part.dtype)
            out[start : start + size] = part
            start += size
    return out.numpy()


def _shield(infer, X, device):
    """Copy X if the module writes to its input, which may be the caller's own memory."""
    if device.type != "cpu" or not len(X):
        return X
    row = X[:1].clone()
    before = row._version
    infer(row)
    return X if row._version == before else X.clone()


def _overrides_infer(net):
    return type(net).infer is not NeuralNet.infer


def _device(module, net):
    parameter = next(module.parameters(), None)
    return torch.device(net.device or "cpu") if parameter is None else parameter.device
