from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from skorch import NeuralNet, NeuralNetClassifier
from skorch.callbacks import Callback, EarlyStopping, EpochScoring, LRScheduler
from skorch.dataset import Dataset, ValidSplit
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from sk_unlearn.exceptions import UnsupportedNetError
from sk_unlearn.nets import (
    MLP,
    _stacked_step,
    can_stack,
    default_classifier,
    default_regressor,
    read_state,
    train_nets,
    train_states,
)

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(40, 6)).astype(np.float32), RNG.integers(3, size=40)


def make_net(kind=NeuralNetClassifier, module=MLP, **options):
    settings = {
        "module__n_features": 6,
        "module__n_outputs": 3,
        "criterion": nn.CrossEntropyLoss,
        "train_split": None,
        "verbose": 0,
        "max_epochs": 1,
    }
    return kind(module, **{**settings, **options})


class Base(nn.Module):
    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.out = nn.Linear(n_features, n_outputs)


class Normalised(Base):
    def __init__(self, n_features, n_outputs):
        super().__init__(n_features, n_outputs)
        self.norm = nn.BatchNorm1d(n_features)


class LayerNormalised(Base):
    def __init__(self, n_features, n_outputs):
        super().__init__(n_features, n_outputs)
        self.norm = nn.LayerNorm(n_features)

    def forward(self, X):
        return self.out(self.norm(X))


class Convolution(Base):
    def __init__(self, n_features, n_outputs):
        super().__init__(n_features, n_outputs)
        self.conv = nn.Conv1d(1, 2, 3)


class Recurrent(Base):
    def __init__(self, n_features, n_outputs):
        super().__init__(n_features, n_outputs)
        self.cell = nn.GRU(n_features, n_features)


class Dropping(Base):
    def __init__(self, n_features, n_outputs, p=0.5):
        super().__init__(n_features, n_outputs)
        self.drop = nn.Dropout(p)

    def forward(self, X):
        return self.out(self.drop(X))


class Branching(Base):
    def forward(self, X):
        return self.out(X) if X.sum() > 0 else self.out(-X)


class Noisy(Base):
    def forward(self, X):
        return self.out(X + torch.randn_like(X))


class Centred(Base):
    def forward(self, X):
        return self.out(X - X.mean(0))


class Counting(Base):
    def __init__(self, n_features, n_outputs):
        super().__init__(n_features, n_outputs)
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, X):
        self.seen += 1
        return self.out(X)


class Tallying(Base):
    calls = 0

    def forward(self, X):
        self.calls = self.calls + 1
        return self.out(X)


class Twofold(Base):
    def forward(self, X):
        return self.out(X), X


class ColumnSum(Base):
    def forward(self, X):
        return self.out(X).sum(0)


class Positive(Base):
    """Its exp() runs over parameters, whose sizes are no multiple of a vector."""

    def __init__(self, n_features, n_outputs):
        super().__init__(n_features, n_outputs)
        self.scale = nn.Parameter(torch.randn(7, n_features))

    def forward(self, X):
        return self.out(X * nn.functional.softplus(self.scale).sum(0))


class HiddenConvolution(Base):
    """No layer says so, and torch takes other code for two nets than for more."""

    def __init__(self, n_features, n_outputs):
        super().__init__(16, n_outputs)
        self.kernel = nn.Parameter(torch.randn(16, 3, 3, 3) / 5)

    def forward(self, X):
        X = nn.functional.conv2d(X.view(-1, 3, 8, 8), self.kernel, padding=1)
        return self.out(X.relu().mean((2, 3)))


class Mixed(Base):
    def __init__(self, n_features, n_outputs):
        super().__init__(n_features, n_outputs)
        self.weight = nn.Parameter(torch.ones(1).double(), requires_grad=False)


class OwnStep(NeuralNetClassifier):
    def train_step_single(self, batch, **fit_params):
        return super().train_step_single(batch, **fit_params)


class OwnLoss(NeuralNetClassifier):
    def get_loss(self, *args, **kwargs):
        return super().get_loss(*args, **kwargs)


class OwnPrediction(NeuralNetClassifier):
    def predict(self, X):
        return super().predict(X)


class TwoModules(NeuralNet):
    def initialize_module(self):
        super().initialize_module()
        self.second_ = nn.Linear(2, 2)
        return self


class OwnCriterion(nn.CrossEntropyLoss):
    pass


class OwnDataset(Dataset):
    pass


class Act(Callback):
    pass


SETTINGS = [
    (dict(module=Normalised), "BatchNorm1d"),
    (dict(module=Convolution), "Conv1d"),
    (dict(module=Recurrent), "GRU"),
    (dict(module=Dropping), "random"),
    (dict(module=Mixed), "types"),
    (dict(kind=OwnStep), "OwnStep overrides train_step_single"),
    (dict(kind=OwnLoss), "OwnLoss overrides get_loss"),
    (dict(kind=TwoModules), "several modules"),
    (dict(criterion=OwnCriterion), "OwnCriterion"),
    (dict(criterion__reduction="sum"), "reduction='sum'"),
    (dict(criterion=nn.BCEWithLogitsLoss, criterion__weight=torch.ones(3)), "positions"),
    (dict(dataset=OwnDataset), "dataset or an iterator"),
    (dict(iterator_train__num_workers=0, iterator_train__timeout=0), "dataset or an iterator"),
    (dict(iterator_train__generator=torch.Generator()), "one generator"),
    (dict(batch_size=-1), "batch_size=-1"),
    (dict(train_split=ValidSplit(4)), "train_split"),
    (dict(optimizer=torch.optim.RMSprop), "RMSprop"),
    (
        dict(optimizer=torch.optim.Adam, optimizer__capturable=False, lr=torch.tensor(0.1)),
        "tensor",
    ),
    (dict(optimizer=torch.optim.SGD, optimizer__differentiable=True), "differentiable"),
    (dict(optimizer__param_groups=[("out.weight", {"lr": 0.1})], module=Base), "parameter groups"),
    (dict(callbacks=[EarlyStopping()]), "EarlyStopping"),
    (dict(callbacks=[Act()]), "Act"),
    (dict(callbacks=[EpochScoring("accuracy", on_train=True)]), "EpochScoring"),
    (dict(callbacks=[LRScheduler("ReduceLROnPlateau")]), "ReduceLROnPlateau"),
    (dict(callbacks=[LRScheduler("StepLR", step_size=1, last_epoch=-1)]), "last_epoch"),
    (
        dict(callbacks=[(c, LRScheduler("StepLR", step_size=1)) for c in "ab"]),
        "several schedules",
    ),
]
TRIALS = [
    (Branching, "trial failed"),
    (Noisy, "trial failed"),
    (Centred, "other rows"),
    (Counting, "'seen' changes"),
    (Tallying, "keeps count"),
    (Twofold, "one tensor"),
    (ColumnSum, "one output a row"),
]


@pytest.mark.parametrize(("options", "reason"), SETTINGS)
def test_settings_that_rule_it_out(options, reason):
    found = can_stack(make_net(**options))
    assert found is not None
    assert reason in found


@pytest.mark.parametrize(("module", "reason"), TRIALS)
def test_what_only_a_trial_tells(module, reason):
    net = make_net(module=module)
    assert can_stack(net) is None
    found = can_stack(net, X, Y)
    assert found is not None
    assert reason in found


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"callbacks": "disable"},
        {"kind": OwnPrediction},
        {"module": Dropping, "module__p": 0.0},
        {"callbacks": [EpochScoring("accuracy")]},
        {"optimizer": torch.optim.Adam, "optimizer__fused": True},
        {"verbose": 1},
        {"module": MLP(6, 3)},
        {"module": Positive},
        {"module": LayerNormalised},
    ],
)
def test_what_can_be_stacked(options):
    net = make_net(**options)
    if isinstance(net.module, nn.Module):
        net.set_params(module__n_features=6)
    assert can_stack(net, X, Y) is None


def test_bits_that_depend_on_the_width_are_noticed():
    images = RNG.normal(size=(40, 192)).astype(np.float32)
    found = can_stack(make_net(module=HiddenConvolution), images, Y)
    assert found is not None
    assert "depend on the nets" in found


class _ByPlace(TorchDispatchMode):
    """Products whose last bits depend on the place of a net in its stack."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.bmm.default:
            result[1::2] *= 1 + 1e-6
        return result


def test_bits_that_depend_on_the_place_are_noticed(monkeypatch):
    monkeypatch.setattr(_stacked_step, "NetProducts", _ByPlace)
    found = can_stack(make_net(), X, Y)
    assert found is not None
    assert "depend on the nets" in found


def test_default_nets_can_be_stacked():
    sizes = {"n_features": 6, "n_rows": 40, "device": "cpu"}
    assert can_stack(default_classifier(n_outputs=3, **sizes), X, Y) is None
    assert can_stack(default_regressor(n_outputs=1, **sizes), X, X[:, 0]) is None


def test_an_instance_is_trained_on_copies():
    module = MLP(6, 3)
    before = module.layers[1].weight.detach().clone()
    net = NeuralNetClassifier(module, criterion=nn.CrossEntropyLoss, train_split=None, verbose=0)
    trained = train_nets(net, X, Y, [np.arange(30), np.arange(10)], [0, 1], epochs=1)
    assert trained.stacked
    assert torch.equal(before, module.layers[1].weight)


def test_dicts_go_one_by_one():
    net = make_net()
    assert "no single array" in can_stack(net, {"X": X}, Y)
    trained = train_nets(net, {"X": X}, Y, [np.arange(30)], [0])
    assert not trained.stacked


def test_nets_of_several_modules_have_no_state():
    net = make_net(TwoModules)
    trained = train_nets(net, X, Y, [np.arange(30)], [0])
    assert trained.states == [None]
    assert trained.nets[0].predict(X).shape == (40, 3)
    with pytest.raises(UnsupportedNetError, match="several modules"):
        read_state(trained.nets[0])


def test_the_trial_leaves_everything_as_found():
    net = default_classifier(n_features=6, n_outputs=3, n_rows=40, device="cpu")
    torch.manual_seed(0)
    before = torch.get_rng_state()
    can_stack(net, X, Y)
    assert torch.equal(before, torch.get_rng_state())
    assert not net.initialized_


def test_calls_from_several_threads_do_not_meet():
    nets = [make_net(max_epochs=2, batch_size=16) for _ in range(4)]
    rows = [np.arange(20), np.arange(10, 40), np.arange(40)]

    def train(net):
        return train_states(net, X, Y, rows, [1, 2, 3], stacked=True, n_jobs=2).states

    alone = train(nets[0])
    with ThreadPoolExecutor(4) as pool:
        for states in pool.map(train, nets * 2):
            for a, b in zip(alone, states, strict=True):
                assert all(torch.equal(a.tensors[name], b.tensors[name]) for name in a.tensors)
