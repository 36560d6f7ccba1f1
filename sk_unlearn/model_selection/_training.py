"""Many fits of one estimator, their nets trained side by side where that is possible."""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from joblib import Parallel, delayed
from sklearn.base import clone
from skorch import NeuralNet
from tqdm.auto import tqdm

from sk_unlearn.exact._wrapped import seeded as seeded_inside
from sk_unlearn.nets import PinnedSplit, can_stack, train_nets, training_by

__all__ = ["FittedModels", "Outcome", "fit_many", "run_many", "seeded"]


@dataclass(frozen=True)
class FittedModels:
    """Outcome of :func:`fit_many`.

    Attributes
    ----------
    estimators : list of estimator
        Fitted, in the order of the seeds.
    stacked : bool
        Whether their nets were trained side by side.
    reason : str or None
        Why not.
    """

    estimators: list
    stacked: bool
    reason: str | None


def fit_many(estimator, X, y, seeds, *, n_jobs=None, verbose=0, **fit_params):
    """Fit clones of an estimator that differ in their seed.

    The nets of :class:`~sk_unlearn.PumaClassifier`, :class:`~sk_unlearn.RetrainClassifier`
    and their regressors are trained as one stack (see
    :func:`~sk_unlearn.nets.train_nets`), which takes a fraction of the time on a CPU and
    agrees with ``fit`` to rounding error. All other estimators, and nets that cannot be
    stacked, are fitted one by one, ``n_jobs`` at a time.

    Parameters
    ----------
    estimator : estimator
        Left untouched.
    X : array-like of shape (n_samples, n_features) or (n_samples, ...)
    y : array-like of shape (n_samples,)
    seeds : sequence of int
        The ``random_state`` of each.
    n_jobs : int, default=None
        Stacks, or fits, at a time, as joblib understands it. The result does not depend
        on it.
    verbose : int, default=0
        1 shows a progress bar.
    **fit_params : dict
        Passed to each ``fit``, such as ``sample_id``.

    Returns
    -------
    fitted : FittedModels
        ``fitted.stacked`` and ``fitted.reason`` say how the nets were trained.

    Raises
    ------
    ValueError
        If there are no seeds.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sk_unlearn import PumaClassifier
    >>> from sk_unlearn.model_selection import fit_many
    >>> X, y = load_iris(return_X_y=True)
    >>> fitted = fit_many(PumaClassifier(), X, y, seeds=[0, 1])
    >>> len(fitted.estimators), fitted.stacked
    (2, True)
    """
    seeds = list(seeds)
    if not seeds:
        raise ValueError("seeds must name at least one seed, got none.")
    fit = partial(_fit, estimator=estimator, X=X, y=y, fit_params=fit_params)
    outcome = run_many(fit, seeds, n_jobs=n_jobs, verbose=verbose, title="fitting")
    return FittedModels(outcome.results, outcome.reason is None, outcome.reason)


def _fit(seed, *, estimator, X, y, fit_params):
    return seeded(estimator, seed).fit(X, y, **fit_params)


def seeded(estimator, seed):
    """Clone of an estimator with a seed.

    Parameters
    ----------
    estimator : estimator
    seed : int

    Returns
    -------
    estimator : estimator
        Where it has no ``random_state`` itself, nested ones that are None get seeds.
    """
    if "random_state" in estimator.get_params(deep=False):
        return clone(estimator).set_params(random_state=seed)
    return seeded_inside(estimator, seed)


class Outcome(NamedTuple):
    """Results of :func:`run_many`, and how they came about.

    Attributes
    ----------
    results : list
    reason : str or None
        Why nets were not trained side by side; None if they were.
    n_stacked : int
        Nets of each call that were.
    """

    results: list
    reason: str | None
    n_stacked: int


def run_many(function, items, *, n_jobs=None, verbose=0, title=None):
    """Call a function for each item; nets that all calls train are trained together.

    In each round every call runs until it trains a net; these nets are trained as a stack,
    and the calls start again and find them trained. So a call must depend on its item
    only, and leave the item as it was when training is broken off.

    Parameters
    ----------
    function : callable
        ``function(item)``; can be pickled.
    items : list
        At least one. The calls train nets of the same settings in the same order.
    n_jobs : int, default=None
    verbose : int, default=0
    title : str, default=None
        Of the progress bar.

    Returns
    -------
    outcome : Outcome
    """
    nets = [[] for _ in items]
    with tqdm(total=len(items), desc=title, leave=False, disable=not verbose) as bar:
        while True:
            first = _Trainer(nets[0], stack=True)
            outcome = first.run(function, items[0])
            if not isinstance(outcome, _Pending):
                break
            pending = [outcome]
            for item, known in zip(items[1:], nets[1:], strict=True):
                other = _Trainer(known, stack=True, check=False)
                pending.append(other.run(function, item).like(outcome))
            for known, net in zip(nets, _train(pending, n_jobs), strict=True):
                known.append(net)
        results = [outcome]
        bar.update()
        jobs = (
            delayed(_finish)(function, item, known)
            for item, known in zip(items[1:], nets[1:], strict=True)
        )
        for result in Parallel(n_jobs=n_jobs, return_as="generator")(jobs):
            results.append(result)
            bar.update()
    nothing = "no net is trained directly by this estimator" if not nets[0] else None
    return Outcome(results, first.reason or nothing, len(nets[0]))


def _finish(function, item, known):
    return _Trainer(known, stack=False).run(function, item)


class _Pending(Exception):
    """A net that has to be trained before a call can go on."""

    def __init__(self, net, X, y):
        super().__init__()
        self.net, self.X, self.y = net, X, y
        split = net.train_split
        self.rows = split.train if isinstance(split, PinnedSplit) else np.arange(len(X))
        # what the estimator has seeded the generators with: the net is that of its own fit
        self.seed = torch.initial_seed()

    def like(self, other):
        """Itself, with the arrays of another where they are equal: one copy is enough."""
        if _same(self.X, other.X):
            self.X = other.X
        return self


class _Trainer:
    """Hands out the nets that a call has trained before; breaks the call off at the next."""

    def __init__(self, known, *, stack, check=True):
        self.known, self.stack, self.check = known, stack, check
        self.count, self.reason = 0, None

    def run(self, function, item):
        with training_by(self):
            try:
                return function(item)
            except _Pending as pending:
                return pending.with_traceback(None)  # frames hold data

    def __call__(self, net, X, y, **fit_params):
        if self.count < len(self.known):
            trained = self.known[self.count]
            self.count += 1
            trained.train_split = net.train_split
            return trained
        if self.stack:
            if self.check:
                self.reason = self.reason or _reason(net, X, y, fit_params)
            if self.reason is None:
                raise _Pending(net, X, y)
        return net.fit(X, y, **fit_params)


def _reason(net, X, y, fit_params):
    """Why a prepared net cannot be trained in a stack; None if it can."""
    if not isinstance(net, NeuralNet):
        return f"{type(net).__name__} is not a net"
    if fit_params:
        return f"the net's fit takes {', '.join(fit_params)}"
    if not isinstance(X, np.ndarray):
        return f"X is a {type(X).__name__}, not an array"
    return can_stack(_without_split(net), X, y)


def _without_split(net):
    net = clone(net)
    if isinstance(net.train_split, PinnedSplit):
        net.set_params(train_split=None)
    return net


def _train(pending, n_jobs):
    first = pending[0]
    net, seeds = _without_split(first.net), [p.seed for p in pending]
    if all(p.X is first.X and np.array_equal(p.y, first.y) for p in pending):
        X, y, rows = first.X, first.y, [p.rows for p in pending]
    else:
        X = np.concatenate([p.X[p.rows] for p in pending])
        y = np.concatenate([p.y[p.rows] for p in pending])
        ends = np.cumsum([len(p.rows) for p in pending])
        rows = np.split(np.arange(ends[-1]), ends[:-1])
    return train_nets(net, X, y, rows, seeds, n_jobs=n_jobs)


def _same(a, b):
    return a is b or np.array_equal(a, b)
