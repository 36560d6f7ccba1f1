"""What a net learned so far, apart from the net: parameters, optimiser state, what comes next."""

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.base import clone
from skorch import NeuralNetClassifier

from sk_unlearn.exceptions import UnsupportedNetError
from sk_unlearn.nets._inspect import bare_module
from sk_unlearn.nets._schedule import Schedule
from sk_unlearn.utils._seeding import isolated_rng

__all__ = ["NetState", "has_single_parts", "initial_state", "load_state", "read_state"]


@dataclass(frozen=True)
class NetState:
    """A point in the training of one net, from which it can go on.

    Attributes
    ----------
    tensors : dict of str to Tensor
        Parameters and buffers, as ``module_.state_dict()`` names them.
    optimizer : dict of str to dict
        By parameter name, what torch's optimiser keeps for it (``exp_avg``, ``step``,
        ``momentum_buffer``, ...); empty before the first step.
    rng : Tensor or None
        State of the generator from which the next epoch's order of rows is drawn.
    epochs : int
        Epochs trained.
    batches : int
        Optimiser steps taken.
    losses : tuple of float
        Training loss of each epoch, the mean over its batches by number of rows.
    """

    tensors: dict
    optimizer: dict
    rng: torch.Tensor | None
    epochs: int = 0
    batches: int = 0
    losses: tuple = ()


def read_state(net, *, rng=None, epochs=0, batches=0, losses=()):
    """Copy the state of an initialised net.

    Parameters
    ----------
    net : skorch.NeuralNet
        With one module and one optimiser.
    rng : Tensor, default=None
        State of the generator for what follows.
    epochs, batches : int, default=0
        How far the net was trained; a learning-rate schedule goes on from there.
    losses : sequence of float, default=()

    Returns
    -------
    state : NetState

    Raises
    ------
    UnsupportedNetError
        If the net has several modules, criteria or optimisers.
    """
    if not has_single_parts(net):
        raise UnsupportedNetError(
            f"{type(net).__name__} has several modules, criteria, optimizers or parameter "
            "groups: a training state describes one of each."
        )
    module, kept = bare_module(net.module_), net.optimizer_.state
    tensors = {name: value.detach().clone() for name, value in module.state_dict().items()}
    optimizer = {
        name: {key: _copy(value) for key, value in kept[parameter].items()}
        for name, parameter in module.named_parameters()
        if parameter in kept
    }
    return NetState(tensors, optimizer, rng, epochs, batches, tuple(losses))


def load_state(net, state, *, y=None):
    """Trained net in a given state.

    Parameters
    ----------
    net : skorch.NeuralNet
        Prepared and unfitted; left untouched.
    state : NetState
    y : ndarray, default=None
        Labels of the rows trained on: ``classes_`` of a ``NeuralNetClassifier``.

    Returns
    -------
    net : skorch.NeuralNet
        Initialised; the history has one entry an epoch, with its training loss. The
        optimiser holds the learning rate that the schedule gives after these epochs.

    Examples
    --------
    >>> from sk_unlearn.nets import default_classifier, load_state, prepare, read_state
    >>> net = prepare(default_classifier(n_features=2, n_outputs=2, n_rows=4, device="cpu"))
    >>> state = read_state(net.initialize())
    >>> twin = load_state(net, state)
    >>> bool((twin.module_.layers[1].weight == net.module_.layers[1].weight).all())
    True
    """
    fresh = clone(net)
    with isolated_rng(0):
        fresh.initialize()
    module, kept = bare_module(fresh.module_), fresh.optimizer_.state
    module.load_state_dict(state.tensors)
    for name, parameter in module.named_parameters():
        if name in state.optimizer:
            kept[parameter] = {k: _copy(v) for k, v in state.optimizer[name].items()}
    schedule = Schedule(fresh)
    fresh.optimizer_.param_groups[0].update(schedule.settings(schedule.clock(state)))
    for epoch, loss in enumerate(state.losses, start=1):
        fresh.history.new_epoch()
        fresh.history.record("epoch", epoch)
        fresh.history.record("train_loss", loss)
    if y is not None and isinstance(net, NeuralNetClassifier):
        fresh.classes_inferred_ = np.unique(y)
    fresh.module_.eval()
    return fresh


def initial_state(fresh, seed):
    """State that ``fresh.initialize()`` gives under a seed.

    Parameters
    ----------
    fresh : skorch.NeuralNet
        Unfitted clone of a prepared net that can be stacked: of what it consists of only the
        module draws random numbers. Its module is made anew.
    seed : int

    Returns
    -------
    state : NetState
        Its ``rng`` is that of the global generator after the initialisation.
    """
    with isolated_rng(seed):
        fresh._initialize_module()
        rng = torch.get_rng_state()
    return NetState(dict(bare_module(fresh.module_).state_dict()), {}, rng)


def has_single_parts(net):
    """Whether an initialised net has the one module, criterion and optimiser of skorch."""
    return (net._modules, net._criteria, net._optimizers) == (
        ["module"],
        ["criterion"],
        ["optimizer"],
    ) and len(net.optimizer_.param_groups) == 1


def _copy(value):
    return value.detach().clone() if torch.is_tensor(value) else value
