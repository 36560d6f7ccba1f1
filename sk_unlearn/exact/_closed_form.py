"""Closed-form models: exact removal in milliseconds."""

import numpy as np
import torch
from sklearn.utils.metaestimators import available_if

from sk_unlearn.exact._closed_form_base import BaseClosedForm
from sk_unlearn.exact._moments import ColumnMoments
from sk_unlearn.exact._target_frame import TargetFrame
from sk_unlearn.mixins import ForgetClassifierMixin, ForgetRegressorMixin
from sk_unlearn.utils._sklearn import StrOptions
from sk_unlearn.utils._transaction import on_snapshot

__all__ = ["ClosedFormClassifier", "ClosedFormRegressor"]


def _has_density(self):
    if self.head != "lda":
        raise AttributeError(f"score_samples needs head='lda', got head={self.head!r}")
    return True


class ClosedFormClassifier(ForgetClassifierMixin, BaseClosedForm):
    """Classifier computed from exact sums over rows: it forgets by subtracting.

    Guarantee: exact. After ``forget`` every number is bit-identical to that of a fresh ``fit``
    on the retained rows with the same ids and ``random_state``. Rows become integers by a map
    that depends on none of them; sums of integers are exact in float64 in whatever order they
    are taken, so that what a row added can be taken away again, to the last bit. The model is
    then computed from the sums anew. Cost: no gradient pass; the features of the rows that
    leave, and one Cholesky factor, milliseconds for a thousand features. If a request moves the
    unit of a column, all sums are taken anew, once through the rows: ``forget_cost`` says so.

    Parameters
    ----------
    features : None, "passthrough", transformer or FrozenEstimator, default=None
        What turns a row into features. None: random Fourier features of a Gaussian kernel.
        "passthrough": its numbers. A transformer that learns nothing from rows, or a
        :class:`~sklearn.frozen.FrozenEstimator` of one, or of a trained skorch net, whose
        activations are taken: these must have been trained on other rows than those that can
        be asked for, which nothing here can verify.
    head : {"ridge", "lda", "naive_bayes"}, default="ridge"
        Least squares on indicators of the classes; Gaussian classes with one covariance;
        Gaussian classes with independent features. Probabilities of all three are calibrated
        by one factor, on up to 256 rows, each as predicted by the model without it.
    alpha : float, list of float or "auto", default="auto"
        Penalty, in units of the kernel of a row with itself (or of the squared unit of a
        column). A list: the one with the least squared error on rows left out, for "ridge".
        "auto": 0.5 over the square root of the number of rows; for "naive_bayes" 0.01, a share
        of the largest variance.
    n_components : int, default=None
        Random Fourier features. None takes 1,024, or 1,792 for rows of more than 256 numbers.
    gamma : float, default=None
        Of the kernel exp(-gamma * squared distance) between rows in their units. None takes
        0.2 over the number of columns.
    layer : str, default=None
        Submodule of a net whose output is the features. None takes what its last linear layer
        reads.
    scaling : {"auto", "common", "columns"} or None, default="auto"
        Units of columns: one for all, or one for each; powers of two near the standard
        deviation. "auto" takes one for all where variances differ by factors of less than 256
        or so. None: as they are.
    keep : {"features", "inputs"}, default="features"
        What is kept of a row where ``features`` is a transformer or a net: what it makes of
        the row, or the row itself, which is then read anew wherever a request needs it:
        for features that take more room than rows. Rows that are read as they are (``features``
        None or "passthrough") are the same either way.
    random_state : int, RandomState instance or None, default=None
        Seed of the random features. Pass an int for results that repeat.
    verbose : int, default=0
        1 shows a progress bar over the rows.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels among the retained rows.
    features_ : FrozenEstimator or transformer
        Copy of ``features`` that rows go through, or the net trained on the public rows; not
        there without either.
    alpha_ : float
        Penalty used.
    cut_share_ : float
        Share of numbers more than 32 units from their centre, which count as 32.
    receipts_ : ForgetLedger
        One :class:`~sk_unlearn.receipts.ForgetReceipt` a request; its ``solver`` says whether
        sums were taken anew.
    n_features_in_ : int
        Features seen in ``fit``.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Where ``X`` had column names.

    See Also
    --------
    RetrainClassifier : Any estimator, at the cost of a full retrain.

    Notes
    -----
    It keeps a copy of the rows (of their features, where ``features`` is a transformer or a
    net, unless ``keep="inputs"``), of which those that leave are overwritten with zeros, and
    not ``X`` itself. Random Fourier features are never kept, but made anew at need.

    References
    ----------
    Y. Cao, J. Yang, "Towards making systems forget with machine unlearning", IEEE S&P, 2015:
    the summation form. That sums are taken of integers, so that subtraction is exact, is ours.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sk_unlearn import ClosedFormClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = ClosedFormClassifier(random_state=0).fit(X, y)
    >>> clf.forget(range(50)).classes_  # a whole class
    array([1, 2])
    >>> clf.receipts_[-1].n_forgotten, str(clf.receipts_[-1].guarantee)
    (50, 'exact')
    """

    _parameter_constraints: dict = {
        **BaseClosedForm._parameter_constraints,
        "head": [StrOptions({"ridge", "lda", "naive_bayes"})],
    }

    def __init__(
        self,
        features=None,
        *,
        head="ridge",
        alpha="auto",
        n_components=None,
        gamma=None,
        layer=None,
        scaling="auto",
        keep="features",
        random_state=None,
        verbose=0,
    ):
        self.features = features
        self.head = head
        self.alpha = alpha
        self.n_components = n_components
        self.gamma = gamma
        self.layer = layer
        self.scaling = scaling
        self.keep = keep
        self.random_state = random_state
        self.verbose = verbose

    @on_snapshot
    def predict(self, X):
        """Predict labels.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,)
        """
        self._check_is_fitted()
        return self.classes_[self._outputs(X).argmax(axis=1)]

    @on_snapshot
    def predict_proba(self, X):
        """Predict the probability of each class in ``classes_``.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
        """
        return torch.softmax(torch.from_numpy(self._outputs(X)), dim=1).numpy()

    @on_snapshot
    def decision_function(self, X):
        """Logarithms of the probabilities, but for a constant in each row.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_classes)
            Of two classes the difference.
        """
        scores = self._outputs(X)
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    @available_if(_has_density)
    @on_snapshot
    def score_samples(self, X):
        """Logarithm of the density of rows, in the space of the features.

        Only with ``head="lda"``.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        density : ndarray of shape (n_samples,)
        """
        self._check_is_fitted()
        return self._outputs(X, self._fitted_.log_density)

    def _score(self, features):
        return super()._score(features) * self._fitted_.scale

    def _start_targets(self, rows):
        y, weights = rows.y[:], rows.fit_params.get("sample_weight")
        self._set_classes(y if weights is None else y[weights > 0])

    def _n_targets(self):
        return len(self.classes_)

    def _target_frame(self, y=None, weights=None):
        return None

    def _target_power(self):
        return float(self._sums_.n_rows)

    def _leave_targets(self, y, weights):
        """Classes leave with their sums."""

    def _join_targets(self, y, weights):
        known = np.unique(y if weights is None else y[weights > 0])
        classes = np.union1d(self.classes_, known)
        if len(classes) > len(self.classes_):
            before = np.searchsorted(self.classes_, classes)
            before = np.minimum(before, len(self.classes_) - 1)
            found = self.classes_[before] == classes
            self.classes_ = classes
            self._sums_ = self._sums_.pick(np.where(found, before, -1))

    def _restrict_targets(self):
        kept = np.flatnonzero(self._sums_.targets.numpy() > 0)
        if len(kept) < len(self.classes_):
            self.classes_ = self.classes_[kept]
            self._sums_ = self._sums_.pick(kept)

    def _target_numbers(self, y):
        """Indicators of classes; of none for a label that no row with a weight has."""
        code = np.minimum(self._encode(y), len(self.classes_) - 1)
        numbers = torch.zeros((len(y), len(self.classes_)), dtype=torch.float64)
        numbers[np.arange(len(y)), code] = torch.from_numpy(
            np.asarray(self.classes_[code] == y, dtype=np.float64)
        )
        return numbers


class ClosedFormRegressor(ForgetRegressorMixin, BaseClosedForm):
    """Regressor computed from exact sums over rows: it forgets by subtracting.

    Guarantee: exact. After ``forget`` every number is bit-identical to that of a fresh ``fit``
    on the retained rows with the same ids and ``random_state``. Cost: no gradient pass; see
    :class:`ClosedFormClassifier`. Ridge regression on features of the rows; real targets are
    read to 2^-18 of their unit, a power of two near their standard deviation.

    Parameters
    ----------
    features : optional
        As in :class:`ClosedFormClassifier`.
    alpha : float, list of float or "auto", default="auto"
        Penalty; of several the one with the least squared error on rows left out. "auto":
        chosen among 0.001, 0.01, 0.1, 1 and 10.
    n_components, gamma, layer, scaling, keep, random_state, verbose : optional
        As in :class:`ClosedFormClassifier`.

    Attributes
    ----------
    features_ : FrozenEstimator or transformer
        Copy of ``features`` that rows go through, or the net trained on the public rows; not
        there without either.
    alpha_ : float
        Penalty used.
    cut_share_ : float
        Share of numbers more than 32 units from their centre, which count as 32.
    receipts_ : ForgetLedger
        One :class:`~sk_unlearn.receipts.ForgetReceipt` a request.
    n_features_in_ : int
        Features seen in ``fit``.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Where ``X`` had column names.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sk_unlearn import ClosedFormRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> reg = ClosedFormRegressor(random_state=0).fit(X, y)
    >>> fresh = ClosedFormRegressor(random_state=0).fit(X[2:], y[2:], sample_id=range(2, 442))
    >>> bool((reg.forget([0, 1]).predict(X) == fresh.predict(X)).all())
    True
    """

    def __init__(
        self,
        features=None,
        *,
        alpha="auto",
        n_components=None,
        gamma=None,
        layer=None,
        scaling="auto",
        keep="features",
        random_state=None,
        verbose=0,
    ):
        self.features = features
        self.alpha = alpha
        self.n_components = n_components
        self.gamma = gamma
        self.layer = layer
        self.scaling = scaling
        self.keep = keep
        self.random_state = random_state
        self.verbose = verbose

    @on_snapshot
    def predict(self, X):
        """Predict targets.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
        """
        self._check_is_fitted()
        return self._decode(self._frame_[1].values(self._outputs(X)))

    def _start_targets(self, rows):
        y = rows.y[:]
        self._set_classes(y)
        self._target_moments_ = self._moments_of(y, rows.fit_params.get("sample_weight"))

    def _n_targets(self):
        return self._target_moments_.sums.shape[2]

    def _target_frame(self, y=None, weights=None):
        moments = self._target_moments_
        return TargetFrame.of(moments if y is None else moments - self._moments_of(y, weights))

    def _target_power(self):
        return self._frame_[1].power * self._sums_.n_rows

    def _leave_targets(self, y, weights):
        self._target_moments_ -= self._moments_of(y, weights)

    def _join_targets(self, y, weights):
        self._target_moments_ += self._moments_of(y, weights)

    def _restrict_targets(self):
        """Targets are not labels."""

    def _target_numbers(self, y):
        return self._frame_[1].numbers(y)

    def _moments_of(self, y, weights):
        return ColumnMoments.of(np.asarray(y, np.float32).reshape(len(y), -1), weights)
