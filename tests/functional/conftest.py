"""Small networks in double precision and dense oracles."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from sk_unlearn.functional import RowwiseModel


@pytest.fixture(autouse=True)
def global_generator_untouched():
    before = torch.get_rng_state()
    yield
    assert torch.equal(before, torch.get_rng_state())


def seeded(build, seed=0):
    """Build with a fixed seed and leave the global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def bce(scores, y):
    return nn.functional.binary_cross_entropy_with_logits(
        scores, torch.nn.functional.one_hot(y, scores.shape[1]).to(scores), reduction="none"
    ).sum(dim=1)


def mse(scores, y):
    return (scores - torch.stack([y, y**2, -y], dim=1)).square().mean(dim=1)


def log_probability(p):
    return torch.log(p + 1e-12)


class Embedder(nn.Module):
    """Embedding, normalisation, a layer used twice, a tied weight, a sequence layer."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.norm = nn.LayerNorm(4)
        self.twice = nn.Linear(4, 4)
        self.head = nn.Linear(4, 3)
        self.tied = nn.Linear(4, 5, bias=False)
        self.tied.weight = self.embed.weight

    def forward(self, X):
        h = torch.tanh(self.twice(self.norm(self.embed(X.long()))))
        h = torch.tanh(self.twice(h))
        return self.head(h.sum(dim=1)) + self.tied(h.mean(dim=1))[:, :3]


LOSSES = {
    "cross_entropy": nn.CrossEntropyLoss(reduction="none"),
    "weighted": nn.CrossEntropyLoss(
        weight=torch.tensor([0.2, 1.0, 3.0]).double(), label_smoothing=0.1, reduction="none"
    ),
    "bce": bce,
    "mse": mse,
}


def mlp():
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


def cnn():
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, stride=2, padding=1),
        nn.BatchNorm2d(2),
        nn.Tanh(),
        nn.Conv2d(2, 3, 2, dilation=2, bias=False),
        nn.Flatten(),
        nn.Linear(3, 3),
    )


def build_case(name, n_rows=7, active=None):
    """Model, parameters, X and y by name: a loss on the MLP, or another network."""
    network, loss, scores = mlp, LOSSES["cross_entropy"], None
    if name in LOSSES:
        loss = LOSSES[name]
    elif name == "cnn":
        network = cnn
    elif name == "embedder":
        network = Embedder
    elif name == "probabilities":
        network, scores = (lambda: nn.Sequential(*mlp(), nn.Softmax(dim=1))), log_probability
    else:
        assert name == "linear"
        network = lambda: nn.Linear(4, 3)  # noqa: E731
    net = seeded(network).double().eval()
    generator = torch.Generator().manual_seed(1)
    shape = {"cnn": (n_rows, 1, 6, 6), "embedder": (n_rows, 3)}.get(name, (n_rows, 4))
    if name == "embedder":
        X = torch.randint(5, shape, generator=generator)
    else:
        X = torch.randn(shape, generator=generator, dtype=torch.float64)
    y = torch.randint(3, (n_rows,), generator=generator)
    y = y.double() if name == "mse" else y
    model = RowwiseModel(net, loss, active, **({} if scores is None else {"scores": scores}))
    return model, model.parameters(), X, y


def flat_function(model, function):
    """Function of the flat vector instead of the dictionary."""
    return lambda vector: function(model.unflatten(vector))


def per_row_gradients(model, params, X, y):
    """Oracle of shape (n, d): one backward pass per row."""
    flat = model.flatten(params)
    rows = [
        torch.autograd.functional.jacobian(
            flat_function(
                model, lambda p, i=i: model.row_losses(p, X[i : i + 1], y[i : i + 1])[0]
            ),
            flat,
        )
        for i in range(len(X))
    ]
    return torch.stack(rows)


def dense_hessian(model, params, X, y, weights=None):
    weights = 1.0 if weights is None else weights
    return torch.autograd.functional.hessian(
        flat_function(model, lambda p: (weights * model.row_losses(p, X, y)).mean()),
        model.flatten(params),
    )


def dense_gauss_newton(model, params, X, y, weights=None):
    """J^T H J from dense Jacobians, one row at a time."""
    flat = model.flatten(params)
    total = torch.zeros(len(flat), len(flat), dtype=flat.dtype)
    for i in range(len(X)):
        x, t = X[i : i + 1], y[i : i + 1]
        J = torch.autograd.functional.jacobian(
            flat_function(model, lambda p, x=x: model.forward(p, x)[0]), flat
        )
        scores = model.forward(params, x).detach()
        H = torch.autograd.functional.hessian(lambda s, t=t: model.loss(s, t)[0], scores)
        H = H.reshape(scores.numel(), -1)
        total += (1.0 if weights is None else weights[i]) * J.T @ H @ J
    return total / len(X)


def dense(function, like):
    """Matrix of a linear map."""
    return torch.stack([function(unit) for unit in torch.eye(len(like)).to(like)], dim=1)


@pytest.fixture(name="make")
def make_fixture():
    return build_case


@pytest.fixture(name="oracle")
def oracle_fixture():
    return SimpleNamespace(
        dense=dense,
        gauss_newton=dense_gauss_newton,
        hessian=dense_hessian,
        per_row_gradients=per_row_gradients,
        seeded=seeded,
    )
