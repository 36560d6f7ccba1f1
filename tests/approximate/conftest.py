"""A linear net at its exact minimum, where every PUMA quantity has a closed form."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetRegressor
from skorch.dataset import Dataset
from skorch.helper import predefined_split

WEIGHT_DECAY = 0.05


class Affine(torch.nn.Module):
    def __init__(self, n_features):
        super().__init__()
        self.linear = torch.nn.Linear(n_features, 1, dtype=torch.float64)

    def forward(self, X):
        return self.linear(X)


def minimiser(X, y, weights=None, n_rows=None):
    """argmin of sum_i w_i (x_i . theta - y_i)^2 / n_rows + WEIGHT_DECAY / 2 ||theta||^2."""
    n_rows = n_rows or len(X)
    weights = np.ones(len(X)) if weights is None else weights
    A = np.c_[X, np.ones(len(X))]
    H = 2 / n_rows * (A.T * weights) @ A + WEIGHT_DECAY * np.eye(A.shape[1])
    return np.linalg.solve(H, 2 / n_rows * (A.T * weights) @ y)


def loss(theta, X, y):
    return np.mean((np.c_[X, np.ones(len(X))] @ theta - y) ** 2)


def parameters(reg):
    linear = reg.estimator_.module_.linear
    return np.r_[linear.weight.detach().numpy().ravel(), linear.bias.detach().numpy()]


@pytest.fixture
def ridge():
    """Data, the exact minimiser, and a net that holds it."""
    rng = np.random.RandomState(0)
    X, Xv = rng.randn(60, 4), rng.randn(30, 4)
    truth = rng.randn(4)
    y, yv = X @ truth + 0.5 * rng.randn(60), Xv @ truth + 0.5 * rng.randn(30)
    theta = minimiser(X, y)
    net = NeuralNetRegressor(
        Affine,
        module__n_features=4,
        optimizer=torch.optim.SGD,
        optimizer__weight_decay=WEIGHT_DECAY,
        train_split=predefined_split(Dataset(Xv, yv.reshape(-1, 1))),
        device="cpu",
    ).initialize()
    with torch.no_grad():
        net.module_.linear.weight.copy_(torch.from_numpy(theta[None, :-1]))
        net.module_.linear.bias.copy_(torch.from_numpy(theta[-1:]))
    return SimpleNamespace(
        X=X,
        y=y,
        Xv=Xv,
        yv=yv,
        theta=theta,
        frozen=FrozenEstimator(net),
        settings={"damping": 1e-12, "tol": 1e-10, "n_curvature_rows": None},
    )
