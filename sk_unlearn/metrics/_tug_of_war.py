"""Accuracies of unlearned and retrained models in one number."""

import numpy as np

from sk_unlearn.metrics._resampling import Bootstrap, enough_for_interval, null_pair
from sk_unlearn.metrics._result import MetricResult
from sk_unlearn.metrics._validation import check_models, check_same

AXES = "(n_models, n_sets)"


def tug_of_war(
    unlearned,
    oracle,
    *,
    oracle_null=None,
    confidence_level=0.95,
    n_resamples=500,
    random_state=0,
):
    r"""Tug-of-war score: closeness of accuracies on the forget, retain and test sets.

    .. math::

       \mathrm{ToW} = \prod_{S \in \{\text{forget}, \text{retain}, \text{test}\}}
         \bigl( 1 - \lvert \mathrm{acc}_u(S) - \mathrm{acc}_o(S) \rvert \bigr)

    1 means the accuracies of retrained models [1]_. Accuracies are first averaged over models
    [ours].

    Parameters
    ----------
    unlearned : array-like of shape (n_models, n_sets)
        Accuracies in [0, 1] of unlearned models, a column for each set of rows, usually forget,
        retain, test. One model is enough.
    oracle : array-like of shape (n_oracles, n_sets)
        Accuracies of retrained models on the same sets. With one model there is no null, unless
        `oracle_null` is given.
    oracle_null : array-like of shape (n_null, n_sets) or None, default=None
        A second set of retrained models in the place of `unlearned`, for the null. None: the
        first half of `oracle` against the second.
    confidence_level : float, default=0.95
    n_resamples : int, default=500
        Bootstrap samples of models.
    random_state : int, RandomState or None, default=0
        Of the bootstrap.

    Returns
    -------
    result : MetricResult
        In [0, 1], higher is better. ``details["gaps"]``: accuracy of unlearned minus retrained
        models on each set.

    Raises
    ------
    ValueError
        If the numbers of columns differ, or an accuracy is outside [0, 1].

    Notes
    -----
    It sees accuracies only: a removal that leaves every trace in the margins can score 1.

    Cost: O(n_resamples n_models n_sets).

    References
    ----------
    .. [1] K. Zhao, M. Kurmanji, G.-O. Barbulescu, E. Triantafillou and P. Triantafillou, "What
       makes unlearning hard and what to do about it", NeurIPS 2024.

    Examples
    --------
    >>> from sk_unlearn.metrics import tug_of_war
    >>> retrained = [[0.80, 0.99, 0.90], [0.84, 0.99, 0.90]]
    >>> untouched = [[1.00, 0.99, 0.90]]
    >>> print(tug_of_war(untouched, retrained))
    tug of war: 0.82, null 0.96
    """
    boot = Bootstrap(confidence_level, n_resamples, random_state)
    unlearned = _check("unlearned", unlearned)
    oracle = _check("oracle", oracle)
    check_same("unlearned", unlearned, "oracle", oracle)
    if oracle_null is not None:
        oracle_null = _check("oracle_null", oracle_null)
    gaps = unlearned.mean(0) - oracle.mean(0)
    value, interval = _score(unlearned, oracle, boot)
    null = null_interval = None
    if oracle_null is not None or len(oracle) > 1:
        pair = null_pair(oracle, oracle_null, at_least=1, why="tug of war", axes=AXES)
        null, null_interval = _score(*pair, boot)
    return MetricResult(
        "tug of war",
        value,
        interval,
        null,
        null_interval,
        boot.level,
        details={"gaps": gaps},
    )


def _check(name, accuracy):
    accuracy = check_models(name, accuracy, axes=AXES)
    if accuracy.min() < 0 or accuracy.max() > 1:
        worst = accuracy.min() if accuracy.min() < 0 else accuracy.max()
        raise ValueError(f"{name} must hold accuracies in [0, 1], got {worst:g}.")
    return accuracy


def _score(a, b, boot):
    def product(mean_a, mean_b):
        return np.prod(1 - np.abs(mean_a - mean_b), axis=-1)

    value = float(product(a.mean(0), b.mean(0)))
    if not enough_for_interval(a, b):
        return value, None
    means = (boot.weights(len(x)) @ x / len(x) for x in (a, b))
    return value, boot.interval(value, product(*means), 0.0, 1.0)
