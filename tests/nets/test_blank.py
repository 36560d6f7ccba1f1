"""A blank copy against ``clone(net).initialize()`` with the trained module's values."""

import gc

import numpy as np
import pytest
import torch
from sklearn.base import clone
from skorch import NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import EpochScoring, LRScheduler
from torch import nn, optim

from sk_unlearn.nets import MLP, default_classifier, default_regressor, prepare
from sk_unlearn.nets._adapter import _initialised, rebuilt_net
from sk_unlearn.nets._blank import blank_copy
from sk_unlearn.utils._digest import state_digest

RNG = np.random.RandomState(0)
X = RNG.normal(size=(40, 5)).astype(np.float32)
Y, TARGETS = np.arange(40) % 3, X[:, :1]


class Own(MLP):
    """Of somebody else's."""


class OwnNet(NeuralNetClassifier):
    pass


def sizes(module=MLP, n_outputs=3, **params):
    return {
        "module": module,
        "module__n_features": 5,
        "module__n_outputs": n_outputs,
        "module__hidden": (4,),
        "max_epochs": 2,
        "verbose": 0,
        **params,
    }


def classifier(kind=NeuralNetClassifier, **params):
    return kind(criterion=nn.CrossEntropyLoss, **sizes(**params))


PLAIN = {
    "default": (default_classifier(n_features=5, n_outputs=3, n_rows=40, device="cpu"), Y),
    "regressor": (default_regressor(n_features=5, n_outputs=1, n_rows=40, device="cpu"), TARGETS),
    "skorch's defaults": (classifier(), Y),
    "momentum": (classifier(optimizer=optim.SGD, optimizer__momentum=0.9), Y),
    "binary": (NeuralNetBinaryClassifier(**sizes(n_outputs=1)), (Y > 0).astype(np.float32)),
    "weights": (classifier(criterion__weight=torch.tensor([1.0, 2.0, 3.0])), Y),
    "schedule": (classifier(callbacks=[("rate", LRScheduler("StepLR", step_size=1))]), Y),
    "scores": (classifier(callbacks=[EpochScoring("accuracy", name="acc")]), Y),
    "no callbacks": (classifier(callbacks="disable"), Y),
    "huber": (NeuralNetRegressor(criterion=nn.HuberLoss, **sizes(n_outputs=1)), TARGETS),
}


def trained(name):
    net, y = PLAIN[name]
    return prepare(clone(net)).fit(X, y)


def shapes(value):
    return type(value), len(value) if isinstance(value, (list, dict)) else None


@pytest.mark.parametrize("name", sorted(PLAIN))
def test_it_is_what_skorch_would_make_of_the_values(name):
    net = trained(name)
    found, expected = blank_copy(net), _initialised(net, {})
    assert state_digest(found) == state_digest(expected)
    assert vars(found).keys() == vars(expected).keys()
    for key, value in vars(expected).items():
        assert shapes(vars(found)[key]) == shapes(value), key
    names, others = ([name for name, _ in each.callbacks_] for each in (found, expected))
    assert names == others
    assert state_digest(found.optimizer_.state_dict()) == state_digest(
        expected.optimizer_.state_dict()
    )
    groups = found.optimizer_.param_groups
    assert [id(p) for p in groups[0]["params"]] == [id(p) for p in found.module_.parameters()]


@pytest.mark.parametrize("name", sorted(PLAIN))
def test_it_shares_nothing_that_changes(name):
    net = trained(name)
    before, fresh = state_digest(net), rebuilt_net(net, {})
    fresh.set_params(lr=0.5)
    fresh.partial_fit(X, PLAIN[name][1])
    assert state_digest(net) == before
    assert net.lr != 0.5
    assert net.optimizer_.param_groups[0]["lr"] != 0.5
    assert fresh.optimizer_.param_groups[0]["lr"] == 0.5 or name == "schedule"
    assert not {id(c) for _, c in net.callbacks_} & {id(c) for _, c in fresh.callbacks_}


@pytest.mark.parametrize("name", sorted(PLAIN))
def test_nothing_of_training_comes_along(name):
    net = trained(name)
    net.module_(torch.from_numpy(X)).sum().backward()
    fresh = blank_copy(net)
    assert len(fresh.history) == 0
    assert not fresh.optimizer_.state
    assert all(p.grad is None for p in fresh.module_.parameters())
    assert not hasattr(fresh, "classes_inferred_")
    old = {id(p) for p in net.module_.parameters()}
    reached = gc.get_referents(*[vars(fresh)[key] for key in ("module_", "optimizer_")])
    assert not old & set(map(id, reached))


def with_hook(net):
    net.module_.layers[1].register_forward_hook(lambda *args: None)


def with_batch(net):
    net.module_.layers[1].last = torch.from_numpy(X)


def with_batches(net):
    net.module_.layers[1].last = (torch.from_numpy(X),)


def with_numbers(net):
    net.module_.layers[1].last = tuple(X[0].tolist())


def with_text(net):
    net.module_.layers[1].last = repr(X[0])


def with_loss(net):
    net.module_.layers[1].last = 0.25


def with_state_hook(net):
    net.module_.layers[1].register_state_dict_post_hook(lambda *args, rows=X: None)


def with_load_hook(net):
    net.module_.layers[1].register_load_state_dict_post_hook(lambda *args, rows=X: None)


def with_buffer(net):
    net.module_.register_buffer("last", torch.from_numpy(X), persistent=False)


def with_attribute(net):
    net.noted_ = X


def with_forward(net):
    net.module_.forward = lambda rows: rows


@pytest.mark.parametrize(
    "change",
    [
        with_attribute,
        with_batch,
        with_batches,
        with_buffer,
        with_forward,
        with_hook,
        with_load_hook,
        with_loss,
        with_numbers,
        with_state_hook,
        with_text,
    ],
)
def test_what_somebody_added_is_left_to_skorch(change):
    net = trained("default")
    assert blank_copy(net) is not None
    change(net)
    assert blank_copy(net) is None
    fresh = rebuilt_net(net, {})
    assert not hasattr(fresh, "noted_")
    assert not hasattr(fresh.module_.layers[1], "last")


def test_a_name_that_no_parameter_has():
    """skorch takes all that does not end with an underscore for one, and refuses it."""
    for name in ("noted", "module__last"):
        net = trained("default")
        setattr(net, name, X)
        assert blank_copy(net) is None


def test_layers_with_buffers():
    def fitted():
        net = NeuralNetClassifier(
            nn.BatchNorm1d, module__num_features=5, criterion=nn.CrossEntropyLoss, verbose=0
        )
        return prepare(net.set_params(train_split=None)).fit(X, Y)

    net = fitted()
    assert state_digest(blank_copy(net)) == state_digest(_initialised(net, {}))
    net.module_.running_mean.noted = X
    assert blank_copy(net) is None
    net = fitted()
    net.module_.running_mean = torch.from_numpy(X)[3]  # of whose memory all rows are
    assert blank_copy(net) is None


@pytest.mark.parametrize(
    "net",
    [classifier(module=Own), classifier(OwnNet), NeuralNetClassifier(MLP(5, 3), verbose=0)],
)
def test_other_classes_are_left_to_skorch(net):
    net = net.set_params(criterion=nn.CrossEntropyLoss, train_split=None)
    assert blank_copy(prepare(net).fit(X, Y)) is None
