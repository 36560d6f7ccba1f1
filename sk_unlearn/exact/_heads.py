"""Models that are functions of sums: ridge regression, linear discriminants, naive Bayes.

Each is computed by one fixed routine in float64 on one thread.
"""

import math
from dataclasses import dataclass

import torch
from scipy.linalg.lapack import dpotrf

from sk_unlearn.exceptions import RemovalFailedError

__all__ = ["HEADS", "Fitted", "fit_lda", "fit_naive_bayes", "fit_ridge"]

# Regularisations among which a regressor chooses, in units of the kernel of a row with itself.
_ALPHAS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
# Of a classifier, over the square root of the number of rows: the best of several on splits 100
# to 111 of digits, breast cancer, wine, iris and letter, together with the width of the kernel.
_AUTO = 0.5
_LEAST = 1e-9  # of 1 - leverage
_PRIOR = 4.0  # rows that say that errors are Gaussian


@dataclass(frozen=True)
class Fitted:
    """Discriminants (or predictions) that are linear, or quadratic without mixed terms.

    ``features @ weights.T + offset``, and where there are ``square_weights``, the squares of
    features times these.

    Attributes
    ----------
    weights : Tensor of shape (n_targets, n_features)
    offset : Tensor of shape (n_targets,)
    square_weights : Tensor of shape (n_targets, n_features), or None
    scale : float
        Of what discriminants are worth in logits.
    alpha : float
    density : tuple or None
        Cholesky factor and offset of the log density, for linear discriminants.
    """

    weights: torch.Tensor
    offset: torch.Tensor
    alpha: float
    square_weights: torch.Tensor | None = None
    scale: float = 1.0
    density: tuple | None = None

    def __call__(self, features):
        """Discriminants of rows, Tensor of shape (n, n_targets)."""
        out = torch.addmm(self.offset, features, self.weights.T)
        if self.square_weights is not None:
            out += (features * features) @ self.square_weights.T
        return out

    @property
    def state(self):
        """What outputs follow from, by name."""
        names = ("weights", "offset", "square_weights", "scale", "alpha")
        return {name: getattr(self, name) for name in names}

    def log_density(self, features):
        """Logarithm of the mixture of the classes' densities, ndarray of shape (n,)."""
        factor, constant = self.density
        spread = torch.linalg.solve_triangular(factor, features.T, upper=False)
        square = (spread * spread).sum(dim=0)
        return (torch.logsumexp(self(features), dim=1) - square / 2 + constant).numpy()


def fit_ridge(sums, unit, alpha, sample, *, classification):
    """Least squares with a penalty, for indicators of classes or real targets.

    Parameters
    ----------
    sums : Sums
    unit : float
        Penalty on integers that a penalty of 1 is.
    alpha : float, sequence of float or "auto"
    sample : tuple of Tensor
        Features, targets and weights of the rows that judge.
    classification : bool

    Returns
    -------
    fitted : Fitted
    """
    if alpha == "auto":
        alpha = _AUTO / math.sqrt(sums.n_rows) if classification else _ALPHAS
    if isinstance(alpha, (int, float)):
        return _ridge(sums, unit, float(alpha), sample, classification)[0]
    found = [_ridge(sums, unit, float(one), sample, classification) for one in alpha]
    return min(found, key=lambda pair: pair[1])[0]


def _ridge(sums, unit, alpha, sample, classification):
    """Model and its error on rows left out, one at a time."""
    mean, level = sums.features / sums.n_rows, sums.targets / sums.n_rows
    factor = _cholesky(torch.addr(sums.gram, mean, sums.features, alpha=-1), alpha * unit)
    cross = sums.cross.T - torch.outer(mean, sums.targets)
    weights = torch.cholesky_solve(cross, factor)
    offset = level - mean @ weights
    fitted = Fitted(weights.T.contiguous(), offset, alpha)
    features, targets, counts = sample
    if not len(features):
        return fitted, 0.0
    features = features.to(torch.float64)
    spread = torch.linalg.solve_triangular(factor, (features - mean).T, upper=False)
    leverage = (spread * spread).sum(dim=0) + 1 / sums.n_rows
    leverage = torch.where(counts > 0, leverage, 0.0)  # a row without weight had no part
    outputs = fitted(features)
    error = (targets - outputs) / (1 - leverage).clamp_(min=_LEAST)[:, None]
    counts = counts.clamp(min=1) if not bool(counts.any()) else counts
    loss = float((counts @ (error * error)).sum() / counts.sum())
    if not classification:
        return fitted, loss
    scale = _scale(targets - error, targets, counts, loss / targets.shape[1])
    return Fitted(fitted.weights, offset, alpha, scale=scale), loss


def _scale(outputs, targets, counts, variance):
    """Factor that makes outputs of rows left out the best logits.

    It is where the derivative of the log-likelihood crosses zero; a few rows' worth of belief
    in 1 / (2 variance) keep it finite where no row was wrong.
    """
    guess = 1 / (2 * max(variance, 1e-12))
    right = float(counts @ (targets * outputs).sum(dim=1))
    low, high, log_factor = -8.0, 8.0, 0.0
    for _ in range(60):
        factor = guess * math.exp(log_factor)
        proba = torch.softmax(outputs * factor, dim=1)
        expected = (proba * outputs).sum(dim=1)
        slope = factor * (right - float(counts @ expected)) - _PRIOR * log_factor
        low, high = (log_factor, high) if slope > 0 else (low, log_factor)
        spread = float(counts @ ((proba * outputs * outputs).sum(dim=1) - expected * expected))
        # Newton's step where it stays between the bounds, else halfway
        step = slope / max(factor * factor * spread - slope + _PRIOR, _PRIOR)
        new = log_factor + step if low < log_factor + step < high else (low + high) / 2
        if abs(new - log_factor) < 1e-6:
            break
        log_factor = new
    return guess * math.exp(log_factor)


def fit_lda(sums, unit, alpha, sample, *, classification):
    """Linear discriminants: Gaussian classes that share one covariance."""
    alpha = _AUTO / math.sqrt(sums.n_rows) if alpha == "auto" else float(alpha)
    counts = sums.targets
    means = sums.cross / counts[:, None]
    within = torch.addmm(sums.gram, means.T, sums.cross, alpha=-1)
    factor = _cholesky(within, alpha * unit)
    weights = torch.cholesky_solve(means.T.contiguous(), factor) * sums.n_rows
    offset = torch.log(counts / sums.n_rows) - (means.T * weights).sum(dim=0) / 2
    n_features = means.shape[1]
    scaled = factor.tril() / math.sqrt(sums.n_rows)
    constant = -torch.log(scaled.diagonal()).sum() - n_features / 2 * math.log(2 * math.pi)
    return Fitted(weights.T.contiguous(), offset, alpha, density=(scaled, float(constant)))


def fit_naive_bayes(sums, unit, alpha, sample, *, classification):
    """Gaussian classes whose features are independent within a class."""
    alpha = 1e-9 if alpha == "auto" else float(alpha)
    counts = sums.targets[:, None]
    means = sums.cross / counts
    whole = sums.squares.sum(dim=0) / sums.n_rows - (sums.features / sums.n_rows) ** 2
    variance = sums.squares / counts - means * means
    # and that of rounding to integers, so that none is 0
    variance = variance.clamp_(min=0) + alpha * whole.max() + 1 / 12
    offset = torch.log(sums.targets / sums.n_rows)
    offset = offset - (torch.log(2 * math.pi * variance) + means * means / variance).sum(dim=1) / 2
    return Fitted(means / variance, offset, alpha, square_weights=-0.5 / variance)


def _cholesky(system, penalty):
    """Lower factor, from the lower triangle and in its memory; what is above is no part of it."""
    system.diagonal().add_(penalty)
    largest = float(system.diagonal().max())
    # transposed, memory is in the order of LAPACK
    upper, failed = dpotrf(system.numpy().T, lower=0, clean=0, overwrite_a=1)
    if failed:
        raise RemovalFailedError(
            "The sums of the retained rows have no Cholesky factor: alpha is too small for "
            f"features that depend on each other (penalty {penalty:.3g} on sums of squares up to "
            f"{largest:.3g}). Raise alpha."
        )
    return torch.from_numpy(upper.T)


HEADS = {"ridge": fit_ridge, "lda": fit_lda, "naive_bayes": fit_naive_bayes}
