"""U-LiRA: the likelihood-ratio attack on unlearned models, scored out of sample."""

import numpy as np

from sk_unlearn.metrics._resampling import Bootstrap, enough_for_interval, few_models, null_pair
from sk_unlearn.metrics._result import MetricResult
from sk_unlearn.metrics._roc import mean_placement, weighted_tpr
from sk_unlearn.metrics._validation import check_count, check_models, check_real, check_same

MIN_MODELS = 4
VARIANCE_FLOOR = 1e-12


def u_lira(
    unlearned,
    oracle,
    *,
    oracle_null=None,
    n_folds=None,
    fpr=0.01,
    confidence_level=0.95,
    n_resamples=500,
    random_state=0,
):
    r"""Attack that guesses from a row's margin whether the model was unlearned or retrained.

    U-LiRA [1]_ [2]_: for each row, fit the margins under "trained on it, then forgotten"
    (`unlearned`) and "never seen" (`oracle`), and score models that took no part in the fit by

    .. math::

       \Lambda(\varphi) = \log t_\nu \left( \frac{\varphi - \mu_u}{s_u} \right)
         - \log t_\nu \left( \frac{\varphi - \mu_o}{s_o} \right)
         - \log \frac{s_u}{s_o}, \qquad s_k^2 = s^2 \left( 1 + \frac{1}{n_k} \right)

    with one variance :math:`s^2` for both sets and :math:`\nu = n_u + n_o - 2` [ours: with few
    models the two variances of the original are too noisy]. A perfect removal leaves nothing
    to guess: balanced accuracy 0.5.

    Parameters
    ----------
    unlearned : array-like of shape (n_models, n_rows)
        Margins of unlearned models on forgotten rows, see :func:`logit_margin`.
    oracle : array-like of shape (n_oracles, n_rows)
        Margins of models retrained without these rows.
    oracle_null : array-like of shape (n_null, n_rows) or None, default=None
        A second set of retrained models in the place of `unlearned`, for the null. None: the
        first half of `oracle` against the second.
    n_folds : int or None, default=None
        Every fold holds models of both kinds; each is scored by a fit to the other folds. None:
        10, or the number of models if that is smaller.
    fpr : float, default=0.01
        False positive rate in (0, 1) at which the true positive rate is given.
    confidence_level : float, default=0.95
    n_resamples : int, default=500
        Bootstrap samples of models.
    random_state : int, RandomState or None, default=0
        Of the bootstrap.

    Returns
    -------
    result : MetricResult
        Balanced accuracy at :math:`\Lambda = 0`; ``per_row`` has that of each row. ``details``:
        "auc" and "tpr_at_fpr" (rows pooled in each fold, mean over folds), "n_folds" and
        "n_shadows", the models of each kind that a fit has seen at least.

    Raises
    ------
    ValueError
        If a set has fewer than 4 models, shapes differ, or a number is not finite.

    Notes
    -----
    A model that took part in the fit looks more like its own set than it is. Scoring it all the
    same gives balanced accuracies above 0.55 to a perfect removal with 16 models of each kind;
    here the expectation is 0.5 whatever the number of models. Curves are taken inside folds:
    scores of different folds come from different fits and must not be ranked together.

    It sees the rows that it is given. On forgotten rows alone, a model that answers just these
    from a retrained net passes: see :ref:`blind_spots`.

    The true positive rate is the highest at a false positive rate of at most `fpr`. With n scores
    of retrained models in a fold (rows times models), chance alone gives
    ``(floor(fpr * n) + 1) / (n + 1)``: have well over 1 / fpr of them.

    The interval resamples models without fitting anew, and is widened by
    :math:`\sqrt{1 + k / (k - 1)}` with k folds for the fits that folds share [3]_, and by
    Student's t for the number of models of the smaller set.

    Cost: O(n_models n_rows) for the fits, O(n_resamples n_models n_rows) for the interval.

    References
    ----------
    .. [1] M. Kurmanji, P. Triantafillou, J. Hayes and E. Triantafillou, "Towards unbounded
       machine unlearning", NeurIPS 2023.
    .. [2] J. Hayes et al., "Inexact unlearning needs more careful evaluations to avoid a false
       sense of privacy", arXiv:2403.01218, 2024.
    .. [3] C. Nadeau and Y. Bengio, "Inference for the generalization error", Machine Learning 52,
       2003.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_unlearn.metrics import u_lira
    >>> rng = np.random.default_rng(0)
    >>> retrained = rng.normal(size=(64, 50))
    >>> untouched = rng.normal(size=(32, 50)) + 3.0  # still fits the forgotten rows well
    >>> result = u_lira(untouched, retrained)
    >>> round(result.value, 2), abs(result.null - 0.5) < 0.05
    (0.93, True)
    """
    boot = Bootstrap(confidence_level, n_resamples, random_state)
    fpr = check_real("fpr", fpr, 0, 1)
    needs = {"at_least": MIN_MODELS, "why": "U-LiRA"}
    unlearned = check_models("unlearned", unlearned, **needs)
    oracle = check_models("oracle", oracle, **needs)
    check_same("unlearned", unlearned, "oracle", oracle)
    first, second = null_pair(oracle, oracle_null, **needs)
    if n_folds is not None and check_count("n_folds", n_folds, 2) > min(
        len(unlearned), len(oracle)
    ):
        raise ValueError(
            f"n_folds must be at most the number of models in each set, got {n_folds} folds for "
            f"{len(unlearned)} unlearned and {len(oracle)} oracle models."
        )

    attack = _Attack(unlearned, oracle, n_folds)
    values, intervals = attack.summary(fpr, boot)
    null = _Attack(first, second, n_folds)
    nulls, null_intervals = null.summary(fpr, boot)
    titles = (
        "U-LiRA balanced accuracy",
        "U-LiRA AUC",
        f"U-LiRA TPR at {100 * fpr:g} % FPR",
    )
    main, auc, tpr = (
        (title, *numbers, boot.level)
        for title, *numbers in zip(titles, values, intervals, nulls, null_intervals, strict=True)
    )
    details = {
        "auc": MetricResult(*auc),
        "tpr_at_fpr": MetricResult(*tpr),
        "n_folds": attack.n_folds,
        "n_shadows": attack.n_shadows,
    }
    return MetricResult(*main, per_row=attack.per_row, details=details)


class _Attack:
    """Likelihood ratios of all models, each from a fit without its fold."""

    def __init__(self, a, b, n_folds):
        self.n_folds = min(n_folds or 10, len(a), len(b))
        self.fold_a, self.fold_b = (np.arange(len(x)) % self.n_folds for x in (a, b))
        self.scores_a, self.scores_b = np.empty_like(a), np.empty_like(b)
        seen = []
        for k in range(self.n_folds):
            fit_a, fit_b = a[self.fold_a != k], b[self.fold_b != k]
            seen.append(min(len(fit_a), len(fit_b)))
            for fold, x, scores in (
                (self.fold_a, a, self.scores_a),
                (self.fold_b, b, self.scores_b),
            ):
                scores[fold == k] = log_likelihood_ratio(x[fold == k], fit_a, fit_b)
        self.n_shadows = min(seen)
        right_a, right_b = _right(self.scores_a), _right(-self.scores_b)
        self.accuracy_a, self.accuracy_b = right_a.mean(1), right_b.mean(1)
        self.per_row = (right_a.mean(0) + right_b.mean(0)) / 2

    def summary(self, fpr, boot):
        """Balanced accuracy, AUC and TPR, and their intervals."""
        ones = [np.ones((1, len(x))) for x in (self.scores_a, self.scores_b)]
        folds = [self._fold(k) for k in range(self.n_folds)]
        values = [float(v[0]) for v in self._statistics(*ones, folds, fpr)]
        if not enough_for_interval(self.scores_a, self.scores_b):
            return values, [None] * 3
        weights = [boot.weights(len(x)) for x in (self.scores_a, self.scores_b)]
        replicates = self._statistics(*weights, folds, fpr)
        # Nadeau and Bengio: folds share most of their fits, which resampled scores cannot show
        widen = np.sqrt(1 + self.n_folds / (self.n_folds - 1))
        widen *= few_models(min(len(self.scores_a), len(self.scores_b)), boot.level)
        return values, [
            boot.interval(value, widen * replicate, 0.0, 1.0)
            for value, replicate in zip(values, replicates, strict=True)
        ]

    def _fold(self, k):
        a, b = self.scores_a[self.fold_a == k], self.scores_b[self.fold_b == k]
        return self.fold_a == k, self.fold_b == k, a, b, mean_placement(a, b)

    def _statistics(self, w_a, w_b, folds, fpr):
        accuracy = (w_a @ self.accuracy_a / w_a.sum(1) + w_b @ self.accuracy_b / w_b.sum(1)) / 2
        total, auc, tpr = (np.zeros(len(w_a)) for _ in range(3))
        for in_a, in_b, a, b, placement in folds:
            u, v = w_a[:, in_a], w_b[:, in_b]
            pairs = u.sum(1) * v.sum(1)
            total += pairs
            auc += np.einsum("bi,ij,bj->b", u, placement, v)
            tpr += pairs * weighted_tpr(a, b, u, v, fpr)
        with np.errstate(invalid="ignore"):  # a resample may miss every fold's one kind
            return accuracy, auc / total, tpr / total


def log_likelihood_ratio(x, fit_a, fit_b):
    """Log density of x under the fit to a, minus that under the fit to b.

    Parameters
    ----------
    x : ndarray of shape (n, n_rows)
    fit_a, fit_b : ndarray of shape (n_a, n_rows) and (n_b, n_rows)
        Each row of data has its own two Student-t densities with one variance.

    Returns
    -------
    score : ndarray of shape (n, n_rows)
    """
    dof = len(fit_a) + len(fit_b) - 2
    squares = sum(((f - f.mean(0)) ** 2).sum(0) for f in (fit_a, fit_b))
    log_density = []
    for fit in (fit_a, fit_b):
        scale = (squares / dof + VARIANCE_FLOOR) * (1 + 1 / len(fit))
        distance = (x - fit.mean(0)) ** 2 / (dof * scale)
        log_density.append(-(dof + 1) / 2 * np.log1p(distance) - np.log(scale) / 2)
    return log_density[0] - log_density[1]


def _right(score):
    """1 where the guess by the sign is right, 1/2 where there is none."""
    return (score > 0) + 0.5 * (score == 0)
