"""A pipeline that forgets in every step."""

from dataclasses import replace
from functools import wraps

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.metaestimators import available_if

from sk_unlearn.base import BaseForgetEstimator
from sk_unlearn.exceptions import TrainingDataChangedError
from sk_unlearn.pipeline._checks import check_rows, check_steps
from sk_unlearn.pipeline._last import fit_last, forget_last, last_cost, weakest
from sk_unlearn.pipeline._recipe import check_same_steps, structure, unfitted
from sk_unlearn.pipeline._steps import (
    fit_steps,
    forget_steps,
    is_stateless,
    routed,
)
from sk_unlearn.receipts import Guarantee
from sk_unlearn.utils._containers import dispatched
from sk_unlearn.utils._transaction import on_snapshot

__all__ = ["ForgetPipeline"]


def _read(name):
    """A method of :class:`~sklearn.pipeline.Pipeline`, reading one state of all steps."""
    method = getattr(Pipeline, name)

    @wraps(method)
    def read(self, X, *args, **kwargs):
        return method(self, dispatched(X), *args, **kwargs)

    def has_it(self):
        getattr(self.steps[-1][1], name)  # raises what the last step says
        return True

    return available_if(has_it)(on_snapshot(read))


class ForgetPipeline(BaseForgetEstimator, Pipeline):
    """Pipeline that forgets in its transformers as well as in its last step.

    The scaler of a plain :class:`~sklearn.pipeline.Pipeline` keeps the share of all rows in
    its statistics when the last step forgets. Here a request reaches every step.

    - A step that learns nothing from rows (``requires_fit`` is False in its tags) stays.
    - A step with a ``forget`` of its own, which takes positions in the ``X`` of its last
      ``fit``, is asked to forget, as long as the steps before it give what they gave.
    - Every other step is fitted anew on the rows that remain, by the parameters that ``fit``
      found. Those that were set since act as in scikit-learn: what a step reads in ``transform``
      acts at once, everything from the next ``fit`` on. To put another step in the place of one,
      ``fit`` again: until then requests are refused.
    - Where the last step then gets the same inputs, bit for bit, its own removal is used,
      at its own price.
    - Where its inputs have changed and it is exact, it is trained anew on them.
    - Where its inputs have changed and it is approximate, such as
      :class:`~sk_unlearn.PumaClassifier`, its own removal is used too: it starts from the net
      trained on the former inputs, takes the influence of the rows that leave from the inputs
      they had, and everything else from the new inputs. The receipt says by how much these
      differ (``solver["input_change"]``, in standard deviations); more than 0.1 advises to
      retrain, which ``on_advice`` of the estimator decides on. Where the columns have become
      others, in number or in meaning, the net is trained anew.

    Guarantee: the weakest of the steps. With an exact last step, and no approximate
    ``forget`` before it, every fitted attribute of every step is what a fresh ``fit`` on
    the retained rows gives, bit for bit. Cost: fitting the other steps, and what the last
    step costs; where it has to be trained anew, a full retrain (``share_of_retrain`` is 1).

    Parameters
    ----------
    steps : list of (str, estimator) tuples
        As in :class:`~sklearn.pipeline.Pipeline`. The last one is an estimator of this
        package. Clones of them are fitted and take their place; what you passed stays as it
        is. Each step must return one row for each row it gets.
    transform_input, memory : None
        Refused: metadata is not transformed, and a cache would keep forgotten rows.
    verbose : bool, default=False
        Whether to print each step and its time.
    random_state : int, RandomState instance or None, default=None
        Seeds whatever the steps' own ``random_state=None`` leaves open.

    Attributes
    ----------
    named_steps : Bunch
        Steps by name, fitted.
    receipts_ : ForgetLedger
        One :class:`~sk_unlearn.receipts.ForgetReceipt` a request. Its ``solver["steps"]``
        says what became of each step, ``solver["last_step"]`` what the last one reports.
    classes_ : ndarray of shape (n_classes,)
        Labels of the rows that remain; only for classifiers.
    n_features_in_, feature_names_in_
        Of the first step.

    Raises
    ------
    ValueError
        If a step returns another number of rows or changes ``X`` in place, if a cache or a
        :class:`~sklearn.frozen.FrozenEstimator` would remember forgotten rows, or if the last
        step was asked to forget by itself.
    RemovalFailedError
        If the steps give other columns than a trained net that was adopted can read.

    Warns
    -----
    FullRetrainWarning
        If all of a last step is trained anew that promises to do with less.

    See Also
    --------
    residual_steps : What a plain pipeline still holds of forgotten rows.

    Notes
    -----
    It holds the training rows twice, as given and as the last step gets them. Slices such as
    ``pipe[:-1]`` are plain pipelines of the fitted steps: they cannot forget.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sk_unlearn import RetrainClassifier
    >>> from sk_unlearn.pipeline import make_forget_pipeline
    >>> X, y = load_iris(return_X_y=True)
    >>> pipe = make_forget_pipeline(
    ...     StandardScaler(), RetrainClassifier(LogisticRegression()), random_state=0
    ... )
    >>> int(pipe.fit(X, y).forget([3, 17])[0].n_samples_seen_)
    148
    >>> receipt = pipe.receipts_[-1]
    >>> str(receipt.guarantee), receipt.solver["steps"]
    ('exact', {'standardscaler': 'fitted anew', 'retrainclassifier': 'trained anew'})
    """

    _parameter_constraints: dict = {
        **Pipeline._parameter_constraints,
        "random_state": ["random_state"],
    }

    # weights of a score are the last step's affair
    __metadata_request__score = {"sample_weight": UNUSED}

    _is_adopted = False

    def __init__(
        self, steps, *, transform_input=None, memory=None, verbose=False, random_state=None
    ):
        Pipeline.__init__(
            self, steps, transform_input=transform_input, memory=memory, verbose=verbose
        )
        self.random_state = random_state

    def fit(
        self, X, y, *, sample_id=None, groups=None, forget=None, on_return="warn", **fit_params
    ):
        """Fit every step, then forget the rows marked by ``forget``.

        Parameters
        ----------
        X : array-like of n_samples rows
            Whatever the first step takes: arrays, DataFrames, lists of text. Held by
            reference until the first removal: do not change it in between.
        y : array-like of shape (n_samples,)
        sample_id : array-like of shape (n_samples,), int or str, default=None
            Distinct names of the rows; positions if None.
        groups : array-like of shape (n_samples,), int or str, default=None
            Whose row it is: ``forget(groups=...)`` removes everything of one person.
        forget : ndarray of shape (n_samples,), bool, default=None
            Rows to forget after training.
        on_return : {"warn", "raise"}, default="warn"
            What to do with rows that were forgotten and are here again:
            :class:`~sk_unlearn.exceptions.ForgottenRowsReturnedWarning` or an error.
        **fit_params : dict
            Metadata of the steps, ``step__parameter`` or, with metadata routing enabled,
            what they request. What has one value a row is cut with the rows.

        Returns
        -------
        self : object
        """
        known = {"sample_id": sample_id, "groups": groups, "forget": forget}
        return super().fit(X, y, **known, on_return=on_return, **fit_params)

    def forget_cost(self, X_idx=None, *, sample_id=None, groups=None):
        """Predict what a request would cost; changes nothing.

        The steps before the last one are fitted anew, on the side, to learn whether the
        inputs of the last one would change.

        Parameters
        ----------
        X_idx, sample_id, groups
            As in :meth:`forget`.

        Returns
        -------
        cost : ForgetCost
            ``share_of_retrain`` is 1 where the last step would be trained anew.
        """
        return super().forget_cost(X_idx, sample_id=sample_id, groups=groups)

    predict = _read("predict")
    predict_proba = _read("predict_proba")
    predict_log_proba = _read("predict_log_proba")
    decision_function = _read("decision_function")
    score_samples = _read("score_samples")
    score = _read("score")

    def clean_checkpoints(self):
        """Remove files of the last step's ``checkpoints`` that nobody can need.

        See :meth:`SisaClassifier.clean_checkpoints`.

        Returns
        -------
        removed : list of str
            Paths; empty where the last step saves no states.
        """
        last = self.steps[-1][1]
        return last.clean_checkpoints() if hasattr(last, "clean_checkpoints") else []

    def __getitem__(self, ind):
        if isinstance(ind, slice):  # it holds no training rows, so it cannot forget
            return Pipeline(self.steps, verbose=self.verbose)[ind]
        return super().__getitem__(ind)

    def _parts(self):
        try:
            last = self.steps[-1][1]
        except (AttributeError, TypeError, IndexError):
            return (self,)
        return (self, last) if isinstance(last, BaseForgetEstimator) else (self,)

    def _snapshot(self):
        while True:
            view = super()._snapshot()
            *before, (name, last) = view.steps
            if isinstance(last, BaseForgetEstimator):
                last = last._snapshot()
            if vars(view) is vars(self):  # else the last step may be that of after a request
                view.__dict__ = {**vars(view), "steps": [*before, (name, last)]}
                return view

    @property
    def guarantee(self):
        """The weakest guarantee among the steps; None where the last one has none.

        Returns
        -------
        guarantee : Guarantee or None
        """
        try:
            return self._guarantee_with(self.steps[-1][1].guarantee)
        except (AttributeError, IndexError, TypeError, ValueError):
            return None

    def _guarantee_with(self, of_last):
        """The weakest guarantee among the steps where the last one gives another."""
        guarantees = [of_last]
        for _, step in self.steps[:-1]:
            if hasattr(step, "forget"):
                stated = getattr(get_tags(step), "guarantee", None)
                guarantees.append(stated or Guarantee("approximate"))
        return weakest(guarantees)

    def get_metadata_routing(self):
        """Metadata that the pipeline takes for itself and passes on.

        Returns
        -------
        router : MetadataRouter
        """
        return Pipeline.get_metadata_routing(self).add_self_request(self)

    def _check_training_data(self, X, y):
        self._validate_steps()
        check_steps(self)
        return check_rows(self, X, y)

    def _check_fit_params(self, fit_params):
        name = self.steps[-1][0]
        for param in ("sample_id", "groups", "forget"):
            if f"{name}__{param}" in fit_params:
                raise TypeError(
                    f"{type(self).__name__}.fit takes {param} for all of its steps, got "
                    f"{name}__{param}."
                )
        return routed(self, fit_params)

    def _fit_rows(self, rows):
        fitted = fit_steps(self, rows)
        try:
            rows.verify(type(self).__name__)
        except TrainingDataChangedError:
            raise ValueError(
                f"A step of {type(self).__name__} changed X or y in place, for example by "
                "copy=False: what was given to fit is no longer known, and no request could be "
                "answered. Let the step copy."
            ) from None
        name, step = self.steps[-1]
        self.steps = [*fitted.steps, (name, fit_last(self, step, fitted.X, rows))]
        self._structure_ = structure(self)

    def _forget_rows(self, rows, retained, hit):
        fitted = forget_steps(self, rows, retained, hit)
        last, removal = forget_last(self, fitted, retained, hit)
        before = self.steps[:-1] if fitted is None else fitted.steps
        self.steps = [*before, (self.steps[-1][0], last)]
        if removal.guarantee is not None:  # of this request, not that of the last step's method
            removal = replace(removal, guarantee=self._guarantee_with(removal.guarantee))
        return removal

    def _removal_cost(self, rows, hit):
        retained = rows.drop(hit)
        with self._computing():
            fitted = forget_steps(self, rows, retained, hit)
            return last_cost(self, fitted, retained, hit)

    def _take_recipe(self):
        # those before the last one, which keeps a recipe of its own
        return super()._take_recipe() | {"steps": unfitted(self.steps[:-1])}

    def _as_told(self):
        draft = super()._as_told()
        draft.steps = self.steps
        return draft

    def _set_as(self, other):
        steps = self.steps  # which are as they have to be
        super()._set_as(other)
        self.steps = steps

    def _check_remaining(self, hit):
        check_same_steps(self)
        last = self.steps[-1][1]
        if not np.array_equal(last._rows_.ids, self._rows_.ids):
            raise ValueError(
                f"The last step of {type(self).__name__} was asked to forget by itself, and the "
                "steps before it still know these rows. Fit again, and ask the pipeline."
            )
        last._check_remaining(hit)

    def _model_state(self):
        *before, (name, last) = self.steps
        learned = {name: step for name, step in before if not is_stateless(step)}
        return {**learned, name: last._model_state()}

    def _exact_state(self):
        state = super()._exact_state()
        name, last = self.steps[-1]
        state["steps"] = [*self.steps[:-1], (name, last._exact_state())]
        return state

    def _described_removal(self):
        name, last = self.steps[-1]
        of_last = {f"{name}__{key}": v for key, v in last._described_removal().items()}
        return super()._described_removal() | of_last

    def _method_name(self):
        return f"{type(self).__name__}({self.steps[-1][1]._method_name()})"

    def _succeed(self, before):
        self.steps[-1][1]._succeed(before.steps[-1][1])

    def _settle(self):
        self.steps[-1][1]._settle()

    def _discard(self, kept):
        try:
            last, before = self.steps[-1][1], kept.steps[-1][1]
        except (TypeError, IndexError):  # what is refused
            return
        if isinstance(last, BaseForgetEstimator):
            last._discard(before)
