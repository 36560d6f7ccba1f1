"""What fit was told is the recipe: nothing that happens to a parameter later changes a removal."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone, is_classifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier, SGDRegressor
from sklearn.mixture import GaussianMixture
from skorch import NeuralNetClassifier, NeuralNetRegressor
from torch import nn

from sk_unlearn import (
    ArcaneEnsembleClassifier,
    ClosedFormClassifier,
    ClosedFormRegressor,
    PumaClassifier,
    PumaRegressor,
    RetrainClassifier,
    RetrainRegressor,
    SisaClassifier,
    SisaRegressor,
)
from sk_unlearn.exact import KCenterSelector, RandomSelector
from sk_unlearn.exceptions import UnsupportedNetError
from sk_unlearn.nets import MLP, default_density
from sk_unlearn.pipeline import ForgetPipeline
from sk_unlearn.utils._digest import state_digest

RNG = np.random.RandomState(0)
X = RNG.normal(size=(48, 4)).astype(np.float32)
Y = np.arange(48) % 3
X[:, 0] += Y
Z = X @ np.array([1.0, -0.5, 0.2, 0.0], dtype=np.float32)
GONE = [0, 7, 20]
KEPT = np.setdiff1d(np.arange(48), GONE)


def net(kind=NeuralNetClassifier, module=MLP, **params):
    loss, n_outputs = (nn.CrossEntropyLoss, 3) if kind is NeuralNetClassifier else (nn.MSELoss, 1)
    if module is MLP:
        params |= {"module__n_features": 4, "module__n_outputs": n_outputs, "module__hidden": (5,)}
    params = {"criterion": loss, "max_epochs": 2, "train_split": None, "verbose": 0} | params
    return kind(module, **params)


def weighted():
    return net(criterion__weight=torch.ones(3))


def steps(last):
    return ForgetPipeline([("last", last)], random_state=0)


# what is fitted, what is set afterwards
SET = [
    (lambda: RetrainClassifier(LogisticRegression()), {"estimator__C": 1e-3}),
    (lambda: RetrainClassifier(LogisticRegression()), {"estimator": SGDClassifier()}),
    (lambda: RetrainClassifier(LogisticRegression()), {"estimator": None}),
    (lambda: RetrainClassifier(), {"estimator": LogisticRegression()}),
    (lambda: RetrainClassifier(net()), {"estimator__module__hidden": (9,), "random_state": 5}),
    (lambda: RetrainRegressor(Ridge()), {"estimator__alpha": 99.0}),
    (lambda: RetrainRegressor(net(NeuralNetRegressor)), {"estimator__max_epochs": 9}),
    (
        lambda: SisaClassifier(net()),
        {"n_shards": 5, "n_slices": 2, "max_epochs": 3, "checkpoints": "none", "n_jobs": 1},
    ),
    (lambda: SisaClassifier(net()), {"estimator__lr": 5.0}),
    (lambda: SisaClassifier(SGDClassifier(loss="log_loss")), {"estimator__alpha": 0.5}),
    (lambda: SisaClassifier(), {"estimator": LogisticRegression(), "n_slices": 1}),
    (
        lambda: SisaClassifier(net(criterion=nn.MultiMarginLoss), aggregation="hard"),
        {"aggregation": "soft", "estimator__criterion": nn.CrossEntropyLoss},
    ),
    (lambda: SisaRegressor(SGDRegressor()), {"aggregation": "median"}),
    (lambda: ClosedFormClassifier(), {"alpha": 99.0, "head": "naive_bayes", "scaling": None}),
    (lambda: ClosedFormRegressor(), {"gamma": 0.3, "n_components": 5, "features": "passthrough"}),
    (lambda: SisaRegressor(SGDRegressor()), {"estimator__alpha": 0.5, "n_shards": 2}),
    (
        lambda: ArcaneEnsembleClassifier(GaussianMixture(2), selection=0.6),
        {"selection": 0.9, "selector": RandomSelector(), "prior": "uniform"},
    ),
    (lambda: ArcaneEnsembleClassifier(GaussianMixture()), {"estimator__reg_covar": 1.0}),
    (
        lambda: ArcaneEnsembleClassifier(
            default_density(n_features=4).set_params(max_epochs=1), n_blocks=2
        ),
        {"n_blocks": 3, "estimator__lr": 0.5, "calibration": "standard"},
    ),
    (lambda: PumaClassifier(net()), {"estimator__lr": 5.0, "validation_fraction": 0.4}),
    (lambda: PumaClassifier(), {"estimator": net(), "random_state": 3}),
    (lambda: PumaRegressor(net(NeuralNetRegressor)), {"estimator__criterion": nn.HuberLoss}),
    (lambda: steps(RetrainClassifier(LogisticRegression())), {"last__estimator__C": 1e-3}),
    (lambda: steps(SisaClassifier(net())), {"last__n_shards": 2, "last__estimator__lr": 1.0}),
    (lambda: steps(PumaClassifier(net())), {"last__estimator__lr": 1.0, "last__random_state": 4}),
]


def fitted(make, **metadata):
    estimator = make()
    if "random_state" in estimator.get_params():
        estimator.set_params(random_state=0)
    return estimator.fit(X, target(estimator), **metadata)


def target(estimator):
    return Y if is_classifier(estimator) else Z


@pytest.mark.filterwarnings("ignore")  # advice on small nets, and estimators that barely trained
@pytest.mark.parametrize(
    ("make", "changed"), SET, ids=lambda v: v and ",".join(v) if isinstance(v, dict) else ""
)
def test_parameters_set_after_fit_wait_for_the_next_fit(make, changed):
    def later():
        return {name: clone(value, safe=False) for name, value in changed.items()}

    expected = fitted(make).forget(GONE)
    digest, answer = state_digest(expected._model_state()), expected.predict(X)
    preview = fitted(make).forget_cost(GONE)
    estimator = fitted(make).set_params(**later())
    assert state_digest(estimator.forget_cost(GONE)) == state_digest(preview)
    again = pickle.loads(pickle.dumps(copy.deepcopy(estimator)))
    for each in (estimator, again):
        each.forget(GONE)
        assert state_digest(each._model_state()) == digest
        assert np.array_equal(each.predict(X), answer)
        shown = each.get_params()
        assert all(repr(shown[name]) == repr(value) for name, value in changed.items())
        unfitted = clone(each).get_params()
        assert all(repr(unfitted[name]) == repr(value) for name, value in changed.items())
    # a second request, and a refit, which follows what was set
    assert state_digest(estimator.forget(5)._model_state()) == state_digest(
        expected.forget(5)._model_state()
    )
    if changed.get("checkpoints") or changed.get("estimator__module__hidden"):
        return
    estimator.fit(X, target(estimator))
    new = make()
    new.set_params(**{"random_state": 0} | later())
    new.fit(X, target(new))
    assert state_digest(estimator._model_state()) == state_digest(new._model_state())


@pytest.mark.parametrize("name", ["eta", "damping", "n_steps"])
@pytest.mark.filterwarnings("ignore")
def test_parameters_of_the_removal_follow_what_is_set(name):
    value = {"eta": 0.5, "damping": 0.5, "n_steps": 2}[name]
    clf = fitted(lambda: PumaClassifier(net())).set_params(**{name: value}).forget(GONE)
    told = fitted(lambda: PumaClassifier(net(), **{name: value})).forget(GONE)
    plain = fitted(lambda: PumaClassifier(net())).forget(GONE)
    assert state_digest(clf.estimator_) == state_digest(told.estimator_)
    assert state_digest(clf.estimator_) != state_digest(plain.estimator_)


def instance():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))


def owner_trains(given):
    given.fit(X, Y)


def owner_trains_the_module(given):
    with torch.no_grad():
        given.module[0].weight.add_(1.0)


def owner_sets(given):
    given.set_params(lr=7.0, max_epochs=5)


def owner_weighs(given):
    given.criterion__weight[:] = torch.tensor([9.0, 0.1, 0.1])


def owner_appends(given):
    given.optimizer__betas[:] = [0.1, 0.1]


AROUND = {
    "retrain": lambda inner: RetrainClassifier(inner, random_state=0),
    "sisa": lambda inner: SisaClassifier(inner, random_state=0),
    "puma": lambda inner: PumaClassifier(inner, random_state=0),
    "pipeline": lambda inner: steps(RetrainClassifier(inner)),
}
LATER = {
    "instance trained": (lambda: net(module=instance()), owner_trains),
    "instance changed": (lambda: net(module=instance()), owner_trains_the_module),
    "class trained": (net, owner_trains),
    "set": (net, owner_sets),
    "array in a parameter": (weighted, owner_weighs),
    "list in a parameter": (
        lambda: net(optimizer=torch.optim.Adam, optimizer__betas=[0.9, 0.99]),
        owner_appends,
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kind", "later"),
    # SISA refuses weights by class number
    [(k, what) for k in AROUND for what in LATER if (k, what) != ("sisa", "array in a parameter")],
)
def test_later_use_of_the_given_object_changes_no_removal(kind, later):
    make, use = LATER[later]
    given = make()
    estimator = AROUND[kind](given).fit(X, Y)
    expected = AROUND[kind](make()).fit(X, Y).forget(GONE).predict_proba(X)
    use(given)
    assert np.array_equal(estimator.forget(GONE).predict_proba(X), expected)
    if kind in ("retrain", "sisa"):
        fresh = AROUND[kind](make()).fit(X[KEPT], Y[KEPT], sample_id=KEPT)
        assert np.array_equal(fresh.predict_proba(X), expected)


@pytest.mark.parametrize("kind", AROUND)
def test_trained_weights_are_refused_in_fit(kind):
    given = net(module=instance())
    estimator = AROUND[kind](given).fit(X, Y)
    given.fit(X, Y)
    estimator.set_params(**{"last__estimator" if kind == "pipeline" else "estimator": given})
    for each in (estimator, AROUND[kind](given)):
        with pytest.raises(UnsupportedNetError, match="module instance that has been trained"):
            each.fit(X, Y)


def test_a_selector_in_use_elsewhere():
    selector = KCenterSelector()
    clf = ArcaneEnsembleClassifier(
        GaussianMixture(), selector=selector, selection=0.5, random_state=0
    ).fit(X, Y)
    expected = copy.deepcopy(clf).forget(GONE).decision_function(X)
    vars(selector).update(max_rows=1, anything="else")
    assert np.array_equal(clf.forget(GONE).decision_function(X), expected)


@pytest.mark.parametrize("kind", [RetrainClassifier, PumaClassifier])
def test_of_an_adopted_net_the_recipe_keeps_no_weights(kind):
    trained = net(module=instance() if kind is PumaClassifier else MLP).fit(X, Y)
    clf = kind(FrozenEstimator(trained), random_state=0).fit(X, Y)
    weight = next(trained.module_.parameters()).detach().numpy().tobytes()
    assert weight in pickle.dumps(clf)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        clf.forget(np.arange(24))
    assert weight not in pickle.dumps(clf)


def test_no_fitted_object_is_in_the_recipe():
    given = GaussianMixture().fit(X)
    clf = ArcaneEnsembleClassifier(given, random_state=0).fit(X, Y)
    assert not hasattr(clf._recipe_["estimator"], "means_")
    assert clf._recipe_["estimator"] is not given
