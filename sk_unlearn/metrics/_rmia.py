"""RMIA: membership by pairwise likelihood ratios against rows of the population."""

import numpy as np
from scipy.special import expit

from sk_unlearn.metrics._membership import attack_result
from sk_unlearn.metrics._roc import placements
from sk_unlearn.metrics._validation import check_mask, check_models, check_real, check_same

ENDS = ("left", "right")


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

    Where a held-out row belongs to the population itself, the row and the forgotten row that it is
    compared with are both scored against the rest of the population [ours]. So both stand before
    the same rows, and a perfect removal has an AUC of 0.5 on average, with ties and in groups of
    any sizes.

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
        Held-out rows that serve as z. None: all of them.
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
        Mean AUC over models with DeLong's interval; ``per_row`` has each row's mean score against
        the whole population. ``details["tpr_at_fpr"]``: see :func:`membership_attack`.
        ``details["tied"]``: share of the pairs of a forgotten and a held-out row that the attack
        cannot rank. The null attacks each retrained model with the help of the others.

    Raises
    ------
    ValueError
        If there are fewer than 2 oracle models, shapes differ, a number is not finite, or a mask
        has rows on one side only.

    Notes
    -----
    An AUC of 0.5 with a share "tied" near 1 is that of a blind attack: where all probabilities
    are near 1, none is `gamma` times another. A `gamma` of 1 ranks such rows.

    It compares forgotten with held-out rows of the same models: what the models do to other
    rows it cannot see, see :ref:`blind_spots`.

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
    target = _ratio(unlearned, total / len(oracle), a)
    null = _ratio(oracle, (total - oracle) / (len(oracle) - 1), a)
    scores, pairs, tied = _attack(target, is_forget, is_population, gamma)
    null_scores, null_pairs, _ = _attack(null, is_forget, is_population, gamma)
    result = attack_result(
        "RMIA", scores, null_scores, is_forget, fpr, level, pairs=pairs, null_pairs=null_pairs
    )
    result.details["tied"] = tied
    return result


def _ratio(p, p_out, a):
    """How much likelier a row is under the model than without it, shape (n_models, n_rows)."""
    return p / ((1 + a) / 2 * np.maximum(p_out, 0) + (1 - a) / 2 + np.finfo(float).tiny)


def _attack(ratio, is_forget, is_population, gamma):
    """Scores of the rows, placements of forgotten and held-out rows, and the share of ties."""
    reach = ratio / gamma
    beaten = np.stack(
        [
            np.searchsorted(np.sort(row[is_population]), limit, "right")
            for row, limit in zip(ratio, reach, strict=True)
        ]
    )
    found = [
        _placements(*rows, is_forget, is_population)
        for rows in zip(ratio, reach, beaten, strict=True)
    ]
    pairs = [(of_forgotten, of_held_out) for of_forgotten, of_held_out, _ in found]
    tied = float(np.mean([share for *_, share in found]))
    return beaten / is_population.sum(), pairs, tied


def _placements(ratio, reach, beaten, is_forget, is_population):
    """Placements where each pair is scored against a population without its held-out row.

    Parameters
    ----------
    ratio, reach : ndarray of shape (n_rows,)
        A row beats those of the population with a ratio of at most its reach.
    beaten : ndarray of int, shape (n_rows,)
        Rows of the whole population that each row beats.
    is_forget, is_population : ndarray of bool, shape (n_rows,)

    Returns
    -------
    of_forgotten, of_held_out : ndarray
        As those of `placements`.
    tied : float
        Share of pairs that tie.
    """
    count = beaten - (is_population & (ratio <= reach))  # a row is no rival of its own
    forgotten, held_out = count[is_forget], count[~is_forget]
    of_forgotten, of_held_out = placements(forgotten, held_out)

    # A forgotten row that beats the held-out one has a row less to beat without it. It beats all
    # that the held-out row beats as well: so it still wins, or ties if there are no others.
    order = np.argsort(ratio[is_population])  # what rows beat rises with their ratio
    rivals = np.flatnonzero(is_population)[order]
    first, last = (np.searchsorted(count[rivals], forgotten - 1, end) for end in ENDS)
    even = np.maximum(np.minimum(last, forgotten) - first, 0)  # it beats the first rivals
    of_forgotten -= even / (2 * len(held_out))

    order = np.argsort(reach[is_forget])
    first, last = (np.searchsorted(forgotten[order], count[rivals] + 1, end) for end in ENDS)
    first = np.maximum(first, np.searchsorted(reach[is_forget][order], ratio[rivals], "left"))
    of_rivals = np.zeros(len(ratio))
    of_rivals[rivals] = np.maximum(last - first, 0) / (2 * len(forgotten))
    of_held_out -= of_rivals[~is_forget]

    left, right = (np.searchsorted(np.sort(held_out), forgotten, end) for end in ENDS)
    return of_forgotten, of_held_out, float((right - left + even).mean() / len(held_out))
