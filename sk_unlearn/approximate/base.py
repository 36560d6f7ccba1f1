"""The base of removal methods on a trained net: one method is one subclass with a few hooks."""

import os
from abc import abstractmethod
from copy import deepcopy
from dataclasses import dataclass, replace
from numbers import Integral, Real

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
from sk_unlearn.mixins import ForgetClassifierMixin, ForgetRegressorMixin, restrict_columns
from sk_unlearn.nets import (
    PinnedSplit,
    check_class_outputs,
    check_disjoint,
    check_trainable,
    check_untrained,
    default_classifier,
    find_nets,
    fit_net_once,
    forget_trained_nets,
    held_out_rows,
    pin_split,
    predict_class_proba,
    predict_columns,
    predict_proba,
    prepare,
    show_progress,
    to_tensors,
    validation_readers,
)
from sk_unlearn.nets._adapter import rebuilt_net
from sk_unlearn.nets._inspect import keeps_integers
from sk_unlearn.receipts import ForgetCost, Guarantee
from sk_unlearn.utils._inputs import check_net_input, check_net_training_data
from sk_unlearn.utils._rows import TrainingRows
from sk_unlearn.utils._seeding import keyed_uniform
from sk_unlearn.utils._sklearn import HasMethods, Interval, StrOptions
from sk_unlearn.utils._take import drop_rows
from sk_unlearn.utils._transaction import on_snapshot

__all__ = ["BaseNetForget", "NetClassifierMixin", "NetRegressorMixin", "RemovalRequest"]


@dataclass(frozen=True)
class RemovalRequest:
    """What a removal method on a net is asked, and what it may read to answer.

    Attributes
    ----------
    forgotten : RowBatch
        The rows to remove, of those that the net was trained on: at least one. Its ``X`` and
        ``y`` are tensors as module and criterion take them, on the device of the net.
    position : ndarray of shape (len(forgotten),), int
        Where these stood in the ``X`` of the last ``fit``.
    n_forgotten : int
        All rows that leave, those that were held out of training included.
    retained : TrainingRows
        Rows that stay, as they were given to ``fit``, those that were held out included.
    rows : NetRows
        The same; they become tensors when they are taken.
    is_trained : ndarray of shape (len(retained),), bool
        Which of these the net was trained on.
    n_epochs : int
        Of the training of the net.
    """

    forgotten: RowBatch
    position: np.ndarray
    n_forgotten: int
    retained: TrainingRows
    rows: NetRows
    is_trained: np.ndarray
    n_epochs: int

    @property
    def n_retained(self):
        """Rows that stay and that the net was trained on."""
        return int(np.count_nonzero(self.is_trained))

    def batches(self, size):
        """The rows that stay and that the net was trained on, once, in random order.

        Parameters
        ----------
        size : int
            Rows a batch; the last one may have fewer.

        Yields
        ------
        batch : RowBatch
            Tensors ``X`` and ``y``, on the device of the net.
        """
        order = np.flatnonzero(self.is_trained)[torch.randperm(self.n_retained).numpy()]
        for start in range(0, len(order), size):
            yield self.rows.take(order[start : start + size])

    def cost(self, row_passes):
        """What a removal took, for its :class:`~sk_unlearn.base.Removal`.

        Parameters
        ----------
        row_passes : float
            Gradients of single rows: forward and backward passes, times rows.

        Returns
        -------
        cost : ForgetCost
        """
        passes = row_passes / (self.n_retained + len(self.forgotten))
        share = row_passes / (self.n_epochs * max(1, self.n_retained))
        return ForgetCost(self.n_forgotten, 0, passes, share)


class BaseNetForget(BaseForgetEstimator):
    """Base of the methods that start from a trained net and give it new parameters.

    It trains the net, or adopts a trained one, holds rows out, keeps the contract, follows the
    advice to retrain, writes receipts. A method is a subclass with
    :class:`NetClassifierMixin` or :class:`NetRegressorMixin` and these hooks:

    ``_remove(net, request)``
        New parameters when rows leave. ``net`` is the trained skorch net, not to be changed;
        work on ``deepcopy(net)``. Returns a dictionary of tensors by their names in
        ``net.module_.state_dict()``, buffers included, those that stay as they are left out; and
        a :class:`~sk_unlearn.base.Removal` with ``request.cost(...)`` and, where the method can
        tell that it failed, ``advice``. The global generators are seeded.
    ``_row_passes(n_forgotten, n_retained)``
        What a removal is expected to take, for ``forget_cost``: gradients of single rows, or
        (expected, low, high).
    ``_check_net(net, X, y)``
        Refuses nets that the method cannot take, before training. The default asks for trainable
        parameters of one floating-point type.

    The user guide shows a :ref:`complete method <own_method>`.

    Parameters
    ----------
    estimator : skorch net or FrozenEstimator of one, default=None
        None means a multilayer perceptron whose sizes come from the data.
    validation_fraction : float or None, default=0.1
        Share of the rows held out of training.
    chunk_size : int or None, default=None
        Rows in one pass; None chooses by the memory that a row takes.
    on_advice : {"warn", "retrain", "raise"}, default="warn"
        What follows where a removal advises to retrain: a warning; the net is trained anew on the
        retained rows, exactly as ``fit`` on these would, and the receipt says "exact" and the full
        cost; or a :class:`~sk_unlearn.exceptions.RetrainAdvisedError`, nothing being forgotten.
    max_drift : float, default=None
        Most that the expected gaps of the requests since the last training may add up to; a
        request that exceeds it advises to retrain. None means no bound.
    memory : str, path-like or joblib.Memory, default=None
        Where trained nets are kept for experiments. Needs an int ``random_state``.
    random_state : int, RandomState instance or None, default=None
    verbose : int, default=0
        1 shows progress bars.

    Attributes
    ----------
    estimator_ : skorch.NeuralNet
        The net; replaced by ``forget``, without optimiser state and history.
    receipts_ : ForgetLedger
    """

    guarantee = Guarantee("approximate")

    _parameter_constraints: dict = {
        **BaseForgetEstimator._parameter_constraints,
        "validation_fraction": [Interval(Real, 0, 1, closed="neither"), None],
        "chunk_size": [Interval(Integral, 1, None, closed="left"), None],
        "memory": [str, os.PathLike, HasMethods(["cache"]), None],
        "on_advice": [StrOptions({"warn", "retrain", "raise"})],
        "max_drift": [Interval(Real, 0, None, closed="neither"), None],
    }
    _removal_params = frozenset({"chunk_size", "on_advice", "max_drift"})
    # what requests leave for later ones, and a net that is trained anew starts without
    _between_requests = ("_drift_", "_n_requests_")

    def __init__(
        self,
        estimator=None,
        *,
        validation_fraction=0.1,
        chunk_size=None,
        on_advice="warn",
        max_drift=None,
        memory=None,
        random_state=None,
        verbose=0,
    ):
        self.estimator = estimator
        self.validation_fraction = validation_fraction
        self.chunk_size = chunk_size
        self.on_advice = on_advice
        self.max_drift = max_drift
        self.memory = memory
        self.random_state = random_state
        self.verbose = verbose

    @abstractmethod
    def _remove(self, net, request):
        """New parameters when rows leave; see the class."""

    @abstractmethod
    def _row_passes(self, n_forgotten, n_retained):
        """Expected gradients of single rows, or (expected, low, high); see the class."""

    def _check_net(self, net, X, y):
        """Refuse a net that the method cannot take."""
        check_trainable(net)

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
                f"{type(self).__name__} removes rows from a skorch net, got estimator={inner!r}. "
                "Put preprocessing in front of it, "
                f"make_pipeline(StandardScaler(), {type(self).__name__}(net)), or use "
                "RetrainClassifier or RetrainRegressor for other estimators."
            )
        if inner is not None and not self._is_adopted:
            check_untrained(inner, owner=type(self).__name__)
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
        return self

    def _training_key(self):
        params = super()._training_key()[1] | {"validation_fraction": self.validation_fraction}
        return BaseNetForget, self._classification, params

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
        self._rows_of_class_ = np.bincount(self._encode(rows.y)) if self._classification else None
        self._rows_ = StoredRows.of(rows)

    def _ask(self, predict, X, *args):
        """What a function of :mod:`sk_unlearn.nets` says of the net and unchecked rows."""
        return predict(
            self.estimator_, check_net_input(self, X), *args, chunk_size=self.chunk_size
        )

    def _check_supported(self, net, rows, y, external):
        self._check_net(net, rows.X, y)
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
        net, trained = self.estimator_, hit[self._trained_[hit]]
        forgotten = rows.take(trained)
        batch = self._converter(net)(forgotten.X, forgotten.y) if len(trained) else None
        self._trained_ = drop_rows(self._trained_, hit)
        self._leave_classes(rows.y[hit], retained)
        acted_through = self._acted_through()  # what this request weighs, it weighs without them
        params, removal = {}, Removal(ForgetCost(len(hit), 0, 0.0, 0.0))
        if batch is not None:
            request = RemovalRequest(
                batch,
                forgotten.position,
                len(hit),
                retained,
                self._net_rows(net, retained),
                self._trained_,
                self._n_epochs,
            )
            params, removal = self._remove(net, request)
        n_held_out = len(hit) - len(trained)
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

    def _removal_cost(self, rows, hit):
        n_forgotten = int(self._trained_[hit].sum())
        n_retained = self._n_trained - n_forgotten
        if n_forgotten == 0:
            return ForgetCost(len(hit), 0, 0.0, 0.0)
        row_passes = np.broadcast_to(self._row_passes(n_forgotten, n_retained), 3)
        shares = (row_passes / (self._n_epochs * n_retained)).tolist()
        passes = row_passes[0] / (n_retained + n_forgotten)
        return may_retrain(ForgetCost(len(hit), 0, float(passes), *shares), self.on_advice)

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

    def _net_rows(self, net, rows):
        stored = rows.stored if isinstance(rows, StoredRows) else rows.X
        device = next(net.module_.parameters()).device
        return NetRows(stored, rows.y, self._converter(net), device)

    def _converter(self, net):
        def own_target(y):
            # labels of training rows are known to be among the classes
            return self._columns_[self._encode(y)] if self._classification else self._encode(y)

        return lambda X, y: RowBatch(*to_tensors(net, X, own_target(y)))


class NetClassifierMixin(ForgetClassifierMixin):
    """Predictions of a classifier on one net, and its default net."""

    @on_snapshot
    def predict(self, X):
        """Predict labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)

        Returns
        -------
        y : ndarray of shape (n_samples,)
        """
        self._check_is_fitted()
        return self.classes_[self._ask(predict_columns, X, self._columns_)]

    @on_snapshot
    def predict_proba(self, X):
        """Predict the probability of each class in ``classes_``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)

        Raises
        ------
        UnsupportedNetError
            If the net predicts scores that are no probabilities.
        """
        self._check_is_fitted()
        return restrict_columns(self._ask(predict_class_proba, X), self._columns_)

    def _default_estimator(self, rows):
        return default_classifier(
            n_features=rows.X[0].size, n_outputs=len(self.classes_), n_rows=len(rows)
        )


class NetRegressorMixin(ForgetRegressorMixin):
    """Predictions of a regressor on one net."""

    @on_snapshot
    def predict(self, X):
        """Predict targets.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
        """
        self._check_is_fitted()
        return self._decode(self._ask(predict_proba, X))


def _unpinned(net):
    """The net without its list of the rows it was trained on; it still refuses to be refitted."""
    split = net.train_split
    if isinstance(split, PinnedSplit):
        net.train_split = PinnedSplit(np.zeros(0, dtype=int), None, split.external, 0)
    return net
