"""Choose rows that stand for their class, from that class alone."""

from abc import ABC, abstractmethod
from itertools import pairwise
from numbers import Integral

import numpy as np
import torch
from sklearn.base import BaseEstimator

from sk_unlearn.nets import as_tensor
from sk_unlearn.utils._seeding import derive_seed, keyed_uniform
from sk_unlearn.utils._threads import reproducible_threads

__all__ = ["BaseSelector", "EntropySelector", "KCenterSelector", "RandomSelector"]

_MAX_FEATURES = 64  # distances survive a random projection to so many (Johnson-Lindenstrauss)


class BaseSelector(BaseEstimator, ABC):
    """A rule that chooses representative rows of one class.

    What is chosen depends on the rows, their ids and the seed only, bit for bit: rows are
    put into an order keyed by their ids before anything is computed, and ties go to the
    first in that order. Subclasses implement ``_choose(X, n_select, seed)`` for rows in
    that order.
    """

    def select(self, X, *, n_select, ids, seed):
        """Choose rows.

        Parameters
        ----------
        X : array-like of shape (n_rows, ...)
            Rows of one class.
        n_select : int
            How many, between 1 and ``n_rows``.
        ids : array-like of shape (n_rows,), int or str
            Unique.
        seed : int

        Returns
        -------
        indices : ndarray of shape (n_select,), int64
            Positions in ``X``, in the order in which they were chosen.
        """
        ids, n_rows = np.asarray(ids), len(X)
        if ids.shape != (n_rows,):
            raise ValueError(f"ids must have shape (n_rows,) = ({n_rows},), got {ids.shape}.")
        if not isinstance(n_select, Integral) or not 1 <= n_select <= n_rows:
            raise ValueError(
                f"n_select must be an int between 1 and n_rows={n_rows}, got {n_select!r}."
            )
        # equal keys are all but impossible, and then the names decide
        order = np.lexsort((ids.astype(str), keyed_uniform(seed, "selection", ids)))
        if n_select == n_rows or type(self)._choose is RandomSelector._choose:
            return order[:n_select]
        rows = as_tensor(X, dtype=torch.float64).reshape(n_rows, -1)[torch.from_numpy(order)]
        with reproducible_threads(), torch.no_grad():
            return order[self._choose(rows, int(n_select), seed)]

    @abstractmethod
    def _choose(self, X, n_select, seed):
        """Positions of the chosen rows of X, in the order of choice."""


class RandomSelector(BaseSelector):
    """Choose rows at random, by a hash of their ids.

    A row stays chosen or not whatever happens to others, except that those next in line
    move up. Cost: O(n log n).

    Examples
    --------
    >>> import numpy as np
    >>> from sk_unlearn.exact._selection import RandomSelector
    >>> X, ids = np.zeros((9, 2)), np.arange(9)
    >>> len(RandomSelector().select(X, n_select=3, ids=ids, seed=0))
    3
    """

    def _choose(self, X, n_select, seed):
        return np.arange(n_select)


class EntropySelector(BaseSelector):
    r"""Choose rows of large joint entropy: each step takes the row least known so far.

    After the representative data selection of Yan et al. [1]_, whose joint entropy over
    combinations of rows is exponential to compute exactly; the estimate is ours. The
    class's rows are read as noisy observations of a Gaussian process, whose joint entropy
    is, up to a constant,

    .. math:: H(S) = \tfrac12 \log \det (K_S + \sigma^2 I), \qquad
              K_{ij} = \exp(-\|x_i - x_j\|^2 / (b^2 V)),

    with V the total variance of the class's features, compressed as asinh(x). The row
    with the largest variance given those chosen is the one that adds most to H. The
    variances follow from an incremental Cholesky factor. Duplicates are taken last.

    Cost: O(n s² / 2 + n² d) for s of n rows, where n is at most ``max_rows``: larger classes
    are cut into parts by a hash of the ids, each of which gives its share, so that the cost
    grows in proportion to the rows. Memory: O(``max_rows ** 2``). More than 64 features are
    projected to 64 at random, which keeps distances.

    Parameters
    ----------
    bandwidth : float, default=1.0
        b. Smaller looks at finer detail.
    noise : float, default=0.1
        σ², > 0, as a share of the variance of the process.
    max_rows : int, default=1024
        Rows whose joint entropy is looked at together.

    References
    ----------
    .. [1] H. Yan, X. Li, Z. Guo, H. Li, F. Li, X. Lin, "ARCANE: An efficient architecture
       for exact machine unlearning", IJCAI 2022.
    .. [2] A. Krause, A. Singh, C. Guestrin, "Near-optimal sensor placements in Gaussian
       processes", Journal of Machine Learning Research, 2008.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_unlearn.exact._selection import EntropySelector
    >>> X = np.array([[0.0], [0.0], [0.1], [5.0]])
    >>> chosen = EntropySelector().select(X, n_select=2, ids=np.arange(4), seed=0)
    >>> 3 in chosen  # and one of the three that are about the same
    True
    """

    def __init__(self, bandwidth=1.0, noise=0.1, max_rows=1024):
        self.bandwidth = bandwidth
        self.noise = noise
        self.max_rows = max_rows

    def _choose(self, X, n_select, seed):
        for name in ("bandwidth", "noise", "max_rows"):
            if not getattr(self, name) > 0:
                raise ValueError(
                    f"The {name!r} parameter of {type(self).__name__} must be positive, got "
                    f"{getattr(self, name)!r}."
                )
        features = _features(X, seed)
        variance = (features - features.mean(dim=0)).square().sum(dim=1).mean()
        features = features / (self.bandwidth * variance.sqrt()).clamp(min=1e-150)
        n_rows = len(X)
        n_parts = -(-n_rows // int(self.max_rows))
        edges = [n_rows * part // n_parts for part in range(n_parts + 1)]
        chosen = []
        for start, stop in pairwise(edges):
            # whole shares that add up to n_select
            share = stop * n_select // n_rows - start * n_select // n_rows
            chosen += [start + i for i in self._greedy(features[start:stop], share)]
        return np.array(chosen, dtype=np.int64)

    def _greedy(self, features, n_select):
        kernel = _squared_distances(features).neg_().exp_()
        variances = torch.full((len(features),), 1.0 + self.noise, dtype=torch.float64)
        values = variances.numpy()  # the same memory: a scalar is read in a tenth of the time
        factor = torch.empty(n_select, len(features), dtype=torch.float64)  # Cholesky, transposed
        chosen = []
        for step in range(n_select):
            row = int(values.argmax())
            scale = float(values[row]) ** -0.5
            known = factor[:step]
            column = torch.addmv(
                kernel[row], known.T, known[:, row], beta=scale, alpha=-scale, out=factor[step]
            )
            variances.addcmul_(column, column, value=-1)
            values[row] = -np.inf
            chosen.append(row)
        return chosen


class KCenterSelector(BaseSelector):
    """Choose rows that leave no row far from a chosen one.

    Starts at the row closest to the mean, then takes the row farthest from those chosen:
    the largest distance left is at most twice the smallest possible [1]_. Features are
    compressed as asinh(x), and more than 64 are projected to 64 at random.

    Cost: O(n s min(d, 64)) for s of n rows of d features.

    References
    ----------
    .. [1] T. F. Gonzalez, "Clustering to minimize the maximum intercluster distance",
       Theoretical Computer Science, 1985.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_unlearn.exact._selection import KCenterSelector
    >>> X = np.array([[0.0], [1.0], [1.1], [-5.0]])
    >>> KCenterSelector().select(X, n_select=3, ids=np.arange(4), seed=0).tolist()
    [0, 3, 2]
    """

    def _choose(self, X, n_select, seed):
        features = _features(X, seed)
        distances = torch.full((len(X),), torch.inf, dtype=torch.float64)
        features = features - features.mean(dim=0)
        norms = features.square().sum(dim=1)
        row = int(norms.argmin())
        chosen = []
        for _ in range(n_select):
            chosen.append(row)
            distances = torch.minimum(
                distances, torch.addmv(norms, features, features[row], alpha=-2) + norms[row]
            )
            distances[row] = -torch.inf
            row = int(distances.argmax())
        return np.array(chosen, dtype=np.int64)


def _features(X, seed):
    """Compressed rows of at most 64 features."""
    if not torch.isfinite(X).all():
        raise ValueError("X must be finite to compare its rows, got NaN or infinity.")
    features = torch.asinh(X)
    if X.shape[1] > _MAX_FEATURES:
        generator = torch.Generator().manual_seed(derive_seed(seed, "projection"))
        shape = (X.shape[1], _MAX_FEATURES)
        projection = torch.randn(shape, generator=generator, dtype=torch.float64)
        features = features @ projection / _MAX_FEATURES**0.5
    return features


def _squared_distances(features):
    norms = features.square().sum(dim=1)
    # in place: for a thousand rows, pages of fresh memory cost more than the arithmetic
    distances = torch.addmm(norms, features, features.T, alpha=-2)
    return distances.add_(norms[:, None]).clamp_(min=0)
