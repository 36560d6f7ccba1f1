"""What exact estimators ask of the estimator that they train."""

from contextlib import nullcontext

from joblib import parallel_config
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import column_or_1d, get_tags, indexable

from sk_unlearn.base import BaseForgetEstimator
from sk_unlearn.nets import check_untrained, contains_net
from sk_unlearn.nets._inspect import keeps_integers
from sk_unlearn.receipts import Guarantee
from sk_unlearn.utils._containers import as_labels, dispatched
from sk_unlearn.utils._inputs import (
    check_labels,
    check_net_input,
    check_net_training_data,
    check_targets,
)
from sk_unlearn.utils._seeding import derive_seed

__all__ = ["BaseExact", "nets_in_turn", "seeded"]


class BaseExact(BaseForgetEstimator):
    """Train clones of any estimator on retained rows only."""

    guarantee = Guarantee("exact")

    @property
    def _feeds_net(self):
        """Whether X goes straight into a net, without a pipeline in between."""
        inner = self._inner_estimator()
        return inner is None or (contains_net(inner) and not hasattr(inner, "steps"))

    def _check_training_data(self, X, y):
        if self.estimator is not None:
            check_untrained(
                self._inner_estimator(), owner=type(self).__name__, adopted=self._is_adopted
            )
            self._refuse_remembering_parts()
        if self._feeds_net:
            return check_net_training_data(
                self,
                X,
                y,
                classification=self._classification,
                keep_integers=keeps_integers(self._inner_estimator(), X),
                scales_targets=self.estimator is None,
            )
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None"
            )
        check_targets(y, owner=type(self).__name__, classification=self._classification)
        X, y = indexable(dispatched(X), as_labels(y))
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
            if isinstance(value, BaseForgetEstimator) and vars(value).get("checkpoints"):
                raise ValueError(
                    f"The checkpoints of {type(value).__name__}, {where}, would keep what was "
                    "computed from forgotten rows: it is cloned, trained anew. Set them to None."
                )
            if name.rpartition("__")[2] == "memory" and _is_cache(value):
                raise ValueError(
                    f"The cache {where} would keep what was computed from forgotten rows, got "
                    f"{value!r}. Set it to None."
                )

    def _check_input(self, X):
        # as fit found it: the parameter may have been changed since
        return check_net_input(self, X) if hasattr(self, "_row_shape_") else dispatched(X)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        if not self._feeds_net:
            tags.input_tags = get_tags(self._inner_estimator()).input_tags
        return tags

    def _copy_input_attributes(self, trained):
        """Take over what a trained estimator says about its input, unless a net is fed."""
        for name in ("n_features_in_", "feature_names_in_"):
            if not self._feeds_net and hasattr(trained, name):
                setattr(self, name, getattr(trained, name))


def _is_cache(value):
    return isinstance(value, str) or hasattr(value, "cache")


def nets_in_turn(estimator):
    """Keep nets of an inner ensemble in this process, where their draws are seeded."""
    return parallel_config(backend="sequential") if contains_net(estimator) else nullcontext()


def seeded(estimator, seed):
    """Clone of an estimator with every nested ``random_state`` set that the user left open."""
    estimator = clone(estimator)
    if not hasattr(estimator, "get_params"):
        return estimator
    for name, value in sorted(estimator.get_params(deep=True).items()):
        if value is None and (name == "random_state" or name.endswith("__random_state")):
            estimator.set_params(**{name: derive_seed(seed, name)})
    return estimator
