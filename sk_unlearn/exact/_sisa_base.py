"""Shards and slices: how SISA places rows and trains each shard."""

import math
from abc import abstractmethod
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np

from sk_unlearn.exact._chain import Plan, plan_steps
from sk_unlearn.exact._ensemble import BaseEnsemble, Placement
from sk_unlearn.exact._learners import (
    FitLearner,
    NetLearner,
    OneClassLearner,
    PartialFitLearner,
    StackedNetLearner,
)
from sk_unlearn.exact._placement import keyed_bins, placement_keys
from sk_unlearn.exact._stacks import n_slots, reason_alone, size_reason
from sk_unlearn.exact._wrapped import seeded
from sk_unlearn.nets import contains_net, is_net, predict_proba, predict_proba_each, prepare
from sk_unlearn.nets._spared import spared_estimator
from sk_unlearn.utils._inputs import check_net_input
from sk_unlearn.utils._seeding import derive_seed, keyed_uniform
from sk_unlearn.utils._sklearn import Interval, StrOptions, num_samples

__all__ = ["BaseSisa"]

_AUTO_SLICES = 5


@dataclass(frozen=True)
class Setup:
    """What ``fit`` made of the parameters."""

    estimator: Any
    n_slices: int
    alone: str | None
    net_inside: bool


class BaseSisa(BaseEnsemble):
    """Sharded, isolated, sliced, aggregated training."""

    _parameter_constraints: dict = {
        **BaseEnsemble._parameter_constraints,
        "n_shards": [Interval(Integral, 1, None, closed="left")],
        "n_slices": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "max_epochs": [Interval(Integral, 1, None, closed="left"), None],
    }

    def __init__(
        self,
        estimator=None,
        *,
        n_shards=3,
        n_slices="auto",
        aggregation="soft",
        max_epochs=None,
        checkpoints=None,
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        super().__init__(estimator, random_state=random_state, verbose=verbose)
        self.n_shards = n_shards
        self.n_slices = n_slices
        self.aggregation = aggregation
        self.max_epochs = max_epochs
        self.checkpoints = checkpoints
        self.n_jobs = n_jobs

    def _check_training_data(self, X, y):
        self._check_steps()
        X, y = super()._check_training_data(X, y)
        n_samples = num_samples(X)
        if self.n_shards > n_samples:
            raise ValueError(
                f"{type(self).__name__} needs at least one row a shard, got "
                f"n_shards={self.n_shards} and n_samples={n_samples}."
            )
        return X, y

    def _check_steps(self):
        """Refuse slices where the estimator cannot be trained step by step."""
        n_slices = self._slices()
        self._check_steps_of("n_slices", n_slices)
        own_fit = n_slices == 1 and self.estimator is not None and not is_net(self.estimator)
        if own_fit and self.max_epochs is not None:
            raise ValueError(
                f"max_epochs={self.max_epochs} counts passes of a skorch net or of partial_fit; "
                f"in one slice {type(self.estimator).__name__} is trained by its own fit. Set "
                "max_epochs=None, and the estimator's own parameters to limit its passes."
            )

    def _slices(self):
        """Number of slices, looked up where it is "auto"."""
        if self.n_slices != "auto":
            return self.n_slices
        # in steps the number of passes is fixed: only who asks for one gives a rule up
        fixed = self.max_epochs is not None or self._rule_of_fit() is None
        return _AUTO_SLICES if fixed and self._goes_in_steps() else 1

    def _fit_rows(self, rows):
        n_slices = self._slices()
        template = None if self.estimator is None else self._template(self.estimator)
        if template is not None:
            self._check_template(template, rows)
        alone = self._reason_alone(template, rows)
        inside = template is not None and contains_net(template)
        self._setup_ = Setup(template, n_slices, alone, inside)
        super()._fit_rows(rows)

    @property
    def _adds_up(self):
        """Whether probabilities of the models are averaged."""
        return self._classification and self.aggregation == "soft"

    @property
    def _aggregates(self):
        """How, as ``fit`` was told: there it was checked that the models give what it needs."""
        return self._recipe_["aggregation"]

    def _check_template(self, template, rows):
        """Refuse a prepared estimator whose answers could not be combined."""

    def _reason_alone(self, template, rows):
        """Why shards are not trained side by side, judged without looking at what rows hold."""
        if template is None:
            blank = replace(rows, X=np.zeros_like(rows.X[:1]), y=np.zeros_like(rows.y[:1]))
            template = prepare(self._default_net_of(blank, np.zeros(1, int), range(2), 1)[0])
        y = np.zeros(len(rows), dtype=np.int64) if self._classification else self._encode(rows.y)
        return reason_alone(template, rows.X, y, self.n_shards)

    def _place(self, rows):
        n_slices, keys, proba = (
            self._setup_.n_slices,
            placement_keys(rows),
            self._forget_proba(rows),
        )
        early = keyed_bins(self._seed_, "slice", keys, n_slices, proba)
        return Placement(
            part=keyed_bins(self._seed_, "shard", keys, self.n_shards, proba),
            block=n_slices - 1 - early,  # rows likely to leave come last
            rank=keyed_uniform(self._seed_, "order", rows.ids),
        )

    def _plan_chain(self, name, rows, indices):
        y, classes = rows.y[indices], None
        if self._classification:
            classes = np.unique(y)
        seed = derive_seed(self._seed_, "shard", name)
        learner, y, recipe, alone = self._learner(rows, indices, y, classes, seed)
        epochs, cumulative = learner.schedule(self.max_epochs, self._setup_.n_slices)
        sizes = [len(indices)]
        if len(epochs) > 1:
            sizes = np.bincount(self._placement_.block[indices], minlength=len(epochs)).tolist()
        steps = plan_steps(
            rows.ids[indices],
            sizes,
            epochs,
            seed=seed,
            recipe=repr((recipe, None if classes is None else classes.tolist())),
            cumulative=cumulative,
        )
        return Plan(indices, steps, learner, y, classes, alone)

    @abstractmethod
    def _default_net_of(self, rows, indices, classes, size):
        """Default net of a shard, and the scale of the targets it is trained on or None.

        Parameters
        ----------
        rows : TrainingRows
        indices : ndarray of int
            The shard's.
        classes : sequence or None
            Labels of the shard.
        size : int
            Number of rows that sizes and epochs follow from.
        """

    def _learner(self, rows, indices, y, classes, seed):
        """How a shard is trained, its targets as read there, the recipe, and why alone."""
        if classes is not None and len(classes) == 1:
            return OneClassLearner(), y, "one class", "its rows have one class"
        estimator, recipe, alone = self._setup_.estimator, "given", self._setup_.alone
        stack, targets = recipe, None
        if estimator is None:
            # in powers of two, so that the schedule rarely changes as rows leave
            size = recipe = 2 ** round(math.log2(len(y)))
            estimator, targets = self._default_net_of(rows, indices, classes, size)
            if targets is not None:
                recipe = size, estimator.module__inputs, targets
            estimator = prepare(estimator)
            stack = size, None if classes is None else len(classes)
            alone = alone or size_reason(estimator, self.n_shards)
        encoded = contains_net(estimator)
        if encoded:
            y = self._encode(y) if classes is None else np.searchsorted(classes, y)
        if targets is not None:
            y = targets.apply(y)
        if alone is None:
            slots = n_slots(estimator, self.n_shards)
            told = () if slots is None else (slots,)
            learner = StackedNetLearner(estimator, stack, slots)
            return learner, y, (recipe, "side by side", *told), None
        if is_net(estimator):
            return NetLearner(estimator), y, recipe, alone
        if self._setup_.n_slices > 1:
            known = classes
            if encoded and classes is not None:
                known = np.arange(len(classes))
            learner = PartialFitLearner(estimator, known, probabilities=self._adds_up)
            return learner, y, recipe, alone
        learner = FitLearner(seeded(estimator, seed), probabilities=self._adds_up)
        return learner, y, recipe, alone

    def _collect(self, rows):
        self._set_classes(rows.y)
        chains = self._chains_
        self.stacked_ = any(chain.alone is None for chain in chains.values())
        self.estimators_ = [
            chains[shard].model if shard in chains else None for shard in range(self.n_shards)
        ]
        self.alone_because_ = [
            chains[shard].alone if shard in chains else None for shard in range(self.n_shards)
        ]

    def _combined(self, X, combine):
        """Ask every model about each row.

        Nets take turns while a chunk of rows is in the cache, if all models are nets.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
        combine : callable
            Maps the list of all answers for some rows, in the order of ``_chains_``, to one.

        Returns
        -------
        combined : ndarray of shape (n_samples, ...)
        """
        chains = self._chains_.values()
        nets = [chain.model for chain in chains if is_net(chain.model)]
        if len(nets) < len(chains):
            X = self._check_input(X)
            return combine([self._answer(chain, X) for chain in chains])
        return predict_proba_each(
            nets,
            check_net_input(self, X),
            lambda outputs: combine(list(map(self._of_net, chains, outputs))),
        )

    def _answer(self, chain, X):
        if is_net(chain.model):
            return self._of_net(chain, predict_proba(chain.model, X))
        if not self._setup_.net_inside:
            return self._of_model(chain, chain.model, X)
        with spared_estimator(chain.model) as model:
            return self._of_model(chain, model, X)

    @abstractmethod
    def _of_net(self, chain, output):
        """What the output of a chain's net says."""

    @abstractmethod
    def _of_model(self, chain, model, X):
        """What a chain's model says, which is no net."""
