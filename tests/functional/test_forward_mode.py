"""Forward-mode passes: the rule of layers against PyTorch's own, and what it saves."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from sk_unlearn.functional import RowwiseModel, _linearize, directional_derivatives
from sk_unlearn.functional._forward_mode import jvp_forward

N_ROWS = 9


class _Wrapped(nn.Module):
    """A function of two layers and the rows as a module."""

    def __init__(self, function, n_inputs=4, n_hidden=3, n_outputs=3):
        super().__init__()
        self.a, self.b = nn.Linear(n_inputs, n_hidden), nn.Linear(n_hidden, n_outputs)
        self.function = function

    def forward(self, x):
        return self.function(self, x)


def in_place(net, x):
    h = net.a(x)
    h[:, 0] = 0
    h += 1
    return net.b(F.relu(h.mul_(2), inplace=True))


def used_twice(net, x):
    return net.b(torch.tanh(net.a(torch.tanh(net.a(x)))))


def by_keyword(net, x):
    h = F.linear(bias=net.a.bias, weight=net.a.weight, input=x)
    return net.b(F.linear(h.tanh(), net.a.weight))


def without_layers(net, x):
    h = torch.addmm(net.a.bias, x, net.a.weight.t())
    return torch.tanh(h) @ net.b.weight.t() + net.b.bias


def row_by_row(net, x):
    return torch.func.vmap(lambda row: net.b(net.a(row).tanh()))(x)


def differentiated(net, x):
    value, slope = torch.func.jvp(lambda x: net.b(net.a(x).tanh()), (x,), (torch.ones_like(x),))
    return value + slope


def viewed(net, x):
    return net.b(net.a(x).view(-1).view(len(x), 3).tanh())


def one_axis(net, x):
    h = F.linear(net.a(x).tanh(), net.b.weight[0])
    return torch.stack([h, h * h, -h], dim=1)


class _Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attend = nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.attend(x, x, x)[0].mean(dim=1))


def sequence(*layers):
    return lambda: nn.Sequential(*(layer() for layer in layers))


NETS = {
    "stacked": lambda: _Wrapped(viewed, 20),
    "not stacked": lambda: _Wrapped(viewed),
    "one axis": lambda: _Wrapped(one_axis, n_hidden=8),
    "in place": lambda: _Wrapped(in_place),
    "used twice": lambda: _Wrapped(used_twice, n_hidden=4),
    "by keyword": lambda: _Wrapped(by_keyword, n_hidden=4, n_outputs=3),
    "without layers": lambda: _Wrapped(without_layers),
    "row by row": lambda: _Wrapped(row_by_row),
    "differentiated": lambda: _Wrapped(differentiated),
    "positions": sequence(
        lambda: nn.Linear(4, 8), nn.Tanh, nn.Flatten, lambda: nn.Linear(40, 3, bias=False)
    ),
    "convolutions": sequence(
        lambda: nn.Conv1d(5, 10, 3, padding="same", groups=5, padding_mode="circular"),
        lambda: nn.BatchNorm1d(10),
        lambda: nn.ReLU(inplace=True),
        lambda: nn.ConvTranspose1d(10, 4, 2, stride=2, output_padding=1, groups=2),
        lambda: nn.Dropout(0.5),
        nn.Tanh,
        nn.Flatten,
        lambda: nn.Linear(36, 3),
    ),
    "images": sequence(
        lambda: nn.Unflatten(1, (1, 5)),
        lambda: nn.Conv2d(1, 4, 2, bias=False),
        nn.Tanh,
        lambda: nn.ConvTranspose2d(4, 2, 2),
        lambda: nn.Unflatten(1, (1, 2)),
        lambda: nn.Conv3d(1, 2, 2, dilation=(1, 2, 1)),
        nn.Flatten,
        lambda: nn.Linear(18, 3),
    ),
    "attention": _Attention,
}
ACTIVE = {
    "all": lambda name: True,
    "weights": lambda name: "weight" in name,
    "biases": lambda name: "bias" in name,
    "first": lambda name: name in ("a.weight", "0.weight", "1.weight", "attend.in_proj_weight"),
    "last": lambda name: name.startswith(("b.", "head.", "3.", "7.")),
}


def case(oracle, name, active="all"):
    net = oracle.seeded(NETS[name]).double().eval()
    names = tuple(n for n, _ in net.named_parameters() if ACTIVE[active](n))
    generator = torch.Generator().manual_seed(1)
    shape = (N_ROWS, net.a.in_features) if isinstance(net, _Wrapped) else (N_ROWS, 5, 4)
    X = torch.randn(shape, generator=generator, dtype=torch.float64)
    y = torch.randint(3, (N_ROWS,), generator=generator)
    weight = torch.tensor([0.2, 1.0, 3.0]).double()
    model = RowwiseModel(net, nn.CrossEntropyLoss(weight=weight, reduction="none"), names)
    v = torch.randn(model.n_parameters, generator=generator, dtype=torch.float64)
    return model, model.parameters(), X, y, v


@pytest.fixture
def forward_only(monkeypatch):
    """No second way."""

    def refuse(*args, **kwargs):
        raise AssertionError("fell back on a double backward pass.")

    monkeypatch.setattr(_linearize, "Linearization", refuse)


@pytest.mark.parametrize("active", ACTIVE)
@pytest.mark.parametrize("name", NETS)
def test_every_use_of_a_layer_has_its_derivative(oracle, forward_only, name, active):
    model, params, X, y, v = case(oracle, name, active)
    expected = oracle.per_row_gradients(model, params, X, y) @ v
    got = directional_derivatives(model, params, X, y, v, chunk_size=N_ROWS)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-11)


# PyTorch has no derivative of the fused attention that it takes without the rule
@pytest.mark.parametrize("name", [name for name in NETS if name != "attention"])
def test_the_rule_agrees_with_that_of_pytorch(oracle, name):
    model, params, X, _, v = case(oracle, name)
    tangents = model.unflatten(v)
    expected = torch.func.jvp(lambda p: model.forward(p, X), (params,), (tangents,))[1]
    got = jvp_forward(lambda p: model.forward(p, X), params, tangents)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-13)


def flops(function):
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


@pytest.mark.parametrize("n_inputs", [5, 50])
@pytest.mark.parametrize("active", ["all", "last", "biases"])
def test_a_zero_tangent_is_not_multiplied_by(oracle, n_inputs, active):
    hidden, classes = 7, 3
    names = {"all": None, "last": ("2.weight", "2.bias"), "biases": ("0.bias", "2.bias")}[active]
    build = sequence(
        lambda: nn.Linear(n_inputs, hidden), nn.ReLU, lambda: nn.Linear(hidden, classes)
    )
    net = oracle.seeded(build).eval()
    model = RowwiseModel(net, nn.CrossEntropyLoss(reduction="none"), names)
    X, y = torch.ones(N_ROWS, n_inputs), torch.zeros(N_ROWS).long()
    params = model.parameters()
    v = model.flatten(params)
    first, last = (2 * N_ROWS * a * b for a, b in ((n_inputs, hidden), (hidden, classes)))
    assert flops(lambda: model.row_losses(params, X, y)) == first + last
    got = flops(lambda: directional_derivatives(model, params, X, y, v, chunk_size=N_ROWS))
    products = {"all": (2, 3), "last": (1, 2), "biases": (1, 2)}[active]
    assert got == products[0] * first + products[1] * last


def test_a_constant_has_no_derivative():
    params = {"a": torch.ones(2)}
    got = jvp_forward(lambda p: torch.arange(3.0), params, params)
    torch.testing.assert_close(got, torch.zeros(3))
