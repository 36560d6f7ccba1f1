"""An estimator under test, with small data, and what can be observed of it."""

import warnings
from contextlib import contextmanager
from copy import deepcopy

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import get_tags

from sk_unlearn.exceptions import FullRetrainWarning, RetrainAdvisedWarning
from sk_unlearn.utils._digest import state_digest
from sk_unlearn.utils._sklearn import safe_indexing

__all__ = ["ForgetCase", "quiet"]

_OUTPUTS = ("predict", "predict_proba", "decision_function")


class ForgetCase:
    """Fits and observes one estimator; every broken rule is an ``AssertionError``.

    Parameters
    ----------
    estimator : estimator
        Cloned for each use, with ``random_state=0`` where it has one.
    X, y : array-like, default=None
        Made here if None: 36 rows of 4 features; 3 classes (2 for a binary classifier)
        of equal size, or a real target.
    """

    def __init__(self, estimator, X=None, y=None):
        self.estimator = estimator
        self.name = type(estimator).__name__
        self.classifies = is_classifier(estimator)
        if (X is None) != (y is None):
            raise ValueError("The checks take X and y together, or neither.")
        self.X, self.y = (X, y) if X is not None else _make_data(estimator, self.classifies)
        self.y = np.asarray(self.y)
        self.n_rows = len(self.y)
        if self.n_rows < 20:
            raise ValueError(f"The checks need at least 20 rows, got {self.n_rows}.")
        self.ids = np.array([f"row-{i:03d}" for i in range(self.n_rows)], dtype=object)
        # mixed sizes, spread over the rows, none of them everything
        self.groups = np.array([f"person-{i % 5}" for i in range(self.n_rows)], dtype=object)

    def new(self):
        """Unfitted clone."""
        estimator = clone(self.estimator)
        if "random_state" in estimator.get_params(deep=False):
            estimator.set_params(random_state=0)
        return estimator

    def fit(self, rows=None, **params):
        """Fitted clone; ``rows`` picks rows of the data, per-row ``params`` with them."""
        if rows is None:
            return self.new().fit(self.X, self.y, **params)
        params = {name: value[rows] for name, value in params.items()}
        return self.new().fit(safe_indexing(self.X, rows), self.y[rows], **params)

    def mask(self, rows):
        """Boolean mask of some rows."""
        mask = np.zeros(self.n_rows, dtype=bool)
        mask[rows] = True
        return mask

    def observe(self, estimator):
        """What can be seen of a model: digest of each learned attribute and each output."""
        seen = {
            name: state_digest(value)
            for name, value in vars(estimator).items()
            if name.endswith("_") and not name.startswith("_") and name != "receipts_"
        }
        for method in _OUTPUTS:
            if hasattr(estimator, method):
                seen[f"{method}(X)"] = state_digest(getattr(estimator, method)(self.X))
        return seen

    def state(self, estimator):
        """Digest of everything that a pickle of the estimator would hold."""
        return state_digest(deepcopy(estimator).__getstate__())

    def require(self, condition, rule, detail=""):
        """Raise ``AssertionError`` unless a rule holds."""
        if not condition:
            raise AssertionError(
                f"{self.name} breaks the rule: {rule}." + f" {detail}" * bool(detail)
            )

    def same(self, found, expected, rule):
        """Require two observations to be equal, bit for bit."""
        names = sorted(set(found) | set(expected))
        differ = [name for name in names if found.get(name) != expected.get(name)]
        self.require(not differ, rule, f"These differ: {', '.join(differ)}.")

    def refuses(self, call, what, *names, estimator=None):
        """Require a ``ValueError`` whose message holds ``names``, and no trace of the call."""
        before = None if estimator is None else (self.state(estimator), self.observe(estimator))
        try:
            call()
        except ValueError as error:
            message = str(error)
        except Exception as error:
            raise AssertionError(
                f"{self.name} breaks the rule: {what} raises ValueError. "
                f"It raised {type(error).__name__}: {error}"
            ) from error
        else:
            raise AssertionError(
                f"{self.name} breaks the rule: {what} raises ValueError. It was accepted."
            )
        missing = [name for name in names if name not in message]
        self.require(
            not missing,
            f"the error about {what} names the offender",
            f"{missing} is not in its message: {message}",
        )
        if estimator is not None:
            state, seen = before
            rule = f"{what} is refused before anything changes"
            self.same(self.observe(estimator), seen, rule)
            self.require(self.state(estimator) == state, rule, "Its pickled state differs.")


@contextmanager
def quiet():
    """Without the warnings that are advice on a result, not a defect of an estimator."""
    with warnings.catch_warnings():
        for category in (RetrainAdvisedWarning, FullRetrainWarning, ConvergenceWarning):
            warnings.simplefilter("ignore", category)
        yield


def _make_data(estimator, classifies):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(36, 4))
    tags = get_tags(estimator)
    if classifies:
        n_classes = 3 if tags.classifier_tags.multi_class else 2
        y = np.arange(36) % n_classes
        X[:, 0] += 2.0 * y
    else:
        y = X @ np.array([1.0, -0.5, 0.25, 0.0]) + 0.1 * rng.normal(size=36)
    if tags.input_tags.positive_only:
        X -= X.min()
    return X, y
