"""Interclass confusion: is the effect of swapped labels gone."""

import numpy as np

from sk_unlearn.metrics._resampling import Bootstrap, binomial_interval, enough_for_interval
from sk_unlearn.metrics._result import MetricResult


def interclass_confusion(
    y_true,
    y_pred,
    classes,
    *,
    oracle_pred=None,
    confidence_level=0.95,
    n_resamples=500,
    random_state=0,
):
    r"""Confusion between two classes whose labels were swapped in the forgotten rows.

    The test [1]_: swap the labels of some training rows of classes A and B, train, forget these
    rows, and count how often A and B are still taken for each other:

    .. math::

       \mathrm{IC} = \frac{n_{A \to B} + n_{B \to A}}{n_A + n_B} .

    Parameters
    ----------
    y_true : array-like of shape (n_rows,)
        *Correct* labels, of test rows (do new rows suffer?) or of the forgotten rows themselves
        (are the wrong labels remembered?).
    y_pred : array-like of shape (n_rows,) or (n_models, n_rows)
        Predicted labels of one or several unlearned models.
    classes : tuple of two labels
        A and B.
    oracle_pred : array-like of shape (n_rows,) or (n_oracles, n_rows) or None, default=None
        Predicted labels of models retrained without the swapped rows; they give the null.
    confidence_level : float, default=0.95
    n_resamples : int, default=500
        Bootstrap samples of models.
    random_state : int, RandomState or None, default=0
        Of the bootstrap.

    Returns
    -------
    result : MetricResult
        In [0, 1]; ``per_row`` has the share of models that take the row for the other class, 0
        for rows of further classes. ``details``: "first_as_second" and "second_as_first", rates
        among rows of A and of B. From 5 models on the interval resamples models; with fewer it is
        Clopper-Pearson over rows and does not know the randomness of training.

    Raises
    ------
    ValueError
        If shapes differ, or `classes` are not two different labels that occur in `y_true`.

    Notes
    -----
    Ask for test rows as well as for the forgotten ones: on these alone, a model that answers just
    them from a retrained net passes, see :ref:`blind_spots`.

    Cost: O(n_models n_rows).

    References
    ----------
    .. [1] S. Goel, A. Prabhu, A. Sanyal, S.-N. Lim, P. Torr and P. Kumaraguru, "Towards
       adversarial evaluations for inexact machine unlearning", arXiv:2201.06640, 2022.

    Examples
    --------
    >>> from sk_unlearn.metrics import interclass_confusion
    >>> y_true = ["cat", "cat", "dog", "dog", "cow"]
    >>> y_pred = ["dog", "cat", "dog", "cat", "cat"]
    >>> interclass_confusion(y_true, y_pred, ("cat", "dog")).value
    0.5
    """
    boot = Bootstrap(confidence_level, n_resamples, random_state)
    y_true = np.asarray(y_true)
    if y_true.ndim != 1 or y_true.size == 0:
        raise ValueError(f"y_true must be of shape (n_rows,) and not empty, got {y_true.shape}.")
    pair = list(classes) if isinstance(classes, (tuple, list, np.ndarray)) else [classes]
    if len(pair) != 2 or pair[0] == pair[1]:
        raise ValueError(f"classes must be two different labels, got {classes!r}.")
    rows = [y_true == label for label in pair]
    for label, hit in zip(pair, rows, strict=True):
        if not np.any(hit):
            raise ValueError(f"classes must occur in y_true, got {label!r}, which does not.")
    y_pred = _check("y_pred", y_pred, len(y_true))
    either = rows[0] | rows[1]
    wrong = _wrong(y_pred, rows, pair)
    value, interval = _rate(wrong[:, either], boot)
    null = null_interval = None
    if oracle_pred is not None:
        oracle_wrong = _wrong(_check("oracle_pred", oracle_pred, len(y_true)), rows, pair)
        null, null_interval = _rate(oracle_wrong[:, either], boot)
    return MetricResult(
        "interclass confusion",
        value,
        interval,
        null,
        null_interval,
        boot.level,
        wrong.mean(0),
        {
            "first_as_second": float(wrong[:, rows[0]].mean()),
            "second_as_first": float(wrong[:, rows[1]].mean()),
        },
    )


def _check(name, y_pred, n_rows):
    y_pred = np.asarray(y_pred)
    if y_pred.ndim not in (1, 2) or y_pred.shape[-1] != n_rows or y_pred.size == 0:
        raise ValueError(
            f"{name} must be of shape ({n_rows},) or (n_models, {n_rows}), one prediction for "
            f"each row of y_true, got {y_pred.shape}."
        )
    return np.atleast_2d(y_pred)


def _wrong(y_pred, rows, pair):
    """Where a row of one class is taken for the other, shape (n_models, n_rows)."""
    return (rows[0] & (y_pred == pair[1])) | (rows[1] & (y_pred == pair[0]))


def _rate(wrong, boot):
    value = float(wrong.mean())
    if enough_for_interval(wrong):
        means = boot.weights(len(wrong)) @ wrong.mean(1) / len(wrong)
        return value, boot.interval(value, means, 0.0, 1.0)
    n = wrong.shape[1]
    return value, binomial_interval(value * n, n, boot.level)
