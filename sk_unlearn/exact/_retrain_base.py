"""Training on what remains, whatever the wrapped estimator is."""

from contextlib import nullcontext
from copy import deepcopy

from sklearn import get_config
from sklearn.utils.metadata_routing import process_routing

from sk_unlearn.base import Removal
from sk_unlearn.exact._wrapped import BaseExact, nets_in_turn, seeded
from sk_unlearn.nets import (
    check_brought_data,
    contains_net,
    fit_net,
    is_net,
    prepare,
    show_progress,
)
from sk_unlearn.nets._inspect import refused_fit_params
from sk_unlearn.nets._spared import spared_estimator
from sk_unlearn.receipts import ForgetCost
from sk_unlearn.utils._inputs import check_net_input

__all__ = ["BaseRetrain"]


class BaseRetrain(BaseExact):
    """Train on what remains; classifier and regressor differ only in their targets."""

    def _check_fit_params(self, fit_params):
        if not fit_params:
            return {}
        if self.estimator is None:
            return super()._check_fit_params(fit_params)
        if get_config()["enable_metadata_routing"]:
            fit_params = dict(process_routing(self, "fit", **fit_params).estimator.fit)
        refused = refused_fit_params(self._inner_estimator(), fit_params)
        if refused:
            super()._check_fit_params({name: fit_params[name] for name in refused})
        return fit_params

    def _shared_groups(self, groups):
        if groups is None or self.estimator is None or not get_config()["enable_metadata_routing"]:
            return {}
        try:
            routed = dict(process_routing(self, "fit", groups=groups).estimator.fit)
        except NotImplementedError:  # an estimator that takes no part in routing
            return {}
        # a net hands what its split asks for on to forward too
        return {} if refused_fit_params(self._inner_estimator(), routed) else routed

    def _fit_rows(self, rows):
        if not self._is_adopted:
            self._train(rows)
            return
        self._set_classes(rows.y)
        self.estimator_ = deepcopy(self._inner_estimator())
        self._net_inside_ = contains_net(self.estimator_)
        if is_net(self.estimator_):
            check_brought_data(self.estimator_, rows.X, self._adopted_target(rows.y))
        if self._classification:
            self._columns_ = self._class_columns(encoded=False)
            self._check_outputs(self.estimator_, rows, min(2, len(self.classes_)))
            self._check_adopted_columns(rows)
        self._copy_input_attributes(self.estimator_)

    def _adopted_target(self, y):
        # labels of an adopted net are the numbers that it was trained on
        return y if self._classification else self._encode(y)

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
            estimator = self._inner_estimator()
        estimator = seeded(estimator, self._seed_)
        self._net_inside_ = contains_net(estimator)
        y = self._encode(rows.y) if self._net_inside_ else rows.y
        if self.verbose:
            show_progress(estimator)
        estimator = prepare(estimator)
        if self._classification:
            self._check_outputs(estimator, rows, len(self.classes_))
        with nets_in_turn(estimator):
            self.estimator_ = fit_net(estimator, rows.X, y, **rows.fit_params)
        if self._classification:
            self._columns_ = self._class_columns(encoded=True)
        self._copy_input_attributes(self.estimator_)

    def _predictor(self):
        """Context with what predicts: it stays what it is, also with nets inside."""
        inside = self._net_inside_
        return spared_estimator(self.estimator_) if inside else nullcontext(self.estimator_)

    def _read_input(self, X):
        """Rows to predict, checked."""
        return check_net_input(self, X) if is_net(self.estimator_) else self._check_input(X)
