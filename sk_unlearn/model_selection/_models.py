"""The life of one model in a comparison: trained, observed, made to forget, observed again."""

import time
import warnings
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np

from sk_unlearn.exceptions import RetrainAdvisedWarning
from sk_unlearn.metrics import logit_margin
from sk_unlearn.model_selection._training import seeded
from sk_unlearn.nets import recorded_training, training_by

__all__ = [
    "Forgotten",
    "Observation",
    "Probe",
    "forget_all",
    "observe",
    "removal_params",
    "retrain",
    "time_removal",
    "time_retrain",
    "training_key",
]


@dataclass(frozen=True)
class Observation:
    """What one model makes of the rows that are measured.

    Attributes
    ----------
    margins : ndarray of shape (n_rows,), float32
    correct : ndarray of shape (n_rows,), bool
    """

    margins: np.ndarray
    correct: np.ndarray


@dataclass(frozen=True)
class Forgotten:
    """One model after one request.

    Attributes
    ----------
    observation : Observation
    gradient_passes, share_of_retrain, seconds : float
        From the receipt.
    advised : bool
        Whether the estimator advised to retrain.
    """

    observation: Observation
    gradient_passes: float
    share_of_retrain: float
    seconds: float
    advised: bool


@dataclass(frozen=True)
class Probe:
    """Rows on which models are observed.

    Attributes
    ----------
    X : array-like of n_rows rows
    column : ndarray of shape (n_rows,), int
        Number of each label among `classes`.
    classes : ndarray of shape (n_classes,)
        Labels of all rows; a model that does not know one gives it probability 0.
    """

    X: Any
    column: np.ndarray
    classes: np.ndarray


def observe(estimator, probe):
    """Margins of the labels, and whether each row is classified right."""
    proba = estimator.predict_proba(probe.X)
    full = np.zeros((len(proba), len(probe.classes)), dtype=np.float32)
    full[:, np.searchsorted(probe.classes, estimator.classes_)] = proba
    margins = logit_margin(full, probe.column, kind="proba").astype(np.float32)
    return Observation(margins, full.argmax(axis=1) == probe.column)


def training_key(estimator):
    """Equal for estimators that train the same model on the same rows with the same seed."""
    own = getattr(estimator, "_training_key", None)
    if own is not None:
        key = own()
    else:
        ignored = {"random_state", "verbose", "n_jobs"} | removal_params(estimator).keys()
        params = estimator.get_params(deep=False)
        key = type(estimator), {name: params[name] for name in params.keys() - ignored}
    try:
        return joblib.hash(key)
    except Exception:  # a parameter that cannot be pickled: nothing is shared
        return str(id(estimator))


def removal_params(estimator):
    """Parameters that matter to forgetting only."""
    removal = getattr(estimator, "_removal_params", frozenset())
    return {
        name: value for name, value in estimator.get_params(deep=False).items() if name in removal
    }


def forget_all(seed, *, members, X, y, fit_params, probe, requests):
    """Fit models that share one training, then make copies of them forget.

    Parameters
    ----------
    seed : int
    members : dict of str to estimator
        Of one :func:`training_key`.
    X, y : array-like
        Rows trained on.
    fit_params : dict
    probe : Probe
    requests : list of (name, positions)
        Name of a forget set, and positions of its rows in `X`.

    Returns
    -------
    before : Observation
    after : dict of (str, str) to Forgotten
        By names of forget set and estimator.
    """
    models = _trained_together(members.values(), seed, X, y, fit_params)
    before = observe(next(iter(models.values())), probe)
    after = {
        (name, member): _forget(
            copy_of(models[type(estimator)], removal_params(estimator)), positions, probe
        )
        for name, positions in requests
        for member, estimator in members.items()
    }
    return before, after


def _trained_together(estimators, seed, X, y, fit_params):
    """A fitted model of each class; only the first one trains nets."""
    kinds = {type(estimator): seeded(estimator, seed) for estimator in estimators}
    first, *others = kinds.values()
    with recorded_training() as again:
        first.fit(X, y, **fit_params)
    for other in others:
        with again():
            other.fit(X, y, **fit_params)
    return kinds


def copy_of(model, params):
    """Copy that shares the borrowed training rows, which no removal changes in place."""
    rows = getattr(model, "_rows_", None)
    return deepcopy(model, {} if rows is None else {id(rows): rows}).set_params(**params)


def _forget(model, positions, probe):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RetrainAdvisedWarning)  # counted instead
        start = time.perf_counter()
        model.forget(positions)
        seconds = time.perf_counter() - start
    nan = float("nan")
    passes, share, advised = nan, nan, False
    if len(getattr(model, "receipts_", ())):
        receipt = model.receipts_[-1]
        passes, share = receipt.cost.gradient_passes, receipt.cost.share_of_retrain
        advised = bool(receipt.advice)
    return Forgotten(observe(model, probe), passes, share, seconds, advised)


def retrain(seed, *, estimator, X, y, fit_params, probe):
    """Observation of a model that never saw the forgotten rows."""
    return observe(seeded(estimator, seed).fit(X, y, **fit_params), probe)


def time_retrain(seed, *, estimator, X, y, fit_params):
    """Wall-clock seconds of one fit, on its own."""
    model = seeded(estimator, seed)
    with training_by(None):
        start = time.perf_counter()
        model.fit(X, y, **fit_params)
        return time.perf_counter() - start


def time_removal(seed, *, estimator, X, y, fit_params, positions):
    """Wall-clock seconds of one removal, on its own."""
    with training_by(None):
        model = seeded(estimator, seed).fit(X, y, **fit_params)
        start = time.perf_counter()
        model.forget(positions)
        return time.perf_counter() - start
