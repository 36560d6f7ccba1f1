"""The contract of every estimator that can forget, once.

:class:`BaseForgetEstimator` validates, keeps the training rows, isolates randomness,
writes receipts and publishes results atomically. A removal method adds three hooks:
how to train, how to forget, and what forgetting would cost.
"""

import inspect
import time
from abc import ABCMeta, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from sklearn import config_context, get_config
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping
from sklearn.utils.validation import check_is_fitted

from sk_unlearn._state_version import check_state_version, with_state_version
from sk_unlearn.exceptions import (
    ForgottenRowsReturnedError,
    ForgottenRowsReturnedWarning,
    RetrainAdvisedWarning,
    VersionsChangedWarning,
)
from sk_unlearn.receipts import (
    ForgetCost,
    ForgetLedger,
    ForgetReceipt,
    Guarantee,
    changed_versions,
)
from sk_unlearn.utils._ambient import trainable
from sk_unlearn.utils._describe import described_params
from sk_unlearn.utils._digest import state_digest
from sk_unlearn.utils._doc_link import DocLinkMixin
from sk_unlearn.utils._fingerprint import fingerprint
from sk_unlearn.utils._ids import check_forget_mask, check_keys, check_sample_id
from sk_unlearn.utils._request import check_note, resolve_request
from sk_unlearn.utils._rows import TrainingRows
from sk_unlearn.utils._seeding import derive_seed, isolated_rng, root_seed
from sk_unlearn.utils._signals import raise_interrupts
from sk_unlearn.utils._sklearn import HasMethods, fit_context, num_samples
from sk_unlearn.utils._tags import ForgetTags
from sk_unlearn.utils._threads import reproducible_threads
from sk_unlearn.utils._transaction import on_snapshot, transaction
from sk_unlearn.utils._warn import warn_user

__all__ = ["BaseForgetEstimator", "Removal"]


@dataclass(frozen=True)
class Removal:
    """What a method reports about one removal; becomes part of the receipt.

    Attributes
    ----------
    cost : ForgetCost
        What was done.
    solver : dict, default=None
        Anything else to be kept: numbers, strings, lists and dictionaries of these.
    advice : tuple of str
        Reasons to retrain: a warning each, or what ``on_advice`` says.
    remarks : tuple of str
        What else the caller should be warned of.
    guarantee : Guarantee, default=None
        Of this request, where it is not the estimator's.
    """

    cost: ForgetCost
    solver: dict | None = None
    advice: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    guarantee: Guarantee | None = None


class BaseForgetEstimator(DocLinkMixin, MetaEstimatorMixin, BaseEstimator, metaclass=ABCMeta):
    """Base of the estimators that can forget rows.

    It keeps the contract for every method: validation, the rows, locks, seeds, drafts, receipts.
    A method sets ``guarantee`` and has four hooks:

    ``_check_training_data(X, y)``
        Validates before any work; returns what is kept of both.
    ``_fit_rows(rows)``
        Trains on ``rows.X`` and ``rows.y`` and sets the learned attributes.
    ``_forget_rows(rows, retained, hit)``
        Updates the learned attributes and returns a :class:`Removal`. ``rows`` are those before,
        ``retained`` those after, ``hit`` the indices into ``rows`` of those that leave.
    ``_removal_cost(rows, hit)``
        The :class:`~sk_unlearn.receipts.ForgetCost` that is expected; changes nothing.

    They run on a draft that takes the place of the estimator's state only when everything
    succeeded: set attributes freely, but change no object in place that the estimator already
    holds. The global generators of NumPy and torch are seeded, the threads are fixed and torch's
    modes are plain while they run.

    A method that changes a trained net starts from
    :class:`~sk_unlearn.approximate.BaseNetForget`; see :ref:`own_method`.

    Parameters
    ----------
    estimator : estimator, default=None
        What is trained; clones of it are.
    random_state : int, RandomState instance or None, default=None
    verbose : int, default=0

    Attributes
    ----------
    receipts_ : ForgetLedger
        One :class:`~sk_unlearn.receipts.ForgetReceipt` a request.

    Notes
    -----
    What pipelines, comparisons and checks take from an estimator, beside the public methods:
    ``_rows_`` (the retained rows), ``_recipe_`` and ``_as_told()`` (a draft with the parameters of
    ``fit``), ``_without(hit, X)`` (draft and removal of a request), ``_check_remaining(hit)``,
    ``_parts()`` and ``_snapshot()`` (for locks and readers), ``_publish(draft)``,
    ``_discard(kept)``, ``_described_removal()`` (parameters for a receipt), ``_model_state()`` and
    ``_exact_state()`` (what digests and ``check_exact_forget`` compare), ``_training_key()`` (one
    training for many methods). All have defaults here.
    """

    guarantee: Guarantee

    # parameters without effect on fit: estimators that differ in these train the same model
    _removal_params: frozenset = frozenset()
    # what removals follow as it is now, not as it was in fit
    _recipe_ignores: frozenset = frozenset({"verbose", "n_jobs"})

    # what is cheaper than steps before this estimator that are fitted anew at each request
    _instead_of_steps = (
        "put them inside, {name}(make_pipeline(..., model)): each model then has steps of its "
        "own, and only the models that had the rows are trained"
    )

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit"]), None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    # requested by default: whoever passes them to cross_validate means this estimator
    __metadata_request__fit = dict.fromkeys(("sample_id", "groups", "forget", "on_return"), True)

    def __init__(self, estimator=None, *, random_state=None, verbose=0):
        self.estimator = estimator
        self.random_state = random_state
        self.verbose = verbose

    @abstractmethod
    def _check_training_data(self, X, y):
        """Validate ``X, y`` before any work; return what is kept of them."""

    def _warn_of_scales(self, X, y):
        """Say so in ``fit`` if a net reads numbers of a scale on which nets train badly."""

    @abstractmethod
    def _fit_rows(self, rows):
        """Train on ``rows`` and set the learned attributes."""

    @abstractmethod
    def _forget_rows(self, rows, retained, hit):
        """Update the learned attributes; return a :class:`Removal`."""

    @abstractmethod
    def _removal_cost(self, rows, hit):
        """Predict the :class:`ForgetCost` of forgetting ``hit``."""

    @fit_context(prefer_skip_nested_validation=False)
    def fit(
        self, X, y, *, sample_id=None, groups=None, forget=None, on_return="warn", **fit_params
    ):
        """Train on all rows, then forget those marked by ``forget``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Held by reference until the first removal: do not change it in between.
        y : array-like of shape (n_samples,), or (n_samples, n_targets) for a regressor
            Labels, one a row. Real targets may be several a row where the wrapped estimator
            takes them; for several labels a row, give each column an estimator of its own
            (:class:`~sklearn.multioutput.MultiOutputClassifier`).
        sample_id : array-like of shape (n_samples,), int or str, default=None
            Distinct names of the rows; positions if None.
        groups : array-like of shape (n_samples,), int or str, default=None
            Whose row it is: ``forget(groups=...)`` removes everything of one person.
        forget : ndarray of shape (n_samples,), bool, default=None
            Rows to forget after training. Metadata routing slices it per fold, so
            ``cross_validate(..., params={"forget": mask})`` trains, forgets and scores.
        on_return : {"warn", "raise"}, default="warn"
            What to do with rows that this estimator was asked to forget since it exists, and
            that are here again under the same ids, or groups, without being marked by
            ``forget``: a :class:`~sk_unlearn.exceptions.ForgottenRowsReturnedWarning` names
            them, or a :class:`~sk_unlearn.exceptions.ForgottenRowsReturnedError` before any
            work. Without ids and groups they cannot be known.
        **fit_params : dict
            Passed to the ``fit`` of the wrapped estimator where the method supports it.

        Returns
        -------
        self : object
        """
        drafts = []
        with self._discarding(drafts), transaction(self) as change:
            draft = self._draft(learned=False)
            drafts.append(draft)
            rows, mask = draft._check_fit(X, y, sample_id, groups, forget, fit_params)
            draft._recipe_ = draft._take_recipe()
            draft._seed_ = root_seed(self.random_state)
            draft._transform_output_ = get_config()["transform_output"]
            ledger = self._next_ledger(rows, mask, on_return)
            draft.receipts_ = replace(ledger, parameters=described_params(draft))
            draft._rows_ = rows
            with draft._computing():
                draft._fit_rows(rows)
            if mask is not None:
                drafts.append(draft._forgotten(draft._resolve(mask)))
                drafts[-1]._succeed(draft)
            change.publish(drafts[-1])
        self._settle()
        return self

    def forget(self, X_idx=None, *, sample_id=None, groups=None, note=None):
        """Remove training rows from the fitted model.

        Exactly one of the parameters says which. Rows that were forgotten before are
        skipped. If anything fails, the estimator stays as it was. What is trained follows the
        recipe, the parameters as ``fit`` found them; those that were set since count from the
        next ``fit`` on.

        Parameters
        ----------
        X_idx : int, slice, array-like of int or boolean mask of shape (n_samples,)
            Positions in the ``X`` of the last ``fit``, whatever was forgotten since.
        sample_id : int, str or array-like of these
            Ids given to ``fit``.
        groups : int, str or array-like of these
            Groups given to ``fit``: all their rows.
        note : str, default=None
            For the receipt, such as the number of a ticket. Receipts are kept: put no personal
            data in it.

        Returns
        -------
        self : object

        Raises
        ------
        ForgetRequestError
            If the request names unknown rows or leaves none.
        TrainingDataChangedError
            If the arrays given to ``fit`` were changed in place since.
        """
        check_is_fitted(self)
        drafts = []
        with self._discarding(drafts), transaction(self) as change:
            self._validate_params()
            note = check_note(note)
            request = self._resolve(X_idx, sample_id=sample_id, groups=groups)
            self._rows_.verify(type(self).__name__)
            drafts.append(self._forgotten(replace(request, note=note)))
            change.publish(drafts[-1])
        self._settle()
        return self

    @on_snapshot
    def forget_cost(self, X_idx=None, *, sample_id=None, groups=None):
        """Predict what a request would cost; changes nothing.

        Parameters
        ----------
        X_idx, sample_id, groups
            As in :meth:`forget`.

        Returns
        -------
        cost : ForgetCost
        """
        check_is_fitted(self)
        self._validate_params()
        request = self._resolve(X_idx, sample_id=sample_id, groups=groups)
        if not len(request.hit):
            return ForgetCost(0, 0, 0.0, 0.0)
        self._check_remaining(request.hit)
        return self._as_told()._removal_cost(self._rows_, request.hit)

    def get_metadata_routing(self):
        """Metadata that this estimator takes for itself and passes on.

        Returns
        -------
        router : MetadataRouter
        """
        router = MetadataRouter(owner=type(self).__name__).add_self_request(self)
        if self.estimator is None:
            return router
        return router.add(
            estimator=self._inner_estimator(),
            method_mapping=MethodMapping().add(caller="fit", callee="fit"),
        )

    def __sklearn_tags__(self):
        return ForgetTags.extend(super().__sklearn_tags__(), self.guarantee)

    def __sklearn_is_fitted__(self):
        return hasattr(self, "_rows_")

    def _check_is_fitted(self):
        # scikit-learn asks for the tags first, which take as long as a small net
        if not hasattr(self, "_rows_"):
            check_is_fitted(self)

    @property
    def _is_adopted(self):
        return isinstance(self.estimator, FrozenEstimator)

    def _inner_estimator(self):
        return self.estimator.estimator if self._is_adopted else self.estimator

    def _check_fit(self, X, y, sample_id, groups, forget, fit_params):
        X, y = self._check_training_data(X, y)
        self._warn_of_scales(X, y)
        n_rows, owner = num_samples(X), type(self).__name__
        if sample_id is not None:
            sample_id = check_sample_id(sample_id, n_rows, owner=owner)
        if groups is not None:
            groups = check_keys(groups, n_rows, name="groups", owner=owner)
        # scikit-learn hands sample_weight=None on where nobody gave weights
        fit_params = {name: value for name, value in fit_params.items() if value is not None}
        fit_params = {**self._check_fit_params(fit_params), **self._shared_groups(groups)}
        rows = TrainingRows.borrow(
            X, y, n_rows, sample_id=sample_id, groups=groups, fit_params=fit_params
        )
        mask = None if forget is None else check_forget_mask(forget, n_rows, owner=owner)
        return rows, mask

    def _check_fit_params(self, fit_params):
        """Return what the wrapped estimator's ``fit`` gets, or refuse by name."""
        if fit_params:
            raise TypeError(
                f"{type(self).__name__}.fit takes sample_id, groups and forget, got "
                f"{', '.join(map(repr, sorted(fit_params)))}: this method cannot weight or "
                "annotate single rows. Weight classes through the criterion of the net "
                "instead, for example criterion__weight."
            )
        return {}

    def _shared_groups(self, groups):
        """Return ``groups`` as a fit parameter of the wrapped estimator where it asks for them."""
        return {}

    def _check_remaining(self, hit):
        """Refuse a request that leaves the method nothing to work with."""

    def _next_ledger(self, rows, mask, on_return):
        """Ledger of a new fit, which names forgotten rows that have come back."""
        ledger = vars(self).get("receipts_")
        returned = self._returned(ledger, rows, mask, on_return, "fit")
        return ForgetLedger() if ledger is None else ledger.next_epoch(rows, returned)

    def _returned(self, ledger, rows, mask, on_return, method):
        """Forgotten ids and groups among rows that are given to a method; says which."""
        owner = type(self).__name__
        if on_return not in ("warn", "raise"):
            raise ValueError(
                f"The 'on_return' parameter of {owner}.{method} must be 'warn' or 'raise', got "
                f"{on_return!r}."
            )
        returned = {} if ledger is None else ledger.returned(rows, mask)
        if returned:
            message = _returned_message(owner, returned)
            if on_return == "raise":
                raise ForgottenRowsReturnedError(message)
            warn_user(message, ForgottenRowsReturnedWarning)
        return returned

    def _resolve(self, X_idx=None, *, sample_id=None, groups=None):
        return resolve_request(
            self._rows_, self.receipts_, X_idx, sample_id=sample_id, groups=groups
        )

    def _forgotten(self, request):
        """Draft of this estimator after a request."""
        start = time.perf_counter()
        hit = request.hit
        before = state_digest(self._model_state())
        if len(hit):
            self._check_remaining(hit)
            draft, removal = self._without(hit)
        else:
            draft, removal = self._draft(), Removal(ForgetCost(0, 0, 0.0, 0.0))
        try:
            after = state_digest(draft._model_state()) if len(hit) else before
            draft.receipts_ = self._ledger_with(request, draft, removal, start, before, after)
        except BaseException:
            draft._discard(self)
            raise
        return draft

    def _ledger_with(self, request, draft, removal, start, before, after):
        """The ledger with the receipt of a request; says what its caller should know."""
        rows, hit, ledger = self._rows_, request.hit, self.receipts_
        caveat = changed_versions(ledger.versions) if len(hit) else None
        receipt = ForgetReceipt(
            method=self._method_name(),
            guarantee=removal.guarantee or self.guarantee,
            n_requested=request.n_requested,
            n_forgotten=len(hit),
            n_already_forgotten=request.n_already,
            n_remaining=len(draft._rows_),
            sample_id=ledger.labels(rows, hit),
            cost=removal.cost,
            seconds=time.perf_counter() - start,
            digest_before=before,
            digest_after=after,
            solver=removal.solver,
            advice=removal.advice + removal.remarks,
            versions_at_fit=dict(ledger.versions),
            caveat=caveat,
            note=request.note,
            groups=tuple(map(ledger.hash, request.groups)),
            parameters=self._described_params(),
            epoch=ledger.epoch,
        )
        for message in removal.advice + removal.remarks:
            warn_user(message, RetrainAdvisedWarning)
        if caveat:
            warn_user(f"{type(self).__name__}: {caveat}", VersionsChangedWarning)
        return ledger.add(receipt, rows, hit)

    def _described_params(self):
        """Parameters for a receipt: of training as ``fit`` found them, the others as they are."""
        return {**self.receipts_.parameters, **self._described_removal()}

    def _described_removal(self):
        """Parameters that removals follow as they are now."""
        # those of a net take as long to list as a small request
        now = described_params(self, deep=False)
        return {name: value for name, value in now.items() if name not in self._recipe_}

    def _method_name(self):
        """What a receipt calls the method."""
        return type(self).__name__

    def _without(self, hit, X=None):
        """Draft of this estimator without some rows, and the :class:`Removal`.

        ``X`` replaces the inputs of the retained rows where these have changed, as they do
        behind a step that was fitted anew.
        """
        draft, rows = self._as_told(), self._rows_
        retained = rows.drop(hit)
        draft._rows_ = retained = retained if X is None else replace(retained, X=X)
        try:
            with draft._computing():
                removal = draft._forget_rows(rows, retained, hit)
            draft._set_as(self)
        except BaseException:
            draft._discard(self)
            raise
        if self._is_adopted:  # the user's trained object still knows the rows
            draft.estimator = FrozenEstimator(draft.estimator_)
        return draft, removal

    def _model_state(self):
        """Learned attributes that make up the model, for the digest and the checks."""
        return {
            name: value
            for name, value in vars(self).items()
            if name.endswith("_") and not name.startswith("_") and name != "receipts_"
        }

    def _exact_state(self):
        """What must equal a fresh fit on the retained rows; read by ``check_exact_forget``.

        Every attribute but ``receipts_``, by name. Override it to show, under the same name,
        the content of an object that differs for another reason, such as files under random
        names; leaving a name out fails the check.
        """
        rows, state = self._rows_, dict(vars(self))
        del state["receipts_"]
        # positions are those of the last fit, and a checksum is of borrowed arrays only
        X = np.ascontiguousarray(rows.X) if isinstance(rows.X, np.ndarray) else rows.X
        data = fingerprint(X), fingerprint(rows.y)
        state["_rows_"] = (*data, rows.sample_id, rows.groups, rows.fit_params)
        return state

    def _draft(self, *, learned=True):
        draft = object.__new__(type(self))
        draft.__dict__ = {
            name: value for name, value in vars(self).items() if learned or not name.endswith("_")
        }
        return draft

    def _parts(self):
        """The estimators that a request changes: this one, and what it asks to forget."""
        return (self,)

    def _snapshot(self):
        """The estimator as it is now, whatever is published meanwhile."""
        view = object.__new__(type(self))
        view.__dict__ = self.__dict__  # replaced as a whole by requests, never written to
        return view

    def _training_key(self):
        """What decides the model that ``fit`` trains, beside rows and seed.

        Estimators with equal keys train the same, and may share one training. A base whose
        subclasses differ in removal only leaves the class out.
        """
        ignored = self._removal_params | self._recipe_ignores | {"random_state", "memory"}
        params = self.get_params(deep=False)
        return type(self), {name: params[name] for name in params.keys() - ignored}

    def _take_recipe(self):
        """Parameters of training, by name: copies that nobody else holds, none of them fitted."""
        names = self.get_params(deep=False).keys() - self._removal_params - self._recipe_ignores
        recipe = {name: clone(getattr(self, name), safe=False) for name in sorted(names)}
        if self._is_adopted:  # a clone of it is the trained object itself, which knows the rows
            recipe["estimator"] = FrozenEstimator(clone(self._inner_estimator()))
        return recipe

    def _as_told(self):
        """Draft with the parameters of ``fit``, and those of removal as they are now."""
        draft = self._draft()
        vars(draft).update(self._recipe_)
        return draft

    def _set_as(self, other):
        """Take over the parameters that another estimator of the same recipe has now."""
        vars(self).update({name: getattr(other, name) for name in other._recipe_})

    def _publish(self, draft):
        if "_part_of_draft_" not in vars(self):  # of a larger one, which is published later
            draft._succeed(self)
        # one assignment: an interrupt leaves the old state or the new one, never a mixture
        self.__dict__ = draft.__dict__

    def _succeed(self, before):
        """Note what the state before holds outside of memory and this one does not need."""

    def _settle(self):
        """Release it, now that this state stays in place; again where it was interrupted."""

    @contextmanager
    def _discarding(self, drafts):
        """Discard drafts that are not published in the end, or whose publication is taken back."""
        try:
            yield
        except BaseException:
            if not drafts or vars(self) is not vars(drafts[-1]):
                for draft in drafts:
                    draft._discard(self)
            raise

    def _discard(self, kept):
        """Release what a draft holds outside of memory, unless the kept estimator does too."""

    def __getstate__(self):
        return with_state_version(super().__getstate__())

    def __setstate__(self, state):
        kind = type(self)
        if "_rows_" in state:
            state = check_state_version(state, f"fitted {kind.__name__}")
        else:  # parameters only: those that a former version did not have are at their default
            defaults = inspect.signature(kind.__init__).parameters
            state = {n: defaults[n].default for n in kind._get_param_names()} | state
            state.pop("_state_version", None)
        super().__setstate__(trainable(state))

    @contextmanager
    def _computing(self):
        # the same stream for fit and forget: retraining must repeat what a fresh fit does
        seed = derive_seed(self._seed_, "compute")
        # rows are NumPy's; some estimators take another algorithm where dispatch is on
        config = config_context(transform_output=self._transform_output_, array_api_dispatch=False)
        with reproducible_threads(), isolated_rng(seed), raise_interrupts(), config:
            yield


def _returned_message(owner, returned):
    named = []
    for name, keys in returned.items():
        listed = ", ".join(map(repr, keys[:5])) + (", ..." if len(keys) > 5 else "")
        named.append(f"{len(keys)} {'ids' if name == 'sample_id' else name} ({listed})")
    example = next(iter(returned))
    return (
        f"{owner} was given rows that it had been asked to forget: {' and '.join(named)}. "
        f"Leave them out (keep those where receipts_.covers({example}=...) was False before this "
        f"fit), mark them in fit(..., forget=mask), or forget them again after it."
    )
