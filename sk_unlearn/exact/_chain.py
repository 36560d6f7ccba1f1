"""Checkpoint chains: train step by step, save after each, restart before what changed.

A chain is a model that is trained on its rows in steps. The *key* of a step names
everything that the state after it was computed from: the recipe, the seed, the ids of all
rows up to there, the epochs. Forgetting plans the chain again from the retained rows and
goes on from the last saved state whose key is still part of the plan. Everything else
follows from that: rows in late steps cost little, a changed recipe starts from scratch, a
lost file costs time and no correctness, and keeping only states of the new plan destroys
all that saw a forgotten row.
"""

import os
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np

from sk_unlearn.nets import pack_nets
from sk_unlearn.utils._containers import is_pandas
from sk_unlearn.utils._digest import state_digest
from sk_unlearn.utils._seeding import derive_seed, isolated_rng
from sk_unlearn.utils._signals import raise_interrupts
from sk_unlearn.utils._threads import reproducible_threads

__all__ = [
    "Chain",
    "Plan",
    "Restart",
    "Step",
    "plan_steps",
    "restart",
    "train_chain",
    "train_chain_for",
]


@dataclass(frozen=True)
class Step:
    """One training step of a chain.

    Attributes
    ----------
    key : str
        Names all that the state after the step is computed from.
    start, stop : int
        Rows of the chain, in training order, that the step passes over.
    epochs : int
    seed : int
        Of everything that the step draws.
    """

    key: str
    start: int
    stop: int
    epochs: int
    seed: int

    @property
    def work(self):
        """Row passes."""
        return self.epochs * (self.stop - self.start)


@dataclass(frozen=True)
class Plan:
    """What one chain is trained on, and how.

    Attributes
    ----------
    order : ndarray of int
        Its rows in training order, as indices into the training rows.
    steps : tuple of Step
        At least one.
    learner : learner
        One of :mod:`sk_unlearn.exact._learners`.
    y : ndarray or None
        Targets in training order, as the learner reads them.
    classes : ndarray or None
        Labels that the model's outputs stand for.
    alone : str or None
        Why it is not trained side by side with others, where that was asked.
    """

    order: np.ndarray
    steps: tuple[Step, ...]
    learner: Any
    y: np.ndarray | None = None
    classes: np.ndarray | None = None
    alone: str | None = None


@dataclass(frozen=True)
class Chain:
    """A trained chain.

    Attributes
    ----------
    model : estimator
        After the last step.
    classes : ndarray or None
        Labels that the model's outputs stand for.
    steps : tuple of Step
    saved : tuple of Saved
        States after all steps but the last.
    digest : str
        SHA-256 of the model and the summary.
    summary : object
        What the learner notes about the model on its rows.
    alone : str or None
        As in the plan.
    """

    model: Any
    classes: np.ndarray | None
    steps: tuple[Step, ...]
    saved: tuple
    digest: str
    summary: Any = None
    alone: str | None = None

    @property
    def n_rows(self):
        """Rows that the chain is trained on."""
        return self.steps[-1].stop


@dataclass(frozen=True)
class Restart:
    """Where a chain goes on.

    Attributes
    ----------
    n_done : int
        Steps whose result is kept.
    state : dict or None
        After these.
    saved : tuple of Saved
        Of these steps.
    n_lost : int
        Saved states that would have served better and were lost or altered.
    """

    n_done: int = 0
    state: Any = None
    saved: tuple = ()
    n_lost: int = 0


def plan_steps(ids, sizes, epochs, *, seed, recipe, cumulative):
    """Steps of a chain over consecutive parts of its rows.

    Parameters
    ----------
    ids : ndarray of shape (n_rows,)
        Of the chain's rows in training order.
    sizes : sequence of int
        Rows of each part; an empty part has no step.
    epochs : sequence of int
        Of each step.
    seed : int
        Of the chain.
    recipe : str
        Whatever else decides how the chain trains.
    cumulative : bool
        Whether a step passes over all rows up to its part's end, or over its part only.

    Returns
    -------
    steps : tuple of Step
    """
    steps, key, start = [], repr((recipe, seed, cumulative)), 0
    for index, (size, n_epochs) in enumerate(zip(sizes, epochs, strict=True)):
        stop = start + size
        if size:
            part = _names(ids[start:stop])
            key = blake2b(
                repr((key, index, n_epochs)).encode("utf-8", "surrogatepass") + part,
                digest_size=16,
                person=b"sk_unlearn step",
            ).hexdigest()
            first = 0 if cumulative else start
            steps.append(Step(key, first, stop, n_epochs, derive_seed(seed, "step", index)))
        start = stop
    return tuple(steps)


def _names(ids):
    if ids.dtype.kind in "iu":
        return np.ascontiguousarray(ids, dtype="<i8").tobytes()
    return repr(ids.tolist()).encode("utf-8", "surrogatepass")


def restart(chain, steps, store=None):
    """Find the last saved state that a plan can go on from.

    Parameters
    ----------
    chain : Chain or None
        As it was; None plans from scratch.
    steps : tuple of Step
        The new plan.
    store : store or None
        To load the state from; None only looks at the keys, for a preview.

    Returns
    -------
    found : Restart
    """
    saved = {} if chain is None else {item.key: item for item in chain.saved}
    n_done = 0
    # the last step is always trained: it gives the model, not only its state
    while n_done < len(steps) - 1 and steps[n_done].key in saved:
        n_done += 1
    kept = tuple(saved[step.key] for step in steps[:n_done])
    if store is None:
        return Restart(n_done, saved=kept)
    n_lost = 0
    while kept:
        state = store.load(kept[-1])
        if state is not None:
            return Restart(len(kept), state, kept, n_lost)
        kept, n_lost = kept[:-1], n_lost + 1
    return Restart(n_lost=n_lost)


def train_chain(plan, X, found, store):
    """Train the steps that are left, saving the state after each but the last.

    A unit of parallel work: seeds and threads are set here, since a worker process has
    those of its own.

    Parameters
    ----------
    plan : Plan
    X : array-like of n_rows rows
        Of the chain, in training order.
    found : Restart
    store : store

    Returns
    -------
    chain : Chain
    """
    state, saved, learner = found.state, list(found.saved), plan.learner
    with reproducible_threads(), raise_interrupts():
        for step in plan.steps[found.n_done :]:
            y = None if plan.y is None else _part(plan.y, step)
            with isolated_rng(step.seed):
                model = learner.advance(state, _part(X, step), y, step.epochs)
                # these may draw too
                if step is plan.steps[-1]:
                    summary = learner.summary(model, X)
                else:
                    state = learner.state(model)
            if step is not plan.steps[-1]:
                saved.append(store.save(step.key, state))
    digest = state_digest((model, summary))
    return Chain(model, plan.classes, plan.steps, tuple(saved), digest, summary, plan.alone)


def train_chain_for(process, *args):
    """:func:`train_chain`, its result packed if another process than this one asked for it.

    Parameters
    ----------
    process : int
        Id of the one that asks.
    *args
        Of :func:`train_chain`.

    Returns
    -------
    chain : Chain or bytes
        Bytes for :func:`~sk_unlearn.nets.unpack_nets`.
    """
    chain = train_chain(*args)
    return chain if os.getpid() == process else pack_nets(chain)


def _part(data, step):
    part = slice(step.start, step.stop)
    return data.iloc[part] if is_pandas(data) else data[part]
