"""What the steps of a pipeline were told in ``fit``, beside what their parameters say now."""

import inspect

from sklearn.base import clone

from sk_unlearn.utils._digest import state_digest

__all__ = ["check_same_steps", "follow", "set_as", "structure", "told", "unfitted"]


def unfitted(steps):
    """Clones of steps, whatever holds no parameters copied as it is.

    Parameters
    ----------
    steps : list of (str, estimator)

    Returns
    -------
    clones : list of (str, estimator)
    """
    return [(name, clone(step, safe=False)) for name, step in steps]


def check_same_steps(pipe):
    """Refuse a request to a pipeline in which a step has become another one since ``fit``.

    Parameters
    ----------
    pipe : ForgetPipeline
        Fitted.

    Raises
    ------
    ValueError
        If a step was added, removed, renamed or replaced, or a part inside of one.
    """
    then, now, last = pipe._structure_, structure(pipe), pipe.steps[-1][1]
    changed = None
    if list(then) != list(now):
        changed = "other steps"
    elif then != now or not hasattr(last, "_rows_"):
        names = (name for name in now if then[name] != now[name])
        changed = f"another {next(names, pipe.steps[-1][0])!r}"
    if changed:
        raise ValueError(
            f"{type(pipe).__name__} has {changed} than it had in fit, and a removal repeats what "
            "fit did. Put back what was there, or fit again."
        )


def set_as(step, now, as_told):
    """Give a step the parameters that were set since ``fit``.

    Estimators among them stay: those in fitted steps have learned from rows.

    Parameters
    ----------
    step : estimator
        Trained as ``fit`` was told; it gets the parameters.
    now : estimator
        The step that it takes the place of.
    as_told : estimator
        Unfitted, with the parameters of ``fit``.

    Returns
    -------
    step : estimator
    """
    if not hasattr(now, "get_params"):
        return step
    before, after = as_told.get_params(deep=True), now.get_params(deep=True)
    changed = {
        name: value
        for name, value in after.items()
        if name in before and not _holds_estimator(value) and _differ(value, before[name])
    }
    return step.set_params(**changed) if changed else step


def told(last):
    """Unfitted clone of a last step as ``fit`` was told it, with what it trains, not adopts.

    Parameters
    ----------
    last : estimator of this package
        Fitted.

    Returns
    -------
    unfitted : estimator
    """
    draft = last._as_told()
    if "steps" in last._recipe_:
        name, inner = last.steps[-1]
        draft.steps = [*last._recipe_["steps"], (name, told(inner))]
    elif draft._is_adopted:
        draft.estimator = draft._inner_estimator()
    return clone(draft)


def follow(trained, last):
    """Give a last step that was trained anew the parameters that were set since ``fit``.

    Parameters
    ----------
    trained : estimator of this package
        From :func:`told`.
    last : estimator of this package
        That it takes the place of.
    """
    if "steps" in last._recipe_:
        recipe = last._recipe_["steps"]
        for (_, new), (_, now), (_, as_told) in zip(
            trained.steps, last.steps, recipe, strict=False
        ):
            set_as(new, now, as_told)
        follow(trained.steps[-1][1], last.steps[-1][1])
    estimator = getattr(trained, "estimator", None)
    trained._set_as(last)
    if last._is_adopted:  # it is trained here now; what was adopted knows the rows
        trained.estimator = estimator


def structure(pipe):
    """Kinds of the steps, and of the estimators inside those before the last one.

    Parameters
    ----------
    pipe : ForgetPipeline

    Returns
    -------
    kinds : dict of str to dict
        In the order of the steps.
    """
    *before, (name, last) = pipe.steps
    return {**{name: _kinds(step) for name, step in before}, name: {"": type(last)}}


def _kinds(step):
    parts = {"": step}
    if hasattr(step, "get_params"):
        parts |= {k: v for k, v in step.get_params(deep=True).items() if hasattr(v, "get_params")}
    return {name: part if isinstance(part, str) else type(part) for name, part in parts.items()}


def _holds_estimator(value):
    if isinstance(value, (list, tuple)):
        return any(map(_holds_estimator, value))
    return hasattr(value, "get_params")


def _differ(one, other):
    if one is other:
        return False
    if inspect.isroutine(one) or inspect.isclass(one):
        return True
    try:
        return state_digest(one) != state_digest(other)
    except Exception:  # what cannot be looked at counts as set
        return True
