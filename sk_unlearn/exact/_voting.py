"""Combine models that know different classes, or give different numbers."""

import numpy as np
import torch

__all__ = ["hard_votes", "vote"]


def vote(probas, columns, weights, n_classes):
    """Weighted mean of class probabilities over the models that know a class.

    A model that never saw a class says nothing about it: a class's mean runs over the
    models that saw it, and the rows are scaled to sum to one.

    Parameters
    ----------
    probas : sequence of ndarray of shape (n_rows, n_known)
    columns : sequence of ndarray of shape (n_known,), int
        Classes that each model knows, ascending.
    weights : sequence of float
        Of each model.
    n_classes : int
        Every class is known to some model.

    Returns
    -------
    proba : ndarray of shape (n_rows, n_classes), float64

    Examples
    --------
    >>> import numpy as np
    >>> from sk_unlearn.exact._voting import vote
    >>> one, other = np.array([[0.6, 0.4]]), np.array([[0.5, 0.5]])
    >>> vote([one, other], [np.array([0, 1]), np.array([0, 2])], [1, 1], 3).round(2)
    array([[0.38, 0.28, 0.34]])
    """
    total, known = _weighted_sum(probas, columns, weights, n_classes)
    total = total.double()
    if known.min() < known.max():
        total /= torch.from_numpy(known)
    # a product: sums over short rows take longer
    total /= (total @ total.new_ones(n_classes))[:, None]
    return total.numpy()


def _weighted_sum(probas, columns, weights, n_classes):
    """Sum of the models' probabilities, in the widest type among them, and of weights."""
    tensors = [torch.from_numpy(proba) for proba in probas]
    dtype = max((tensor.dtype for tensor in tensors), key=lambda dtype: dtype.itemsize)
    total = torch.zeros(len(tensors[0]), n_classes, dtype=dtype)
    known = np.zeros(n_classes)
    for tensor, column, weight in zip(tensors, columns, weights, strict=True):
        known[column] += weight
        if len(column) == n_classes:
            total.add_(tensor, alpha=weight)
        else:
            total[:, column] += weight * tensor
    return total, known


def hard_votes(proba):
    """One for the likeliest class of a model (the first, of equals), zero for the others.

    Parameters
    ----------
    proba : ndarray of shape (n_rows, n_known)

    Returns
    -------
    votes : ndarray of shape (n_rows, n_known)
    """
    return np.eye(proba.shape[1])[proba.argmax(axis=1)]
