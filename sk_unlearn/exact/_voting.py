"""Combine models that know different classes, or give different numbers."""

import numpy as np

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
    total, known = np.zeros((len(probas[0]), n_classes)), np.zeros(n_classes)
    for proba, column, weight in zip(probas, columns, weights, strict=True):
        if len(column) == n_classes:
            total += np.multiply(proba, weight, dtype=np.float64)
        else:
            total[:, column] += np.multiply(proba, weight, dtype=np.float64)
        known[column] += weight
    total /= known
    # a product: sums over short rows take several times as long
    total /= (total @ np.ones(n_classes))[:, None]
    return total


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
