"""Density of one class: its Gaussian, refined by a mixture in the leading directions."""

import math

import torch
from torch import nn

from sk_unlearn.nets._gaussian import RunningGaussian, gaussian_log_density, inverse_cholesky
from sk_unlearn.nets._mixture_scores import MixtureScores, compress

__all__ = ["MixtureDensity"]

_SPREAD = 0.5  # share of the class's covariance that the first means are drawn from
_PRIOR_ROWS = 30.0  # rows that a component's covariance is shrunk with
_PRIOR_MEAN_ROWS = 1.0
_CHUNK = 4096  # rows whose products are held at a time


class MixtureDensity(nn.Module):
    r"""Normalised density that starts as the Gaussian of its rows and learns their shape.

    Features are first compressed, u = asinh(c x) / c, the same for every class, so that
    rare large values cost a class what they are worth. In u,

    .. math:: p(u) = N(u; m, S) \, \frac{\sum_k w_k N(y; m_k, S_k)}{N(y; W m', W S W^T)},
              \qquad y = W (u - u_0),

    with N(m, S) the Gaussian of all rows seen so far, and y the coordinates in the leading
    directions of the first block, whitened. The fraction replaces the Gaussian's marginal of
    y by a mixture and keeps the Gaussian's conditional of all else, so that p integrates
    to one. Before any pass all components equal the marginal and p is the Gaussian.

    A pass is one step of expectation maximisation on the posterior: a natural-gradient step of
    length one. Component k has the prior of 30 rows of half the class's covariance around its
    mean and one row at the class's mean, so that few rows change little. Later blocks pass over
    their own rows only; earlier rows count by the sums they left (incremental EM [1]_).

    Parameters
    ----------
    n_features : int
        Numbers in one row; rows of more than two axes are flattened.
    n_components : int, default=8
        1 is the Gaussian alone.
    compression : float, default=1.0
        c. Values below 1 / c are left about as they are.
    noise : float, default=0.01
        Variance, in compressed units, added in every direction. Features should have about
        unit scale: variation far below the root of ``noise`` is not seen.
    rank : int, default=256
        Directions of the Gaussian; cut to ``n_features``.
    mixture_rank : int, default=32
        Directions of the mixture; cut to ``rank``.

    References
    ----------
    .. [1] R. M. Neal, G. E. Hinton, "A view of the EM algorithm that justifies incremental,
       sparse, and other variants", Learning in Graphical Models, 1998.
    .. [2] S. Amari, "Natural gradient works efficiently in learning", Neural Computation,
       1998.

    Examples
    --------
    >>> import torch
    >>> from sk_unlearn.nets._mixture import MixtureDensity
    >>> module = MixtureDensity(2)
    >>> step = module.start_block(torch.zeros(5, 2))
    >>> bool(step() < step())  # mean log-density before each pass
    True
    >>> module(torch.zeros(3, 2)).shape
    torch.Size([3])
    """

    def __init__(
        self,
        n_features,
        n_components=8,
        compression=1.0,
        noise=0.01,
        rank=256,
        mixture_rank=32,
    ):
        super().__init__()
        for name, value in (("compression", compression), ("noise", noise)):
            if not value > 0:
                raise ValueError(f"{name} must be positive, got {value!r}.")
        sizes = {"n_features": n_features, "n_components": n_components, "rank": rank}
        for name, value in {**sizes, "mixture_rank": mixture_rank}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value!r}.")
        self.compression = compression
        rank = min(rank, n_features)
        q, k, float64 = min(mixture_rank, rank), n_components, {"dtype": torch.float64}
        self.gaussian = RunningGaussian(n_features, rank=rank, noise=noise)
        self.register_buffer("origin", torch.zeros(n_features, **float64))
        self.register_buffer("frame", torch.eye(q, n_features, **float64))
        # memberships times y y', y and 1, summed over the rows seen so far
        self.register_buffer("sums", torch.zeros(k, q * q + q + 1, **float64))
        self.log_weights = nn.Parameter(torch.full((k,), -math.log(k), **float64))
        self.means = nn.Parameter(torch.zeros(k, q, **float64))
        self.whiteners = nn.Parameter(torch.zeros(k, q, q, **float64))  # inverse Cholesky
        self._reset_components()

    def forward(self, X):
        """Log-density of each row.

        Parameters
        ----------
        X : Tensor of shape (n, ...)

        Returns
        -------
        log_density : Tensor of shape (n,), float64
        """
        return MixtureScores(self)(compress(X, self.compression))

    @torch.no_grad()
    def start_block(self, X):
        """Take a block of rows into the Gaussian and get ready to pass over it.

        Parameters
        ----------
        X : Tensor of shape (n, ...)
            At least one row, all finite.

        Returns
        -------
        step : callable
            One pass. Returns the mean log-density of the block before it. Cost of a pass over
            n rows with K components in q directions: O(n K q² + K q³).
        """
        rows, log_slopes = compress(X, self.compression)
        if rows.shape[1] != len(self.origin):
            raise ValueError(
                f"X must have {len(self.origin)} features, as in training, got {rows.shape[1]}."
            )
        if len(rows) == 0 or not torch.isfinite(rows).all():
            raise ValueError(f"X must hold at least one row and be finite, got {len(rows)} rows.")
        first = not self.gaussian.count
        self.gaussian.update(rows)
        if first:
            self._set_frame()
        mean, covariance = self.marginal()
        if first or len(self.sums) == 1:
            self._reset_components()
        y = (rows - self.origin) @ self.frame.T
        rest = self.gaussian.log_density(rows) - gaussian_log_density(y, mean, covariance)
        rest = (rest + log_slopes).mean()
        shares = self._first_shares(y, mean, covariance) if first else None
        earlier, moments = self.sums.clone(), _Moments(y)

        @torch.no_grad()
        def step():
            nonlocal shares
            log_density, sums = moments.expectation(*self._quadratic_forms(), shares)
            if len(sums) > 1:
                self._maximise(earlier + sums, mean, covariance)
            shares = None
            return float(rest + log_density)

        return step

    def _set_frame(self):
        q = len(self.frame)
        variances = self.gaussian.variances()[0][:q]
        self.frame.copy_(self.gaussian.directions[:q] / variances.sqrt()[:, None])
        self.origin.copy_(self.gaussian.mean)

    def marginal(self):
        """Mean, shape (q,), and covariance of the coordinates y under the Gaussian."""
        mean = self.frame @ (self.gaussian.mean - self.origin)
        return mean, self.gaussian.covariance(self.frame)

    @torch.no_grad()
    def _reset_components(self):
        mean, covariance = self.marginal()
        self.means.copy_(mean.expand_as(self.means))
        self.whiteners.copy_(inverse_cholesky(covariance).expand_as(self.whiteners))
        self.log_weights.fill_(-math.log(len(self.means)))

    def _first_shares(self, y, mean, covariance):
        """Memberships in components around points drawn from the Gaussian."""
        draws = torch.randn(*self.means.shape, dtype=y.dtype).to(y.device)
        means = mean + math.sqrt(_SPREAD) * draws @ torch.linalg.cholesky(covariance).T
        whiten = inverse_cholesky((1 - _SPREAD) * covariance)
        return torch.softmax(-0.5 * torch.cdist(y @ whiten.T, means @ whiten.T).square(), dim=1)

    def constants(self):
        """Log of w_k and of the normalising constant of N(m_k, S_k), shape (n_components,)."""
        log_dets = self.whiteners.diagonal(dim1=1, dim2=2).log().sum(dim=1)
        return self.log_weights + log_dets - 0.5 * self.means.shape[1] * math.log(2 * math.pi)

    def _quadratic_forms(self):
        """Log of w_k N(y; m_k, S_k): coefficients of y y' and of y, and a constant, for each k."""
        precisions = torch.bmm(self.whiteners.mT, self.whiteners)
        linear = torch.bmm(precisions, self.means[:, :, None]).squeeze(2)
        constants = self.constants() - 0.5 * (linear * self.means).sum(dim=1)
        return -0.5 * precisions.flatten(1), linear, constants

    def _maximise(self, sums, mean, covariance):
        self.sums.copy_(sums)
        k, q = self.means.shape
        second, first, count = sums.split([q * q, q, 1], dim=1)
        means = (first + _PRIOR_MEAN_ROWS * mean) / (count + _PRIOR_MEAN_ROWS)
        cross = torch.bmm(means[:, :, None], (first - 0.5 * count * means)[:, None, :])
        scatter = second.view(k, q, q) - cross - cross.mT
        prior = _PRIOR_ROWS * (1 - _SPREAD) * covariance
        self.means.copy_(means)
        self.whiteners.copy_(
            inverse_cholesky((scatter + prior) / (count[:, :, None] + _PRIOR_ROWS))
        )
        weights = count[:, 0] + _PRIOR_MEAN_ROWS
        self.log_weights.copy_((weights / weights.sum()).log())


class _Moments:
    """Rows with their products y y', so that a pass is two matrix products."""

    def __init__(self, y):
        self.parts = y.split(_CHUNK)
        self.kept = _with_products(y) if len(self.parts) == 1 else None

    def expectation(self, quadratic, linear, constants, shares=None):
        """Mean log-density, and sums of y y', y and 1 weighted by the memberships."""
        coefficients = torch.cat([quadratic, linear, constants[:, None]], dim=1)
        log_density, sums, start = 0.0, torch.zeros_like(coefficients), 0
        for part in self.parts:
            design = _with_products(part) if self.kept is None else self.kept
            logs = design @ coefficients.T
            totals = torch.logsumexp(logs, dim=1, keepdim=True)
            if shares is None:
                weights = (logs - totals).exp_()
            else:
                weights = shares[start : start + len(part)]
            sums += weights.T @ design
            log_density += totals.sum()
            start += len(part)
        return log_density / start, sums


def _with_products(y):
    products = (y[:, :, None] * y[:, None, :]).flatten(1)
    return torch.cat([products, y, torch.ones_like(y[:, :1])], dim=1)
