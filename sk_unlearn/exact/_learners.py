"""How a chain trains its model one step on: nets, ``partial_fit``, or all at once."""

import copy
import pickle
from abc import ABC, abstractmethod
from dataclasses import replace
from functools import cached_property
from itertools import pairwise

import cloudpickle
import numpy as np
from sklearn.base import clone
from sklearn.dummy import DummyClassifier

from sk_unlearn.exact._wrapped import nets_in_turn
from sk_unlearn.nets import (
    TrainingSetup,
    as_columns,
    as_probabilities,
    initial_state,
    load_state,
    net_state,
    resume_training,
)
from sk_unlearn.utils._seeding import isolated_rng

__all__ = [
    "FitLearner",
    "NetLearner",
    "OneClassLearner",
    "PartialFitLearner",
    "StackedNetLearner",
    "epochs_per_step",
]

_FEW = 16  # rows on which a model shows what it says
_PASSES = 100  # of partial_fit over the rows, where max_iter allows more


def epochs_per_step(max_epochs, n_steps):
    """Epochs of each step, so that all steps together do the work of one plain training.

    Step r passes over r of R parts of the rows. With 2e/(R+1) epochs a step, rounded so
    that the sum so far stays closest, all steps cost e passes over the rows.

    Parameters
    ----------
    max_epochs : int
        e.
    n_steps : int
        R.

    Returns
    -------
    epochs : list of int
        At least one each, so that a very small e costs more than e passes.

    Examples
    --------
    >>> from sk_unlearn.exact._learners import epochs_per_step
    >>> epochs_per_step(20, 5)
    [7, 6, 7, 7, 6]
    """
    sums = [round(2 * max_epochs * r / (n_steps + 1)) for r in range(n_steps + 1)]
    return [max(1, after - before) for before, after in pairwise(sums)]


class Learner(ABC):
    """How a chain's model is trained; a subclass for each kind of model.

    Attributes
    ----------
    stack : hashable or None
        What chains must have in common to be trained side by side; None for those that are
        trained alone.
    """

    counts_gradients = True
    stack = None

    @abstractmethod
    def schedule(self, max_epochs, n_steps):
        """Epochs of each step, and whether a step passes over the earlier parts too."""

    def advance(self, state, X, y, epochs):
        """Train from ``state`` (None: from scratch); return the model, a new object.

        Not asked of those that are trained side by side.
        """
        raise NotImplementedError

    def state(self, model):
        """What a later step goes on from; not asked of those that train in one step."""
        raise NotImplementedError

    def summary(self, model, X):
        """What else the ensemble has to know about the model on its rows."""
        return None


class NetLearner(Learner):
    """A skorch net, resumed with weights and optimiser state.

    Parameters
    ----------
    net : skorch.NeuralNet
        Unfitted, prepared; not changed.
    """

    def __init__(self, net):
        self.template = net

    def schedule(self, max_epochs, n_steps):
        """Cumulative steps with the work of ``max_epochs``."""
        return epochs_per_step(max_epochs or self.template.max_epochs, n_steps), True

    def advance(self, state, X, y, epochs):
        """Train from ``state`` (None: from scratch); return the model."""
        return resume_training(self.template, state, X, y, epochs=epochs)

    def state(self, model):
        """What a later step resumes from."""
        return net_state(model)


class StackedNetLearner(Learner):
    """A skorch net that is trained side by side with those of other chains.

    Its places in training are :class:`~sk_unlearn.nets.NetState`.

    Parameters
    ----------
    net : skorch.NeuralNet
        Unfitted, prepared; not changed.
    stack : hashable
        Names all that ``net`` was built from.
    n_slots : int or None
        Nets in every stack; None for as many as there are.
    """

    def __init__(self, net, stack, n_slots):
        self.template = net
        self.stack = stack
        self.n_slots = n_slots

    def schedule(self, max_epochs, n_steps):
        """Cumulative steps with the work of ``max_epochs``."""
        return epochs_per_step(max_epochs or self.template.max_epochs, n_steps), True

    def begin(self, state, seed):
        """Where a step starts from ``state`` (None: from scratch).

        As :func:`~sk_unlearn.nets.resume_training` does alone, to the last draw.
        """
        begun = initial_state(self._drawer, seed)
        return begun if state is None else replace(begun, **state)

    @cached_property
    def _drawer(self):
        return clone(self.template)

    def fresh_net(self):
        """An initialised net that nobody uses."""
        with isolated_rng(0):
            return clone(self.template).initialize()

    def state(self, model):
        """What a later step resumes from: schedules start again, draws are its own."""
        return {"tensors": model.tensors, "optimizer": model.optimizer}

    def model(self, reached, y):
        """The net that was trained so far, on rows with targets ``y``."""
        net = load_state(self.template, reached, y=y)
        TrainingSetup().on_train_end(net)  # warns where training diverged
        return net


class PartialFitLearner(Learner):
    """A scikit-learn estimator with ``partial_fit``, resumed from its pickle.

    Parameters
    ----------
    estimator : estimator
        Unfitted clone.
    classes : ndarray or None
        All classes of the chain, for classifiers.
    probabilities : bool, default=False
        Whether others add up what it says about classes.
    """

    def __init__(self, estimator, classes=None, *, probabilities=False):
        self.template = estimator
        self.classes = classes
        self.probabilities = probabilities

    def schedule(self, max_epochs, n_steps):
        """Cumulative steps, as for a net.

        Estimators without ``max_iter`` count rows (naive Bayes): they meet each row once.
        """
        params = self.template.get_params(deep=True)
        most = [value for name, value in params.items() if name.rpartition("__")[2] == "max_iter"]
        if not most:
            return [1] * n_steps, False
        return epochs_per_step(max_epochs or min(*most, _PASSES), n_steps), True

    def advance(self, state, X, y, epochs):
        """Pass over the rows ``epochs`` times from ``state`` (None: from scratch)."""
        model = clone(self.template) if state is None else pickle.loads(state["pickle"])
        options = {} if self.classes is None else {"classes": self.classes}
        for _ in range(epochs):
            model.partial_fit(X, y, **options)
        # a model without a seed holds the global generator: in the copy it is its own
        return copy.deepcopy(model)

    def state(self, model):
        """What a later step resumes from."""
        return {"pickle": cloudpickle.dumps(model, protocol=4)}

    def summary(self, model, X):
        """Nothing, or the reason why its probabilities are none."""
        if self.probabilities:
            _check_probabilities(model, X)


class OneGoLearner(Learner):
    """Trains in one step, without a state to go on from."""

    counts_gradients = False

    def schedule(self, max_epochs, n_steps):
        """One step over all rows."""
        return [1], True


class FitLearner(OneGoLearner):
    """Any estimator, trained in one go.

    Parameters
    ----------
    estimator : estimator
        Unfitted; nets inside are prepared. Not changed.
    probabilities : bool, default=False
        Whether others add up what it says about classes.
    """

    def __init__(self, estimator, *, probabilities=False):
        self.template = estimator
        self.probabilities = probabilities

    def advance(self, state, X, y, epochs):
        """Fit."""
        with nets_in_turn(self.template):
            return clone(self.template).fit(X, y)

    def summary(self, model, X):
        """Nothing, or the reason why its probabilities are none."""
        if self.probabilities:
            _check_probabilities(model, X)


class OneClassLearner(OneGoLearner):
    """Says the only class there is: many classifiers refuse to be fitted on one."""

    def advance(self, state, X, y, epochs):
        """Fit a constant."""
        return DummyClassifier(strategy="prior").fit(X, y)


def _check_probabilities(model, X):
    few = X.iloc[:_FEW] if hasattr(X, "iloc") else X[:_FEW]
    proba = as_columns(np.asarray(model.predict_proba(few)))
    as_probabilities(proba, type(model).__name__)
