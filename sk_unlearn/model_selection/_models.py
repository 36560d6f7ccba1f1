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
from sk_unlearn.nets import training_by

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

# never part of what was trained: set for each model, or without effect on the result
_NOT_TRAINING = {"random_state", "verbose", "n_jobs"}


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
    ignored = _NOT_TRAINING | getattr(estimator, "_removal_params", frozenset())
    if hasattr(estimator, "clear_memory"):
        ignored |= {"memory"}  # a cache of trained nets
    params = {
        name: value
        for name, value in estimator.get_params(deep=False).items()
        if name not in ignored
    }
    try:
        return joblib.hash((type(estimator).__qualname__, type(estimator).__module__, params))
    except Exception:  # a parameter that cannot be pickled: nothing is shared
        return str(id(estimator))


def removal_params(estimator):
    """Parameters that matter to forgetting only."""
    removal = getattr(estimator, "_removal_params", frozenset())
    return {
        name: value for name, value in estimator.get_params(deep=False).items() if name in removal
    }


def forget_all(seed, *, estimator, X, y, fit_params, probe, requests):
    """Fit a model, then make copies of it forget.

    Parameters
    ----------
    seed : int
    estimator : estimator
    X, y : array-like
        Rows trained on.
    fit_params : dict
    probe : Probe
    requests : list of (name, positions, dict of str to dict)
        Name of a forget set, positions of its rows in `X`, and by estimator's name the
        parameters that matter to forgetting.

    Returns
    -------
    before : Observation
    after : dict of (str, str) to Forgotten
        By names of forget set and estimator.
    """
    model = seeded(estimator, seed).fit(X, y, **fit_params)
    before, after = observe(model, probe), {}
    for name, positions, variants in requests:
        for variant, params in variants.items():
            after[name, variant] = _forget(copy_of(model, params), positions, probe)
    return before, after


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
