"""What can be refused before any step of a pipeline has seen a row."""

from sklearn.base import is_classifier
from sklearn.frozen import FrozenEstimator
from sklearn.utils import column_or_1d, indexable

from sk_unlearn.base import BaseForgetEstimator
from sk_unlearn.exceptions import UnsupportedNetError
from sk_unlearn.nets import carries_training, check_untrained
from sk_unlearn.utils._containers import as_labels, dispatched
from sk_unlearn.utils._inputs import check_labels, check_targets

__all__ = ["check_rows", "check_steps"]


def check_steps(pipe):
    """Refuse what cannot forget, or would remember.

    Parameters
    ----------
    pipe : ForgetPipeline

    Raises
    ------
    TypeError
        If the last step cannot forget.
    ValueError
        If a cache or a frozen step would keep what was computed from forgotten rows, or a cache
        of trained nets has no seed to share them by.
    """
    owner, last = type(pipe).__name__, pipe.steps[-1][1]
    if not isinstance(last, BaseForgetEstimator):
        raise TypeError(
            f"The last step of {owner} must be an estimator that can forget, got {last!r}. "
            "Wrap it, for example RetrainClassifier(...) or RetrainRegressor(...)."
        )
    if pipe.transform_input is not None:
        raise ValueError(
            f"The 'transform_input' parameter of {owner} must be None, got "
            f"{pipe.transform_input!r}: metadata is not transformed."
        )
    _check_seed_of_memory(pipe)
    _refuse_trained_weights(pipe)
    parts = {"memory": pipe.memory}
    for name, step in pipe.steps[:-1]:
        parts[name] = step
        if hasattr(step, "get_params"):
            parts |= {f"{name}__{key}": part for key, part in step.get_params(deep=True).items()}
    for where, part in parts.items():
        if isinstance(part, FrozenEstimator):
            raise ValueError(
                f"The FrozenEstimator {where!r} of {owner} is never fitted anew: it may have "
                "learned from rows that are forgotten later. Pass what it wraps, or move it "
                f"out: make_pipeline(FrozenEstimator(...), {owner}(...))."
            )
        if isinstance(part, BaseForgetEstimator) and vars(part).get("checkpoints") is not None:
            raise ValueError(
                f"The checkpoints of {type(part).__name__}, {where!r} of {owner}, would keep what "
                "was computed from forgotten rows: it is cloned and fitted anew. Set them to None."
            )
        if where.rpartition("__")[2] == "memory" and (
            isinstance(part, str) or hasattr(part, "cache")
        ):
            raise ValueError(
                f"The cache {where!r} of {owner} would keep what was computed from forgotten "
                f"rows, got {part!r}. Set it to None."
            )


def _refuse_trained_weights(pipe):
    """Refuse nets that have been trained: each step is cloned, and a clone does not show it."""
    last = pipe.steps[-1][1]
    if not hasattr(last, "steps") and last.estimator is not None and not last._is_adopted:
        check_untrained(last.estimator, owner=type(last).__name__)
    for name, step in pipe.steps[:-1]:
        if carries_training(step):
            raise UnsupportedNetError(
                f"A net in the step {name!r} of {type(pipe).__name__} was given a module instance "
                "that has been trained, itself or in a parameter: a clone would start from what "
                "it learned. Pass classes, with their parameters, or fresh instances and tensors."
            )


def _check_seed_of_memory(pipe):
    """Refuse a cache of trained nets whose seed is drawn anew in each fit: it is never hit."""
    last, seeds = pipe, []
    while hasattr(last, "steps"):
        seeds.append(last.random_state)
        last = last.steps[-1][1]
    seeds.append(getattr(last, "random_state", None))
    if getattr(last, "memory", None) is not None and all(seed is None for seed in seeds):
        raise ValueError(
            f"The memory of {type(last).__name__} shares trainings of the same seed, and "
            f"random_state=None, here and in {type(pipe).__name__}, draws a new one in each fit. "
            "Set either to an int."
        )


def check_rows(pipe, X, y):
    """Check what can be said of training data before any step has seen it.

    Returns
    -------
    X : array-like
        As given, except that sparse matrices become CSR.
    y : ndarray
    """
    if y is None:
        raise ValueError(
            f"{type(pipe).__name__} requires y to be passed, but the target y is None"
        )
    classifies = is_classifier(pipe)
    check_targets(y, owner=type(pipe).__name__, classification=classifies)
    X, y = indexable(dispatched(X), as_labels(y))
    if classifies:
        y = column_or_1d(y, warn=True)
        check_labels(y)
    return X, y
