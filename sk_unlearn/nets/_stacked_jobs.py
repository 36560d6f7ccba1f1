"""Stacks as jobs: which nets train together, in threads or in processes."""

import math
from dataclasses import replace

import numpy as np
import torch
from joblib import Parallel, delayed, effective_n_jobs

from sk_unlearn.nets._inspect import throwaway_module
from sk_unlearn.nets._interrupt import StopSign
from sk_unlearn.nets._stacked_batches import batch_options
from sk_unlearn.nets._stacked_single import initial_states
from sk_unlearn.nets._stacked_steps import KeptSteps
from sk_unlearn.nets._stacked_train import train_stack
from sk_unlearn.utils._generators import without_draws
from sk_unlearn.utils._threads import reproducible_threads

__all__ = ["default_width", "train_stacks"]

# Most nets in a stack. One step of a stack costs some 0.5 ms beside the arithmetic, which
# from about 20 small nets on is little a net; from 50 on nothing more is gained.
_WIDTH = 50
_STACK_BYTES = 64 * 2**20  # of parameters; gradients and optimiser state come on top
# Threads take turns in Python. From about this many steps of a net on, workers of their own
# gain more than starting them takes (some ten seconds, mostly imports).
_STEPS_FOR_PROCESSES = 500_000


def train_stacks(
    net, tensors, row_sets, seeds, start, epochs, n_jobs, width, kept=None, n_slots=None
):
    """Train what was checked before, side by side.

    Parameters
    ----------
    net : skorch.NeuralNet
        Prepared, of a kind that :func:`can_stack` allows.
    tensors : tuple of Tensor
        Rows, and targets as the criterion reads them.
    row_sets, seeds, start, epochs, n_jobs, width
        As for :func:`train_states`; a list each, with None for what is not given.
    kept : KeptSteps, default=None
        Shared by calls for nets of the same settings: what was recorded is used again.
    n_slots : int, default=None
        Nets in every stack, ``width`` being at most that; None is for as many as there are.

    Returns
    -------
    states : list of NetState
    """
    sizes = [len(rows) for rows in row_sets]
    n_workers = effective_n_jobs(n_jobs)
    if width is None:
        width = default_width(net) if len(sizes) > 1 else 1
    # stacks of one size take as long with few nets as with many
    stacks = _plan(sizes, n_workers if n_slots is None else 1, width)
    n_steps = epochs * sum(sizes) / batch_options(net)["batch_size"]
    processes = n_steps > _STEPS_FOR_PROCESSES and tensors[0].device.type == "cpu"
    prefer = "processes" if processes else "threads"
    # joblib maps arrays into the memory of its workers; what is on a device stays there
    arrays = [tensor.numpy() if tensor.is_cpu else tensor for tensor in tensors]
    stop, kept = StopSign(), KeptSteps() if kept is None else kept
    jobs = [
        (
            net,
            *arrays,
            *([given[k] for k in members] for given in (row_sets, seeds, start)),
            epochs,
            stop,
            kept,
            n_slots,
        )
        for members in stacks
    ]
    with stop.shown_on_error():
        if n_workers == 1:  # for a net of a few steps, joblib takes as long as a step
            results = [_train_one_stack(*job) for job in jobs]
        else:
            train = delayed(_train_one_stack)
            results = Parallel(n_jobs=n_jobs, prefer=prefer)(train(*job) for job in jobs)
    found = {
        k: state
        for members, states in zip(stacks, results, strict=True)
        for k, state in zip(members, states, strict=True)
    }
    return [found[k] for k in range(len(row_sets))]


def _train_one_stack(net, X, y, row_sets, seeds, start, epochs, stop, kept, n_slots):
    """One job. Rows are copied: joblib hands large arrays to its workers read-only."""
    used, places = np.unique(np.concatenate(row_sets), return_inverse=True)
    X, y = (torch.as_tensor(rows[used]).to(net.device or "cpu") for rows in (X, y))
    ends = np.cumsum([len(rows) for rows in row_sets])[:-1]
    rows = [torch.from_numpy(part.copy()) for part in np.split(places, ends)]
    with stop.working(), reproducible_threads():
        begun = zip(seeds, start, strict=True)
        fresh = iter(initial_states(net, [seed for seed, state in begun if state is None]))
        states = [
            next(fresh) if state is None else _reseeded(state, seed)
            for seed, state in zip(seeds, start, strict=True)
        ]
        with without_draws():  # a stack draws from the generators of its nets
            return train_stack(net, X, y, rows, states, epochs, stop.check, kept, n_slots)


def _reseeded(state, seed):
    if seed is None:
        return state
    return replace(state, rng=torch.Generator().manual_seed(seed).get_state())


def _plan(sizes, n_jobs, width):
    """Members of each stack: alike in size, at most ``width``, and a stack for every job."""
    order = sorted(range(len(sizes)), key=lambda k: (-sizes[k], k))
    n_stacks = max(math.ceil(len(sizes) / width), min(n_jobs, len(sizes)))
    return [part.tolist() for part in np.array_split(order, n_stacks)]


def default_width(net):
    """Most nets of a stack."""
    n_bytes = sum(value.nbytes for value in throwaway_module(net).parameters())
    return min(_WIDTH, max(1, _STACK_BYTES // n_bytes))
