"""Models of one class alone: how their chains train, and what their scores are worth."""

import numpy as np
from sklearn.base import OutlierMixin
from sklearn.pipeline import Pipeline

from sk_unlearn.exact._learners import FitLearner, NetLearner, PartialFitLearner

__all__ = [
    "OneClassFitLearner",
    "OneClassNetLearner",
    "OneClassPartialFitLearner",
    "calibrated",
    "scores_are_densities",
    "temperature",
]


class _Scored:
    """Notes mean and standard deviation of the model's scores of its own rows."""

    def summary(self, model, X):
        """Location and scale of the scores, shape (2,)."""
        scores = np.asarray(model.score_samples(X), dtype=np.float64)
        return np.array([scores.mean(), scores.std()])


class _ByBlock(_Scored):
    """Trains on each block once, after the ones before it."""

    def schedule(self, max_epochs, n_steps):
        """All epochs in every step, each over its own block."""
        return [max_epochs] * n_steps, False


class OneClassNetLearner(_ByBlock, NetLearner):
    """A skorch net with ``score_samples``."""


class OneClassPartialFitLearner(_ByBlock, PartialFitLearner):
    """A scikit-learn estimator with ``partial_fit`` and ``score_samples``."""


class OneClassFitLearner(_Scored, FitLearner):
    """Any estimator with ``score_samples``, trained in one go."""


def scores_are_densities(estimator):
    """Whether scores of models of different classes have one scale without calibration.

    Outlier detectors score in units of their own; a pipeline rescales each class by its
    own spread. Nets and density estimators score in nats, or in units of the features.
    """
    return not isinstance(estimator, (OutlierMixin, Pipeline))


def calibrated(scores, summary, calibration):
    """Scores of one model on a scale that the models of other classes share.

    Parameters
    ----------
    scores : ndarray of shape (n_rows,)
    summary : ndarray of shape (2,)
        Mean and standard deviation over the rows that the model was trained on.
    calibration : {"none", "standard"}
        "standard" subtracts the mean and divides by the standard deviation.

    Returns
    -------
    calibrated : ndarray of shape (n_rows,)
    """
    if calibration == "none":
        return scores
    location, scale = summary
    return (scores - location) / (scale if scale > 0 else 1.0)


def temperature(summaries):
    """What log-densities are divided by before they become probabilities.

    Parameters
    ----------
    summaries : sequence of ndarray of shape (2,)
        Mean and standard deviation of each model's scores of its own rows.

    Returns
    -------
    temperature : float, at least 1
    """
    scale = np.sqrt(np.mean([summary[1] ** 2 for summary in summaries]))
    return float(np.sqrt(np.fmax(scale, 1.0)))
