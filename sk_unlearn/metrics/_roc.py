"""ROC statistics of attack scores, and their confidence intervals."""

import math

import numpy as np
from scipy.special import expit, logit
from scipy.stats import norm, rankdata, t

from sk_unlearn.metrics._resampling import binomial_interval
from sk_unlearn.metrics._result import Interval

NUMBERS_AT_A_TIME = 4_000_000


def placements(positive, negative):
    """Share of negatives below each positive and of positives above each negative; ties half.

    Parameters
    ----------
    positive, negative : ndarray of shape (n_positive,) and (n_negative,)

    Returns
    -------
    of_positive, of_negative : ndarray
        Both have the AUC as their mean.
    """
    p, n = np.sort(positive), np.sort(negative)
    below = np.searchsorted(n, positive, "left") + np.searchsorted(n, positive, "right")
    upto = np.searchsorted(p, negative, "left") + np.searchsorted(p, negative, "right")
    return below / (2 * len(n)), 1 - upto / (2 * len(p))


def mean_placement(a, b):
    """Share of pairs of rows in which a's score is above b's, for each pair of models.

    Parameters
    ----------
    a, b : ndarray of shape (n_a, n_rows) and (n_b, n_rows)

    Returns
    -------
    share : ndarray of shape (n_a, n_b)
    """
    ordered = np.sort(b, axis=1)
    counts = [
        np.searchsorted(row, a, "left") + np.searchsorted(row, a, "right") for row in ordered
    ]
    return np.stack([count.mean(1) for count in counts], axis=1) / (2 * b.shape[1])


def auc_interval(positive, negative, level, pairs=None):
    """Mean AUC of several models on the same rows, with DeLong's interval.

    Parameters
    ----------
    positive, negative : ndarray of shape (n_models, n_positive) and (n_models, n_negative)
    level : float
    pairs : list of tuple of ndarray or None
        Placements of each model's rows, where these are not those of the scores.

    Returns
    -------
    auc : float
    interval : Interval or None
        On the logit scale. The variance over rows is DeLong's, of the mean over models; the
        variance over models is added. Student's t with Welch's degrees of freedom, since
        forgotten rows can be few. It reaches to 0.5 where the rank test of equal groups, with
        ties, does not reject: a few tied rows have no variance of their own to go by.
    """
    if pairs is None:
        pairs = [placements(p, n) for p, n in zip(positive, negative, strict=True)]
    of_positive, of_negative = (np.array(side) for side in zip(*pairs, strict=True))
    aucs = of_positive.mean(1)
    auc = float(aucs.mean())
    n_positive, n_negative = positive.shape[1], negative.shape[1]
    if min(n_positive, n_negative) < 2:
        return auc, None
    if auc in (0.0, 1.0):  # perfect separation has no variance to go by
        n = min(n_positive, n_negative)
        return auc, binomial_interval(auc * n, n, level)
    parts = [
        (of_positive.mean(0).var(ddof=1) / n_positive, n_positive - 1),
        (of_negative.mean(0).var(ddof=1) / n_negative, n_negative - 1),
    ]
    if len(aucs) > 1:
        parts.append((aucs.var(ddof=1) / len(aucs), len(aucs) - 1))
    variance = sum(v for v, _ in parts)
    low = high = auc
    if variance > 0:
        dof = variance**2 / sum(v**2 / d for v, d in parts)
        half = t.ppf((1 + level) / 2, dof) * math.sqrt(variance) / (auc * (1 - auc))
        low, high = (float(expit(logit(auc) + side * half)) for side in (-1, 1))
    if abs(auc - 0.5) <= norm.ppf((1 + level) / 2) * _deviation_of_equals(positive, negative):
        low, high = min(low, 0.5), max(high, 0.5)
    return auc, Interval(low, high)


def _deviation_of_equals(positive, negative):
    """Standard deviation of the mean AUC when the rows are dealt anew into the two groups."""
    ranks = rankdata(np.hstack([positive, negative]), axis=1).mean(0)
    return math.sqrt(ranks.var(ddof=1) / (positive.shape[1] * negative.shape[1] * len(ranks)))


def tpr_at_fpr(positive, negative, fpr, level):
    """Mean true positive rate over models at a false positive rate of at most `fpr`.

    Parameters
    ----------
    positive, negative : ndarray of shape (n_models, n_positive) and (n_models, n_negative)
    fpr, level : float

    Returns
    -------
    tpr : float
    interval : Interval
        Clopper-Pearson over the positive rows, for the thresholds found.
    """
    allowed = math.floor(fpr * negative.shape[1] + 1e-9)
    threshold = np.sort(negative, axis=1)[:, ::-1][:, min(allowed, negative.shape[1] - 1)]
    tpr = float((positive > threshold[:, None]).mean())
    n_positive = positive.shape[1]
    return tpr, binomial_interval(tpr * n_positive, n_positive, level)


def weighted_tpr(a, b, w_a, w_b, fpr):
    """True positive rate at a false positive rate, where models have weights.

    Parameters
    ----------
    a, b : ndarray of shape (n_a, n_rows) and (n_b, n_rows)
        Scores of positive and negative models.
    w_a, w_b : ndarray of shape (n_resamples, n_a) and (n_resamples, n_b)
    fpr : float

    Returns
    -------
    tpr : ndarray of shape (n_resamples,)
        The highest at a rate of at most `fpr`; 0 where all weights of one kind are 0.
    """
    scores = np.concatenate([a.ravel(), b.ravel()])
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)  # ties move along the curve together
    sizes = np.repeat([a.shape[1], b.shape[1]], [len(a), len(b)])
    model = np.repeat(np.arange(len(sizes)), sizes)[order]
    # rows of each model that score at least as high, for each threshold
    counts = (model == np.arange(len(sizes))[:, None]).cumsum(1)[:, last].astype(float)
    above_a, above_b = counts[: len(a)], counts[len(a) :]
    result = np.zeros(len(w_a))
    step = max(1, NUMBERS_AT_A_TIME // counts.shape[1])
    for start in range(0, len(w_a), step):
        part = slice(start, start + step)
        false = w_b[part] @ above_b
        k = (false <= fpr * false[:, -1:] + 1e-9).sum(1)
        true = (w_a[part] * above_a[:, k - 1].T).sum(1)
        total = w_a[part].sum(1) * a.shape[1]
        valid = (k > 0) & (total > 0) & (false[:, -1] > 0)
        result[part][valid] = true[valid] / total[valid]
    return result
