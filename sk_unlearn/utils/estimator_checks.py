"""Checks of estimators that can forget, for ours and for yours.

In the spirit of :mod:`sklearn.utils.estimator_checks`: each broken rule is an
``AssertionError`` that says which.
"""

from functools import partial, update_wrapper

from sklearn.utils import get_tags

from sk_unlearn.utils._checks import _copies, _fit, _isolation, _requests, _residue
from sk_unlearn.utils._checks._case import ForgetCase, quiet
from sk_unlearn.utils._checks._exact import check_forget_is_exact
from sk_unlearn.utils._optional import import_optional

__all__ = [
    "check_exact_forget",
    "check_forget_estimator",
    "forget_checks_generator",
    "parametrize_with_forget_checks",
]

_CHECKS = (
    *_requests.FORGET_CHECKS,
    *_fit.FORGET_CHECKS,
    *_isolation.FORGET_CHECKS,
    *_residue.FORGET_CHECKS,
    *_copies.FORGET_CHECKS,
)


def check_forget_estimator(estimator, X=None, y=None):
    """Check that an estimator keeps the contract of ``fit`` and ``forget``.

    Requests in every form, refusals that change nothing, receipts, atomicity,
    reproducibility, no residue of forgotten rows, copies, cross-validation; and, where its
    tags claim an exact guarantee, :func:`check_exact_forget`.

    Parameters
    ----------
    estimator : estimator
        Classifier or regressor with ``fit(X, y, *, sample_id, groups, forget)``,
        ``forget``, ``forget_cost`` and ``receipts_``. Not changed.
    X : array-like of shape (n_samples, n_features) or (n_samples, ...), default=None
        Training data, at least 20 rows, for estimators that need a particular kind.
        None means 36 rows of 4 features in float64.
    y : array-like of shape (n_samples,), default=None
        None means 3 balanced classes 0, 1, 2 (2 if the tags say that the classifier is
        binary), or a real target.

    Raises
    ------
    AssertionError
        If a rule is broken; the message names it.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sk_unlearn import RetrainClassifier
    >>> from sk_unlearn.utils.estimator_checks import check_forget_estimator
    >>> check_forget_estimator(RetrainClassifier(LogisticRegression()))
    """
    for _, check in forget_checks_generator(estimator, X, y):
        check(estimator)


def check_exact_forget(estimator, X=None, y=None, *, random_state=0):
    """Check that forgetting equals a fresh fit on the retained rows, bit for bit.

    Compares every attribute, private or public, and the predictions of ``fit(D).forget(F)``
    with those of a clone fitted on D without F: with the same ids and ``random_state=0``.
    F is the first row, the last row, random rows, every other row and a whole class, asked
    for by position and by string ids, at once and in several requests.

    Left out are ``receipts_`` and, of the training rows that our own estimators hold
    (``_rows_``), their positions in the last ``fit`` and the checksum of borrowed arrays. An
    attribute that differs for another reason, such as the random names of stored files, is
    compared by its content where the estimator has a method ``_exact_state()``: a dict from
    the name of each attribute but ``receipts_`` to what is compared. A name left out of it
    fails the check.

    Parameters
    ----------
    estimator : estimator
    X, y : array-like, default=None
        As in :func:`check_forget_estimator`.
    random_state : int, default=0
        Of the random forget sets.

    Raises
    ------
    AssertionError
        If a bit differs; the message names the forget set and the attributes.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from sk_unlearn import RetrainRegressor
    >>> from sk_unlearn.utils.estimator_checks import check_exact_forget
    >>> check_exact_forget(RetrainRegressor(Ridge()))
    """
    _run(partial(check_forget_is_exact, random_state=random_state), estimator, X=X, y=y)


def forget_checks_generator(estimator, X=None, y=None):
    """Yield the checks of :func:`check_forget_estimator` one by one.

    Parameters
    ----------
    estimator : estimator
    X, y : array-like, default=None
        As in :func:`check_forget_estimator`.

    Yields
    ------
    estimator : estimator
    check : callable
        Takes the estimator; raises ``AssertionError``.

    Examples
    --------
    >>> from sk_unlearn import PumaClassifier
    >>> from sk_unlearn.utils.estimator_checks import forget_checks_generator
    >>> next(forget_checks_generator(PumaClassifier()))[1].__name__
    'check_forget_returns_self'
    """
    checks = _CHECKS
    if getattr(getattr(get_tags(estimator), "guarantee", None), "kind", None) == "exact":
        checks = (*checks, check_forget_is_exact)
    for check in checks:
        yield estimator, update_wrapper(partial(_run, check, X=X, y=y), check)


def parametrize_with_forget_checks(estimators):
    """Decorate a pytest test that takes ``estimator`` and ``check``.

    Parameters
    ----------
    estimators : iterable of estimators, or of tuples (estimator, X, y)

    Returns
    -------
    decorator : pytest.mark.parametrize

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sk_unlearn import RetrainClassifier
    >>> from sk_unlearn.utils.estimator_checks import parametrize_with_forget_checks
    >>> @parametrize_with_forget_checks([RetrainClassifier(LogisticRegression())])
    ... def test_forget(estimator, check):
    ...     check(estimator)
    """
    pytest = import_optional("pytest", extra="test", needed_for="Parametrising a test")
    pairs = [
        pair
        for item in estimators
        for pair in forget_checks_generator(*(item if isinstance(item, tuple) else (item,)))
    ]
    return pytest.mark.parametrize(("estimator", "check"), pairs, ids=_name)


def _run(check, estimator, *, X, y):
    case = ForgetCase(estimator, X, y)
    try:
        with quiet():
            check(case)
    except AssertionError:
        raise
    except Exception as error:
        rule = getattr(check, "func", check).__doc__.splitlines()[0].rstrip(".")
        raise AssertionError(
            f"{case.name} breaks the rule: {rule}. It raised {type(error).__name__}: {error}"
        ) from error


def _name(value):
    if not hasattr(value, "get_params"):
        return value.__name__
    # not its repr: those of nets hold addresses, which differ between pytest's workers
    inner = value.get_params(deep=False).get("estimator")
    return f"{type(value).__name__}({'' if inner is None else type(inner).__name__})"
