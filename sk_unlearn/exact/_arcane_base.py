"""Classes and blocks: how ARCANE places rows and trains each class's model."""

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import clone

from sk_unlearn.exact._chain import Plan, plan_steps
from sk_unlearn.exact._ensemble import BaseEnsemble, Placement
from sk_unlearn.exact._learners import is_net
from sk_unlearn.exact._one_class import (
    OneClassFitLearner,
    OneClassNetLearner,
    OneClassPartialFitLearner,
    scores_are_densities,
    temperature,
)
from sk_unlearn.exact._placement import keyed_bins, keyed_order, placement_keys
from sk_unlearn.exact._selection import EntropySelector
from sk_unlearn.exact._wrapped import set_random_states
from sk_unlearn.nets import default_density
from sk_unlearn.utils._seeding import derive_seed
from sk_unlearn.utils._sklearn import HasMethods, Interval, StrOptions
from sk_unlearn.utils._take import take_rows

__all__ = ["BaseArcane"]

_AUTO_BLOCKS = 5


@dataclass(frozen=True)
class Recipe:
    """What the parameters said when ``fit`` was called: later removals follow it."""

    estimator: Any
    n_blocks: int
    selector: Any
    selection: float
    calibration: str


class BaseArcane(BaseEnsemble):
    """One chain a class over its selected rows, block by block."""

    _parameter_constraints: dict = {
        **BaseEnsemble._parameter_constraints,
        "estimator": [HasMethods(["fit", "score_samples"]), None],
        "selector": [HasMethods(["select"]), None],
        "selection": [Interval(Real, 0, 1, closed="right")],
        "n_blocks": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "calibration": [StrOptions({"auto", "none", "standard"})],
        "prior": [StrOptions({"empirical", "uniform"})],
    }

    def __init__(
        self,
        estimator=None,
        *,
        selector=None,
        selection=1.0,
        n_blocks="auto",
        calibration="auto",
        prior="empirical",
        checkpoints=None,
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        super().__init__(estimator, random_state=random_state, verbose=verbose)
        self.selector = selector
        self.selection = selection
        self.n_blocks = n_blocks
        self.calibration = calibration
        self.prior = prior
        self.checkpoints = checkpoints
        self.n_jobs = n_jobs

    def _check_training_data(self, X, y):
        goes_in_steps = self._goes_in_steps()
        if self.n_blocks not in ("auto", 1) and not goes_in_steps:
            raise ValueError(
                f"n_blocks={self.n_blocks} needs an estimator that can be trained block by "
                f"block, a skorch net or one with partial_fit; {type(self.estimator).__name__} "
                "is neither. Set n_blocks=1: each class is then trained in one go."
            )
        if self.selection < 1 and sparse.issparse(X):
            raise TypeError(
                "Sparse X is not supported by the selectors of representative rows. Set "
                "selection=1, or pass X.toarray()."
            )
        return super()._check_training_data(X, y)

    def _fit_rows(self, rows):
        n_blocks, calibration = self.n_blocks, self.calibration
        if n_blocks == "auto":
            n_blocks = _AUTO_BLOCKS if self._goes_in_steps() else 1
        if calibration == "auto":
            calibration = "none" if scores_are_densities(self.estimator) else "standard"
        template = self.estimator
        if template is None:
            template = default_density(n_features=rows.X[0].size)
        selector = EntropySelector() if self.selector is None else self.selector
        self._recipe_ = Recipe(
            clone(template), n_blocks, clone(selector), self.selection, calibration
        )
        super()._fit_rows(rows)

    def _place(self, rows):
        keys, n_blocks = placement_keys(rows), self._recipe_.n_blocks
        early = keyed_bins(self._seed_, "block", keys, n_blocks, self._forget_proba(rows))
        return Placement(
            part=rows.y,
            block=n_blocks - 1 - early,  # rows likely to leave come last
            rank=keyed_order(self._seed_, "order", rows.ids),
        )

    def _plan_chain(self, name, rows, indices):
        recipe, seed = self._recipe_, derive_seed(self._seed_, "class", repr(name))
        selected = self._select(rows, indices, seed)
        estimator = clone(recipe.estimator)
        if is_net(estimator):
            learner = OneClassNetLearner(estimator)
        elif recipe.n_blocks > 1:
            learner = OneClassPartialFitLearner(estimator)
        else:
            set_random_states(estimator, seed)
            learner = OneClassFitLearner(estimator)
        epochs, cumulative = learner.schedule(getattr(estimator, "max_epochs", 1), recipe.n_blocks)
        blocks = self._placement_.block[selected]
        steps = plan_steps(
            rows.ids[selected],
            np.bincount(blocks, minlength=recipe.n_blocks).tolist(),
            epochs,
            seed=seed,
            recipe="one class",
            cumulative=cumulative,
        )
        return Plan(selected, steps, learner, classes=np.array([name]))

    def _select(self, rows, indices, seed):
        """Representative rows of a class, in training order."""
        share = self._recipe_.selection
        if share == 1:
            return indices
        chosen = self._recipe_.selector.select(
            take_rows(rows.X, indices),
            n_select=max(1, math.ceil(share * len(indices))),
            ids=rows.ids[indices],
            seed=derive_seed(seed, "selection"),
        )
        return indices[np.sort(chosen)]

    def _collect(self, rows):
        self._set_classes(rows.y)
        chains = [self._chains_[label] for label in self.classes_.tolist()]
        self.estimators_ = [chain.model for chain in chains]
        counts = np.unique(rows.y, return_counts=True)[1]
        self.class_log_prior_ = np.zeros(len(counts))
        if self.prior == "empirical":
            self.class_log_prior_ = np.log(counts / counts.sum())
        self.temperature_ = 1.0
        if self._recipe_.calibration == "none":
            self.temperature_ = temperature([chain.summary for chain in chains])
