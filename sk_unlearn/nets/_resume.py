"""Train a net in several goes, each from the saved state of the one before."""

from contextlib import suppress

from sklearn.base import clone

from sk_unlearn.exceptions import UnsupportedNetError
from sk_unlearn.nets._lean import LeanHistory
from sk_unlearn.utils._state_tree import map_tensors

__all__ = ["net_state", "resume_training"]


def resume_training(template, state, X, y, *, epochs):
    """Train a fresh copy of a net from a state.

    The copy is built anew, so that nothing but ``state`` passes from one go to the next:
    a chain that is restarted in the middle gives the bits of one that ran through. What a
    callback learned starts again; so do learning-rate schedules, from their first rate.

    Parameters
    ----------
    template : skorch.NeuralNet
        Unfitted, from :func:`~sk_unlearn.nets.prepare`; not changed.
    state : dict or None
        From :func:`net_state`; None starts from fresh weights, drawn from torch's global
        generator. Not changed.
    X, y : array-like of n_rows rows
    epochs : int
        0 only initialises.

    Returns
    -------
    net : skorch.NeuralNet
        Trained.
    """
    net = clone(template)
    net.history_ = LeanHistory()
    net.initialize()
    if state is not None:
        for name, values in state.items():
            # load_state_dict of an optimizer keeps the very tensors it is given
            getattr(net, name).load_state_dict(map_tensors(lambda t: t.clone(), values))
    for name in net._optimizers:
        for group in getattr(net, f"{name}_").param_groups:
            if "initial_lr" in group:  # a schedule starts again from where it started
                group["lr"] = group.pop("initial_lr")
    net.notify("on_train_begin", X=X, y=y)
    with suppress(KeyboardInterrupt):  # how callbacks stop early; a real one is raised later
        net.fit_loop(X, y, epochs=epochs)
    net.notify("on_train_end", X=X, y=y)
    return net


def net_state(net):
    """State of a trained net's modules, criteria and optimizers, by attribute.

    Parameters
    ----------
    net : skorch.NeuralNet

    Returns
    -------
    state : dict of str to dict
        Shares memory with the net.

    Raises
    ------
    UnsupportedNetError
        If a part has no ``state_dict``.
    """
    names = [f"{name}_" for name in (*net._modules, *net._criteria, *net._optimizers)]
    for name in names:
        if not hasattr(getattr(net, name), "state_dict"):
            raise UnsupportedNetError(
                f"{name} of {type(net).__name__} has no state_dict, so that its training cannot "
                "be resumed. Train in one go (n_slices=1), or give it state_dict and "
                "load_state_dict."
            )
    return {name: getattr(net, name).state_dict() for name in names}
