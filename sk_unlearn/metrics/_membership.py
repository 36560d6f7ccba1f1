"""Attacks that need one model only: loss, confidence and entropy."""

import numpy as np
from scipy.special import xlog1py, xlogy

from sk_unlearn.metrics._margin import logit_margin
from sk_unlearn.metrics._result import MetricResult
from sk_unlearn.metrics._roc import auc_interval, tpr_at_fpr
from sk_unlearn.metrics._validation import (
    check_array,
    check_labels,
    check_mask,
    check_option,
    check_probabilities,
    check_real,
    check_same,
)

AXES = "(n_rows, n_classes) or (n_models, n_rows, n_classes)"
SCORES = ("loss", "confidence", "entropy", "modified_entropy")


def membership_attack(
    proba,
    y,
    is_forget,
    *,
    oracle=None,
    score="loss",
    labels=None,
    fpr=0.01,
    confidence_level=0.95,
):
    r"""Screen: does one model still treat forgotten rows like rows it was trained on.

    Rows are ranked by a score that is high for training rows, and the AUC of forgotten against
    held-out rows is reported: the chance that a random forgotten row scores above a random
    held-out one.

    ==================  ===================================================================
    "loss"              :math:`\log p_y` [1]_
    "confidence"        :math:`\max_c p_c`, without the label [2]_
    "entropy"           :math:`\sum_c p_c \log p_c`, without the label [2]_
    "modified_entropy"  :math:`(1 - p_y) \log p_y + \sum_{c \neq y} p_c \log (1 - p_c)` [3]_
    ==================  ===================================================================

    Parameters
    ----------
    proba : array-like of shape (n_rows, n_classes) or (n_models, n_rows, n_classes)
        Probabilities of one or several unlearned models on forgotten and held-out rows.
    y : array-like of shape (n_rows,)
        Label of each row: its column number, or a value of `labels`.
    is_forget : array-like of bool, shape (n_rows,)
        True: forgotten. False: held out, never trained on.
    oracle : array-like, shaped as `proba`, or None, default=None
        Probabilities of retrained models on the same rows; they give the null. Without them
        ``null`` is None. It is 0.5 only if the forgotten rows are as easy as the held-out ones:
        not for a forgotten class, and not for mislabelled or hard rows.
    score : {"loss", "confidence", "entropy", "modified_entropy"}, default="loss"
    labels : array-like of shape (n_classes,) or None, default=None
        Label of each column, such as ``clf.classes_``. None: 0 to n_classes - 1.
    fpr : float, default=0.01
        False positive rate in (0, 1) at which the true positive rate is given.
    confidence_level : float, default=0.95

    Returns
    -------
    result : MetricResult
        Mean AUC over models with DeLong's interval [4]_; ``per_row`` has each row's mean score.
        ``details["tpr_at_fpr"]``: the largest true positive rate at a false positive rate of at
        most `fpr`, with the Clopper-Pearson interval over forgotten rows for the threshold found.

    Raises
    ------
    ValueError
        If shapes differ, probabilities or labels are outside their range, or there are no
        forgotten or no held-out rows.

    Notes
    -----
    A screen only: what these attacks miss, :func:`u_lira` and :func:`klom` may find, and an AUC
    *below* the null is a trace too: a row pushed to a high loss stands out. It compares forgotten
    with held-out rows: a model that answers just the forgotten ones from a retrained net passes,
    see :ref:`blind_spots`.

    Several models share their rows. The interval of the AUC adds the variance over rows to that
    over models; the one of the true positive rate counts rows once, whatever the number of models.

    Cost: O(n_models n_rows (n_classes + log n_rows)).

    References
    ----------
    .. [1] S. Yeom, I. Giacomelli, M. Fredrikson and S. Jha, "Privacy risk in machine learning",
       CSF 2018.
    .. [2] A. Salem et al., "ML-Leaks", NDSS 2019.
    .. [3] L. Song and P. Mittal, "Systematic evaluation of privacy risks of machine learning
       models", USENIX Security 2021.
    .. [4] E. R. DeLong, D. M. DeLong and D. L. Clarke-Pearson, "Comparing the areas under two or
       more correlated receiver operating characteristic curves", Biometrics 44, 1988.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_unlearn.metrics import membership_attack
    >>> rng = np.random.default_rng(0)
    >>> is_forget = np.arange(200) < 100
    >>> margin = rng.normal(size=200) + 2.0 * is_forget
    >>> p = 1 / (1 + np.exp(-margin))  # of the label, class 1
    >>> result = membership_attack(np.column_stack([1 - p, p]), np.ones(200, int), is_forget)
    >>> round(result.value, 1), result.null is None
    (0.9, True)
    """
    level = check_real("confidence_level", confidence_level, 0, 1)
    fpr = check_real("fpr", fpr, 0, 1)
    check_option("score", score, SCORES)
    target = _score("proba", proba, y, labels, score)
    null = None
    if oracle is not None:
        null = _score("oracle", oracle, y, labels, score)
        check_same("proba", target, "oracle", null)
    is_forget = check_mask("is_forget", is_forget, target.shape[1])
    return attack_result(f"{score} attack", target, null, is_forget, fpr, level)


def _score(name, proba, y, labels, score):
    """High where a row looks trained on, shape (n_models, n_rows)."""
    original, proba = proba, check_array(name, proba, ndim=(2, 3), axes=AXES)
    if proba.shape[-1] < 2:
        raise ValueError(f"{name} must have at least 2 columns, got {proba.shape[-1]}.")
    check_probabilities(name, proba)
    column = check_labels("y", y, proba.shape[-2], proba.shape[-1], labels)
    if score == "loss":
        values = -np.logaddexp(0, -logit_margin(original, column, kind="proba"))
    elif score == "confidence":
        values = proba.max(-1)
    elif score == "entropy":
        values = xlogy(proba, proba).sum(-1)
    else:
        values = _modified_entropy(proba, column)
    return values if values.ndim == 2 else values[None]


def _modified_entropy(proba, column):
    """Minus the modified entropy; a probability that rounds to 0 or 1 counts as next to it."""
    limit = np.finfo(float).tiny, 1 - np.finfo(float).epsneg
    index = np.broadcast_to(column[:, None], (*proba.shape[:-1], 1))
    own = np.take_along_axis(proba, index, -1)[..., 0]
    others = xlog1py(proba, -np.minimum(proba, limit[1]))
    np.put_along_axis(others, index, 0.0, -1)
    return xlogy(1 - own, np.maximum(own, limit[0])) + others.sum(-1)


def attack_result(name, target, null, is_forget, fpr, level, *, pairs=None, null_pairs=None):
    """AUC and TPR of forgotten against held-out rows.

    Parameters
    ----------
    name : str
    target : ndarray of shape (n_models, n_rows)
        Scores under unlearned models.
    null : ndarray of shape (n_oracles, n_rows) or None
        Scores under retrained models.
    is_forget : ndarray of bool, shape (n_rows,)
    fpr, level : float
    pairs, null_pairs : list of tuple of ndarray or None
        Of `auc_interval`.

    Returns
    -------
    result : MetricResult
    """
    auc, tpr = _measure(target, is_forget, fpr, level, pairs)
    null_auc, null_tpr = _measure(null, is_forget, fpr, level, null_pairs)
    details = {
        "tpr_at_fpr": MetricResult(
            f"{name} TPR at {100 * fpr:g} % FPR", *tpr, *null_tpr, confidence_level=level
        )
    }
    return MetricResult(
        f"{name} AUC",
        *auc,
        *null_auc,
        confidence_level=level,
        per_row=target.mean(0),
        details=details,
    )


def _measure(scores, is_forget, fpr, level, pairs):
    """AUC and TPR, each with its interval."""
    if scores is None:
        return (None, None), (None, None)
    sides = scores[:, is_forget], scores[:, ~is_forget]
    return auc_interval(*sides, level, pairs), tpr_at_fpr(*sides, fpr, level)
