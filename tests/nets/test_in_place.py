"""Activations that overwrite what a layer made: the same bits, and nobody else's memory."""

import copy

import pytest
import torch
from torch import nn

from sk_unlearn.nets import MLP
from sk_unlearn.nets._in_place import LayerPass


class Keeps(nn.Linear):
    """Holds on to its output, and so is no layer whose output nobody else reads."""

    def forward(self, rows):
        self.kept = super().forward(rows)
        return self.kept


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.act = nn.Linear(8, 8), nn.ReLU()

    def forward(self, rows):
        return rows + self.act(self.inner(rows))


def convolutions():
    return nn.Sequential(
        nn.Unflatten(1, (1, 2, 4)),
        nn.Conv2d(1, 3, 3, padding=1),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Sequential(nn.Conv2d(3, 2, 1), nn.Sigmoid(), nn.MaxPool2d(2)),
        nn.Flatten(),
        nn.Linear(4, 3),
    )


def with_a_part_to_spare():
    module = MLP(8, 3)
    module.unused = nn.Linear(3, 3)
    return module


SHARED = nn.Tanh()
MODULES = {
    "perceptron": lambda: MLP(8, 3, hidden=(5, 6)),
    "tanh": lambda: MLP(8, 3, activation=nn.Tanh),
    "sigmoid": lambda: MLP(8, 3, activation=nn.Sigmoid),
    "other activation": lambda: MLP(8, 3, activation=nn.GELU),
    "no hidden layer": lambda: MLP(8, 3, hidden=()),
    "convolutions": convolutions,
    "residual": lambda: nn.Sequential(nn.Linear(8, 8), Residual(), nn.ReLU()),
    "one activation twice": lambda: nn.Sequential(
        nn.Linear(8, 4), SHARED, nn.Linear(4, 4), SHARED
    ),
    "ends in an activation": lambda: nn.Sequential(nn.Linear(8, 4), nn.ReLU()),
    "starts with one": lambda: nn.Sequential(nn.ReLU(), nn.Linear(8, 4), nn.ReLU()),
    "a part that forward does not call": with_a_part_to_spare,
    "empty": nn.Sequential,
    "a layer": lambda: nn.Linear(8, 4),
    "an activation": nn.ReLU,
}
torch.manual_seed(0)
X = torch.randn(37, 8)


@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_same_bits_and_the_rows_stay(kind, dtype):
    module = MODULES[kind]().eval().to(dtype)
    rows = X.to(dtype)
    before, state = rows.clone(), copy.deepcopy(module.state_dict())
    with torch.no_grad():
        found, expected = LayerPass(module)(rows), module(rows)
    assert torch.equal(found, expected)
    assert torch.equal(rows, before)
    assert all(torch.equal(state[name], value) for name, value in module.state_dict().items())


def steps_of(module):
    return LayerPass(module)._steps


def test_activations_overwrite_only_what_a_plain_layer_made():
    layers = nn.Sequential(
        nn.ReLU(), nn.Linear(8, 4), nn.ReLU(), nn.ReLU(), Keeps(4, 4), nn.ReLU()
    )
    overwriting = [step is torch.relu_ for step in steps_of(layers)]
    assert overwriting == [False, False, True, False, False, False]
    with torch.no_grad():
        LayerPass(layers)(X)
    assert (layers[4].kept < 0).any()


@pytest.mark.parametrize("listened", ["layers", "layers.1", "layers.2", ""])
@pytest.mark.parametrize("register", ["register_forward_hook", "register_forward_pre_hook"])
def test_hooks_see_what_they_would(listened, register):
    module = MLP(8, 3).eval()
    seen = []

    def hook(part, *values):
        seen.extend(value if torch.is_tensor(value) else value[0] for value in values)

    getattr(module.get_submodule(listened), register)(hook)
    with torch.no_grad():
        module(X)
        expected = [value.clone() for value in seen]
        seen.clear()
        LayerPass(module)(X)
    assert len(seen) == len(expected) > 0
    assert all(map(torch.equal, seen, expected))


def test_hooks_of_all_modules_see_what_they_would():
    module, seen = MLP(8, 3).eval(), []
    handle = nn.modules.module.register_module_forward_hook(
        lambda part, rows, output: seen.append((type(part), output))
    )
    try:
        with torch.no_grad():
            LayerPass(module)(X)
    finally:
        handle.remove()
    assert [kind for kind, _ in seen] == [
        nn.Flatten, nn.Linear, nn.ReLU, nn.Linear, nn.Sequential, MLP
    ]  # fmt: skip
    assert (seen[1][1] < 0).any()


def test_a_replaced_forward_is_called():
    module = MLP(8, 3).eval()
    for name in ("layers.2", "layers"):
        part = module.get_submodule(name)
        forward = part.forward
        part.forward = lambda rows, forward=forward: forward(rows) + 1
    with torch.no_grad():
        assert torch.equal(LayerPass(module)(X), module(X))


@pytest.mark.parametrize(
    ("module", "spares"),
    [
        (MLP(8, 3), True),
        (MLP(8, 3, hidden=()), True),
        (nn.Linear(8, 3), True),
        (nn.Sequential(nn.ReLU(inplace=True), nn.Linear(8, 3)), False),
        (nn.Sequential(nn.Flatten(), nn.ReLU(inplace=True)), False),
        (nn.Sequential(nn.Flatten()), False),
        (nn.Sequential(), False),
        (Residual(), False),
        (Keeps(8, 3), False),
    ],
)
def test_rows_are_certain_to_stay_where_a_layer_reads_them_first(module, spares):
    assert LayerPass(module).spares_input is spares


@pytest.mark.parametrize("name", ["", "layers", "layers.1", "layers.2"])
def test_what_was_compiled_is_called_compiled(name):
    module, calls = MLP(8, 3).eval(), []
    part = module.get_submodule(name)
    # what nn.Module.compile leaves there
    part._compiled_call_impl = lambda *args: calls.append(1) or part._call_impl(*args)
    with torch.no_grad():
        assert torch.equal(LayerPass(module)(X), module(X))
    assert len(calls) == 2
