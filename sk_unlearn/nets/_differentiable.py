"""Refuse, before it is trained, a net that a curvature method could not unlearn."""

import torch
from sklearn.base import clone

from sk_unlearn.functional import GaussNewtonOperator
from sk_unlearn.nets._adapter import rowwise_model
from sk_unlearn.nets._criteria import first_output
from sk_unlearn.nets._predict import to_tensors
from sk_unlearn.nets._target import check_width
from sk_unlearn.utils._seeding import isolated_rng

__all__ = ["check_differentiable"]


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
        If the module has too few outputs, the criterion is no mean over rows or linear in
        the scores, a pattern matches nothing, or no gradient reaches the parameters.
    """
    with isolated_rng(0):
        trial = clone(net).initialize()
    trial.module_.eval()
    X, labels = to_tensors(trial, X[:2], y)
    y = labels[:2]
    with torch.no_grad():
        check_width(trial, first_output(trial.module_(X)), labels)
    model = rowwise_model(trial, X, y, params=params)
    operator = GaussNewtonOperator(model, model.parameters(), X, y)
    operator.matvec(torch.zeros(model.n_parameters, device=X.device, dtype=X.dtype))
