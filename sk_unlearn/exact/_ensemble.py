"""Ensembles of isolated models, each a checkpoint chain over rows of its own."""

import os
import pickle
from abc import abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from numbers import Integral

import numpy as np
from sklearn.base import clone

from sk_unlearn.base import Removal
from sk_unlearn.exact._chain import restart
from sk_unlearn.exact._placement import check_forget_proba
from sk_unlearn.exact._store import absolute, check_checkpoints, open_store
from sk_unlearn.exact._update import Update
from sk_unlearn.exact._wrapped import BaseExact
from sk_unlearn.exceptions import CheckpointError
from sk_unlearn.nets import contains_net, drop_idle_splits, is_net, prepare
from sk_unlearn.utils._sklearn import num_samples
from sk_unlearn.utils._take import drop_rows
from sk_unlearn.utils._warn import warn_user

__all__ = ["BaseEnsemble", "Placement"]


@dataclass(frozen=True)
class Placement:
    """Where each training row goes.

    Attributes
    ----------
    part : ndarray of shape (n_rows,)
        The model that the row belongs to: a number, or the label of a class.
    block : ndarray of shape (n_rows,), int64
        The step of that model's chain in which it first appears.
    rank : ndarray of shape (n_rows,), float64
        Order of rows within a block.
    """

    part: np.ndarray
    block: np.ndarray
    rank: np.ndarray

    def drop(self, indices):
        """Placement of the other rows."""
        return Placement(*(drop_rows(x, indices) for x in (self.part, self.block, self.rank)))

    def ordered(self, indices):
        """Rows of one part in the order in which its chain meets them."""
        return indices[np.lexsort((self.rank[indices], self.block[indices]))]


# Settings that partial_fit refuses.
_REFUSED_IN_STEPS = ("early_stopping", "class_weight")


class BaseEnsemble(BaseExact):
    """Train one chain for each part of the rows; forget by training on what is hit.

    Subclasses say where rows go (:meth:`_place`) and how a part is trained
    (:meth:`_plan_chain`); both must be functions of a row's own id, of ids present in the
    part, and of seeds.
    """

    _parameter_constraints: dict = {
        **BaseExact._parameter_constraints,
        "checkpoints": [None, str, os.PathLike],
        "n_jobs": [None, Integral],
    }

    __metadata_request__fit = {"forget_proba": True}

    @abstractmethod
    def _place(self, rows):
        """Return the :class:`Placement` of all rows; called once, in ``fit``."""

    @abstractmethod
    def _plan_chain(self, name, rows, indices):
        """Return the :class:`Plan` of the rows at ``indices``, at least one."""

    @abstractmethod
    def _collect(self, rows):
        """Set the public learned attributes from ``_chains_``."""

    def fit(
        self,
        X,
        y,
        *,
        sample_id=None,
        groups=None,
        forget=None,
        forget_proba=None,
        on_return="warn",
        **fit_params,
    ):
        """Train on all rows, then forget those marked by ``forget``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Held by reference until the first removal: do not change it in between.
        y : array-like of shape (n_samples,), or (n_samples, n_targets) for regression
        sample_id : array-like of shape (n_samples,), int or str, default=None
            Distinct names of the rows; positions if None. Rows are placed by them.
        groups : array-like of shape (n_samples,), int or str, default=None
            Whose row it is: rows of one group are placed together, since they leave
            together by ``forget(groups=...)``.
        forget : ndarray of shape (n_samples,), bool, default=None
            Rows to forget after training.
        forget_proba : array-like of shape (n_samples,), float in [0, 1], default=None
            How likely each row is to be erased one day; rows of one group share a value.
            Only used to place rows so that likely requests cost little.
        on_return : {"warn", "raise"}, default="warn"
            What to do with rows that were forgotten and are here again:
            :class:`~sk_unlearn.exceptions.ForgottenRowsReturnedWarning` or an error.
        **fit_params : dict
            Refused by name: single rows cannot be weighted.

        Returns
        -------
        self : object
        """
        if forget_proba is not None:
            fit_params["forget_proba"] = forget_proba
        known = {"sample_id": sample_id, "groups": groups, "forget": forget}
        return super().fit(X, y, **known, on_return=on_return, **fit_params)

    def clean_checkpoints(self):
        """Remove files below ``checkpoints`` that nobody can need.

        Those are folders that a process wrote and never published, because it was killed or
        interrupted, and files of this estimator that could not be removed when it stopped needing
        them. ``fit``, ``forget``, ``forget_cost`` and loading a pickle do this as well. Files of
        other estimators, of copies, and of processes that are at work are not touched. Of remote
        URLs only the files of this estimator are known.

        Returns
        -------
        removed : list of str
            Paths.

        Raises
        ------
        CheckpointError
            If a file cannot be removed.
        """
        store = vars(self).get("_store_") or open_store(self.checkpoints)
        try:
            return store.sweep()
        except Exception as error:
            raise CheckpointError(f"A checkpoint could not be removed: {error}.") from error

    def _check_fit_params(self, fit_params):
        # checked below, with the number of rows
        rest = {name: value for name, value in fit_params.items() if name != "forget_proba"}
        return fit_params if not rest else super()._check_fit_params(rest)

    def _check_fit(self, X, y, sample_id, groups, forget, fit_params):
        rows, mask = super()._check_fit(X, y, sample_id, groups, forget, fit_params)
        if "forget_proba" in fit_params:
            owner = type(self).__name__
            check_forget_proba(fit_params["forget_proba"], len(rows), rows.groups, owner=owner)
        return rows, mask

    def _check_training_data(self, X, y):
        self._refuse_adoption()
        check_checkpoints(self.checkpoints)
        X, y = super()._check_training_data(X, y)
        if not num_samples(X):
            raise ValueError(f"{type(self).__name__} needs at least one row, got n_samples=0.")
        return X, y

    def _take_recipe(self):
        recipe = super()._take_recipe()
        # the working directory may change before a pipeline trains it anew
        return recipe | {"checkpoints": absolute(recipe["checkpoints"])}

    def _refuse_adoption(self):
        if self._is_adopted:
            raise ValueError(
                f"{type(self).__name__} trains models of its own and cannot adopt a trained one, "
                "got a FrozenEstimator. Pass what it wraps."
            )

    def _template(self, estimator):
        """Clone of an estimator whose nets are prepared to train on rows of a part."""
        template = clone(estimator)
        if drop_idle_splits(template):
            warn_user(
                f"{type(self).__name__} trains its nets on all rows: nothing acts on those that "
                "their train_split would hold out of each step. Set train_split=None, which does "
                "the same, or add EarlyStopping, for which rows are held out.",
                UserWarning,
            )
        return prepare(template)

    def _goes_in_steps(self):
        """Whether the estimator can be trained in several goes."""
        inner = self.estimator
        return inner is None or is_net(inner) or hasattr(inner, "partial_fit")

    def _rule_of_fit(self):
        """Name of a setting that only the estimator's own ``fit`` heeds, one it refuses first."""
        if self.estimator is None or contains_net(self.estimator):
            return None
        params = self.estimator.get_params(deep=True)
        for rule in (*_REFUSED_IN_STEPS, "tol"):
            for name, value in params.items():
                if name.rpartition("__")[2] != rule or value is None or value is False:
                    continue
                if rule != "class_weight" or isinstance(value, str):
                    return f"{name}={value!r}"
        return None

    def _check_steps_of(self, name, n_steps):
        """Refuse steps that the estimator cannot be trained in."""
        if n_steps in ("auto", 1):
            return
        if not self._goes_in_steps():
            raise ValueError(
                f"{name}={n_steps} needs an estimator that can be trained step by step, a skorch "
                f"net or one with partial_fit; {type(self.estimator).__name__} is neither. Set "
                f"{name}=1: each model is then trained in one go."
            )
        rule = self._rule_of_fit()
        if rule is not None and any(refused in rule for refused in _REFUSED_IN_STEPS):
            also = "" if getattr(self, "max_epochs", None) is None else " and max_epochs=None"
            raise ValueError(
                f"{name}={n_steps} trains step by step with partial_fit, which does not heed "
                f"{rule} of {type(self.estimator).__name__}. Set {name}=1{also}: each model is "
                "then trained in one go."
            )

    def _forget_proba(self, rows):
        values = rows.fit_params.get("forget_proba")
        return None if values is None else np.asarray(values, dtype=np.float64)

    def _fit_rows(self, rows):
        self._placement_ = self._place(rows)
        self._store_ = open_store(self.checkpoints)
        self._chains_ = {}
        names = np.unique(self._placement_.part).tolist()
        self._advance(names, rows, np.ones(len(rows), dtype=bool))
        self._collect(rows)
        for chain in self._chains_.values():
            self._copy_input_attributes(chain.model)

    def _forget_rows(self, rows, retained, hit):
        keep = np.ones(len(rows), dtype=bool)
        keep[hit] = False
        self._store_ = self._store_.draft()
        cost, solver = self._advance(self._touched(hit), rows, keep)
        self._placement_ = self._placement_.drop(hit)
        self._collect(retained)
        return Removal(cost, solver=solver)

    def _removal_cost(self, rows, hit):
        keep = np.ones(len(rows), dtype=bool)
        keep[hit] = False
        self._sweep()
        return self._update(self._touched(hit), rows, keep).cost(keep)

    def _touched(self, hit):
        return np.unique(self._placement_.part[hit]).tolist()

    def _update(self, names, rows, keep, store=None):
        """What brings the chains of some parts up to date with the rows that are kept."""
        part, chains, plans = self._placement_.part, dict(self._chains_), {}
        for name in names:
            indices = self._placement_.ordered(np.flatnonzero((part == name) & keep))
            if not len(indices):
                chains.pop(name, None)
                continue
            plan = self._plan_chain(name, rows, indices)
            if name not in chains or chains[name].steps[-1].key != plan.steps[-1].key:
                plans[name] = plan
        starts = {name: restart(chains.get(name), plans[name].steps, store) for name in plans}
        return Update(chains, plans, starts)

    def _advance(self, names, rows, keep):
        update = self._update(names, rows, keep, self._store_)
        if update.saves:
            self._store_.begin()
        self._chains_ = update.train(
            rows.X, self._store_, n_jobs=self.n_jobs, verbose=self.verbose
        )
        return update.cost(keep), update.solver

    def _succeed(self, before):
        # a first fit replaces nothing, and a request without rows keeps the store
        store = vars(before).get("_store_")
        if store is self._store_:
            return
        held = {} if store is None else _saved(before._chains_)
        kept = _saved(self._chains_)
        self._store_.succeed(store, [held[key] for key in held.keys() - kept.keys()])

    def _settle(self):
        try:
            self._store_.sweep()
        except Exception as error:  # whatever the file system raises
            warn_user(
                f"{type(self).__name__} could not remove checkpoints that are no longer used, "
                f"and that may have been computed from forgotten rows: {error}. Remove them from "
                f"{self._recipe_['checkpoints']}; whatever reads the folder next tries again.",
                UserWarning,
            )

    def _sweep(self):
        """As :meth:`_settle`, in passing."""
        store = vars(self).get("_store_")
        if store is not None:
            with suppress(Exception):  # the model does not need the files
                store.sweep()

    def _discard(self, kept):
        store = vars(self).get("_store_")
        if store is not None and store is not vars(kept).get("_store_"):
            store.discard()

    def __getstate__(self):
        store = vars(self).get("_store_")
        if store is not None:  # what a pickle needs is no draft's, also where that was interrupted
            with suppress(Exception):
                store.settle()
        return super().__getstate__()

    def __setstate__(self, state):
        super().__setstate__(state)
        self._sweep()

    def _exact_state(self):
        # states between steps by content: where they are kept, and under which name, differs
        saved = {
            name: [(item.key, _unpickled(self._store_.load(item))) for item in chain.saved]
            for name, chain in self._chains_.items()
        }
        chains = {
            name: (chain.model, chain.classes, chain.steps, chain.digest, chain.summary)
            for name, chain in self._chains_.items()
        }
        return super()._exact_state() | {"_chains_": chains, "_store_": saved}

    def _model_state(self):
        # the chains' digests stand for the models: only what was trained is hashed again
        state = super()._model_state()
        state.pop("estimators_", None)
        return state | {"digests": {name: c.digest for name, c in self._chains_.items()}}


def _unpickled(state):
    """A saved state, models in it as objects: their pickles are not unique."""
    return pickle.loads(state["pickle"]) if state and "pickle" in state else state


def _saved(chains):
    """Saved states of chains, by their files."""
    return {item.name: item for chain in chains.values() for item in chain.saved}
