"""Divergence between the predictions of unlearned and of retrained models."""

import numpy as np
from scipy.special import rel_entr

from sk_unlearn.metrics._pairs import pair_result
from sk_unlearn.metrics._resampling import Bootstrap
from sk_unlearn.metrics._validation import (
    check_models,
    check_option,
    check_probabilities,
    check_same,
)

SMALLEST = 1e-12
AXES = "(n_models, n_rows, n_classes)"
TITLES = {"js": "JS divergence", "kl": "KL divergence", "disagreement": "disagreement"}


def prediction_divergence(
    unlearned,
    oracle,
    *,
    kind="js",
    confidence_level=0.95,
    n_resamples=500,
    random_state=0,
):
    r"""Divergence between predictions of unlearned and of retrained models.

    Mean over rows and over all pairs of one unlearned model, with probabilities :math:`p`, and
    one retrained model, with :math:`q`:

    ==============  =====================================================================
    "js"            :math:`(\mathrm{KL}(p, m) + \mathrm{KL}(q, m)) / 2` with
                    :math:`m = (p + q) / 2` [1]_, in nats, at most log 2
    "kl"            :math:`\mathrm{KL}(p, q) = \sum_c p_c \log (p_c / q_c)`, in nats
    "disagreement"  share of rows with different most probable classes
    ==============  =====================================================================

    Parameters
    ----------
    unlearned : array-like of shape (n_models, n_rows, n_classes)
        Probabilities of unlearned models, one or more.
    oracle : array-like of shape (n_oracles, n_rows, n_classes)
        Probabilities of retrained models on the same rows. With one, there is no null.
    kind : {"js", "kl", "disagreement"}, default="js"
    confidence_level : float, default=0.95
    n_resamples : int, default=500
        Bootstrap samples of models.
    random_state : int, RandomState or None, default=0
        Of the bootstrap.

    Returns
    -------
    result : MetricResult
        The null is the mean over pairs of different retrained models: two trainings never agree
        fully. ``per_row`` has the mean over pairs of each row.

    Raises
    ------
    ValueError
        If shapes differ or probabilities are outside their range.

    Notes
    -----
    For "kl", a probability of `oracle` counts as 1e-12 at least.

    It sees the rows that it is given. On forgotten rows alone, a model that answers just these
    from a retrained net passes; retained and held-out rows betray it: see :ref:`blind_spots`.

    A mean over pairs can miss a shift that is small against the noise of training:
    :func:`klom` compares distributions instead.

    Cost: O((n_models + n_oracles) n_oracles n_rows n_classes).

    References
    ----------
    .. [1] J. Lin, "Divergence measures based on the Shannon entropy", IEEE Trans. Inf. Theory
       37(1), 1991.

    Examples
    --------
    >>> from sk_unlearn.metrics import prediction_divergence
    >>> unlearned = [[[1.0, 0.0]]]
    >>> retrained = [[[0.5, 0.5]], [[0.5, 0.5]]]
    >>> print(prediction_divergence(unlearned, retrained, kind="kl"))
    KL divergence: 0.693, null 0
    """
    boot = Bootstrap(confidence_level, n_resamples, random_state)
    check_option("kind", kind, TITLES)
    unlearned = check_models("unlearned", unlearned, ndim=3, axes=AXES)
    oracle = check_models("oracle", oracle, ndim=3, axes=AXES)
    check_same("unlearned", unlearned, "oracle", oracle)
    for name, array in (("unlearned", unlearned), ("oracle", oracle)):
        check_probabilities(name, array)

    if kind == "disagreement":
        unlearned, oracle = unlearned.argmax(-1), oracle.argmax(-1)
    measure = {"js": _js, "kl": _kl, "disagreement": np.not_equal}[kind]
    across, per_row = _pairs(measure, unlearned, oracle)
    within, _ = _pairs(measure, oracle, oracle)
    return pair_result(TITLES[kind], across, within, boot, per_row=per_row)


def _pairs(measure, a, b):
    """Mean over rows for each pair of models, and mean over pairs for each row."""
    matrix, per_row = np.empty((len(a), len(b))), 0.0
    for i, one in enumerate(a):
        rows = measure(one, b)
        matrix[i] = rows.mean(1)
        per_row = per_row + rows.mean(0) / len(a)
    return matrix, per_row


def _kl(p, q):
    return rel_entr(p, np.maximum(q, SMALLEST)).sum(-1)


def _js(p, q):
    middle = (p + q) / 2
    middle = np.maximum(middle, np.finfo(np.float64).tiny)  # half of the smallest number is zero
    return (rel_entr(p, middle) + rel_entr(q, middle)).sum(-1) / 2
