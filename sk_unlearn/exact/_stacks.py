"""Chains of nets of one architecture, trained side by side, step by step.

What a net becomes must depend on its own rows, seed and settings, never on the nets beside
it: the others of a fit are not those of a removal. Stacks keep that to the bit. Whether they
are used must not depend on the rows either: the decision (:func:`reason_alone`) sees made-up
rows only.
"""

import re

import numpy as np
import torch

from sk_unlearn.exact._chain import Chain
from sk_unlearn.nets import can_stack, is_net
from sk_unlearn.nets._inspect import throwaway_module
from sk_unlearn.nets._target import match_target
from sk_unlearn.nets.stacked import batch_options, default_width, padded, train_stacks
from sk_unlearn.utils._digest import state_digest

__all__ = ["n_slots", "reason_alone", "size_reason", "train_side_by_side"]

# A stack has batches of whole vectors, so that arithmetic may be done for nothing: rows times
# parameters a step. Up to here a request that hits one shard takes at most 1.2 times as long as
# alone.
_MOST_IN_VAIN = 2**22
# On a CUDA device a step computes all slots, also for one net. Up to here, in rows times all
# parameters, that takes less time than the launches of a step of a net that is alone.
_MOST_ON_DEVICE = 2**31


def reason_alone(net, X, y, n_nets):
    """Why the nets of an ensemble are trained one by one.

    A function of the settings and of the shape and type of a row.

    Parameters
    ----------
    net : estimator
        Unfitted, prepared.
    X : array-like of shape (n_rows, ...)
    y : ndarray of shape (n_rows, ...)
        As the net reads it.
    n_nets : int
        Most nets that there can be.

    Returns
    -------
    reason : str or None
        None if they are trained side by side.
    """
    if not is_net(net):
        return f"{type(net).__name__} is not a skorch net"
    if n_nets < 2:
        return "there is one net"
    try:
        reason = can_stack(net, *_made_up_rows(X, y), n_slots(net, n_nets))
        reason = reason or size_reason(net, n_nets)
    except Exception as error:  # of the user's module, on rows that are none of the user's
        reason = f"a trial failed: {type(error).__name__}"
    return reason and re.sub(r" at 0x[0-9a-fA-F]+", "", reason)


def size_reason(net, n_nets):
    """Why nets of this size are trained one by one.

    Parameters
    ----------
    net : skorch.NeuralNet
        Prepared.
    n_nets : int
        Most nets that there can be.

    Returns
    -------
    reason : str or None
    """
    n_parameters = sum(value.numel() for value in throwaway_module(net).parameters())
    n_rows = batch_options(net)["batch_size"]
    n_padded = padded(n_rows)
    slots = n_slots(net, n_nets)
    if slots is not None and n_parameters * n_padded * slots > _MOST_ON_DEVICE:
        return (
            f"with {n_parameters} parameters and batches of {n_rows} rows, a step of {slots} at "
            "once would take longer"
        )
    if slots is not None or n_parameters * (n_padded - n_rows) <= _MOST_IN_VAIN:
        return None
    return (
        f"with {n_parameters} parameters, batches of {n_rows} rows, filled up to {n_padded}, "
        "would take longer"
    )


def n_slots(net, n_nets):
    """Nets in every stack of an ensemble, for equal bits whatever nets there are.

    On a CPU any number gives the same. On a CUDA device libraries choose kernels by the size of
    a stack: all have the same, and nets that are not there are made up, which costs next to
    nothing there.

    Parameters
    ----------
    net : skorch.NeuralNet
        Prepared.
    n_nets : int
        Most nets that there can be.

    Returns
    -------
    n_slots : int or None
        None for as many as there are.
    """
    if torch.device(net.device or "cpu").type == "cpu":
        return None
    return min(n_nets, default_width(throwaway_module(net)))


def train_side_by_side(plans, starts, X, store, *, n_jobs, progress):
    """Train the steps that are left of chains whose learners share a ``stack``.

    Chains with as many steps left take the next one together; those with fewer wait, so
    that all end together.

    Parameters
    ----------
    plans : dict of Plan
    starts : dict of Restart
    X : ndarray of shape (n_rows, ...)
    store : store
    n_jobs : int or None
        Stacks at a time, in threads unless joblib was told otherwise.
    progress : callable
        Told the number of steps that were taken.

    Returns
    -------
    chains : dict of Chain
    """
    learner = next(iter(plans.values())).learner
    net = learner.fresh_net()
    tensors, first = _gathered(net, plans, X)
    states = {name: starts[name].state for name in plans}
    saved = {name: list(starts[name].saved) for name in plans}
    left = {name: len(plan.steps) - starts[name].n_done for name, plan in plans.items()}
    for n_left in range(max(left.values()), 0, -1):
        steps = {name: plans[name].steps[-n_left] for name in plans if left[name] >= n_left}
        for epochs, members in _by_epochs(steps):
            reached = train_stacks(
                net,
                tensors,
                [first[n] + np.arange(step.start, step.stop) for n, step in members.items()],
                [plans[n].learner.begin(states[n], step.seed) for n, step in members.items()],
                epochs,
                n_jobs=n_jobs,
                n_slots=learner.n_slots,
            )
            states.update(zip(members, reached, strict=True))
            progress(len(members))
        if n_left > 1:
            for name, step in steps.items():
                states[name] = learner.state(states[name])
                saved[name].append(store.save(step.key, states[name]))
    return {name: _chain(plan, states[name], saved[name]) for name, plan in plans.items()}


def _by_epochs(steps):
    """Steps with as many epochs; others come together only where slices are empty."""
    groups = {}
    for name, step in steps.items():
        groups.setdefault(step.epochs, {})[name] = step
    return groups.items()


def _chain(plan, reached, saved):
    model = plan.learner.model(reached, plan.y)
    digest = state_digest((model, None))
    return Chain(model, plan.classes, plan.steps, tuple(saved), digest, alone=plan.alone)


def _gathered(net, plans, X):
    """Rows and targets of all chains in training order, and where each begins."""
    X = X[np.concatenate([plan.order for plan in plans.values()])]
    y = np.concatenate([plan.y for plan in plans.values()])
    net.check_data(X, y)
    X, y = net.get_dataset(X, y).tensors
    first = np.cumsum([0, *(len(plan.order) for plan in plans.values())])
    return (X, match_target(net, X, y)), dict(zip(plans, first, strict=False))


def _made_up_rows(X, y):
    """Two rows like those of ``X`` and ``y`` that hold nothing of them."""
    values = np.random.RandomState(0).uniform(0, 2, size=(2, *X.shape[1:]))
    return values.astype(X.dtype), np.zeros((2, *y.shape[1:]), dtype=y.dtype)
