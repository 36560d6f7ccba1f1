"""Models that are functions of sums: ridge regression, linear discriminants, naive Bayes.

Each is computed by one fixed routine in float64 on one thread.
"""

import math
from dataclasses import dataclass, replace

import torch
from scipy.linalg.lapack import dpotrf

from sk_unlearn.exceptions import RemovalFailedError

__all__ = ["HEADS", "Fitted", "fit_lda", "fit_naive_bayes", "fit_ridge"]

# Regularisations among which a regressor chooses, in units of the kernel of a row with itself.
_ALPHAS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
# Of a classifier, over the square root of the number of rows: the best of several on splits 100
# to 111 of digits, breast cancer, wine, iris and letter, together with the width of the kernel.
_AUTO = 0.5
# Of naive Bayes, of the largest variance: of 1e-9 to 0.1 on those splits, but letter.
_AUTO_NAIVE = 0.01
_LEAST = 1e-9  # of 1 - leverage
_PRIOR = 4.0  # rows that say that outputs are what their model makes of them
_FURTHEST = 8.0  # logarithm of what rows may make of that


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
        spread = _whiten(factor, features.T)
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
    features, targets, counts = sample
    features = features.to(torch.float64)
    # one solution for both: the factor is read once
    whitened = _whiten(factor, torch.cat([cross, (features - mean).T], dim=1))
    spread = whitened[:, cross.shape[1] :]
    weights = _unwhiten(factor, whitened[:, : cross.shape[1]])
    offset = level - mean @ weights
    fitted = Fitted(weights.T.contiguous(), offset, alpha)
    if not len(features):
        return fitted, 0.0
    leverage = (spread * spread).sum(dim=0) + 1 / sums.n_rows
    leverage = torch.where(counts > 0, leverage, 0.0)  # a row without weight had no part
    outputs = fitted(features)
    error = (targets - outputs) / (1 - leverage).clamp_(min=_LEAST)[:, None]
    counts = counts.clamp(min=1) if not bool(counts.any()) else counts
    loss = float((counts @ (error * error)).sum() / counts.sum())
    if not classification:
        return fitted, loss
    guess = 1 / (2 * max(loss / targets.shape[1], 1e-12))
    return replace(fitted, scale=_scale(targets - error, targets, counts, guess)), loss


def _scale(outputs, targets, counts, guess):
    """Factor that makes outputs of rows left out the best logits.

    It is where the derivative of the log-likelihood crosses zero; a few rows' worth of belief
    in ``guess`` keep it finite where no row was wrong.
    """
    outputs, targets = outputs.T.contiguous(), targets.T.contiguous()
    outputs -= outputs.amax(dim=0)  # the same to probabilities, and no large numbers
    right = float(counts @ (targets * outputs).sum(dim=0))
    low, high, log_factor = -_FURTHEST, _FURTHEST, 0.0
    for _ in range(60):
        factor = guess * math.exp(log_factor)
        proba = torch.softmax(outputs * factor, dim=0)
        weighted = proba * outputs
        expected = weighted.sum(dim=0)
        slope = factor * (right - float(counts @ expected)) - _PRIOR * log_factor
        low, high = (log_factor, high) if slope > 0 else (low, log_factor)
        spread = float(counts @ ((weighted * outputs).sum(dim=0) - expected * expected))
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
    counts, n_rows = sums.targets, sums.n_rows
    means = sums.cross / counts[:, None]
    within = torch.addmm(sums.gram, means.T, sums.cross, alpha=-1)
    factor = _cholesky(within, alpha * unit)
    features, targets, times = sample
    features = features.to(torch.float64)
    whitened = _whiten(factor, torch.cat([means, features]).T).T
    centres, rows = whitened[: len(means)], whitened[len(means) :]
    weights = _unwhiten(factor, centres.T).T * n_rows
    offset = torch.log(counts / n_rows) - (means * weights).sum(dim=1) / 2
    constant = -torch.log(factor.diagonal()).sum() + means.shape[1] / 2 * math.log(
        n_rows / (2 * math.pi)
    )
    scaled = factor.tril() / math.sqrt(n_rows)
    fitted = Fitted(weights.contiguous(), offset, alpha, density=(scaled, float(constant)))
    outputs, times = _lda_left_out(centres, rows, counts, targets, times)
    return replace(fitted, scale=_scale(outputs, targets, times, 1.0))


def _lda_left_out(centres, rows, counts, targets, times):
    """Discriminants of rows, each of the model without it; how often each counts.

    Centres of classes and rows are whitened by the scatter within classes, of which a row
    that leaves takes a matrix of rank one.
    """
    own, n_rows = targets.argmax(dim=1), counts.sum()
    times = torch.where((targets.sum(dim=1) > 0) & (counts[own] > 1), times, 0.0)
    less = (counts[own] - 1).clamp(min=1)
    apart = rows - centres[own]
    square = (apart * apart).sum(dim=1)
    # distances to the centres by the whole scatter, and their products with the row's own
    products = apart @ centres.T
    products = products.gather(1, own[:, None]) - products + square[:, None]
    squares = torch.cdist(rows, centres, compute_mode="donot_use_mm_for_euclid_dist") ** 2
    factor = counts[own] / less
    lost = factor / (1 - factor * square).clamp(min=_LEAST)
    distances = squares + lost[:, None] * products * products
    # and its own centre moves away from it
    distances = torch.where(targets > 0, distances * (factor * factor)[:, None], distances)
    prior = torch.log(torch.where(targets > 0, less[:, None], counts))
    return prior - (n_rows - 1) / 2 * distances, times


def fit_naive_bayes(sums, unit, alpha, sample, *, classification):
    """Gaussian classes whose features are independent within a class."""
    alpha = _AUTO_NAIVE if alpha == "auto" else float(alpha)
    counts = sums.targets[:, None]
    whole = sums.squares.sum(dim=0) / sums.n_rows - (sums.features / sums.n_rows) ** 2
    # and that of rounding to integers, so that none is 0
    least = alpha * float(whole.max()) + 1 / 12

    def moments(counts, first, second):
        mean = first / counts
        return mean, (second / counts - mean * mean).clamp_(min=0) + least

    means, variance = moments(counts, sums.cross, sums.squares)
    offset = torch.log(sums.targets / sums.n_rows)
    offset = offset - (torch.log(2 * math.pi * variance) + means * means / variance).sum(dim=1) / 2
    fitted = Fitted(means / variance, offset, alpha, square_weights=-0.5 / variance)
    features, targets, times = sample
    features, own = features.to(torch.float64), targets.argmax(dim=1)
    times = torch.where((targets.sum(dim=1) > 0) & (sums.targets[own] > 1), times, 0.0)
    less = (counts[own] - 1).clamp(min=1)
    mean, variance = moments(
        less, sums.cross[own] - features, sums.squares[own] - features * features
    )
    away = (features - mean) ** 2 / variance + torch.log(2 * math.pi * variance)
    alone = torch.log(less / sums.n_rows)[:, 0] - away.sum(dim=1) / 2
    outputs = torch.where(targets > 0, alone[:, None], fitted(features))
    return replace(fitted, scale=_scale(outputs, targets, times, 1.0))


def _whiten(factor, columns):
    return torch.linalg.solve_triangular(factor, columns, upper=False)


def _unwhiten(factor, columns):
    return torch.linalg.solve_triangular(factor.T, columns, upper=True)


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
