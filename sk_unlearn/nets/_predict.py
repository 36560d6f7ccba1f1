"""Forward passes of a trained net over an array, without skorch's iterator."""

import numpy as np
from skorch.utils import to_numpy
from torch import nn

from sk_unlearn.nets._batches import as_tensor, is_array
from sk_unlearn.nets._criteria import first_output, links, wants_labels
from sk_unlearn.nets._forward import ForwardPass, Reader, in_chunks
from sk_unlearn.nets._inspect import bare_module
from sk_unlearn.nets._spared import spared_net

__all__ = [
    "predict_columns",
    "predict_proba",
    "predict_proba_each",
    "predict_scores",
    "to_tensors",
]


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
    read = Reader.of(net)
    X = read(X)
    if y is not None:
        labels = wants_labels(bare_module(net.criterion_))
        y = as_tensor(y, dtype=read.dtype, keep_integers=labels).to(read.device)
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
        Rows in one forward pass; None takes what fits a core's caches on a CPU, at most 4096
        rows, and 16 MiB of input elsewhere.

    Returns
    -------
    scores : ndarray of shape (n,), (n, K) or (n, ...)
        The first output, where the module returns several.
    """
    return _forward(net, X, first_output, chunk_size)


def predict_proba(net, X, *, verify=None, chunk_size=None):
    """Class probabilities (or predictions of a regressor) of a trained net.

    Softmax of logits, two columns for one sigmoid or logit, the output itself otherwise,
    as the criterion requires; a user's own ``predict_nonlinearity`` comes first.

    Parameters
    ----------
    net : skorch.NeuralNet
    X : array-like of shape (n, ...)
    verify : callable, default=None
        Called with each chunk as a CPU tensor before the net sees it; raises to refuse it.
    chunk_size : int, default=None
        As that of :func:`predict_scores`.

    Returns
    -------
    proba : ndarray of shape (n, K), or of the shape of the output
    """
    return _forward(net, X, _proba_link(net), chunk_size, verify)


def predict_columns(net, X, columns, *, verify=None, chunk_size=None):
    """Likeliest of some outputs of a trained net, the first of equals.

    Logits are compared as they are: their softmax would not change the order, but for
    numbers next to each other, which it may make equal.

    Parameters
    ----------
    net : skorch.NeuralNet
    X : array-like of shape (n, ...)
    columns : ndarray of shape (n_columns,), int
        Distinct, ascending.
    verify, chunk_size : optional
        As those of :func:`predict_proba`.

    Returns
    -------
    positions : ndarray of shape (n,), int64
        In ``columns``.
    """
    auto = not (net.predict_nonlinearity is None or callable(net.predict_nonlinearity))
    logits = auto and isinstance(bare_module(net.criterion_), nn.CrossEntropyLoss)
    step = ForwardPass(net, first_output if logits else _proba_link(net))

    def likeliest(outputs):
        (output,) = outputs
        return (output if len(columns) == output.shape[1] else output[:, columns]).argmax(axis=1)

    return in_chunks([step], X, likeliest, verify=verify, chunk_size=chunk_size)


def predict_proba_each(nets, X, combine, *, verify=None, chunk_size=None):
    """Combine the class probabilities of several nets.

    Parameters
    ----------
    nets : sequence of skorch.NeuralNet
    X : array-like of shape (n, ...)
    combine : callable
        Maps a list of what :func:`predict_proba` gives for each net on some of the rows to
        one array of as many rows.
    verify, chunk_size : optional
        As those of :func:`predict_proba`.

    Returns
    -------
    combined : ndarray of shape (n, ...)
    """
    passes = [ForwardPass(net, _proba_link(net)) for net in nets]
    return in_chunks(passes, X, combine, verify=verify, chunk_size=chunk_size)


def _proba_link(net):
    nonlinearity = net.predict_nonlinearity
    if nonlinearity is None:
        return first_output
    if callable(nonlinearity):
        return lambda output: nonlinearity(first_output(output))
    return links(net)[1]


def _forward(net, X, link, chunk_size, verify=None):
    if not is_array(X):
        net.check_is_fitted()
        net, judge = spared_net(net)
        parts = [to_numpy(link(output)) for output in net.forward_iter(X)]
        if judge is not None:
            judge()
        return np.concatenate(parts)
    step = ForwardPass(net, link)
    return in_chunks([step], X, _first, verify=verify, chunk_size=chunk_size)


def _first(outputs):
    return outputs[0]
