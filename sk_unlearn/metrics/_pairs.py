"""Distances between all pairs of models of two sets, and among retrained models."""

import numpy as np

from sk_unlearn.metrics._resampling import enough_for_interval
from sk_unlearn.metrics._result import MetricResult


def pair_result(metric, across, within, boot, **extra):
    """Mean over pairs, with the mean over pairs of retrained models as the null.

    Parameters
    ----------
    metric : str
    across : ndarray of shape (n_models, n_oracles)
        From each unlearned to each retrained model.
    within : ndarray of shape (n_oracles, n_oracles)
        From each retrained model to each; the diagonal is ignored.
    boot : Bootstrap
    **extra : dict
        Further fields of the result.

    Returns
    -------
    result : MetricResult
        Models are resampled, not pairs, since pairs share models.
    """
    value, interval = float(across.mean()), None
    if enough_for_interval(across, across.T):
        u, v = (boot.weights(n) / n for n in across.shape)
        interval = boot.interval(value, np.einsum("bi,ij,bj->b", u, across, v, optimize=True), 0)
    null = null_interval = None
    n = len(within)
    if n > 1:
        off = within - np.diag(np.diag(within))
        null = float(off.sum() / (n * (n - 1)))
        if enough_for_interval(within):
            w = boot.weights(n)
            total = w.sum(1) ** 2 - (w**2).sum(1)
            mean = np.einsum("bi,ij,bj->b", w, off, w, optimize=True) / np.where(total, total, 1)
            null_interval = boot.interval(null, mean[total > 0], 0)
    return MetricResult(metric, value, interval, null, null_interval, boot.level, **extra)
