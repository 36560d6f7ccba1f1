"""Which nets are trained side by side: perceptrons whose training nothing acts on from outside."""

import numpy as np
import pytest
import torch
from skorch import NeuralNet, NeuralNetClassifier
from skorch.callbacks import Callback, EarlyStopping, EpochScoring, LRScheduler
from skorch.dataset import Dataset, ValidSplit
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from sk_unlearn.exceptions import UnsupportedNetError
from sk_unlearn.nets import MLP, can_stack, default_classifier, default_regressor, read_state

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


def layers(*between):
    """A sequence of linear layers with something between them."""

    def build(n_features, n_outputs):
        parts = (part() for part in between)
        return nn.Sequential(nn.Linear(n_features, 4), *parts, nn.Linear(4, n_outputs))

    return build


class OwnForward(MLP):
    def forward(self, X):
        return super().forward(X - X.mean(0))


class Extra(MLP):
    def __init__(self, n_features, n_outputs):
        super().__init__(n_features, n_outputs)
        self.unused = nn.Parameter(torch.ones(1))


class Hooked(MLP):
    def __init__(self, n_features, n_outputs):
        super().__init__(n_features, n_outputs)
        self.layers[1].register_forward_hook(lambda part, args, output: output + 1)


class Patched(MLP):
    def __init__(self, n_features, n_outputs):
        super().__init__(n_features, n_outputs)
        self.forward = lambda X: self.layers(-X)


def tied(n_features, n_outputs):
    parts = layers(lambda: nn.Linear(4, 4), lambda: nn.Linear(4, 4))(n_features, n_outputs)
    parts[1].weight = parts[2].weight
    return parts


def frozen(n_features, n_outputs):
    parts = layers()(n_features, n_outputs)
    parts[0].weight.requires_grad_(False)
    return parts


def halved(n_features, n_outputs):
    return layers()(n_features, n_outputs).bfloat16()


class OwnStep(NeuralNetClassifier):
    def train_step_single(self, batch, **fit_params):
        return super().train_step_single(batch, **fit_params)


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
    (dict(module=layers(nn.Softsign)), "'1' (Softsign)"),
    (dict(module=layers(lambda: nn.BatchNorm1d(4))), "BatchNorm1d"),
    (dict(module=layers(nn.Dropout)), "Dropout"),
    (dict(module=layers(nn.ReLU, nn.Tanh)), "'2' (Tanh)"),  # the first would be overwritten
    (dict(module=layers(nn.Flatten)), "Flatten"),
    (dict(module=layers(lambda: nn.Softmax(1))), "Softmax"),
    (dict(module=OwnForward), "OwnForward"),
    (dict(module=Patched), "Patched"),
    (dict(module=Hooked), "'layers.1' (Linear)"),
    (dict(module=Extra), "not those of its layers"),
    (dict(module=tied), "not those of its layers"),
    (dict(module=frozen), "not trained"),
    (dict(module=halved), "bfloat16"),
    (dict(kind=OwnStep), "OwnStep overrides train_step_single"),
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
    (dict(optimizer=torch.optim.Adam, lr=torch.tensor(0.1)), "tensor"),
    (dict(optimizer=torch.optim.Adam, optimizer__decoupled_weight_decay=True), "use that"),
    (dict(optimizer=torch.optim.SGD, optimizer__differentiable=True), "differentiable"),
    (dict(optimizer__param_groups=[("*1.weight", {"lr": 0.1})]), "parameter groups"),
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


@pytest.mark.parametrize(("options", "reason"), SETTINGS)
def test_settings_that_rule_it_out(options, reason):
    assert reason in can_stack(make_net(**options))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"callbacks": "disable"},
        {"kind": OwnPrediction},
        {"module": layers(lambda: nn.Dropout(0.0), nn.Identity)},
        {"module": layers(lambda: nn.Sequential(nn.ReLU(inplace=True)))},
        {"callbacks": [EpochScoring("accuracy")]},
        {"optimizer": torch.optim.Adam, "optimizer__fused": True},
        {"verbose": 1},
    ],
)
def test_what_can_be_stacked(options):
    assert can_stack(make_net(**options), X, Y) is None


def test_default_nets_can_be_stacked():
    sizes = {"n_features": 6, "n_rows": 40, "device": "cpu"}
    assert can_stack(default_classifier(n_outputs=3, **sizes), X, Y) is None
    assert can_stack(default_regressor(n_outputs=1, **sizes), X, X[:, 0]) is None


@pytest.mark.parametrize(
    ("X", "y", "reason"),
    [
        ({"X": X}, Y, "no single array"),
        (X, None, "y is None"),
        (X, np.eye(4)[Y], "3 outputs and 4 targets"),
    ],
)
def test_data_that_rules_it_out(X, y, reason):
    assert reason in can_stack(make_net(NeuralNet), X, y)


class _ByWidth(TorchDispatchMode):
    """Products whose last bits depend on the nets beside."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.bmm.out:
            result[1::2] *= 1 + 1e-6
        return result


def test_bits_that_depend_on_the_nets_beside_are_noticed():
    with _ByWidth():
        assert "depend on the nets" in can_stack(make_net(), X, Y)


def test_nets_of_several_modules_have_no_state():
    with pytest.raises(UnsupportedNetError, match="several modules"):
        read_state(make_net(TwoModules).initialize())


def test_the_trial_leaves_everything_as_found():
    net = default_classifier(n_features=6, n_outputs=3, n_rows=40, device="cpu")
    torch.manual_seed(0)
    before = torch.get_rng_state()
    can_stack(net, X, Y)
    assert torch.equal(before, torch.get_rng_state())
    assert not net.initialized_
