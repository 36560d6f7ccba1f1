"""Whether an estimator's parameters are valid, asked at every request."""

from functools import cache

from sk_unlearn.utils._sklearn import make_constraint

__all__ = ["has_valid_parameters"]


def has_valid_parameters(estimator):
    """Whether no parameter breaks a rule of ``_parameter_constraints``.

    scikit-learn's own check reads the signature and builds every rule anew each time, and takes
    three times as long.

    Parameters
    ----------
    estimator : estimator

    Returns
    -------
    valid : bool
    """
    names, rules = _rules(type(estimator))
    return all(_satisfies(getattr(estimator, name), rules.get(name)) for name in names)


@cache
def _rules(kind):
    """Names of the parameters of a class, and the rules for each, as objects."""
    constraints = kind._parameter_constraints.items()
    rules = {k: tuple(map(make_constraint, r)) for k, r in constraints if r != "no_validation"}
    return tuple(kind._get_param_names()), rules


def _satisfies(value, rules):
    return rules is None or any(rule.is_satisfied_by(value) for rule in rules)
