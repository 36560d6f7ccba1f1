"""Refuse, before it is trained, a net that a curvature method could not unlearn."""

from contextlib import contextmanager

import joblib
import numpy as np
import torch
from sklearn.base import clone
from torch import nn

from sk_unlearn.exceptions import UnsupportedNetError
from sk_unlearn.functional import GaussNewtonOperator, SampledPreconditioner, row_sizes
from sk_unlearn.nets._adapter import rowwise_model
from sk_unlearn.nets._criteria import is_elementwise, wants_labels
from sk_unlearn.nets._inspect import bare_module
from sk_unlearn.nets._predict import to_tensors
from sk_unlearn.nets._target import match_target
from sk_unlearn.utils._seeding import isolated_rng

__all__ = ["check_differentiable"]

# What passed lately: a search or a comparison fits the same architecture over and over.
_PASSED: dict = {}
_MOST_PASSED = 64


def check_differentiable(net, X, y, *, params=None):
    """Try everything that a removal will need on two rows and an untrained copy.

    Parameters
    ----------
    net : skorch.NeuralNet
        Prepared; left untouched.
    X, y : array-likes
        What ``net.fit`` is about to get.
    params : str or sequence of str, default=None
        Patterns of parameter names; see :func:`~sk_unlearn.nets.rowwise_model`.

    Raises
    ------
    UnsupportedNetError
        If the target is not what the criterion reads, the module has too few outputs, the
        criterion is no mean over rows or linear in the scores, a pattern matches nothing, no
        gradient reaches the parameters, or anything else fails on the two rows.
    """
    few, labels = X[:2], np.asarray(y)
    key = _key(net, few, labels, params)
    if key is None or key not in _PASSED:
        _check(net, few, labels, params)
        if key is not None:
            _PASSED[key] = None
            while len(_PASSED) > _MOST_PASSED:
                _PASSED.pop(next(iter(_PASSED)), None)


def _key(net, X, y, params):
    """Equal for calls that cannot have different outcomes; None if that cannot be told."""
    if not isinstance(net.module, type):
        return None
    try:
        y = y[:2], y.dtype.str, y.shape[1:], y.min(), y.max()
        # with the class itself: one that is defined anew keeps its name
        return net.module, joblib.hash((type(net), net.get_params(deep=False), X, y, params))
    except Exception:
        return None


def _check(net, X, y, params):
    with isolated_rng(0):
        trial = clone(net).initialize()
    _check_target(trial, y)
    trial.module_.eval()
    X, y = to_tensors(trial, X, y)
    with _named_errors(trial, X):
        y = match_target(trial, X, y)[:2]
        model = rowwise_model(trial, X, y, params=params)
        rows = (model, model.parameters(), X, y)
        nothing = torch.zeros_like(model.flatten(rows[1]))
        GaussNewtonOperator(*rows).matvec(nothing)
        row_sizes(*rows)
        SampledPreconditioner(*rows, damping=1.0)(nothing)


def _check_target(net, y):
    """Refuse labels for a criterion of real targets, and real targets for one of labels."""
    criterion, owner = bare_module(net.criterion_), type(net).__name__
    name, is_label = type(criterion).__name__, y.dtype.kind in "iub" and y.ndim == 1
    # soft labels have one column a class
    if wants_labels(criterion) and y.dtype.kind == "f" and y[:1].size == 1:
        raise UnsupportedNetError(
            f"{name} of {owner} reads class labels and y holds real targets. Use "
            "NeuralNetRegressor, or a classifier for labels."
        )
    two_classes = isinstance(criterion, (nn.BCELoss, nn.BCEWithLogitsLoss)) and y.max() < 2
    if is_label and is_elementwise(criterion) and not two_classes:
        raise UnsupportedNetError(
            f"{name} of {owner} reads real targets and y holds labels of {y.max() + 1} classes. "
            "Use NeuralNetClassifier with CrossEntropyLoss and one output a class, or, for two "
            "classes, NeuralNetBinaryClassifier."
        )


@contextmanager
def _named_errors(net, X):
    """Say which net and rows are meant where torch fails on the trial."""
    try:
        yield
    except (UnsupportedNetError, torch.OutOfMemoryError):
        raise
    except (RuntimeError, IndexError, TypeError, ValueError) as error:
        module, criterion = bare_module(net.module_), bare_module(net.criterion_)
        raise UnsupportedNetError(
            f"A trial of {type(net).__name__} with {type(module).__name__} and "
            f"{type(criterion).__name__} on rows of shape {tuple(X.shape)} failed: {error}. "
            "Check that the module's sizes (module__n_features, module__n_outputs) fit the "
            "data, and use a twice differentiable criterion such as CrossEntropyLoss or MSELoss."
        ) from error
