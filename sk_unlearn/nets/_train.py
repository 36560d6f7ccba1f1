"""The one place where an estimator's net is trained, so that callers can do it otherwise."""

from contextlib import contextmanager
from contextvars import ContextVar
from copy import deepcopy

__all__ = ["fit_net", "recorded_training", "training_by"]

_trainer = ContextVar("sk_unlearn_trainer", default=None)


def fit_net(net, X, y, **fit_params):
    """Train a net, or let what :func:`training_by` set do it.

    Parameters
    ----------
    net : skorch.NeuralNet, or an estimator with nets inside
        Unfitted, prepared; the global generators are seeded.
    X, y : array-like of n_rows rows
    **fit_params : dict

    Returns
    -------
    net : skorch.NeuralNet
        Trained; ``net`` itself unless trained otherwise.
    """
    trainer = _trainer.get()
    return net.fit(X, y, **fit_params) if trainer is None else trainer(net, X, y, **fit_params)


@contextmanager
def training_by(trainer):
    """Train nets by ``trainer`` inside the block.

    For experiments that train many nets at once, or keep trained nets for later.

    Parameters
    ----------
    trainer : callable
        Takes what :func:`fit_net` takes; returns the trained net.

    Examples
    --------
    >>> from sk_unlearn.nets._train import fit_net, training_by
    >>> with training_by(lambda net, X, y: "trained elsewhere"):
    ...     fit_net(None, None, None)
    'trained elsewhere'
    """
    token = _trainer.set(trainer)
    try:
        yield
    finally:
        _trainer.reset(token)


@contextmanager
def recorded_training():
    """Train nets as outside of the block, and remember them.

    Yields
    ------
    again : callable
        ``with again():`` hands out copies of these nets, in the same order, in place of training.
    """
    outer, nets = _trainer.get(), []

    def record(net, X, y, **fit_params):
        with training_by(outer):
            nets.append(fit_net(net, X, y, **fit_params))
        return nets[-1]

    def again():
        known = iter(nets)

        def hand_out(net, X, y, **fit_params):
            trained = deepcopy(next(known))
            trained.train_split = net.train_split
            return trained

        return training_by(hand_out)

    with training_by(record):
        yield again
