"""Combine models that know different classes, or give different numbers."""

import numpy as np
import torch

from sk_unlearn.mixins import restrict_columns

__all__ = ["Vote", "hard_votes", "of_shard"]


class Vote:
    """Weighted mean of class probabilities over the models that know a class.

    A model that never saw a class says nothing about it: a class's mean runs over the
    models that saw it, and the rows are scaled to sum to one. Rows are counted a chunk at a
    time, :meth:`count`, and scaled all at once, :meth:`mean`: each operation on a chunk costs
    more by its call than by its numbers.

    Parameters
    ----------
    columns : sequence of ndarray of shape (n_known,), int
        Classes that each model knows, ascending.
    weights : sequence of int
        Of each model.
    n_classes : int
        Every class is known to some model.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_unlearn.exact._voting import Vote
    >>> one, other = np.array([[0.6, 0.4]]), np.array([[0.5, 0.5]])
    >>> vote = Vote([np.array([0, 1]), np.array([0, 2])], [1, 1], 3)
    >>> vote.mean(vote.count([one, other])).round(2)
    array([[0.38, 0.28, 0.34]])
    """

    def __init__(self, columns, weights, n_classes):
        self.n_classes = n_classes
        self.columns = [None if len(column) == n_classes else column for column in columns]
        self.weights = weights

    def count(self, probas):
        """Weighted sum over the models.

        Parameters
        ----------
        probas : sequence of ndarray of shape (n_rows, n_known)

        Returns
        -------
        total : ndarray of shape (n_rows, n_classes)
            In the widest type of ``probas``.
        """
        total = None
        for proba, column, weight in zip(probas, self.columns, self.weights, strict=True):
            proba = _as_tensor(proba)
            if column is not None:
                spread = proba.new_zeros(len(proba), self.n_classes)
                spread[:, torch.from_numpy(column)] = proba
                proba = spread
            total = proba * weight if total is None else torch.add(total, proba, alpha=weight)
        return total.numpy()

    def mean(self, total):
        """Probabilities from the sums of all rows.

        Parameters
        ----------
        total : ndarray of shape (n_rows, n_classes)

        Returns
        -------
        proba : ndarray of shape (n_rows, n_classes), float64
        """
        proba = torch.from_numpy(total).double()
        if any(column is not None for column in self.columns):
            proba /= torch.from_numpy(self._known())
        # a product: sums over short rows take longer
        proba /= (proba @ proba.new_ones(self.n_classes))[:, None]
        return proba.numpy()

    def _known(self):
        """Sum of the weights of the models that know a class, shape (n_classes,)."""
        known = np.zeros(self.n_classes)
        for column, weight in zip(self.columns, self.weights, strict=True):
            known[slice(None) if column is None else column] += weight
        return known


def _as_tensor(proba):
    """Probabilities that may come from any classifier."""
    if proba.dtype not in (np.float32, np.float64) or not proba.flags.writeable:
        proba = np.array(proba, dtype=np.float64)
    return torch.from_numpy(np.ascontiguousarray(proba))


def hard_votes(scores, n_known):
    """One for the likeliest class of a model (the first, of equals), zero for the others.

    Parameters
    ----------
    scores : ndarray of shape (n_rows, n_outputs)
    n_known : int
        Classes of the shard, which are the first outputs.

    Returns
    -------
    votes : ndarray of shape (n_rows, n_known)
    """
    return np.eye(n_known)[scores[:, :n_known].argmax(axis=1)]


def of_shard(proba, n_known):
    """Without the outputs of a net that stand for no class of its shard.

    Parameters
    ----------
    proba : ndarray of shape (n_rows, n_outputs)
    n_known : int
        Classes of the shard, which are the first outputs.

    Returns
    -------
    proba : ndarray of shape (n_rows, n_known)
    """
    return proba if proba.shape[1] == n_known else restrict_columns(proba, np.arange(n_known))
