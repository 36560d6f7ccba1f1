"""An estimator around one net, some of whose rows are held out of training."""

import os
from abc import abstractmethod
from copy import deepcopy
from dataclasses import replace
from numbers import Real

import numpy as np
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from sk_unlearn.approximate._advice import held_out_advice
from sk_unlearn.approximate._escalation import drift_advice, escalated, may_retrain
from sk_unlearn.approximate._net_rows import NetRows, RowBatch
from sk_unlearn.approximate._row_store import StoredRows
from sk_unlearn.base import BaseForgetEstimator, Removal
from sk_unlearn.exceptions import ForgetRequestError, UnsupportedNetError
from sk_unlearn.nets import (
    PinnedSplit,
    check_class_outputs,
    check_differentiable,
    check_disjoint,
    find_nets,
    fit_net_once,
    forget_trained_nets,
    held_out_rows,
    pin_split,
    prepare,
    show_progress,
    to_tensors,
    validation_readers,
)
from sk_unlearn.nets._adapter import rebuilt_net
from sk_unlearn.nets._inspect import keeps_integers
from sk_unlearn.receipts import ForgetCost
from sk_unlearn.utils._inputs import check_net_training_data, open_net_input
from sk_unlearn.utils._seeding import keyed_uniform
from sk_unlearn.utils._sklearn import HasMethods, Interval, StrOptions
from sk_unlearn.utils._take import drop_rows

__all__ = ["BaseNetForget"]


class BaseNetForget(BaseForgetEstimator):
    """Trains or adopts a net, and gives it new parameters when rows leave.

    A removal method adds :meth:`_remove`. It finds its net in ``estimator_``, the retained
    rows it was trained on in the mask ``_trained_``, and the number of rows in the mean of
    the objective in ``_n_objective_``.
    """

    _parameter_constraints: dict = {
        **BaseForgetEstimator._parameter_constraints,
        "params": [str, list, tuple, None],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither"), None],
        "memory": [str, os.PathLike, HasMethods(["cache"]), None],
        "on_advice": [StrOptions({"warn", "retrain", "raise"})],
        "max_drift": [Interval(Real, 0, None, closed="neither"), None],
    }
    # what requests leave for later ones, and a net that is trained anew starts without
    _between_requests = ("_drift_", "_n_requests_", "_n_compensated_", "_curvature_cache_")

    @abstractmethod
    def _remove(self, net, retained, leaving, position, n_hit):
        """New parameters when rows leave the objective.

        Parameters
        ----------
        net : skorch.NeuralNet
            Not to be changed.
        retained : TrainingRows
        leaving : RowBatch
            At least one row that the net was trained on.
        position : ndarray of shape (len(leaving),)
            Where these stood in the last ``fit``.
        n_hit : int
            Rows that leave, those that were held out included.

        Returns
        -------
        params : dict of str to Tensor
        removal : Removal
        """

    @property
    def validation_indices_(self):
        """Retained rows that were held out of training for the criterion.

        Returns
        -------
        indices : ndarray of int
            Positions in the ``X`` of the last ``fit``.
        """
        check_is_fitted(self)
        return self._rows_.position[~self._trained_]

    @property
    def _n_trained(self):
        return int(np.count_nonzero(self._trained_))

    @property
    def _n_epochs(self):
        """Gradient passes of the training over its rows."""
        return max(1, self._n_epochs_)

    def _check_training_data(self, X, y):
        inner = self._inner_estimator()
        if inner is not None and next(find_nets(inner), None) is not inner:
            raise UnsupportedNetError(
                f"{type(self).__name__} differentiates a skorch net, got estimator={inner!r}. "
                "Put preprocessing in front of it, "
                f"make_pipeline(StandardScaler(), {type(self).__name__}(net)), or use "
                "RetrainClassifier or RetrainRegressor for other estimators."
            )
        if inner is not None and not self._is_adopted:
            self._refuse_trained_weights()
        self._check_can_retrain()
        if self.memory is not None and self.random_state is None:
            raise ValueError(
                "memory shares trainings of the same seed, and random_state=None draws a new one "
                "in each fit. Set random_state to an int."
            )
        return check_net_training_data(
            self,
            X,
            y,
            classification=self._classification,
            keep_integers=keeps_integers(self._inner_estimator(), X),
            scales_targets=self.estimator is None,
        )

    def _check_can_retrain(self):
        if self.on_advice == "retrain" and self._is_adopted:
            raise ValueError(
                f"on_advice='retrain' needs a net that {type(self).__name__} trained itself, and "
                "FrozenEstimator(net) was trained elsewhere, so that how to train it anew is not "
                "known. Pass the net unfitted, without FrozenEstimator, or use on_advice='warn' "
                "or 'raise'."
            )

    def clear_memory(self):
        """Remove the trained nets that ``memory`` keeps, those of other estimators included.

        What requests to this estimator left in memory for later ones goes too.

        Returns
        -------
        self : object
        """
        forget_trained_nets(self.memory)
        vars(self).pop("_curvature_cache_", None)
        return self

    def _take_recipe(self):
        recipe = super()._take_recipe()
        if self._is_adopted:  # never trained here, and a module instance keeps its weights
            recipe["estimator"] = FrozenEstimator(None)
        return recipe

    def _fit_rows(self, rows):
        self._set_classes(rows.y)
        self._set_outputs(adopted=self._is_adopted)
        if self._is_adopted:
            net, y = deepcopy(self._inner_estimator()), self._net_target(rows.y)
            net.check_is_fitted()
            train, held_out, external = held_out_rows(net, rows.X, y)
            external = external and tuple(map(np.asarray, external))
            self._check_supported(net, rows, y, external)
        else:
            net = clone(self.estimator) if self.estimator else self._default_estimator(rows)
            net, y = prepare(net), self._net_target(rows.y)
            if self.verbose:
                show_progress(net)
            net, train, held_out, external = pin_split(net, rows.X, y, encode=self._net_target)
            external = external and tuple(map(np.asarray, external))
            self._check_supported(net, rows, y, external)
            if held_out is None and external is None:
                train = self._hold_out(rows)
                net.set_params(train_split=PinnedSplit(train, None, None, len(rows)))
            net = fit_net_once(self.memory, net, rows.X, y, seed=self._seed_)
        self.estimator_ = net
        self._external_ = external
        self._validation_readers_ = () if held_out is None else validation_readers(net)
        self._trained_ = np.isin(np.arange(len(rows)), train)
        # epochs of the training, which may have stopped early; an adopted net may have none
        self._n_epochs_ = len(getattr(net, "history", None) or ()) or net.max_epochs
        # the objective keeps this divisor, so that requests in turn add up to one request
        self._n_objective_ = len(train)
        # a class-weighted mean divides by the sum of the weights: numbers that stay fixed too
        self._class_counts_ = np.bincount(y[train]) if self._classification else None
        self._rows_of_class_ = np.bincount(self._encode(rows.y)) if self._classification else None
        self._rows_ = StoredRows.of(rows)

    def _ask(self, predict, X, *args):
        """What a function of :mod:`sk_unlearn.nets` says of the net and unchecked rows."""
        rows, size = open_net_input(self, X), self.chunk_size
        return predict(self.estimator_, rows.X, *args, verify=rows.verify, chunk_size=size)

    def _check_supported(self, net, rows, y, external):
        check_differentiable(net, rows.X, y, params=self.params)
        if self._classification and self.estimator is not None:
            n_outputs = check_class_outputs(
                net, rows.X, self._columns_.max() + 1, owner=type(self).__name__
            )
            if not self._is_adopted:  # whose outputs are the labels
                sizes = {n_outputs or len(self.classes_)}
                self._check_class_numbers(self.estimator, self.classes_, sizes)
        if external is not None:
            check_disjoint(net, rows.X, y, *external)

    def _hold_out(self, rows):
        """Rows to train on: all but a share of each class, picked by their ids."""
        draw = keyed_uniform(self._seed_, "validation", rows.ids)
        strata = self._encode(rows.y) if self._classification else np.zeros(len(rows), int)
        train = np.ones(len(rows), dtype=bool)
        for stratum in np.unique(strata):
            members = np.flatnonzero(strata == stratum)
            n_out = int((self.validation_fraction or 0) * len(members))
            train[members[np.argsort(draw[members], kind="stable")[:n_out]]] = False
        return np.flatnonzero(train)

    def _check_remaining(self, hit):
        self._check_can_retrain()
        if self._n_trained == self._trained_[hit].sum():
            raise ForgetRequestError(
                f"The request covers all {self._n_trained} rows that the net was trained on; "
                "only held-out rows would remain. Delete the estimator, or fit again."
            )

    def _forget_rows(self, rows, retained, hit):
        leaving, net = rows.take(hit[self._trained_[hit]]), self.estimator_
        batch = self._batch(net, leaving) if len(leaving) else None
        self._trained_ = drop_rows(self._trained_, hit)
        self._leave_classes(rows.y[hit], retained)
        acted_through = self._acted_through()  # what this request weighs, it weighs without them
        params, removal = {}, Removal(ForgetCost(len(hit), 0, 0.0, 0.0))
        if batch is not None:
            params, removal = self._remove(net, retained, batch, leaving.position, len(hit))
        n_held_out = len(hit) - len(leaving)
        if n_held_out:
            removal = self._with_held_out(removal, n_held_out, len(hit), acted_through)
        removal = self._with_drift(removal)
        tried = escalated(
            removal, self.on_advice, lambda: self._retrained(retained), n_epochs=self._n_epochs
        )
        if tried.guarantee is not None:
            return tried
        # a fresh net: moments, history and callbacks of training saw the rows that left
        self.estimator_ = _unpinned(rebuilt_net(net, params, classes=self._columns_))
        return removal

    def _expected_gap(self, removal):
        """What a removal leaves of the way to a retrained net, 1 where retraining is advised."""
        return 0.0

    def _with_drift(self, removal):
        """The removal with advice where this and earlier requests have gone too far together."""
        if removal.cost.share_of_retrain:  # it moved the parameters
            self._drift_ = vars(self).get("_drift_", 0.0) + self._expected_gap(removal)
            self._n_requests_ = vars(self).get("_n_requests_", 0) + 1
            more = drift_advice(
                self._drift_, self.max_drift, self._n_requests_, self._retrain_class
            )
            removal = replace(removal, advice=removal.advice + more)
        return removal

    def _retrained(self, retained):
        """Train as ``fit`` would on the retained rows; their number, and that of the epochs."""
        for name in self._between_requests:
            vars(self).pop(name, None)
        with self._computing():  # from the start of the stream that fit draws from
            self._fit_rows(retained)
        return self._n_trained, self._n_epochs

    def _forecast(self, cost):
        """The forecast of a request, with the retrain that its advice may lead to."""
        return may_retrain(cost, self.on_advice)

    def _acted_through(self):
        """Where the rows that were held out of training acted on the model."""
        return self._validation_readers_

    def _with_held_out(self, removal, n_held_out, n_hit, acted):
        """The removal with a word on the rows that training did not train on."""
        held_out = {
            "n_rows": n_held_out,
            "acted_through": list(acted),
            "influence_left": bool(acted),
        }
        solver = {**(removal.solver or {"steps": []}), "held_out": held_out}
        more = held_out_advice(
            n_held_out, n_hit, self._validation_readers_, retrain=self._retrain_class
        )
        return replace(removal, solver=solver, advice=removal.advice + more)

    @property
    def _retrain_class(self):
        return "RetrainClassifier" if self._classification else "RetrainRegressor"

    def _leave_classes(self, leaving, retained):
        """Drop the classes of the labels that leave, if no row has them any more."""
        if not self._classification:
            return
        n_classes = len(self.classes_)
        left = self._rows_of_class_ - np.bincount(self._encode(leaving), minlength=n_classes)
        if not left.all():
            self._restrict_classes(retained.y)
        self._rows_of_class_ = left[left > 0]

    def _objective_targets(self):
        """Class numbers of the rows of the objective in ``fit``; None for regression."""
        if self._class_counts_ is None:
            return None
        counts = torch.from_numpy(self._class_counts_)
        return torch.repeat_interleave(torch.arange(len(counts)), counts)

    def _batch(self, net, rows):
        return self._converter(net)(rows.X, rows.y)

    def _net_rows(self, net, rows):
        stored = rows.stored if isinstance(rows, StoredRows) else rows.X
        device = next(net.module_.parameters()).device
        return NetRows(stored, rows.y, self._converter(net), device)

    def _converter(self, net):
        def own_target(y):
            # labels of training rows are known to be among the classes
            return self._columns_[self._encode(y)] if self._classification else self._encode(y)

        return lambda X, y: RowBatch(*to_tensors(net, X, own_target(y)))

    def _mask(self, net):
        """Which retained rows the net is trained on, beside its tensors."""
        return torch.from_numpy(self._trained_).to(next(net.module_.parameters()).device)


def _unpinned(net):
    """The net without its list of the rows it was trained on; it still refuses to be refitted."""
    split = net.train_split
    if isinstance(split, PinnedSplit):
        net.train_split = PinnedSplit(np.zeros(0, dtype=int), None, split.external, 0)
    return net
