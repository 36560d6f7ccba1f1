"""The defaults, and how to have those before."""

import copy

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator

from sk_unlearn import PumaClassifier, PumaRegressor
from sk_unlearn.nets import default_classifier

X, y = load_digits(return_X_y=True)
X, y = (X[:500] / 16).astype(np.float32), y[:500]
pytestmark = pytest.mark.filterwarnings("ignore::sk_unlearn.exceptions.RetrainAdvisedWarning")


def weights(clf):
    return torch.cat([p.detach().flatten() for p in clf.estimator_.module_.parameters()])


@pytest.fixture(scope="module")
def clf():
    return PumaClassifier(random_state=0).fit(X, y)


def moved(clf, rows=range(0, 500, 20), **params):
    clf = copy.deepcopy(clf).set_params(**params).forget(rows)
    return weights(clf), clf.receipts_[-1].solver["steps"][0]


def test_damping_is_the_trainings_and_nothing_is_compensated(clf):
    for cls in (PumaClassifier, PumaRegressor):
        assert (cls().damping, cls().compensation) == ("training", "auto")
    found, step = moved(clf)
    assert step["n_weighted"] == 0
    assert torch.equal(found, moved(clf, damping="training", compensation=None)[0])


def test_a_number_brings_the_old_behaviour_back(clf):
    found, step = moved(clf, damping=1e-3)
    assert torch.equal(found, moved(clf, damping=1e-3, compensation="l1")[0])
    assert step["gain"] is None
    assert not torch.equal(found, moved(clf)[0])


def test_a_net_without_the_state_of_its_optimiser_has_a_constant():
    net = default_classifier(n_features=64, n_outputs=10, n_rows=450, device="cpu")
    trained = net.set_params(train_split=None).fit(X[:450], y[:450])
    del trained.optimizer_
    clf = PumaClassifier(FrozenEstimator(trained), random_state=0).fit(X[:450], y[:450])
    assert clf._proximal_.source == "a constant"
    quiet = {"adaptive_damping": False, "compensation": None}
    found, _ = moved(clf, range(5), **quiet)
    constant, _ = moved(clf, range(5), damping=1e-2, **quiet)
    torch.testing.assert_close(found, constant, rtol=1e-4, atol=1e-6)
