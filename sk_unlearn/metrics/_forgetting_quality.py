"""Forgetting quality as the NeurIPS 2023 unlearning challenge scored it."""

import math

import numpy as np

from sk_unlearn.metrics._resampling import Bootstrap, null_pair
from sk_unlearn.metrics._result import MetricResult
from sk_unlearn.metrics._validation import check_models, check_real, check_same

BIN_WIDTH = 0.5
THRESHOLDS_PER_UNIT = 100
BUFFER = 2.0
NARROW = 0.01
MIN_MODELS = 10


def forgetting_quality(
    unlearned,
    oracle,
    *,
    oracle_null=None,
    delta=1e-5,
    confidence_level=0.95,
    n_resamples=500,
    random_state=0,
):
    r"""Forgetting quality F of the NeurIPS 2023 challenge, for comparison with its results.

    For each forgotten row, threshold rules try to tell unlearned from retrained models by the
    margin. Their false positive and false negative rates bound the :math:`\varepsilon` of
    differential privacy [1]_, and half a point is lost for each 0.5 of it:

    .. math::

       \varepsilon_i = \max_{\text{rules}} \max \left\{
         \log \frac{1 - \delta - \mathrm{FPR}}{\mathrm{FNR}},\
         \log \frac{1 - \delta - \mathrm{FNR}}{\mathrm{FPR}}, 0 \right\}, \qquad
       F = \frac{1}{n} \sum_i 2^{-\lfloor \varepsilon_i / 0.5 \rfloor}

    Parameters
    ----------
    unlearned : array-like of shape (n_models, n_rows)
        Margins of unlearned models on forgotten rows, see :func:`logit_margin`. The challenge
        had 512.
    oracle : array-like of shape (n_oracles, n_rows)
        Margins of models retrained without these rows.
    oracle_null : array-like of shape (n_null, n_rows) or None, default=None
        A second set of retrained models in the place of `unlearned`, for the null. None: the
        first half of `oracle` against the second.
    delta : float, default=1e-5
        Of differential privacy, in [0, 1].
    confidence_level : float, default=0.95
    n_resamples : int, default=500
        Bootstrap samples of rows.
    random_state : int, RandomState or None, default=0
        Of the bootstrap.

    Returns
    -------
    result : MetricResult
        F in [0, 1], higher is better. ``per_row`` has each row's :math:`\varepsilon`. The interval
        is over forgotten rows for the models given, and does not know the randomness of training.

    Raises
    ------
    ValueError
        If a set has fewer than 10 models, shapes differ, or a number is not finite.

    Notes
    -----
    *Print the null.* The best of many rules is chosen on the models it is judged on, so a perfect
    removal does not reach 1: two independent sets of retrained models score about 0.19, whether
    there are 50 models or 500. For anything but comparison with the challenge, prefer
    :func:`klom`.

    It sees forgotten rows only: a model that answers just these from a retrained net passes, see
    :ref:`blind_spots`.

    After the published evaluation code: one threshold (a hundred per unit of margin), and an
    interval whose width is within 2 of the narrower sample's range; rules with exactly one of
    the rates 0 are left out; a row that some rule separates perfectly, or one sample of which has
    less than 1 % of the other's range, scores 0.

    Cost: 160 000 intervals a row, some milliseconds; the null doubles it.

    References
    ----------
    .. [1] E. Triantafillou et al., "Are we making progress in unlearning? Findings from the first
       NeurIPS unlearning competition", arXiv:2406.09073, 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_unlearn.metrics import forgetting_quality
    >>> rng = np.random.default_rng(0)
    >>> retrained = rng.normal(size=(100, 10))
    >>> untouched = rng.normal(size=(50, 10)) + 6.0
    >>> result = forgetting_quality(untouched, retrained)
    >>> result.value < 0.01, 0.05 < result.null < 0.4
    (True, True)
    """
    boot = Bootstrap(confidence_level, n_resamples, random_state)
    delta = check_real("delta", delta, 0, 1, inclusive=True)
    needs = {"at_least": MIN_MODELS, "why": "forgetting quality"}
    unlearned = check_models("unlearned", unlearned, **needs)
    oracle = check_models("oracle", oracle, **needs)
    check_same("unlearned", unlearned, "oracle", oracle)
    pair = null_pair(oracle, oracle_null, **needs)

    weights = boot.weights(unlearned.shape[1]) / unlearned.shape[1]
    epsilon, value, interval = _score(unlearned, oracle, delta, weights, boot)
    _, null, null_interval = _score(*pair, delta, weights, boot)
    return MetricResult(
        "forgetting quality F (NeurIPS 2023, compat)",
        value,
        interval,
        null,
        null_interval,
        boot.level,
        epsilon,
        {"n_models": [len(unlearned), len(oracle)], "n_null": [len(x) for x in pair]},
    )


def _score(a, b, delta, weights, boot):
    epsilon = np.array([_epsilon(*row, delta) for row in zip(a.T, b.T, strict=True)])
    points = 0.5 ** np.floor(epsilon / BIN_WIDTH)
    value = float(points.mean())
    interval = boot.interval(value, weights @ points, 0.0, 1.0) if len(points) > 1 else None
    return epsilon, value, interval


def _epsilon(a, b, delta):
    """Largest epsilon that any rule shows between two samples of one row's margin."""
    positive, negative = (a, b) if np.median(a) >= np.median(b) else (b, a)
    positive, negative = np.sort(positive), np.sort(negative)
    ranges = np.ptp(positive), np.ptp(negative)
    if max(ranges) == 0 and positive[0] == negative[0]:
        return 0.0
    if min(ranges) < NARROW * max(ranges) or max(ranges) == 0:
        return math.inf
    rules = _one_threshold(positive, negative), _intervals(positive, negative)
    return max(_largest(*rates, delta) for rates in rules)


def _largest(fpr, fnr, delta):
    if ((fpr == 0) & (fnr == 0)).any():
        return math.inf
    kept = (fpr > 0) & (fnr > 0)
    fpr, fnr = fpr[kept], fnr[kept]
    power = np.maximum((1 - delta - fpr) / fnr, (1 - delta - fnr) / fpr)
    return math.log(max(power.max(initial=1.0), 1.0))


def _one_threshold(positive, negative):
    """Rates of "positive from here on" over the joint range."""
    low, high = min(positive[0], negative[0]), max(positive[-1], negative[-1])
    thresholds = np.linspace(low, high, math.ceil((high - low) * THRESHOLDS_PER_UNIT))
    fpr = 1 - np.searchsorted(negative, thresholds, "left") / len(negative)
    return fpr, np.searchsorted(positive, thresholds, "left") / len(positive)


def _intervals(positive, negative):
    """Rates of "the narrower sample between these two"."""
    if np.ptp(positive) >= np.ptp(negative):
        positive, negative = negative, positive
    width = np.ptp(positive)
    first, last = positive[0] + width - BUFFER, positive[-1] + BUFFER
    right = np.linspace(first, last, math.ceil((last - first) * THRESHOLDS_PER_UNIT))
    n_left = math.ceil(2 * BUFFER * THRESHOLDS_PER_UNIT)
    both = np.concatenate([positive, negative])
    order = np.argsort(both)
    both, is_positive = both[order], order < len(positive)
    # most intervals hold the same margins as others: keep one for each pair of ranks
    seen = np.zeros((len(both) + 1,) * 2, bool)
    # written as in the published code: the ends of a sample lie on this grid, and rounding
    # decides whether they are inside
    left = np.linspace(right - width - BUFFER, right - width + BUFFER, n_left, axis=1)
    upto = np.searchsorted(both, right, "right")[:, None]
    seen[upto, np.searchsorted(both, left, "left")] = True
    upto, below = np.nonzero(seen)
    inside = []
    for member in (~is_positive, is_positive):
        count = np.append(0, member.cumsum())
        inside.append(np.maximum(count[upto] - count[below], 0) / member.sum())
    return inside[0], 1 - inside[1]
