"""Forward passes of a trained net over an array, without skorch's iterator."""

import numpy as np
from skorch import NeuralNetBinaryClassifier
from skorch.utils import to_numpy

from sk_unlearn.nets._batches import as_tensor, is_array
from sk_unlearn.nets._criteria import first_output, reads_labels
from sk_unlearn.nets._forward import ForwardPass, Reader, in_chunks
from sk_unlearn.nets._outputs import as_probabilities, proba_link, proba_pass, softmax_of_logits
from sk_unlearn.nets._spared import spared_net

__all__ = [
    "predict_class_proba",
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
        y = as_tensor(y, dtype=read.dtype, keep_integers=reads_labels(net)).to(read.device)
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


def predict_proba(net, X, *, chunk_size=None):
    """Class probabilities (or predictions of a regressor) of a trained net.

    Softmax of logits, two columns for one sigmoid or logit, the output itself otherwise,
    as the criterion requires; a user's own ``predict_nonlinearity`` comes first.

    Parameters
    ----------
    net : skorch.NeuralNet
    X : array-like of shape (n, ...)
    chunk_size : int, default=None
        As that of :func:`predict_scores`.

    Returns
    -------
    proba : ndarray of shape (n, K), or of the shape of the output
    """
    return _forward(net, X, None, chunk_size)


def predict_class_proba(net, X, *, chunk_size=None):
    """:func:`predict_proba` of a classifier, refused where it gives no probabilities.

    Parameters
    ----------
    net : skorch.NeuralNet
    X : array-like of shape (n, ...)
    chunk_size : int, default=None
        As that of :func:`predict_scores`.

    Returns
    -------
    proba : ndarray of shape (n, K)
        In [0, 1]; rows sum to one.

    Raises
    ------
    UnsupportedNetError
        If the net predicts scores.
    """
    proba = predict_proba(net, X, chunk_size=chunk_size)
    return proba if softmax_of_logits(net) else as_probabilities(proba, type(net).__name__)


def predict_columns(net, X, columns, *, chunk_size=None):
    """Likeliest of some outputs of a trained net, the first of equals.

    Logits are compared as they are: their softmax would not change the order, but for
    numbers next to each other, which it may make equal. Of two classes a binary classifier
    of skorch says the second above its ``threshold``.

    Parameters
    ----------
    net : skorch.NeuralNet
    X : array-like of shape (n, ...)
    columns : ndarray of shape (n_columns,), int
        Distinct, ascending.
    chunk_size : int, default=None
        As that of :func:`predict_scores`.

    Returns
    -------
    positions : ndarray of shape (n,), int64
        In ``columns``.
    """
    logits = softmax_of_logits(net)
    step = ForwardPass(net, first_output) if logits else proba_pass(net)
    threshold = getattr(net, "threshold", 0.5) if len(columns) == 2 else 0.5

    def likeliest(outputs):
        (output,) = outputs
        if threshold != 0.5 and isinstance(net, NeuralNetBinaryClassifier):
            return (output[:, 1] > threshold).astype(np.int64)
        return (output if len(columns) == output.shape[1] else output[:, columns]).argmax(axis=1)

    return in_chunks([step], X, likeliest, chunk_size=chunk_size)


def predict_proba_each(nets, X, combine, *, chunk_size=None):
    """Combine the class probabilities of several nets.

    Parameters
    ----------
    nets : sequence of skorch.NeuralNet
    X : array-like of shape (n, ...)
    combine : callable
        Maps a list of what :func:`predict_proba` gives for each net on some of the rows to
        one array of as many rows.
    chunk_size : int, default=None
        As that of :func:`predict_scores`.

    Returns
    -------
    combined : ndarray of shape (n, ...)
    """
    passes = [proba_pass(net) for net in nets]
    return in_chunks(passes, X, combine, chunk_size=chunk_size)


def _forward(net, X, link, chunk_size):
    if not is_array(X):
        net.check_is_fitted()
        net, judge = spared_net(net)
        link = proba_link(net) if link is None else link
        parts = [to_numpy(link(output)) for output in net.forward_iter(X)]
        if judge is not None:
            judge()
        return np.concatenate(parts)
    step = proba_pass(net) if link is None else ForwardPass(net, link)
    return in_chunks([step], X, _first, chunk_size=chunk_size)


def _first(outputs):
    return outputs[0]
