"""The last step: trained, and brought to where it is without some rows."""

from copy import copy
from dataclasses import replace

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from sk_unlearn.base import Removal
from sk_unlearn.exceptions import FullRetrainWarning, RemovalFailedError, RetrainAdvisedError
from sk_unlearn.pipeline._recipe import follow, told
from sk_unlearn.pipeline._steps import step_params
from sk_unlearn.receipts import ForgetCost, Guarantee
from sk_unlearn.utils._containers import is_frame
from sk_unlearn.utils._digest import state_digest
from sk_unlearn.utils._seeding import derive_seed, root_seed
from sk_unlearn.utils._warn import warn_user

__all__ = ["fit_last", "forget_last", "last_cost", "weakest"]

_ANEW = "trained anew"
_KINDS = ("exact", "certified", "approximate")
# In units of the spread of the inputs: a linear step is trusted no further either.
_MAX_INPUT_CHANGE = 0.1


def fit_last(pipe, step, X, rows):
    """Train a clone of the last step.

    Parameters
    ----------
    pipe : ForgetPipeline
    step : estimator
        The last step, as it is to be trained.
    X : array-like
        Output of the steps before.
    rows : TrainingRows

    Returns
    -------
    last : estimator
    """
    name, last = pipe.steps[-1][0], clone(step)
    own = last.random_state
    if pipe.verbose:
        print(f"[ForgetPipeline] {name}")
    last.random_state = derive_seed(pipe._seed_, "step", name) if own is None else root_seed(own)
    params = step_params(rows, name, "fit")
    last._part_of_draft_ = True  # its files are, until the pipeline is published
    last.fit(X, rows.y, sample_id=rows.ids, groups=rows.groups, **params)
    last.random_state = step.random_state  # as it was before the draw, to repeat it
    return last


def forget_last(pipe, fitted, retained, hit):
    """The last step without some rows.

    Parameters
    ----------
    pipe : ForgetPipeline
        Before the request.
    fitted : Steps or None
        The other steps after it; None where they learn nothing.
    retained : TrainingRows
    hit : ndarray of int
        Rows that leave, as indices into the rows before.

    Returns
    -------
    last : estimator
    removal : Removal
    """
    name, last = pipe.steps[-1]
    how, X = _way(pipe, fitted, retained, hit)
    done = {} if fitted is None else dict(fitted.done)
    if how == "anew":
        _warn_full_retrain(pipe, hit)
        return _trained_anew(pipe, fitted, retained, hit, {"steps": {**done, name: _ANEW}})
    if how == "unchanged":
        last, removal = last._without(hit)
        solver = {"steps": {**done, name: "forgot"}, "last_step": removal.solver}
        return last, replace(removal, solver=solver)
    change = _input_change(last._rows_.drop(hit).X, X)
    more, on_advice = _advice(change, last), getattr(last, "on_advice", "warn")
    if more and on_advice == "raise":
        raise RetrainAdvisedError(
            f"{more[0]} Nothing was forgotten, as on_advice='raise' asks for."
        )
    if more and on_advice == "retrain":
        retrained = {"because": list(more), "share_tried": 0.0}
        solver = {"steps": {**done, name: _ANEW}, "input_change": change}
        solver["last_step"] = {"steps": [], "retrained": retrained}
        last, removal = _trained_anew(pipe, fitted, retained, hit, solver)
        return last, replace(removal, guarantee=Guarantee("exact"))
    last, removal = _without_caches(last)._without(hit, X)
    solver = {
        "steps": {**done, name: "forgot, on changed inputs"},
        "input_change": change,
        "last_step": removal.solver,
    }
    if removal.guarantee is not None:  # it was trained on them
        more = ()
    return last, replace(removal, solver=solver, advice=removal.advice + more)


def _trained_anew(pipe, fitted, retained, hit, solver):
    """The last step trained on what the others give now."""
    last = pipe.steps[-1][1]
    cost = _full_cost(last, hit)
    trained = fit_last(pipe, told(last), fitted.X, retained)
    follow(trained, last)
    return trained, Removal(cost, solver)


def last_cost(pipe, fitted, retained, hit):
    """Predict the :class:`ForgetCost` of :func:`forget_last`."""
    last = pipe.steps[-1][1]
    if _way(pipe, fitted, retained, hit)[0] == "anew":
        _warn_full_retrain(pipe, hit)
        return _full_cost(last, hit)
    return last._as_told()._removal_cost(last._rows_, hit)


def weakest(guarantees):
    """Guarantee of several removals together.

    Parameters
    ----------
    guarantees : list of Guarantee

    Returns
    -------
    guarantee : Guarantee
        The weakest kind; certified ones add up (basic composition).
    """
    kind = max((g.kind for g in guarantees), key=_KINDS.index, default="exact")
    if kind != "certified":
        return Guarantee(kind)
    certified = [g for g in guarantees if g.kind == kind]
    return Guarantee(kind, sum(g.epsilon for g in certified), sum(g.delta for g in certified))


def _way(pipe, fitted, retained, hit):
    """How the last step follows, and its changed inputs as it keeps them.

    "unchanged": its inputs are the same bits, so that its own removal is what counts.
    "changed": it is approximate and has a net that can read the new inputs.
    "anew": it has to be trained on them.
    """
    last = pipe.steps[-1][1]
    if fitted is None:
        return "unchanged", None
    probe, X = _probe(last, fitted.X, retained)
    held, named = last._rows_.drop(hit).X, _input_attributes(last) == _input_attributes(probe)
    if named and _content_digest(X) == _content_digest(held):
        return "unchanged", None
    if last.guarantee.kind != "approximate":
        return "anew", None
    same_columns = named and _names(fitted.steps) == _names(pipe.steps[:-1])
    if same_columns and isinstance(X, np.ndarray) and X.shape == held.shape:
        return "changed", X
    if probe._is_adopted:
        raise RemovalFailedError(
            f"Without the rows that leave, the steps of {type(pipe).__name__} give other columns "
            f"({np.shape(X)[1:]} in place of {np.shape(held)[1:]}, or others of the same number), "
            "which the trained net that was adopted cannot read. Pass the net without "
            "FrozenEstimator, or name categories and columns in the steps, so that they stay."
        )
    return "anew", None


def _probe(last, X, retained):
    """A draft of the last step that has seen its new inputs, and what it keeps of them."""
    draft = last._as_told()
    return draft, draft._check_training_data(X, retained.y)[0]


def _input_attributes(last):
    names = ("n_features_in_", "feature_names_in_")
    return {name: list(np.atleast_1d(vars(last)[name])) for name in names if name in vars(last)}


def _names(steps):
    """Names of the columns that steps give, where they say so."""
    try:
        return list(Pipeline(steps).get_feature_names_out())
    except (AttributeError, TypeError, ValueError):
        return None


def _content_digest(X):
    X = getattr(X, "rows", X)  # of an estimator that keeps them in blocks
    if is_frame(X):
        X = [list(X.columns), [np.asarray(X[name]) for name in X.columns]]
    return state_digest(X)


def _without_caches(last):
    return copy(last)


def _full_cost(last, hit):
    n_rows = len(last._rows_)
    part = last._as_told()._removal_cost(last._rows_, hit)
    share = part.share_of_retrain
    passes = part.gradient_passes / share if share else float("nan")
    return ForgetCost(len(hit), n_rows - len(hit), passes, 1.0)


def _input_change(before, after):
    """Root mean square change of retained inputs, in units of their standard deviation."""
    before, after = np.asarray(before, np.float64), np.asarray(after, np.float64)
    spread = np.linalg.norm(before - before.mean(axis=0))
    change = np.linalg.norm(after - before)
    return float(change / spread) if spread else float("inf")


def _advice(change, last):
    if change <= _MAX_INPUT_CHANGE:
        return ()
    return (
        "Retraining is advised: the steps that were fitted anew moved the inputs of the retained "
        f"rows by {change:.2g} standard deviations (more than {_MAX_INPUT_CHANGE}), and the net "
        f"of {type(last).__name__} was trained on the former ones. You can fit the pipeline "
        "without the forgotten rows, or put steps in it that follow single rows less, such as "
        "RobustScaler.",
    )


def _warn_full_retrain(pipe, hit):
    last, kind = pipe.steps[-1][1], type(pipe.steps[-1][1]).__name__
    if last.guarantee.kind == "approximate":
        message = (
            f"{kind} is trained anew: without the rows that leave, the steps before it give "
            "other columns, which its net cannot read. Where that is too dear, name categories "
            "and columns in the steps, so that they stay."
        )
    elif last._as_told()._removal_cost(last._rows_, hit).share_of_retrain < 1:
        cheaper = last._instead_of_steps.replace("{name}", kind)
        message = (
            f"All of {kind} is trained anew: without the rows that leave, the steps before it "
            f"give other inputs for every row. Where that is too dear, {cheaper}."
        )
    else:
        return
    warn_user(message, FullRetrainWarning)
