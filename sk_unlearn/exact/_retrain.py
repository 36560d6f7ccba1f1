"""Naive retraining: the exact answer that every other method is measured against."""

import numpy as np
from sklearn.utils.metaestimators import available_if

from sk_unlearn.exact._retrain_base import BaseRetrain
from sk_unlearn.exceptions import UnsupportedNetError
from sk_unlearn.mixins import (
    ForgetClassifierMixin,
    ForgetRegressorMixin,
    adopted_columns,
    restrict_columns,
)
from sk_unlearn.nets import (
    as_columns,
    as_probabilities,
    check_class_outputs,
    default_classifier,
    is_net,
    n_outputs_inside,
    predict_class_proba,
    predict_columns,
    predict_proba,
)
from sk_unlearn.utils._take import drop_rows
from sk_unlearn.utils._transaction import on_snapshot

__all__ = ["RetrainClassifier", "RetrainRegressor"]


def _inner_has(method):
    """Whether the wrapped estimator, fitted or not, has a method."""

    def check(self):
        inner = getattr(self, "estimator_", self.estimator)
        if inner is None:  # the default net, before fit
            return method == "predict_proba"
        getattr(inner, method)
        return True

    return check


class RetrainClassifier(ForgetClassifierMixin, BaseRetrain):
    """Classifier that forgets by training anew on what remains.

    Guarantee: exact. After ``forget`` the model is bit-identical to a fresh ``fit`` on
    the retained rows in the same order, with the same ``random_state``. Cost: a full
    retrain for each request, however small. The yardstick for every other method, and
    the right choice where a retrain is cheap.

    Parameters
    ----------
    estimator : estimator, default=None
        Any scikit-learn classifier, pipeline or skorch net, cloned for each training.
        None means a multilayer perceptron whose sizes come from the data. Nets anywhere
        inside get labels 0 ... K-1 and floats of their dtype. A
        :class:`~sklearn.frozen.FrozenEstimator` is adopted as trained, and retrained from
        an unfitted clone at the first removal.
    random_state : int, RandomState instance or None, default=None
        Seed of all training; also given to nested estimators that leave theirs at None.
        Pass an int for results that repeat.
    verbose : int, default=0
        1 shows a progress bar over the epochs of a net.

    Attributes
    ----------
    estimator_ : estimator
        Trained on the retained rows only.
    classes_ : ndarray of shape (n_classes,)
        Labels among the retained rows.
    receipts_ : ForgetLedger
        One :class:`~sk_unlearn.receipts.ForgetReceipt` a request.
    n_features_in_ : int
        Features seen in ``fit``.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Where ``X`` had column names.

    Warns
    -----
    InputScaleWarning
        In ``fit``, if a net reads features of a scale far from 1.

    See Also
    --------
    PumaClassifier : Approximate removal in a fraction of the time.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sk_unlearn import RetrainClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = RetrainClassifier(LogisticRegression(max_iter=500)).fit(X, y)
    >>> clf.forget(range(50)).classes_  # a whole class
    array([1, 2])
    >>> clf.receipts_[-1].n_forgotten, str(clf.receipts_[-1].guarantee)
    (50, 'exact')
    """

    @on_snapshot
    def predict(self, X):
        """Predict labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)

        Returns
        -------
        y : ndarray of shape (n_samples,)
        """
        self._check_is_fitted()
        if is_net(self.estimator_):
            X = self._read_input(X)
            return self.classes_[predict_columns(self.estimator_, X, self._columns_)]
        with self._predictor() as model:
            return self._labels(model, self._check_input(X))

    def _labels(self, model, X):
        labels = model.predict(X)
        if not self._net_inside_:
            return labels
        labels = np.reshape(labels, (len(labels), -1))
        if labels.shape[1] > 1 or not np.isin(labels, self._columns_).all():
            # scores of a plain net, or outputs of a net that are no class
            known = as_columns(model.predict_proba(X))[:, self._columns_]
            return self.classes_[known.argmax(axis=1)]
        return self.classes_[np.searchsorted(self._columns_, labels[:, 0])]

    @available_if(_inner_has("predict_proba"))
    @on_snapshot
    def predict_proba(self, X):
        """Predict the probability of each class in ``classes_``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)

        Raises
        ------
        UnsupportedNetError
            If a net inside predicts scores that are no probabilities.
        """
        self._check_is_fitted()
        return restrict_columns(self._full_proba(self._read_input(X)), self._columns_)

    @available_if(_inner_has("decision_function"))
    @on_snapshot
    def decision_function(self, X):
        """Confidence scores of the wrapped classifier.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_classes)
        """
        self._check_is_fitted()
        X = self._check_input(X)
        with self._predictor() as model:
            return model.decision_function(X)

    def _full_proba(self, X):
        # an adopted net has skorch's own data path, which does not cast X to its dtype
        if is_net(self.estimator_):
            return predict_class_proba(self.estimator_, X)
        with self._predictor() as model:
            proba = model.predict_proba(X)
        if not self._net_inside_:
            return proba
        return as_probabilities(as_columns(proba), type(self.estimator_).__name__)

    def _check_outputs(self, estimator, rows, n_classes):
        """Refuse nets that would predict no class, and settings of classes that are not there."""
        if self.estimator is None or not self._net_inside_ or hasattr(self, "_n_outputs_"):
            return
        self._n_outputs_ = None
        if is_net(estimator):
            self._n_outputs_ = check_class_outputs(
                estimator, rows.X, n_classes, owner=type(self).__name__
            )
        else:
            self._n_outputs_ = n_outputs_inside(estimator)
        if not self._is_adopted:  # whose outputs are the labels
            self._check_class_numbers(estimator, self.classes_, self._class_sizes)

    @property
    def _class_sizes(self):
        """Entries that settings by the number of a class may have."""
        return {self._n_outputs_ or len(self.classes_)}

    def _check_remaining(self, hit):
        super()._check_remaining(hit)
        if self.estimator is None or not self._net_inside_:
            return
        kept = np.unique(drop_rows(self._rows_.y, hit))
        if len(kept) < len(self.classes_):
            sizes = self._class_sizes | {len(self.classes_)}
            self._check_class_numbers(self._as_told()._inner_estimator(), kept, sizes)

    def _check_adopted_columns(self, rows):
        """Refuse labels that the trained estimator has no output for."""
        known = getattr(self.estimator_, "classes_", self.classes_)
        sought = self.classes_
        if self._net_inside_:
            few = rows.take(np.array([0])).X
            net = self.estimator_
            proba = predict_proba(net, few) if is_net(net) else net.predict_proba(few)
            known, sought = np.arange(np.reshape(proba, (1, -1)).shape[1]), self._columns_
        unknown = np.setdiff1d(sought, known)
        if len(unknown):
            raise UnsupportedNetError(
                f"The trained estimator knows the labels {known.tolist()}, and y holds "
                f"{unknown.tolist()[0]!r}. Encode y the way it was trained, or pass it without "
                "FrozenEstimator so that it is trained here."
            )

    def _class_columns(self, *, encoded):
        """Column of the wrapped ``predict_proba`` for each class."""
        if not self._net_inside_:
            trained = getattr(self.estimator_, "classes_", self.classes_)
            return np.searchsorted(trained, self.classes_)
        if encoded:
            return self._encode(self.classes_)
        return adopted_columns(self.classes_)

    def _default_estimator(self, rows):
        return default_classifier(
            n_features=rows.X[0].size, n_outputs=len(self.classes_), n_rows=len(rows)
        )


class RetrainRegressor(ForgetRegressorMixin, BaseRetrain):
    """Regressor that forgets by training anew on what remains.

    Guarantee: exact. After ``forget`` the model is bit-identical to a fresh ``fit`` on
    the retained rows in the same order, with the same ``random_state``. Cost: a full
    retrain for each request.

    Parameters
    ----------
    estimator : estimator, default=None
        Any scikit-learn regressor, pipeline or skorch net; see
        :class:`RetrainClassifier`. None means a multilayer perceptron that scales inputs and
        targets by numbers of the retained rows, and predicts in the units of ``y``. A net that
        is given is trained on ``y`` as it is; where its scale is far from 1, wrap the net in
        :class:`~sklearn.compose.TransformedTargetRegressor`, which is fitted anew with it.
    random_state : int, RandomState instance or None, default=None
        Seed of all training. Pass an int for results that repeat.
    verbose : int, default=0
        1 shows a progress bar over the epochs of a net.

    Attributes
    ----------
    estimator_ : estimator
        Trained on the retained rows only.
    receipts_ : ForgetLedger
        One :class:`~sk_unlearn.receipts.ForgetReceipt` a request.
    n_features_in_ : int
        Features seen in ``fit``.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Where ``X`` had column names.

    Warns
    -----
    InputScaleWarning, TargetScaleWarning
        In ``fit``, if a net that is given reads numbers of a scale far from 1.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import Ridge
    >>> from sk_unlearn import RetrainRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> reg = RetrainRegressor(Ridge()).fit(X, y)
    >>> bool((reg.forget([3, 17]).predict(X[:1]) != Ridge().fit(X, y).predict(X[:1])).all())
    True
    >>> RetrainRegressor(random_state=0).fit(X, y).score(X, y) > 0.5  # raw numbers, a net
    True
    """

    @on_snapshot
    def predict(self, X):
        """Predict targets.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
        """
        self._check_is_fitted()
        X = self._read_input(X)
        if is_net(self.estimator_):
            return self._decode(predict_proba(self.estimator_, X))
        with self._predictor() as model:
            prediction = model.predict(X)
        return self._decode(prediction) if self._net_inside_ else prediction
