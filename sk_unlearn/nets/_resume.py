"""Train a net in several goes, each from the saved state of the one before."""

from contextlib import suppress

import torch
from sklearn.base import clone
from skorch.callbacks import Initializer
from torch import nn

from sk_unlearn.exceptions import UnsupportedNetError
from sk_unlearn.nets._inspect import bare_module
from sk_unlearn.nets._lean import LeanHistory
from sk_unlearn.utils._state_tree import map_tensors

__all__ = ["net_state", "resume_training"]

_SCHEDULED = ("lr", "momentum", "betas")
_REMEDY = "Train in one go: n_slices=1 (SISA) or n_blocks=1 (ARCANE)."


def resume_training(template, state, X, y, *, epochs):
    """Train a fresh copy of a net from a state.

    The copy is built anew, so that nothing but ``state`` passes from one go to the next:
    a chain that is restarted in the middle gives the bits of one that ran through. What a
    callback learned starts again; so do learning-rate schedules, from their first rate.
    What callbacks set when training begins, such as sizes of the module, weights of the
    criterion or a learning rate, is set in each go, and what was learned is loaded after.

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

    Raises
    ------
    UnsupportedNetError
        If what a callback has set does not fit the state.
    """
    net = clone(template)
    net.history_ = LeanHistory()
    net.initialize()
    as_built = None if state is None else _settings(net)
    net.notify("on_train_begin", X=X, y=y)
    if state is not None:
        try:
            _load(net, state, as_built)
        except (RuntimeError, ValueError, KeyError, AttributeError) as error:
            raise UnsupportedNetError(
                f"The training of {type(net).__name__} cannot be resumed: {error} A callback may "
                f"have set other sizes when training began again. {_REMEDY}"
            ) from error
    with suppress(KeyboardInterrupt):  # how callbacks stop early; a real one is raised later
        net.fit_loop(X, y, epochs=epochs)
    net.notify("on_train_end", X=X, y=y)
    return net


def _settings(net):
    """What callbacks may set when training begins: tensors that are not learned, and options."""
    tensors = {
        name: {key: value.clone() for key, value in _not_learned(_part(net, name)).items()}
        for name in (*net._modules, *net._criteria)
    }
    return tensors, {name: _options(getattr(net, f"{name}_")) for name in net._optimizers}


def _part(net, name):
    return bare_module(getattr(net, f"{name}_"))


def _not_learned(part):
    """Tensors among the state of a module that no optimizer moves and no layer estimates."""
    if not isinstance(part, nn.Module):
        return {}
    learned = dict(part.named_parameters(remove_duplicate=False))
    for path, layer in part.named_modules(remove_duplicate=False):
        if isinstance(layer, nn.modules.batchnorm._NormBase):
            learned.update({f"{path}.{name}".lstrip("."): None for name in layer._buffers})
    state = part.state_dict()
    return {k: v for k, v in state.items() if k not in learned and torch.is_tensor(v)}


def _options(optimizer):
    groups = getattr(optimizer, "param_groups", [])
    return [{key: value for key, value in group.items() if key != "params"} for group in groups]


def _load(net, state, as_built):
    tensors, options = as_built
    for name in (*net._modules, *net._criteria):
        part, values = _part(net, name), dict(state[f"{name}_"])
        for key, value in _not_learned(part).items():
            before = tensors[name].get(key)
            if before is not None and _equal(before, value):
                continue
            if name in net._modules:
                raise ValueError(
                    f"a callback has set {key!r} of its module, which may be learned."
                )
            values[key] = value  # by a callback, for these rows
        part.load_state_dict(map_tensors(lambda t: t.clone(), values))
    for name in net._optimizers:
        optimizer = getattr(net, f"{name}_")
        new = _options(optimizer)
        # load_state_dict of an optimizer keeps the very tensors it is given
        optimizer.load_state_dict(map_tensors(lambda t: t.clone(), state[f"{name}_"]))
        for group, set_now, before in zip(
            getattr(optimizer, "param_groups", []), new, options[name], strict=False
        ):
            _set_options(group, set_now, before)
    # these would draw the weights again
    net.callbacks_ = [item for item in net.callbacks_ if not isinstance(item[1], Initializer)]


def _set_options(group, new, before):
    scheduled = "initial_lr" in group or "initial_lr" in new
    for key, value in new.items():
        # a schedule starts again from where it started
        again = scheduled and key in _SCHEDULED
        if again or key not in before or not _equal(before[key], value):
            group[key] = value
    if scheduled and "initial_lr" not in new:
        group.pop("initial_lr", None)


def _equal(a, b):
    if torch.is_tensor(a) and torch.is_tensor(b):
        return torch.equal(a, b)
    return type(a) is type(b) and a == b


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
                f"be resumed. {_REMEDY} Or give it state_dict and load_state_dict."
            )
    return {name: bare_module(getattr(net, name)).state_dict() for name in names}
