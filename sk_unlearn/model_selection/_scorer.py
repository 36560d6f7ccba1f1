"""Metrics of forgetting as scorers for ``cross_validate`` and grid searches."""

from functools import partial

import numpy as np
from sklearn.utils import indexable
from sklearn.utils.metadata_routing import MetadataRequest

from sk_unlearn.metrics import logit_margin
from sk_unlearn.metrics._roc import placements
from sk_unlearn.model_selection._scored_rows import (
    check_labels_of_ids,
    check_metadata,
    check_rows_of_ids,
)
from sk_unlearn.utils._ids import check_sample_id, python_scalar
from sk_unlearn.utils._sklearn import num_samples
from sk_unlearn.utils._take import take_rows

__all__ = ["make_forgetting_scorer"]


def make_forgetting_scorer(metric, X, y, *, sample_id=None, greater_is_better=True):
    """Make a scorer that measures what a fitted estimator still shows of forgotten rows.

    In each fold the scorer finds, by their ids, which rows of `X` the estimator has forgotten,
    which it still holds, and which it never had, and measures on these. It does not use the
    rows of the fold that it is called with, unless no others were held out.

    Parameters
    ----------
    metric : {"mia_auc", "forget_accuracy", "retain_accuracy", "forget_loss", "cost"} or callable
        - "mia_auc": AUC of the loss attack, forgotten against held-out rows. Near 0.5 if
          nothing is left, as long as both are equally hard;
        - "forget_accuracy", "retain_accuracy": share of rows classified right;
        - "forget_loss": mean logistic loss of the forgotten rows;
        - "cost": what all removals cost, as a share of a retrain, by the receipts;
        - a callable: ``metric(estimator, X_forget, y_forget, X_retain, y_retain)``, a float.
    X : array-like of shape (n_samples, n_features) or (n_samples, ...)
        All rows that are cross-validated, as given to ``cross_validate``.
    y : array-like of shape (n_samples,)
    sample_id : array-like of shape (n_samples,), int or str, default=None
        The ids that ``fit`` gets too; 0 ... n_samples - 1 if None.
    greater_is_better : bool, default=True
        False flips the sign, for a search that has to minimise the number.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y)``, a float. `estimator` is one that forgets, a pipeline that
        ends in one, or a fitted search over one. With metadata routing enabled it also takes
        the ``sample_id`` and ``forget`` of the rows that are scored, to check them.

    Raises
    ------
    ValueError
        Here, if the metric is unknown, sizes differ or ids repeat. When scoring: if the
        estimator was fitted without ``sample_id``, has forgotten none of these rows, or knows
        other rows by their ids; with metadata routing, also if ids of scored rows are those of
        training rows, or metadata was not cut with the rows because its length is wrong.

    See Also
    --------
    forget_params : Checks what is passed as ``params``.
    compare_forgetting : Looks at retained and held-out rows as well, see :ref:`blind_spots`.
    best_within_bounds : Chooses a candidate of a search by several metrics.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import cross_validate
    >>> from sk_unlearn import RetrainClassifier
    >>> from sk_unlearn.model_selection import make_forgetting_scorer
    >>> X, y = load_iris(return_X_y=True)
    >>> ids = np.arange(len(X))
    >>> scores = cross_validate(
    ...     RetrainClassifier(LogisticRegression(max_iter=500)),
    ...     X,
    ...     y,
    ...     params={"forget": ids % 5 == 0, "sample_id": ids},
    ...     scoring={"mia": make_forgetting_scorer("mia_auc", X, y), "accuracy": "accuracy"},
    ... )
    >>> scores["test_mia"].shape
    (5,)
    """
    if not callable(metric) and metric not in _METRICS:
        raise ValueError(f"metric must be a callable or one of {list(_METRICS)}, got {metric!r}.")
    X, y = indexable(X, np.asarray(y))
    if sample_id is None:
        sample_id = np.arange(len(y))
    sample_id = check_sample_id(sample_id, len(y), owner="make_forgetting_scorer")
    return _ForgettingScorer(metric, X, y, sample_id, 1 if greater_is_better else -1)


class _ForgettingScorer:
    """Callable as scikit-learn calls scorers."""

    def __init__(self, metric, X, y, sample_id, sign):
        self.metric, self.X, self.y, self.sample_id, self.sign = metric, X, y, sample_id, sign

    def __call__(self, estimator, X=None, y=None, *, sample_id=None, forget=None):
        rows = _Rows(self, estimator, X, y)
        rows.check(sample_id, forget)
        if callable(self.metric):
            forgotten, retained = rows.take(rows.forgotten), rows.take(rows.retained)
            value = self.metric(estimator, *forgotten, *retained)
        else:
            value = _METRICS[self.metric](rows)
        return self.sign * float(value)

    def get_metadata_routing(self):
        """What tells a fold's scored rows from those that the estimator was fitted on."""
        request = MetadataRequest(owner=repr(self))
        for name in ("sample_id", "forget"):
            request.score.add_request(param=name, alias=True)
        return request

    def __repr__(self):
        name = self.metric if isinstance(self.metric, str) else self.metric.__name__
        sign = "" if self.sign > 0 else ", greater_is_better=False"
        return f"make_forgetting_scorer({name!r}, X, y{sign})"


class _Rows:
    """The rows of a scorer, as one estimator knows them."""

    def __init__(self, scorer, estimator, X, y):
        self.X, self.y, self.fold, self.estimator = scorer.X, scorer.y, (X, y), estimator
        self.holder = _holder(estimator)
        held = self.holder._rows_
        if held.sample_id is None:
            raise ValueError(
                "This estimator was fitted without sample_id, so its rows cannot be found: pass "
                "params={'sample_id': ids, ...} to cross_validate, or sample_id=ids to fit."
            )
        self.place = {python_scalar(key): row for row, key in enumerate(scorer.sample_id)}
        present = set(held.sample_id.tolist())
        self.retained = np.array([key in present for key in self.place])
        knows = partial(self.holder.receipts_.knows_id, this_epoch=True)
        self.forgotten = np.array([knows(key) for key in self.place]) & ~self.retained
        if not self.forgotten.any():
            raise ValueError(
                "The estimator has forgotten none of the rows that the scorer was made with: "
                "pass params={'forget': mask, ...}, with marked rows in every training fold."
            )

    def check(self, sample_id, forget):
        """Refuse ids that name other rows than they name here."""
        held, (X, y) = self.holder._rows_, self.fold
        where = self._places(held.sample_id)
        if self.holder is _searched(self.estimator):  # else a step before changed its rows
            check_rows_of_ids(self.X, where, held.X, held_by="the estimator")
        if X is not None and not (sample_id is None and forget is None):
            self._check_fold(X, y, sample_id, forget)
        check_labels_of_ids(self.y, where, held.y, held_by="the estimator")

    def _check_fold(self, X, y, sample_id, forget):
        present = set(self.holder._rows_.sample_id.tolist())
        knows = partial(self.holder.receipts_.knows_id, this_epoch=True)
        check_metadata(
            num_samples(X),
            lambda key: key in present or knows(key),
            sample_id,
            forget,
        )
        if sample_id is not None:
            where = self._places(sample_id)
            check_rows_of_ids(self.X, where, X, held_by="the splitter")
            check_labels_of_ids(self.y, where, y, held_by="the splitter")

    def _places(self, ids):
        return np.array([self.place.get(python_scalar(key), -1) for key in ids])

    def take(self, mask):
        rows = np.flatnonzero(mask)
        return take_rows(self.X, rows), self.y[rows]

    @property
    def held_out(self):
        never = ~(self.retained | self.forgotten)
        return self.take(never) if never.any() else self.fold

    def losses(self, X, y):
        """Logistic loss of each row; a label that is not known any more has probability 0."""
        proba, known = self.estimator.predict_proba(X), self.estimator.classes_
        classes = np.union1d(known, y)
        full = np.zeros((len(proba), len(classes)), dtype=proba.dtype)
        full[:, np.searchsorted(classes, known)] = proba
        margins = logit_margin(full, y, kind="proba", labels=classes)
        return np.logaddexp(0.0, -margins)

    def accuracy(self, mask):
        X, y = self.take(mask)
        return np.mean(self.estimator.predict(X) == y)


def _searched(estimator):
    """The estimator that a search found, or the estimator itself."""
    while hasattr(estimator, "best_estimator_"):
        estimator = estimator.best_estimator_
    return estimator


def _holder(estimator):
    """The estimator that forgets: found by a search, at the end of a pipeline, or itself."""
    estimator = _searched(estimator)
    while not hasattr(estimator, "receipts_"):
        if not hasattr(estimator, "steps"):
            raise TypeError(f"A forgetting scorer needs an estimator that forgets: {estimator!r}.")
        estimator = _searched(estimator.steps[-1][1])
    return estimator


def _mia_auc(rows):
    forgotten, held_out = rows.losses(*rows.take(rows.forgotten)), rows.losses(*rows.held_out)
    return placements(-forgotten, -held_out)[0].mean()


_METRICS = {
    "mia_auc": _mia_auc,
    "forget_accuracy": lambda rows: rows.accuracy(rows.forgotten),
    "retain_accuracy": lambda rows: rows.accuracy(rows.retained),
    "forget_loss": lambda rows: rows.losses(*rows.take(rows.forgotten)).mean(),
    "cost": lambda rows: sum(r.cost.share_of_retrain for r in rows.holder.receipts_.of_last_fit),
}
