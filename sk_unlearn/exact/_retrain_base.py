"""Training on what remains, whatever the wrapped estimator is."""

from contextlib import nullcontext
from copy import deepcopy

import numpy as np
from joblib import parallel_config
from sklearn import get_config
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_consistent_length, column_or_1d, get_tags
from sklearn.utils.metadata_routing import process_routing
from sklearn.utils.validation import check_is_fitted

from sk_unlearn.base import BaseForgetEstimator, Removal
from sk_unlearn.nets import contains_net, find_nets, prepare, show_progress
from sk_unlearn.receipts import ForgetCost, Guarantee
from sk_unlearn.utils._inputs import check_labels, check_net_input, check_net_training_data
from sk_unlearn.utils._seeding import derive_seed

__all__ = ["BaseRetrain"]


class BaseRetrain(BaseForgetEstimator):
    """Train on what remains; classifier and regressor differ only in their targets."""

    guarantee = Guarantee("exact")

    def __init__(self, estimator=None, *, random_state=None, verbose=0):
        self.estimator = estimator
        self.random_state = random_state
        self.verbose = verbose

    @property
    def _feeds_net(self):
        """Whether X goes straight into a net, without a pipeline in between."""
        inner = self._inner_estimator()
        return inner is None or (contains_net(inner) and not hasattr(inner, "steps"))

    def _check_training_data(self, X, y):
        if self.estimator is not None:
            self._refuse_trained_weights()
            self._refuse_remembering_parts()
        if self._feeds_net:
            return check_net_training_data(self, X, y, classification=self._classification)
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None"
            )
        y = np.asarray(y)
        check_consistent_length(X, y)
        if self._classification:
            y = column_or_1d(y, warn=True)
            check_labels(y)
        return X, y

    def _refuse_remembering_parts(self):
        """A retrain must not reuse what was learned from rows that can be forgotten."""
        inner, owner = self._inner_estimator(), type(self).__name__
        parts = {"": inner}
        if hasattr(inner, "get_params"):
            parts.update(inner.get_params(deep=True))
        for name, value in parts.items():
            where = f"{name or 'estimator'!r} in {owner}(estimator=...)"
            if isinstance(value, FrozenEstimator):
                raise ValueError(
                    f"The FrozenEstimator {where} is not trained anew: it may have learned from "
                    "rows that are forgotten later. Pass what it wraps, so that it is trained "
                    f"here, or move it out: make_pipeline(FrozenEstimator(...), {owner}(...))."
                )
            if name.rpartition("__")[2] == "memory" and _is_cache(value):
                raise ValueError(
                    f"The cache {where} would keep what was computed from forgotten rows, got "
                    f"{value!r}. Set it to None."
                )

    def _check_fit_params(self, fit_params):
        if not fit_params:
            return {}
        if self.estimator is None:
            return super()._check_fit_params(fit_params)
        if get_config()["enable_metadata_routing"]:
            return process_routing(self, "fit", **fit_params).estimator.fit
        return fit_params

    def _fit_rows(self, rows):
        if not self._is_adopted:
            self._train(rows)
            return
        self._set_classes(rows.y)
        self.estimator_ = deepcopy(self._inner_estimator())
        self._net_inside_ = contains_net(self.estimator_)
        if self._classification:
            self._columns_ = self._class_columns(encoded=False)
            self._check_adopted_columns(rows)
        self._copy_input_attributes()

    def _forget_rows(self, rows, retained, hit):
        cost = self._removal_cost(rows, hit)
        self._train(retained)
        return Removal(cost)

    def _removal_cost(self, rows, hit):
        n_retained = len(rows) - len(hit)
        epochs = getattr(self.estimator_, "max_epochs", float("nan"))
        return ForgetCost(len(hit), n_retained, epochs * n_retained / len(rows), 1.0)

    def _train(self, rows):
        self._set_classes(rows.y)
        if self.estimator is None:
            estimator = self._default_estimator(rows)
        else:
            estimator = clone(self._inner_estimator())
        _set_random_states(estimator, self._seed_)
        self._net_inside_ = contains_net(estimator)
        y = self._encode(rows.y) if self._net_inside_ else rows.y
        if self.verbose:
            show_progress(estimator)
        with self._in_turn():
            self.estimator_ = prepare(estimator).fit(rows.X, y, **rows.fit_params)
        if self._classification:
            self._columns_ = self._class_columns(encoded=True)
        self._copy_input_attributes()

    def _in_turn(self):
        """Keep nets of an inner ensemble in this process, where their draws are seeded."""
        return parallel_config(backend="sequential") if self._net_inside_ else nullcontext()

    def _copy_input_attributes(self):
        for name in ("n_features_in_", "feature_names_in_"):
            if not self._feeds_net and hasattr(self.estimator_, name):
                setattr(self, name, getattr(self.estimator_, name))

    def _is_net(self):
        return next(find_nets(self.estimator_), None) is self.estimator_

    def _check_input(self, X):
        check_is_fitted(self)
        return check_net_input(self, X) if self._feeds_net else X

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        if not self._feeds_net:
            inner = get_tags(self._inner_estimator())
            tags.input_tags = inner.input_tags
            tags.target_tags.multi_output &= inner.target_tags.multi_output
        return tags


def _is_cache(value):
    return isinstance(value, str) or hasattr(value, "cache")


def _set_random_states(estimator, seed):
    """Seed every nested ``random_state`` that the user left open."""
    if not hasattr(estimator, "get_params"):
        return
    for name, value in sorted(estimator.get_params(deep=True).items()):
        if value is None and (name == "random_state" or name.endswith("__random_state")):
            estimator.set_params(**{name: derive_seed(seed, name)})
