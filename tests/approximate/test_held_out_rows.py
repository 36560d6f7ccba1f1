"""Rows that were held out of training: how many left, where they acted, what is promised."""

import contextlib
import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetClassifier, NeuralNetRegressor, callbacks
from skorch.dataset import ValidSplit

from sk_unlearn import PumaClassifier, PumaRegressor, RetrainClassifier, SisaClassifier
from sk_unlearn.exceptions import RetrainAdvisedWarning
from sk_unlearn.nets import MLP, validation_readers
from sk_unlearn.utils.estimator_checks import check_exact_forget

X, y = load_iris(return_X_y=True)
X = X.astype(np.float32)


class Own(callbacks.Callback):
    def on_epoch_end(self, net, **kwargs):
        net.history[-1].get("valid_loss")


def well(net):
    return len(net.history) > 1 and net.history[-2]["valid_loss"] < 0.9


class OwnNet(NeuralNetClassifier):
    def on_epoch_end(self, net, *args, **kwargs):
        super().on_epoch_end(net, *args, **kwargs)
        if well(self):
            self.optimizer_.param_groups[0]["lr"] *= 0.9


def net(*given, split=True, kind=NeuralNetClassifier, **params):
    settings = {"module__n_features": 4, "module__n_outputs": 3, "max_epochs": 15, "lr": 0.05}
    settings |= {"criterion": torch.nn.CrossEntropyLoss, "verbose": 0, "device": "cpu"}
    stratified = issubclass(kind, NeuralNetClassifier)
    split = ValidSplit(0.2, stratified=stratified, random_state=0) if split else None
    return kind(MLP, train_split=split, callbacks=list(given), **(settings | params))


def stopping(**params):
    return callbacks.EarlyStopping(patience=50, **params)


def schedule(**params):
    return callbacks.LRScheduler("ReduceLROnPlateau", patience=2, **params)


def scoring(name, on_train):
    return callbacks.EpochScoring("neg_log_loss", name=name, on_train=on_train)


CASES = [
    ([stopping()], ["early stopping (EarlyStopping by valid_loss)"]),
    (
        [stopping(monitor="valid_acc", lower_is_better=False)],
        ["early stopping (EarlyStopping by valid_acc)"],
    ),
    ([stopping(monitor="train_loss")], []),
    (
        [schedule(monitor="valid_loss")],
        ["the learning-rate schedule (ReduceLROnPlateau by valid_loss)"],
    ),
    ([schedule(monitor="train_loss")], []),
    ([callbacks.LRScheduler("StepLR", step_size=3)], []),
    ([Own()], ["Own, a callback that may read them"]),
    (
        [stopping(), schedule(monitor="valid_loss")],
        [
            "early stopping (EarlyStopping by valid_loss)",
            "the learning-rate schedule (ReduceLROnPlateau by valid_loss)",
        ],
    ),
    (
        [callbacks.Freezer("0*"), callbacks.Unfreezer("0*", at=well)],
        ["Unfreezer, which asks a function that may read them"],
    ),
    # what a score is of is not in its name
    (
        [scoring("train_like", on_train=False), stopping(monitor="train_like")],
        ["early stopping (EarlyStopping by train_like)"],
    ),
    ([scoring("own", on_train=True), stopping(monitor="own")], []),
    ([OwnNet], ["OwnNet.on_epoch_end, which may read them"]),
    ([], []),
]


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize(("given", "acted"), CASES)
def test_receipts_say_how_many_and_where(given, acted, frozen):
    inner = net(kind=OwnNet) if given == [OwnNet] else net(*given)
    if frozen:
        inner = FrozenEstimator(inner.fit(X, y.astype(np.int64)))
    clf = PumaClassifier(inner, random_state=0).fit(X, y)
    held_out = clf.validation_indices_
    assert len(held_out) == 30
    before = [p.detach().clone() for p in clf.estimator_.module_.parameters()]
    if acted:
        with pytest.warns(RetrainAdvisedWarning, match="3 of 3 forgotten rows were held out"):
            clf.forget(held_out[:3])
    else:
        clf.forget(held_out[:3])  # warnings are errors: none
    receipt = clf.receipts_[-1]
    assert receipt.cost.share_of_retrain == 0
    assert receipt.solver == {
        "steps": [],
        "held_out": {"n_rows": 3, "acted_through": acted, "influence_left": bool(acted)},
    }
    assert all(way in " ".join(receipt.advice) for way in acted)
    assert all(
        torch.equal(a, b) for a, b in zip(before, clf.estimator_.module_.parameters(), strict=True)
    )
    # the same is known after the net was built anew, and where other rows leave with them
    trained = np.setdiff1d(np.arange(len(X)), held_out)[:2]
    with warnings_allowed():
        clf.forget([*held_out[3:5], *trained])
    found = clf.receipts_[-1].solver["held_out"]
    assert (found["n_rows"], found["acted_through"]) == (2, acted)
    assert any("2 of 4" in message for message in clf.receipts_[-1].advice) == bool(acted)
    with warnings_allowed():
        clf.forget(trained[:1])
    assert clf.forget([]).receipts_[-1].solver is None


@contextlib.contextmanager
def warnings_allowed():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RetrainAdvisedWarning)
        yield


def test_rows_of_the_criterion_only_act_through_compensation():
    clf = PumaClassifier(net(split=False), random_state=0, strict=True, damping=1e-2).fit(X, y)
    held_out = clf.validation_indices_
    clf.forget(held_out[:1])
    assert clf.receipts_[-1].solver["held_out"]["acted_through"] == []
    with warnings_allowed():
        clf.forget(np.setdiff1d(np.arange(len(X)), held_out)[:5])
    assert clf.receipts_[-1].solver["steps"][0]["n_weighted"] > 0
    clf.forget(held_out[1:2])  # no advice: it could pick weights, not gradients
    found = clf.receipts_[-1].solver["held_out"]
    assert found["acted_through"] == ["the criterion of compensation in 1 earlier request"]
    assert found["influence_left"]


def test_regressors_too():
    inner = net(
        stopping(), kind=NeuralNetRegressor, module__n_outputs=1, criterion=torch.nn.MSELoss
    )
    reg = PumaRegressor(inner, random_state=0).fit(X, X[:, 0])
    with pytest.warns(RetrainAdvisedWarning, match="or use RetrainRegressor"):
        reg.forget(reg.validation_indices_[:1])
    assert "the forgotten row was held out" in reg.receipts_[-1].advice[0]


@pytest.mark.parametrize(
    "make",
    [
        lambda inner: RetrainClassifier(inner, random_state=0),
        lambda inner: SisaClassifier(inner, n_shards=2, n_slices=1, random_state=0),
    ],
    ids=["retrain", "sisa"],
)
@pytest.mark.parametrize("given", [[stopping()], [schedule(monitor="valid_loss")]])
def test_exact_methods_train_as_if_held_out_rows_had_never_been(make, given):
    """Whichever rows leave, those that a split holds out among them."""
    check_exact_forget(make(net(*given, max_epochs=6)), X, y)
    one = make(net(*given, max_epochs=6)).fit(X, y)
    for row in range(0, 150, 37):  # one in five is held out
        assert one.forget([row]).receipts_[-1].cost.share_of_retrain > 0


@pytest.mark.parametrize(("given", "acted"), CASES)
def test_rows_are_held_out_of_a_shard_where_something_may_act_on_them(given, acted):
    inner = net(kind=OwnNet, max_epochs=2) if given == [OwnNet] else net(*given, max_epochs=2)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        clf = SisaClassifier(inner, n_shards=2, n_slices=1, random_state=0).fit(X, y)
    kept = all(each.train_split is not None for each in clf.estimators_)
    assert kept == (not any("nothing acts on those" in str(each.message) for each in said))
    assert kept or not acted


def test_readers_of_a_net_without_callbacks():
    assert validation_readers(net().set_params(callbacks=None).initialize()) == ()
