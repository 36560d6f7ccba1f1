"""Which candidate of a search to refit: a rule that trades several metrics."""

from numbers import Real

import numpy as np

__all__ = ["best_within_bounds"]


def best_within_bounds(metric, bounds, *, greater_is_better=True):
    """Make a rule for ``refit=`` of a search: the best candidate among the admissible ones.

    Accuracy alone says nothing about forgetting, and forgetting alone is perfect for a model
    that knows nothing. The rule bounds some metrics and optimises another: the most accurate
    candidate whose attack score is near that of chance at no more than half of the price of
    retraining, say, or the cheapest that forgets and is accurate enough.

    Parameters
    ----------
    metric : str
        Name of the score to optimise, a key of the search's ``scoring``; "score" where there is
        one metric only.
    bounds : dict of str to tuple (low, high) of float or None
        Interval in which the mean test score of a metric must lie, ends included, by the
        metric's name; None leaves a side open. In units of the scores: flipped signs
        (``greater_is_better=False`` of a scorer) count.
    greater_is_better : bool, default=True
        False takes the admissible candidate with the smallest `metric`.

    Returns
    -------
    rule : callable
        ``rule(cv_results)``, the index of the chosen candidate; the first of equals. A
        candidate with a score that is NaN is not admissible.

    Raises
    ------
    ValueError
        Here, if a bound is not a pair with low <= high. From the ``fit`` of the search, if a
        metric is not among its scores, or no candidate is admissible: the message names the
        nearest one, and the attribute ``cv_results`` of the error holds all results.

    See Also
    --------
    make_forgetting_scorer : Scores of forgetting and of cost.

    Notes
    -----
    *Nearest* is the candidate that misses the fewest bounds, and of these the one that misses
    them by least, each as a share of the largest miss among the candidates.

    With a rule in ``refit``, scikit-learn's searches set ``best_index_``, ``best_params_`` and
    ``best_estimator_``, but no ``best_score_``. The halving searches take one metric and
    silently use their own rule.

    Examples
    --------
    >>> from sk_unlearn.model_selection import best_within_bounds
    >>> rule = best_within_bounds("accuracy", {"mia": (0.45, 0.55), "cost": (None, 0.5)})
    >>> rule(
    ...     {
    ...         "params": [{"eta": 0.0}, {"eta": 1.0}, {"eta": 4.0}],
    ...         "mean_test_accuracy": [0.97, 0.96, 0.90],
    ...         "mean_test_mia": [0.71, 0.52, 0.49],
    ...         "mean_test_cost": [0.01, 0.3, 0.3],
    ...     }
    ... )
    1
    """
    if not isinstance(bounds, dict) or not bounds:
        raise ValueError(f"bounds must be a dict of metrics to (low, high), got {bounds!r}.")
    return _BestWithinBounds(
        metric,
        {name: _check_bound(name, bound) for name, bound in bounds.items()},
        greater_is_better,
    )


class _BestWithinBounds:
    """Callable as scikit-learn calls ``refit``."""

    def __init__(self, metric, bounds, greater_is_better):
        self.metric, self.bounds, self.greater_is_better = metric, bounds, greater_is_better

    def __call__(self, cv_results):
        values = _mean_scores(cv_results, self.metric)
        misses = np.array(
            [_miss(_mean_scores(cv_results, name), bound) for name, bound in self.bounds.items()]
        )
        order = values if self.greater_is_better else -values
        admissible = ~np.isnan(values) & (misses == 0).all(axis=0)
        if not admissible.any():
            raise self._none_admissible(cv_results, values, misses)
        return int(np.argmax(np.where(admissible, order, -np.inf)))

    def _none_admissible(self, cv_results, values, misses):
        wanted = ", ".join(_bound_text(name, bound) for name, bound in self.bounds.items())
        message = f"No candidate of the search has {wanted}."
        if not np.isnan(values).all():
            at = _nearest(np.where(np.isnan(values), np.inf, misses))
            names = dict.fromkeys([self.metric, *self.bounds])
            scores = ", ".join(f"{n} {_mean_scores(cv_results, n)[at]:.4g}" for n in names)
            message += f" Nearest is {cv_results['params'][at]} with {scores}."
        message += (
            " Widen the bounds or search elsewhere; the attribute cv_results of this error holds "
            "what the search found."
        )
        error = ValueError(message)
        error.cv_results = cv_results
        return error

    def __repr__(self):
        flip = "" if self.greater_is_better else ", greater_is_better=False"
        return f"best_within_bounds({self.metric!r}, {self.bounds!r}{flip})"


def _check_bound(name, bound):
    try:
        low, high = bound
    except (TypeError, ValueError):
        raise ValueError(f"bounds[{name!r}] must be a pair (low, high), got {bound!r}.") from None
    for end in (low, high):
        if end is not None and (
            not isinstance(end, Real) or isinstance(end, bool) or np.isnan(end)
        ):
            raise ValueError(f"bounds[{name!r}] must hold numbers or None, got {bound!r}.")
    if low is not None and high is not None and low > high:
        raise ValueError(f"bounds[{name!r}] must have low <= high, got {bound!r}.")
    return low, high


def _mean_scores(cv_results, name):
    key = f"mean_test_{name}"
    if key not in cv_results:
        known = [k.removeprefix("mean_test_") for k in cv_results if k.startswith("mean_test_")]
        raise ValueError(f"{name!r} is not among the scores of the search, which are {known}.")
    return np.asarray(cv_results[key], dtype=float)


def _miss(values, bound):
    """By how much each candidate lies outside; infinite where its score is NaN."""
    low = -np.inf if bound[0] is None else bound[0]
    high = np.inf if bound[1] is None else bound[1]
    with np.errstate(invalid="ignore"):  # infinite scores within open bounds
        miss = np.where(values < low, low - values, np.where(values > high, values - high, 0.0))
    return np.where(np.isnan(values), np.inf, miss)


def _nearest(misses):
    finite = np.where(np.isfinite(misses), misses, 0.0)
    largest = finite.max(axis=1, keepdims=True)
    shares = np.divide(misses, largest, out=misses.copy(), where=largest > 0)
    return int(np.lexsort((shares.sum(axis=0), (misses > 0).sum(axis=0)))[0])


def _bound_text(name, bound):
    low, high = bound
    if low is None:
        return f"{name} at most {high}" if high is not None else f"{name} that is a number"
    return f"{name} at least {low}" if high is None else f"{name} in [{low}, {high}]"
