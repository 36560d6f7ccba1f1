import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from sk_unlearn.functional import RowwiseModel

LOSS = nn.CrossEntropyLoss(reduction="none")


def test_default_active_parameters_are_the_trainable_ones(oracle):
    net = oracle.seeded(lambda: nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2)).eval())
    net[0].weight.requires_grad_(False)
    assert RowwiseModel(net, LOSS).active == ("0.bias", "1.weight", "1.bias")


def test_flatten_and_unflatten_are_inverse_and_unflatten_gives_views(make):
    model, params, _, _ = make("cnn", active=("5.bias", "0.weight"))
    vector = torch.arange(model.n_parameters, dtype=torch.float64)
    pieces = model.unflatten(vector)
    assert list(pieces) == ["5.bias", "0.weight"]
    assert {n: p.shape for n, p in pieces.items()} == {n: p.shape for n, p in params.items()}
    assert torch.equal(model.flatten(pieces), vector)
    pieces["5.bias"][0] = -7.0
    assert vector[0] == -7.0
    assert model.flatten(params).dtype == torch.float64


def test_parameters_are_copies_and_forward_leaves_the_module_alone(make):
    model, params, X, _ = make("cross_entropy")
    before = {n: t.clone() for n, t in model.module.state_dict().items()}
    params["0.weight"].zero_()
    moved = model.forward(params, X)
    assert all(torch.equal(before[n], t) for n, t in model.module.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.module.parameters())
    assert not torch.equal(moved, model.module(X))
    assert torch.equal(model.forward(model.parameters(), X), model.module(X))


def test_transform_of_scores_is_applied(make):
    model, params, X, _ = make("probabilities")
    expected = torch.log(model.module(X) + 1e-12)
    torch.testing.assert_close(model.forward(params, X), expected)


@pytest.mark.parametrize(
    ("active", "match"),
    [
        (("0.weight", "nope"), "nope"),
        (("0.weight", "0.weight"), "repeat"),
        ((), "no parameter is active"),
    ],
)
def test_bad_names_are_refused(make, active, match):
    with pytest.raises(ValueError, match=match):
        make("cross_entropy", active=active)


def test_mixed_dtypes_are_refused(oracle):
    net = oracle.seeded(lambda: nn.Sequential(nn.Linear(2, 3).double(), nn.Linear(3, 2)))
    with pytest.raises(ValueError, match="dtype"):
        RowwiseModel(net, LOSS)


def test_training_mode_is_refused(make):
    model, params, X, _ = make("cnn")
    model.module.train()
    with pytest.raises(ValueError, match="training mode"):
        model.forward(params, X)


def test_reduced_loss_is_refused(make):
    model, params, X, y = make("cross_entropy")
    reduced = RowwiseModel(model.module, nn.CrossEntropyLoss())
    with pytest.raises(ValueError, match="reduction"):
        reduced.row_losses(params, X, y)


def test_vector_of_wrong_length_is_refused(make):
    model, _, _, _ = make("linear")
    with pytest.raises(ValueError, match=r"\(15,\)"):
        model.unflatten(torch.zeros(14))


def test_a_weight_in_two_places_moves_in_both():
    with torch.random.fork_rng(devices=[]):
        net = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)).eval()
    net[1].weight = net[0].weight
    model = RowwiseModel(net, nn.CrossEntropyLoss(reduction="none"))
    X, weight = torch.eye(3), 2 * torch.eye(3)
    assert model.active == ("0.weight",)
    torch.testing.assert_close(model.forward({"0.weight": weight}, X), 4 * torch.eye(3))
    frozen = net[0].weight.detach()
    torch.testing.assert_close(model.forward({}, X), frozen.T @ frozen.T)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.there, self.back = nn.Linear(3, 3), nn.Linear(3, 3)
        self.back.weight = self.there.weight
        self.register_buffer("scale", torch.full((3,), 2.0))
        self.fail = False

    def forward(self, X):
        if self.fail:
            raise RuntimeError("on purpose")
        return self.back(self.there(X)) * self.scale


@pytest.mark.parametrize("active", [None, ("there.weight",), ("back.bias",)])
@pytest.mark.parametrize(
    "module",
    [
        Tied,
        lambda: parametrizations.weight_norm(nn.Linear(3, 3)),
        lambda: nn.Sequential(nn.Unflatten(1, (1, 3)), nn.RNN(3, 3)),
    ],
)
def test_forward_is_that_of_functional_call(module, active, oracle):
    module = oracle.seeded(module).eval()
    if active and not isinstance(module, Tied):
        active = (next(iter(dict(module.named_parameters()))),)
    model = RowwiseModel(
        module, LOSS, active=active, scores=lambda out: out[0] if isinstance(out, tuple) else out
    )
    params = {name: value + 0.5 for name, value in model.parameters().items()}
    every = {**dict(module.named_parameters()), **params}
    X = torch.ones(2, 3)
    expected = model.scores(torch.func.functional_call(module, every, (X,)))
    assert torch.equal(model.forward(params, X), expected)
    leaves = {name: value.clone().requires_grad_() for name, value in params.items()}
    model.forward(leaves, X).sum().backward()
    assert all(value.grad is not None for value in leaves.values())
    assert all(value.grad is None for value in module.parameters())


def test_a_module_that_fails_gets_its_parameters_back(oracle):
    module = oracle.seeded(Tied).eval()
    model, own = RowwiseModel(module, LOSS), dict(module.named_parameters(remove_duplicate=False))
    module.fail = True
    with pytest.raises(RuntimeError, match="on purpose"):
        model.forward({name: value + 1 for name, value in model.parameters().items()}, None)
    now = dict(module.named_parameters(remove_duplicate=False))
    assert now.keys() == own.keys()
    assert all(now[name] is own[name] for name in own)
