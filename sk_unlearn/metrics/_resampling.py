"""Confidence intervals, and the two sets of retrained models that give a null."""

import numpy as np
from scipy.stats import beta, norm, t
from sklearn.utils import check_random_state

from sk_unlearn.metrics._result import Interval
from sk_unlearn.metrics._validation import check_count, check_models, check_real, check_same

# Below this a bootstrap sample often repeats one model alone.
MIN_MODELS_FOR_INTERVAL = 5


class Bootstrap:
    """Draws of models with replacement, and the intervals that they give.

    Parameters
    ----------
    confidence_level : float
    n_resamples : int
    random_state : int, RandomState or None
    """

    def __init__(self, confidence_level, n_resamples, random_state):
        self.level = check_real("confidence_level", confidence_level, 0, 1)
        self.n_resamples = check_count("n_resamples", n_resamples, 20)
        self.random = check_random_state(random_state)

    def weights(self, n):
        """How often each of n things is drawn, shape (n_resamples, n)."""
        return self.random.multinomial(n, np.full(n, 1 / n), self.n_resamples).astype(float)

    def interval(self, value, replicates, low=-np.inf, high=np.inf):
        """Percentile interval of the replicates, moved so that their mean is the value.

        A resample repeats models, so a divergence between two resamples is larger on average
        than between the samples; without the move the interval would miss a perfect removal.
        """
        replicates = replicates[np.isfinite(replicates)]
        if len(replicates) == 0 or not np.isfinite(value):
            return None
        tail = (1 - self.level) / 2
        ends = np.quantile(replicates, [tail, 1 - tail]) + (value - replicates.mean())
        # the mean of a skewed sample may lie outside its own quantiles
        ends = np.clip([min(ends[0], value), max(ends[1], value)], low, high)
        return Interval(float(ends[0]), float(ends[1]))


def enough_for_interval(*arrays):
    """Whether each set has models enough to be resampled."""
    return all(len(array) >= MIN_MODELS_FOR_INTERVAL for array in arrays)


def few_models(n, level):
    """Factor by which a percentile bootstrap of n models is too narrow, for a mean."""
    tail = (1 + level) / 2
    return np.sqrt(n / (n - 1)) * t.ppf(tail, n - 1) / norm.ppf(tail)


def binomial_interval(hits, trials, level):
    """Clopper-Pearson interval of a proportion."""
    tail = (1 - level) / 2
    low = beta.ppf(tail, hits, trials - hits + 1) if hits > 0 else 0.0
    high = beta.ppf(1 - tail, hits + 1, trials - hits) if hits < trials else 1.0
    return Interval(float(low), float(high))


def null_pair(oracle, oracle_null, *, at_least, why, **shape):
    """Two independent sets of retrained models to compare with each other.

    Parameters
    ----------
    oracle : ndarray
        Checked already.
    oracle_null : array-like or None
        A second set; None takes the first half of `oracle` against the second.
    at_least : int
        Models that each of the two needs.
    why : str
        The metric, for the message.
    **shape : dict
        Passed to `check_models`.

    Returns
    -------
    first, second : ndarray
    """
    if oracle_null is not None:
        first = check_models("oracle_null", oracle_null, at_least=at_least, why=why, **shape)
        check_same("oracle_null", first, "oracle", oracle)
        return first, oracle
    if len(oracle) < 2 * at_least:
        raise ValueError(
            f"oracle must hold at least {2 * at_least} models, so that one half against the "
            f"other gives the null of {why}, or oracle_null a second set; got {len(oracle)}."
        )
    half = len(oracle) // 2
    return oracle[:half], oracle[half:]
