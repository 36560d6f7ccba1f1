"""Train one net alone, from a seed or from a state: what stacked training stands in for."""

import torch
from sklearn.base import clone
from skorch.callbacks import Callback

from sk_unlearn.exceptions import UnsupportedNetError
from sk_unlearn.nets._inspect import bare_module
from sk_unlearn.nets._stacked_schedule import Schedule
from sk_unlearn.nets._stacked_state import (
    NetState,
    has_single_parts,
    read_state,
    restore_state,
)
from sk_unlearn.utils._seeding import isolated_rng
from sk_unlearn.utils._signals import raise_interrupts
from sk_unlearn.utils._take import take_rows
from sk_unlearn.utils._threads import reproducible_threads

__all__ = ["initial_states", "train_alone"]


def initial_states(net, seeds):
    """States that ``net.initialize()`` gives under each of some seeds.

    Parameters
    ----------
    net : skorch.NeuralNet
        Prepared, of a kind that :func:`can_stack` allows: of what it consists of only the
        module draws random numbers. Left untouched.
    seeds : iterable of int

    Returns
    -------
    states : list of NetState
        Their ``rng`` is that of the global generator after the initialisation.
    """
    fresh, states = clone(net), []
    for seed in seeds:
        with isolated_rng(seed):
            fresh._initialize_module()
            rng = torch.get_rng_state()
        module = bare_module(fresh.module_)
        states.append(NetState(dict(module.state_dict()), {}, rng))
    return states


def train_alone(net, X, y, rows, seed, state, epochs):
    """Train one net through skorch.

    Parameters
    ----------
    net : skorch.NeuralNet
        Prepared; left untouched.
    X, y : array-likes
    rows : ndarray of int
    seed : int or None
    state : NetState or None
    epochs : int

    Returns
    -------
    net : skorch.NeuralNet
    state : NetState or None
        None for nets of several modules.
    """
    X, y = _take(X, rows), None if y is None else take_rows(y, rows)
    with reproducible_threads(), raise_interrupts(), isolated_rng(0 if seed is None else seed):
        fresh = clone(net).initialize()
        if state is not None:
            _go_on(fresh, state, seed)
        fresh.partial_fit(X, y, epochs=epochs)
        if not has_single_parts(fresh):
            return fresh, None
        return fresh, _state(fresh, state, len(rows))


def _take(X, rows):
    if isinstance(X, dict):
        return {name: take_rows(value, rows) for name, value in X.items()}
    if isinstance(X, (list, tuple)) and hasattr(X[0], "shape"):
        return type(X)(take_rows(value, rows) for value in X)
    return take_rows(X, rows)


def _go_on(net, state, seed):
    if not has_single_parts(net):
        raise UnsupportedNetError(
            f"{type(net).__name__} has several modules, criteria or optimizers, so it cannot "
            "start from a state. Train it from a seed."
        )
    schedule = Schedule(net)
    for i, (name, callback) in enumerate(net.callbacks_):
        if callback is schedule.policy:
            net.callbacks_[i] = (name, _GoneOn(schedule, schedule.clock(state)))
    net.callbacks_.append(("sk_unlearn_restored", _Restored(state)))
    if seed is None:
        torch.set_rng_state(state.rng)
    else:
        torch.manual_seed(seed)


class _Restored(Callback):
    """Writes the state where training begins, after callbacks that build modules anew."""

    def __init__(self, state):
        self.state = state

    def on_train_begin(self, net, **kwargs):
        restore_state(net, self.state)
        self.state = None


class _GoneOn(Callback):
    """A schedule in the middle; how torch's schedulers restart differs between versions."""

    def __init__(self, schedule, clock):
        self.schedule = schedule
        self.clock = clock

    def _set(self, net):
        net.optimizer_.param_groups[0].update(self.schedule.settings(self.clock))

    def on_train_begin(self, net, **kwargs):
        self._set(net)

    def on_epoch_end(self, net, **kwargs):
        if not self.schedule.per_batch:
            self.clock += 1
            self._set(net)

    def on_batch_end(self, net, training=False, **kwargs):
        if training and self.schedule.per_batch:
            self.clock += 1
            self._set(net)


def _state(net, before, n_rows):
    losses = [float(row["train_loss"]) for row in net.history if "train_loss" in row]
    batches = [row.get("train_batch_count", len(row["batches"])) for row in net.history]
    return read_state(
        net,
        rng=torch.get_rng_state(),
        epochs=(before.epochs if before else 0) + len(net.history),
        batches=(before.batches if before else 0) + sum(batches),
        losses=(*(before.losses if before else ()), *losses),
    )
