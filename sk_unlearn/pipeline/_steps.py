"""The steps before the last one: fit them, and fit them anew when rows leave."""

import time
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.base import clone
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import process_routing

from sk_unlearn.pipeline._recipe import set_as
from sk_unlearn.utils._digest import state_digest
from sk_unlearn.utils._seeding import derive_seed, isolated_rng
from sk_unlearn.utils._sklearn import num_samples

__all__ = [
    "Steps",
    "fit_steps",
    "forget_steps",
    "is_passed",
    "is_stateless",
    "routed",
    "step_params",
]

_FITTING = ("fit", "fit_transform", "transform")


@dataclass(frozen=True)
class Steps:
    """Fitted steps before the last one, and what they make of the training rows.

    Attributes
    ----------
    steps : list of (str, estimator)
    X : array-like
        Input of the last step.
    done : dict of str to str
        What became of each step.
    """

    steps: list
    X: Any
    done: dict


def is_passed(step):
    """Whether a step lets its input through."""
    return step is None or (isinstance(step, str) and step == "passthrough")


def is_stateless(step):
    """Whether a step learns nothing from rows."""
    return is_passed(step) or (
        hasattr(step, "__sklearn_tags__") and not get_tags(step).requires_fit
    )


def routed(pipe, fit_params):
    """Metadata of ``fit`` as one entry for each step, method and parameter.

    Returns
    -------
    params : dict of (str, str, str) to object
        Keys are (step, method, parameter).
    """
    if not fit_params:
        return {}
    if get_config()["enable_metadata_routing"]:
        found = process_routing(pipe, "fit", **fit_params)
        return {
            (name, method, key): value
            for name, _ in pipe.steps
            if name in found
            for method in _FITTING
            for key, value in getattr(found[name], method, {}).items()
        }
    params = {}
    for key, value in fit_params.items():
        name, _, param = key.partition("__")
        if not param or name not in dict(pipe.steps):
            raise TypeError(
                f"{type(pipe).__name__}.fit takes sample_id, groups, forget and parameters of "
                f"steps as step__parameter, got {key!r}; the steps are "
                f"{', '.join(map(repr, dict(pipe.steps)))}."
            )
        for method in ("fit", "fit_transform"):
            params[name, method, param] = value
    return params


def step_params(rows, step, method):
    """Metadata for one method of one step."""
    return {
        param: value
        for (name, called, param), value in rows.fit_params.items()
        if (name, called) == (step, method)
    }


def fit_steps(pipe, rows):
    """Fit clones of the steps before the last one.

    Parameters
    ----------
    pipe : ForgetPipeline
    rows : TrainingRows

    Returns
    -------
    fitted : Steps
    """
    steps, X = [], rows.X
    for name, step in pipe.steps[:-1]:
        if not is_passed(step):
            step, X = _fit_step(pipe, name, step, X, rows)
        steps.append((name, step))
    return Steps(steps, X, {})


def forget_steps(pipe, rows, retained, hit):
    """Bring the steps before the last one to where they are without some rows.

    A step with a ``forget`` of its own uses it while its input is what it was; everything
    else is fitted anew, as ``fit`` was told.

    Parameters
    ----------
    pipe : ForgetPipeline
    rows, retained : TrainingRows
        Before and after.
    hit : ndarray of int
        Rows that leave, as indices into ``rows``.

    Returns
    -------
    fitted : Steps or None
        None where no step learns anything from rows.
    """
    before, recipe = pipe.steps[:-1], pipe._recipe_["steps"]
    if all(is_stateless(step) for _, step in before):
        return None
    steps, X, done, changed = [], retained.X, {}, False
    for (name, step), (_, as_told) in zip(before, recipe, strict=True):
        new = step
        if not is_passed(step):
            if hasattr(step, "forget") and not changed:
                new, done[name] = deepcopy(step).forget(rows.position[hit]), "forgot"
                X = new.transform(X, **step_params(retained, name, "transform"))
                _check_n_rows(name, new, X, retained)
            else:
                new, X = _fit_step(pipe, name, as_told, X, retained)
                new, done[name] = set_as(new, step, as_told), "fitted anew"
            same = is_stateless(step) or state_digest(new) == state_digest(step)
            done[name] = "unchanged" if same else done[name]
            changed = changed or not same
        steps.append((name, new))
    return Steps(steps, X, done)


def _fit_step(pipe, name, step, X, rows):
    """Fit a clone of a step; return it and what it makes of ``X``."""
    fitted, start = clone(step), time.perf_counter()
    # a stream for each step: what one step draws does not depend on the others
    with isolated_rng(derive_seed(pipe._seed_, "step", name)):
        if hasattr(fitted, "fit_transform"):
            params = step_params(rows, name, "fit_transform")
            X = fitted.fit_transform(X, rows.y, **params)
        else:
            fitted.fit(X, rows.y, **step_params(rows, name, "fit"))
            X = fitted.transform(X, **step_params(rows, name, "transform"))
    _check_n_rows(name, fitted, X, rows)
    _restore_generators(fitted, step)
    if pipe.verbose:
        print(f"[ForgetPipeline] {name}: {time.perf_counter() - start:.1f} s")
    return fitted, X


def _check_n_rows(name, step, X, rows):
    n_rows = num_samples(X)
    if n_rows != len(rows):
        raise ValueError(
            f"The step {name!r} ({type(step).__name__}) returned {n_rows} rows for {len(rows)}. "
            "A step must return one row for each row it gets: ids, groups and positions could "
            "not name them otherwise. Drop or repeat rows before fit."
        )


def _restore_generators(fitted, step):
    """Put back generators that were passed as parameters, as they were before the draw."""
    if hasattr(step, "get_params"):
        for name, value in step.get_params(deep=True).items():
            if isinstance(value, np.random.RandomState):
                fitted.set_params(**{name: deepcopy(value)})
