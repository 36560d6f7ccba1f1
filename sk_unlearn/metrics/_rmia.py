"""RMIA: membership by pairwise likelihood ratios against rows of the population."""

import numpy as np
from scipy.special import expit

from sk_unlearn.metrics._membership import attack_result
from sk_unlearn.metrics._validation import check_mask, check_models, check_real, check_same


def rmia(
    unlearned,
    oracle,
    is_forget,
    *,
    is_population=None,
    gamma=2.0,
    a=0.3,
    fpr=0.01,
    confidence_level=0.95,
):
    r"""Robust membership inference: are forgotten rows still likelier than others in comparison.

    For a model :math:`\theta`, the score of row :math:`x` is the share of population rows
    :math:`z` that it beats [1]_:

    .. math::

       \mathrm{score}(x) = \Pr_z \left( \frac{p(x \mid \theta) / p(x)}
         {p(z \mid \theta) / p(z)} \ge \gamma \right), \qquad
       p(x) = \frac{(1 + a)\, \bar p_{\mathrm{out}}(x) + (1 - a)}{2}

    where :math:`p(x \mid \theta)` is the probability of the row's label and
    :math:`\bar p_{\mathrm{out}}` its mean over models that never saw the row, here the retrained
    ones (the offline form of the attack). Scores of forgotten rows are compared with those of
    held-out rows.

    Parameters
    ----------
    unlearned : array-like of shape (n_models, n_rows)
        Margins of the models under attack, one is enough; see :func:`logit_margin`.
    oracle : array-like of shape (n_oracles, n_rows)
        Margins of retrained models on the same rows, at least 2. None of them saw any of the
        rows.
    is_forget : array-like of bool, shape (n_rows,)
        True: forgotten. False: held out, never trained on.
    is_population : array-like of bool, shape (n_rows,), or None, default=None
        Held-out rows that serve as z. None: all of them. A row is not compared with itself.
    gamma : float, default=2.0
        How much likelier a row must have become than z; at least 1.
    a : float, default=0.3
        In [0, 1]. Assumes that training on a row lifts its probability from p to a p + 1 - a: with
        1 it changes nothing, with 0 every row that was trained on reaches 1.
    fpr : float, default=0.01
        False positive rate in (0, 1) at which the true positive rate is given.
    confidence_level : float, default=0.95

    Returns
    -------
    result : MetricResult
        Mean AUC over models with DeLong's interval; ``per_row`` has each row's mean score.
        ``details["tpr_at_fpr"]``: see :func:`membership_attack`. The null attacks each retrained
        model with the help of the others.

    Raises
    ------
    ValueError
        If there are fewer than 2 oracle models, shapes differ, a number is not finite, or a mask
        has rows on one side only.

    Notes
    -----
    Cost: O(n_models n_rows log n_rows), and as much for each oracle model.

    References
    ----------
    .. [1] S. Zarifzadeh, P. Liu and R. Shokri, "Low-cost high-power membership inference
       attacks", ICML 2024, arXiv:2312.03262.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_unlearn.metrics import rmia
    >>> rng = np.random.default_rng(0)
    >>> is_forget = np.arange(300) < 100
    >>> difficulty = rng.normal(size=300)
    >>> retrained = difficulty + 0.3 * rng.normal(size=(8, 300))
    >>> untouched = difficulty + 0.3 * rng.normal(size=(1, 300)) + 2.0 * is_forget
    >>> result = rmia(untouched, retrained, is_forget)
    >>> result.value > 0.9, abs(result.null - 0.5) < 0.1
    (True, True)
    """
    level = check_real("confidence_level", confidence_level, 0, 1)
    fpr = check_real("fpr", fpr, 0, 1)
    gamma = check_real("gamma", gamma, 1, 1e6, inclusive=True)
    a = check_real("a", a, 0, 1, inclusive=True)
    unlearned = check_models("unlearned", unlearned)
    oracle = check_models("oracle", oracle, at_least=2, why="RMIA and its null")
    check_same("unlearned", unlearned, "oracle", oracle)
    is_forget = check_mask("is_forget", is_forget, unlearned.shape[1])
    if is_population is None:
        is_population = ~is_forget
    else:
        is_population = check_mask("is_population", is_population, unlearned.shape[1], both=False)
        if (is_population & is_forget).any():
            row = int(np.flatnonzero(is_population & is_forget)[0])
            raise ValueError(f"is_population must not mark forgotten rows, got row {row}.")
    if is_population.sum() < 2:
        raise ValueError("is_population must mark at least 2 rows, got 1.")

    unlearned, oracle = expit(unlearned), expit(oracle)
    total = oracle.sum(0)
    target = _scores(unlearned, total / len(oracle), is_population, gamma, a)
    others = (total - oracle) / (len(oracle) - 1)
    null = _scores(oracle, others, is_population, gamma, a)
    return attack_result("RMIA", target, null, is_forget, fpr, level)


def _scores(p, p_out, is_population, gamma, a):
    """Share of population rows that each row beats, shape (n_models, n_rows)."""
    ratio = p / ((1 + a) / 2 * np.maximum(p_out, 0) + (1 - a) / 2 + np.finfo(float).tiny)
    scores = np.empty_like(ratio)
    for k, row in enumerate(ratio):
        population = np.sort(row[is_population])
        scores[k] = np.searchsorted(population, row / gamma, "right")
    scores[:, is_population] -= ratio[:, is_population] <= ratio[:, is_population] / gamma
    return scores / np.where(is_population, is_population.sum() - 1, is_population.sum())
