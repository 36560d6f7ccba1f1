"""The one place where an estimator's net is trained, so that callers can do it otherwise."""

from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["fit_net", "training_by"]

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
