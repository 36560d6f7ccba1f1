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
from sk_unlearn.exact._one_class import (
    OneClassFitLearner,
    OneClassNetLearner,
    OneClassPartialFitLearner,
    scores_are_densities,
    temperature,
)
from sk_unlearn.exact._placement import keyed_bins, placement_keys
from sk_unlearn.exact._selection import EntropySelector
from sk_unlearn.exact._wrapped import seeded
from sk_unlearn.nets import default_density, is_net
from sk_unlearn.utils._seeding import derive_seed, keyed_uniform
from sk_unlearn.utils._sklearn import HasMethods, Interval, StrOptions
from sk_unlearn.utils._take import take_rows

__all__ = ["BaseArcane"]

# Below so many rows a class's training is mostly overhead, which each block pays again:
# measured on letters (580 rows a class), 5 blocks make removal slower than one.
_AUTO_BLOCKS, _AUTO_BLOCK_ROWS = 5, 4096


@dataclass(frozen=True)
class Setup:
    """What ``fit`` made of the parameters."""

    estimator: Any
    n_blocks: int
    min_rows_for_blocks: int
    selector: Any
    calibration: str


def n_selected(share, n_rows):
    """How many rows of a class to select: about ``share * n_rows``, between 1 and all.

    To four binary digits, hence within a sixteenth of the share. The exact product would
    fall by one in every ``1 / share`` removals, each time driving a row out of the selection
    and its class into training, though the row that leaves was never trained on.

    Parameters
    ----------
    share : float in (0, 1]
    n_rows : int

    Returns
    -------
    n_select : int

    Examples
    --------
    >>> from sk_unlearn.exact._arcane_base import n_selected
    >>> [n_selected(0.5, n) for n in (1, 9, 180, 171, 160)]
    [1, 5, 88, 88, 80]
    """
    wanted = max(1, math.floor(share * n_rows + 0.5))
    step = 2 ** max(0, wanted.bit_length() - 4)
    return min(n_rows, (wanted + step // 2) // step * step)


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
        self._check_steps_of("n_blocks", self.n_blocks)
        if self.selection < 1 and sparse.issparse(X):
            raise TypeError(
                "Sparse X is not supported by the selectors of representative rows. Set "
                "selection=1, or pass X.toarray()."
            )
        return super()._check_training_data(X, y)

    def _fit_rows(self, rows):
        n_blocks, min_rows, calibration = self.n_blocks, 0, self.calibration
        if n_blocks == "auto":
            in_blocks = self._goes_in_steps() and self._rule_of_fit() is None
            n_blocks = _AUTO_BLOCKS if in_blocks else 1
            min_rows = _AUTO_BLOCK_ROWS
        if calibration == "auto":
            calibration = "none" if scores_are_densities(self.estimator) else "standard"
        template = self.estimator
        if template is None:
            template = default_density(n_features=rows.X[0].size)
        selector = EntropySelector() if self.selector is None else self.selector
        self._setup_ = Setup(
            estimator=self._template(template),
            n_blocks=n_blocks,
            min_rows_for_blocks=min_rows,
            selector=clone(selector),
            calibration=calibration,
        )
        super()._fit_rows(rows)

    def _place(self, rows):
        keys, n_blocks = placement_keys(rows), self._setup_.n_blocks
        early = keyed_bins(self._seed_, "block", keys, n_blocks, self._forget_proba(rows))
        return Placement(
            part=rows.y,
            block=n_blocks - 1 - early,  # rows likely to leave come last
            rank=keyed_uniform(self._seed_, "order", rows.ids),
        )

    def _plan_chain(self, name, rows, indices):
        setup, seed = self._setup_, derive_seed(self._seed_, "class", repr(name))
        selected = self._select(rows, indices, seed)
        n_blocks = setup.n_blocks if len(selected) >= setup.min_rows_for_blocks else 1
        sizes = [len(selected)]
        if n_blocks > 1:
            blocks = self._placement_.block[selected]
            sizes = np.bincount(blocks, minlength=n_blocks).tolist()
        learner = self._learner(n_blocks, seed)
        epochs, cumulative = learner.schedule(getattr(setup.estimator, "max_epochs", 1), n_blocks)
        steps = plan_steps(
            rows.ids[selected],
            sizes,
            epochs,
            seed=seed,
            recipe=repr(("one class", n_blocks)),
            cumulative=cumulative,
        )
        return Plan(selected, steps, learner, classes=np.array([name]))

    def _learner(self, n_blocks, seed):
        estimator = self._setup_.estimator
        if is_net(estimator):
            return OneClassNetLearner(estimator)
        if n_blocks > 1:
            return OneClassPartialFitLearner(estimator)
        return OneClassFitLearner(seeded(estimator, seed))

    def _select(self, rows, indices, seed):
        """Representative rows of a class, in training order."""
        share = self.selection
        if share == 1:
            return indices
        chosen = self._setup_.selector.select(
            take_rows(rows.X, indices),
            n_select=n_selected(share, len(indices)),
            ids=rows.ids[indices],
            seed=derive_seed(seed, "selection"),
        )
        return indices[np.sort(chosen)]

    def _collect(self, rows):
        self.classes_, counts = np.unique(rows.y, return_counts=True)
        chains = [self._chains_[label] for label in self.classes_.tolist()]
        self.estimators_ = [chain.model for chain in chains]
        self.class_log_prior_ = np.zeros(len(counts))
        if self.prior == "empirical":
            self.class_log_prior_ = np.log(counts / counts.sum())
        self.temperature_ = 1.0
        if self._setup_.calibration == "none":
            self.temperature_ = temperature([chain.summary for chain in chains])
