"""A Gaussian whose mean and covariance are updated block by block, in low rank."""

import math

import torch
from torch import nn

__all__ = ["RunningGaussian", "gaussian_log_density", "inverse_cholesky"]

_EXACT = 256  # features up to which the scatter matrix is decomposed as a whole
_OVERSAMPLING, _POWER_ITERATIONS = 8, 2
_PRIOR_ROWS = 1.0


class RunningGaussian(nn.Module):
    """Regularised Gaussian of the rows seen so far.

    With n rows, mean m and the leading ``rank`` eigenpairs (s_j, v_j) of their scatter
    matrix, the covariance is

        sum_j (s_j + 1) / (n + 1) v_j v_j' + 1 / (n + 1) P + noise I,

    P the projection on what the v_j leave out: one imagined row of unit variance keeps a
    class of very few rows wide, and ``noise`` keeps features that are constant within
    a class from deciding everything. It does not depend on n, so that the densities of
    classes of different sizes are on one scale.

    Blocks are merged by the parallel update of Chan et al.; the result is that of all
    rows at once, up to rounding where ``rank == n_features`` and up to what the rank leaves
    out elsewhere. Above 256 features the eigenpairs come from randomised subspace
    iteration, which draws from torch's global generator.

    Parameters
    ----------
    n_features : int
    rank : int
        At most ``n_features``.
    noise : float
        Variance added in every direction, > 0.

    References
    ----------
    .. [1] T. F. Chan, G. H. Golub, R. J. LeVeque, "Algorithms for computing the sample
       variance: analysis and recommendations", The American Statistician, 1983.
    .. [2] N. Halko, P.-G. Martinsson, J. A. Tropp, "Finding structure with randomness",
       SIAM Review, 2011.

    Examples
    --------
    >>> import torch
    >>> from sk_unlearn.nets._gaussian import RunningGaussian
    >>> gaussian = RunningGaussian(2, rank=2, noise=0.1)
    >>> gaussian.update(torch.zeros(1, 2, dtype=torch.float64))
    >>> gaussian.covariance()  # 1 / 2 + 0.1 in every direction
    tensor([[0.6000, 0.0000],
            [0.0000, 0.6000]], dtype=torch.float64)
    """

    def __init__(self, n_features, *, rank, noise):
        super().__init__()
        self.noise = noise
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(n_features, dtype=torch.float64))
        self.register_buffer("directions", torch.eye(rank, n_features, dtype=torch.float64))
        self.register_buffer("scatter", torch.zeros(rank, dtype=torch.float64))

    @torch.no_grad()
    def update(self, rows):
        """Take in a block of rows.

        Parameters
        ----------
        rows : Tensor of shape (n, n_features), float64
            At least one. Cost: O(n d²) up to 256 features d, O(n d rank) beyond.
        """
        n_old, n_new = self.count, len(rows)
        block_mean = rows.mean(dim=0)
        shift = block_mean - self.mean
        share = n_new / (n_old + n_new)
        factor = torch.cat(
            [
                self.scatter.sqrt()[:, None] * self.directions,
                rows - block_mean,
                (n_old * share).sqrt() * shift[None],
            ]
        )
        directions, scatter = _leading(factor, len(self.scatter))
        self.directions.copy_(directions)
        self.scatter.copy_(scatter)
        self.mean.add_(share * shift)
        self.count.add_(n_new)

    def variances(self):
        """Variance along each direction, and in every direction that is left out."""
        rest = _PRIOR_ROWS / (self.count + _PRIOR_ROWS)
        return (self.scatter / (self.count + _PRIOR_ROWS)) + rest + self.noise, rest + self.noise

    def covariance(self, onto=None):
        """Covariance matrix, or that of the coordinates ``onto @ x``.

        Parameters
        ----------
        onto : Tensor of shape (k, n_features), default=None
            None means the identity.

        Returns
        -------
        covariance : Tensor of shape (k, k)
        """
        if onto is None:
            onto = torch.eye(len(self.mean), dtype=self.mean.dtype, device=self.mean.device)
        variances, rest = self.variances()
        along = onto @ self.directions.T
        return (along * (variances - rest)) @ along.T + rest * (onto @ onto.T)

    def log_density(self, rows):
        """Logarithm of the density of each row.

        Parameters
        ----------
        rows : Tensor of shape (n, n_features), float64

        Returns
        -------
        log_density : Tensor of shape (n,)
        """
        variances, rest = self.variances()
        centred = rows - self.mean
        along = centred @ self.directions.T
        distance = (along.square() / variances).sum(dim=1)
        log_det = variances.log().sum()
        left_out = rows.shape[1] - len(variances)
        if left_out:
            outside = centred.square().sum(dim=1) - along.square().sum(dim=1)
            distance = distance + outside.clamp(min=0) / rest
            log_det = log_det + left_out * rest.log()
        return -0.5 * (distance + log_det + rows.shape[1] * math.log(2 * math.pi))


def gaussian_log_density(rows, mean, covariance):
    """Log-density of rows of shape (n, k) under one Gaussian, by a Cholesky factor."""
    cholesky = torch.linalg.cholesky(covariance)
    white = torch.linalg.solve_triangular(cholesky, (rows - mean).T, upper=False)
    log_det = 2 * cholesky.diagonal().log().sum()
    return -0.5 * (white.square().sum(dim=0) + log_det + rows.shape[1] * math.log(2 * math.pi))


def inverse_cholesky(covariances):
    """Lower-triangular A with A S A' = I, for one or a batch of S."""
    eye = torch.eye(covariances.shape[-1], dtype=covariances.dtype, device=covariances.device)
    cholesky = torch.linalg.cholesky(covariances)
    return torch.linalg.solve_triangular(cholesky, eye.expand_as(cholesky), upper=False)


def _leading(factor, rank):
    """Leading eigenpairs of factor' factor, largest first: orthonormal rows, values."""
    n_features = factor.shape[1]
    if n_features <= _EXACT:
        values, vectors = torch.linalg.eigh(factor.T @ factor)
    else:
        width = min(rank + _OVERSAMPLING, n_features)
        basis = torch.randn(n_features, width, dtype=factor.dtype).to(factor.device)
        for _ in range(_POWER_ITERATIONS):
            basis = torch.linalg.qr(factor.T @ (factor @ basis)).Q
        seen = factor @ basis
        values, vectors = torch.linalg.eigh(seen.T @ seen)
        vectors = basis @ vectors
    return vectors.T.flip(0)[:rank], values.flip(0)[:rank].clamp(min=0)
