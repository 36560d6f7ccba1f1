"""What a comparison is about: checked data, forget sets, and which estimators share training."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.frozen import FrozenEstimator
from sklearn.utils import indexable
from sklearn.utils.validation import has_fit_parameter

from sk_unlearn.metrics._validation import check_count
from sk_unlearn.model_selection._forget_sets import check_request, draw_forget_set, hold_out
from sk_unlearn.model_selection._models import Probe, observe, training_key
from sk_unlearn.model_selection._training import seeded
from sk_unlearn.utils._ids import check_keys, check_sample_id
from sk_unlearn.utils._seeding import derive_seed, root_seed
from sk_unlearn.utils._take import take_rows

__all__ = ["CONTROLS", "Plan", "Training", "check_estimators"]

CONTROLS = ("nothing", "retrained")


@dataclass(frozen=True)
class Training:
    """Estimators that train the same model.

    Attributes
    ----------
    label : str
        Name of the first; empty if all estimators of a comparison share one training.
    members : dict of str to estimator
    """

    label: str
    members: dict

    @property
    def estimator(self):
        """One of them."""
        return next(iter(self.members.values()))

    def control(self, name):
        """Name of a control of this training."""
        return f"{name} ({self.label})" if self.label else name


def check_estimators(estimators):
    """Estimators by name; a name for each that has none.

    Parameters
    ----------
    estimators : dict of str to estimator, list of estimator, or estimator

    Returns
    -------
    estimators : dict of str to estimator
    """
    if not isinstance(estimators, dict):
        given = list(estimators) if isinstance(estimators, (list, tuple)) else [estimators]
        names = [type(estimator).__name__ for estimator in given]
        names = [
            name if names.count(name) == 1 else f"{name} {names[: i + 1].count(name)}"
            for i, name in enumerate(names)
        ]
        estimators = dict(zip(names, given, strict=True))
    if not estimators:
        raise ValueError("estimators must name at least one estimator, got none.")
    for name, estimator in estimators.items():
        if name in CONTROLS:
            raise ValueError(
                f"estimators must not be named {' or '.join(CONTROLS)}, which are controls, "
                f"got {name!r}."
            )
        for method in ("fit", "forget", "predict_proba"):
            if not hasattr(estimator, method):
                raise TypeError(
                    f"estimators[{name!r}] must have a {method} method, got {estimator!r}."
                )
        if isinstance(getattr(estimator, "estimator", None), FrozenEstimator):
            raise TypeError(
                f"estimators[{name!r}] adopts a trained model, and a comparison has to train: on "
                "other seeds, and without the forgotten rows. Pass the model unfitted, without "
                "FrozenEstimator."
            )
        if not is_classifier(estimator):
            raise TypeError(f"estimators[{name!r}] must be a classifier, got {estimator!r}.")
    return {str(name): estimator for name, estimator in estimators.items()}


class Plan:
    """Data, forget sets and trainings of a comparison; checks everything before any work.

    Parameters
    ----------
    estimators, X, y, forget, forget_size, test_size, sample_id, groups, max_rows, random_state
        As for ``compare_forgetting``.
    """

    def __init__(
        self,
        estimators,
        X,
        y,
        *,
        forget,
        forget_size,
        test_size,
        sample_id,
        groups,
        max_rows,
        random_state,
    ):
        self.trainings = _trainings(check_estimators(estimators))
        self.X, y = indexable(X, np.asarray(y))
        n_rows = len(y)
        if y.ndim != 1:
            raise ValueError(f"y must be of shape (n_samples,), got {y.shape}.")
        self.classes, self.max_rows = np.unique(y), max_rows
        if len(self.classes) < 2:
            raise ValueError(f"y must hold two classes or more, got {self.classes.tolist()}.")
        if max_rows is not None:
            check_count("max_rows", max_rows, 2)
        owner = "compare_forgetting"
        self.ids = (
            np.arange(n_rows)
            if sample_id is None
            else check_sample_id(sample_id, n_rows, owner=owner)
        )
        self.groups = (
            None if groups is None else check_keys(groups, n_rows, name="groups", owner=owner)
        )
        requests = check_request(forget, n_rows)
        self.seed = root_seed(random_state)
        self.held_out = hold_out(test_size, y, requests, self.seed)
        self.train = np.setdiff1d(np.arange(n_rows), self.held_out)
        draw = {
            "forget_size": forget_size,
            "groups": self.groups,
            "losses": partial(self._losses, y),
            "seed": self.seed,
        }
        # kinds that need a fit come last: all else is checked by then
        order = sorted(requests, key=lambda name: isinstance(requests[name], str))
        order.sort(key=lambda name: str(requests[name]) == "hard")
        found = {
            name: draw_forget_set(name, requests[name], y, self.train, **draw) for name in order
        }
        self.cases = [found[name] for name in requests]
        for case in self.cases:
            if len(case.rows) == len(self.train):
                raise ValueError(
                    f"forget[{case.name!r}] marks all {len(self.train)} rows that are trained "
                    "on; at least one must remain."
                )

    @property
    def batches(self):
        """Forget sets by what is trained on: those with changed labels stand alone."""
        plain = [case for case in self.cases if not case.relabelled]
        return [[plain], []][not plain] + [[case] for case in self.cases if case.relabelled]

    def seeds(self, purpose, n):
        """Seeds of models; disjoint purposes have independent ones."""
        return [derive_seed(self.seed, purpose, k) for k in range(n)]

    def data(self, estimator, rows, y):
        """Arguments of ``fit``.

        Parameters
        ----------
        estimator : estimator
        rows : ndarray of int
        y : ndarray of shape (n_samples,)

        Returns
        -------
        data : dict
        """
        fit_params = {"sample_id": self.ids[rows]}
        if self.groups is not None:
            fit_params["groups"] = self.groups[rows]
        return {
            "estimator": estimator,
            "X": take_rows(self.X, rows),
            "y": y[rows],
            "fit_params": {
                name: value
                for name, value in fit_params.items()
                if has_fit_parameter(estimator, name)
            },
        }

    def retained(self, case):
        """Rows of the training set that stay, ascending."""
        return np.setdiff1d(self.train, case.rows)

    def probe(self, cases):
        """Rows on which to observe models, and where each forget set finds its own.

        Returns
        -------
        probe : Probe
        places : dict of str to dict of str to ndarray of int
            By forget set, where its forgotten, retained and held-out rows are.
        """
        chosen = {
            case.name: {
                "forget": case.rows,
                "retain": self._sample(self.retained(case), "retain", case.name),
                "held_out": self._sample(self.held_out, "held_out"),
            }
            for case in cases
        }
        rows = np.unique(np.concatenate([r for sets in chosen.values() for r in sets.values()]))
        places = {
            name: {key: np.searchsorted(rows, value) for key, value in sets.items()}
            for name, sets in chosen.items()
        }
        return self._probe(rows, cases[0].y), places

    def _probe(self, rows, y):
        column = np.searchsorted(self.classes, y[rows])
        return Probe(take_rows(self.X, rows), column, self.classes)

    def _sample(self, rows, *purpose):
        if self.max_rows is None or len(rows) <= self.max_rows:
            return rows
        rng = np.random.RandomState(derive_seed(self.seed, "measured", *purpose))
        return np.sort(rng.choice(rows, self.max_rows, replace=False))

    def _losses(self, y):
        data = self.data(self.trainings[0].estimator, self.train, y)
        model = seeded(data["estimator"], derive_seed(self.seed, "probe"))
        model.fit(data["X"], data["y"], **data["fit_params"])
        margins = observe(model, self._probe(self.train, y)).margins
        return np.logaddexp(0.0, -margins, dtype=float)


def _trainings(estimators):
    shared: dict[Any, dict] = {}
    for name, estimator in estimators.items():
        if hasattr(estimator, "clear_memory") and "memory" in estimator.get_params(deep=False):
            # a cache of trained nets: each model is trained once, and its time is measured
            estimator = clone(estimator).set_params(memory=None)
        shared.setdefault(training_key(estimator), {})[name] = estimator
    single = len(shared) == 1
    return [Training("" if single else next(iter(m)), m) for m in shared.values()]
