"""An approximate last step behind steps that were fitted anew."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.feature_selection import SelectKBest
from sklearn.frozen import FrozenEstimator
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from skorch import NeuralNetClassifier
from torch import nn

from sk_unlearn import PumaClassifier, RetrainClassifier
from sk_unlearn.exceptions import (
    FullRetrainWarning,
    RemovalFailedError,
    RetrainAdvisedError,
    RetrainAdvisedWarning,
)
from sk_unlearn.nets import MLP
from sk_unlearn.pipeline import make_forget_pipeline
from sk_unlearn.utils._digest import state_digest

RNG = np.random.RandomState(0)
N = 60
X, y = RNG.normal(size=(N, 5)), np.arange(N) % 3
X[:, 0] += y
CITY = np.array(list("abcc"), dtype=object)[np.arange(N) % 4][:, None]
CITY[4] = "secret"


def net(n_features=5, **params):
    return NeuralNetClassifier(
        MLP,
        criterion=nn.CrossEntropyLoss,
        module__n_features=n_features,
        module__n_outputs=3,
        module__hidden=(8,),
        max_epochs=3,
        verbose=0,
        train_split=None,
        **params,
    )


def outcome(pipe):
    return pipe.receipts_[-1].solver["steps"]


@pytest.fixture
def puma():
    return PumaClassifier(net(lr=0.1), compensation=None, random_state=0)


@pytest.mark.filterwarnings(f"ignore::{RetrainAdvisedWarning.__module__}.RetrainAdvisedWarning")
def test_an_approximate_last_step_follows_on_the_new_inputs(puma):
    pipe = make_forget_pipeline(StandardScaler(), puma, random_state=0).fit(X, y)
    held, n_out = pipe[-1]._rows_.X, len(pipe[-1].validation_indices_)
    pipe.forget([1, 2])
    kept = np.delete(np.arange(N), [1, 2])
    scaler = StandardScaler().fit(X[kept])
    assert np.array_equal(pipe[-1]._rows_.X, scaler.transform(X[kept]))
    assert len(pipe[-1]._trained_) == N - 2
    assert n_out - 2 <= len(pipe[-1].validation_indices_) <= n_out
    solver = pipe.receipts_[-1].solver
    old, new = held[kept], scaler.transform(X[kept])
    expected = np.sqrt(((new - old) ** 2).sum() / ((old - old.mean(axis=0)) ** 2).sum())
    assert solver["input_change"] == pytest.approx(expected)
    assert solver["steps"]["pumaclassifier"] == "forgot, on changed inputs"
    assert str(pipe.receipts_[-1].guarantee) == "approximate"
    # the influence of the rows that leave is that of the inputs they had
    alone = PumaClassifier(net(lr=0.1), compensation=None, random_state=0)
    seeded = alone.fit(held, y).forget([1, 2]).receipts_[-1].solver["steps"][0]
    assert solver["last_step"]["steps"][0]["n_forgotten"] == seeded["n_forgotten"]
    assert solver["last_step"]["steps"][0]["forget_loss_before"] == pytest.approx(
        seeded["forget_loss_before"]
    )


def test_large_changes_of_the_inputs_are_reported(puma):
    data = X.copy()
    data[3, 1] = 40.0
    pipe = make_forget_pipeline(StandardScaler(), puma, random_state=0).fit(data, y)
    with pytest.warns(RetrainAdvisedWarning) as record:
        pipe.forget([3])
    assert any("moved the inputs" in str(warning.message) for warning in record)
    assert any("moved the inputs" in message for message in pipe.receipts_[-1].advice)
    assert any("You can fit the pipeline without" in m for m in pipe.receipts_[-1].advice)
    assert pipe.receipts_[-1].solver["input_change"] > 0.1


def test_large_changes_of_the_inputs_are_advice_as_any_other(puma):
    data = X.copy()
    data[3, 1] = 40.0
    puma.set_params(eta=0.0, validation_fraction=None)  # so that no other sign is there
    pipe = make_forget_pipeline(StandardScaler(), puma, random_state=0)
    refuses = clone(pipe).set_params(pumaclassifier__on_advice="raise").fit(data, y)
    before = state_digest(refuses._model_state())
    with pytest.raises(RetrainAdvisedError, match=r"moved the inputs.*Nothing was forgotten"):
        refuses.forget([3])
    assert state_digest(refuses._model_state()) == before
    retrains = clone(pipe).set_params(pumaclassifier__on_advice="retrain").fit(data, y)
    forecast = retrains.forget_cost([3])
    receipt = retrains.forget([3]).receipts_[-1]  # warnings are errors: none
    assert forecast.share_low <= receipt.cost.share_of_retrain <= forecast.share_high
    assert str(receipt.guarantee) == "exact"
    assert receipt.solver["last_step"]["retrained"]["because"][0].startswith("Retraining is")
    kept = np.delete(np.arange(N), 3)
    fresh = clone(pipe).fit(data[kept], y[kept], sample_id=kept)
    assert np.array_equal(retrains.predict_proba(X), fresh.predict_proba(X))
    assert retrains.get_params()["pumaclassifier__on_advice"] == "retrain"
    retrains.forget([5])  # it goes on


def test_other_columns_train_the_net_anew():
    # the default net takes its size from the data: other columns fit a recipe only then
    puma = PumaClassifier(random_state=0)
    pipe = make_forget_pipeline(OneHotEncoder(sparse_output=False), puma).fit(CITY, y)
    with pytest.warns(FullRetrainWarning):
        cost = pipe.forget_cost([4])
    assert cost.share_of_retrain == 1.0
    with pytest.warns(FullRetrainWarning):
        pipe.forget([4])
    assert pipe[-1].n_features_in_ == 3
    assert outcome(pipe)["pumaclassifier"] == "trained anew"


def test_other_columns_of_the_same_number_are_noticed(puma):
    data = X.copy()
    data[:, 4] = 0.01 * RNG.normal(size=N)
    data[0, 4], data[3, 4], data[6, 4] = 9, 9, 9
    puma.estimator.set_params(module__n_features=2)
    pipe = make_forget_pipeline(SelectKBest(k=2), puma, random_state=0).fit(data, y)
    assert pipe[0].get_support()[4]
    with pytest.warns(FullRetrainWarning):
        pipe.forget([0, 3, 6])
    assert not pipe[0].get_support()[4]
    assert outcome(pipe)["pumaclassifier"] == "trained anew"


@pytest.mark.filterwarnings(f"ignore::{RetrainAdvisedWarning.__module__}.RetrainAdvisedWarning")
def test_adopted_nets(puma):
    trained = net().fit(StandardScaler().fit_transform(X).astype("float32"), y)
    pipe = make_forget_pipeline(StandardScaler(), PumaClassifier(FrozenEstimator(trained)))
    pipe.fit(X, y).forget([1])
    assert pipe[-1].estimator.estimator is pipe[-1].estimator_
    exact = make_forget_pipeline(
        StandardScaler(), RetrainClassifier(FrozenEstimator(trained)), random_state=0
    )
    kept = np.arange(N) != 1
    fresh = make_forget_pipeline(StandardScaler(), RetrainClassifier(net()), random_state=0)
    fresh.fit(X[kept], y[kept], sample_id=np.flatnonzero(kept))
    forgot = exact.fit(X, y).forget([1])
    assert np.array_equal(forgot.predict_proba(X), fresh.predict_proba(X))
    assert not hasattr(forgot[-1].estimator, "module_")


def test_an_adopted_net_that_cannot_read_the_new_columns():
    one_hot = OneHotEncoder(sparse_output=False)
    trained = net(n_features=4).fit(one_hot.fit_transform(CITY).astype("float32"), y)
    pipe = make_forget_pipeline(one_hot, PumaClassifier(FrozenEstimator(trained))).fit(CITY, y)
    state = state_digest(pipe.__getstate__())
    with pytest.raises(RemovalFailedError, match="columns"):
        pipe.forget([4])
    assert state_digest(pipe.__getstate__()) == state
