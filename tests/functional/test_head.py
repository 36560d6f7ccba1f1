"""The closed form of a linear head against dense matrices and conjugate gradients."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from sk_unlearn.functional import (
    GaussNewtonOperator,
    HeadCurvature,
    RowwiseModel,
    conjugate_gradient,
)

N_ROWS, N_FEATURES = 30, 5


def squared(scores, y):
    return (scores - y[:, None].to(scores)).square().sum(1)


LOSSES = {"cross entropy": nn.CrossEntropyLoss(reduction="none"), "squared": squared}


@pytest.fixture(params=list(LOSSES))
def head(request):
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(N_FEATURES, 4), nn.Tanh(), nn.Linear(4, 3)).double().eval()
    model = RowwiseModel(net, LOSSES[request.param], active=("2.weight", "2.bias"))
    X = torch.randn(N_ROWS, N_FEATURES, generator=generator, dtype=torch.float64)
    y = torch.arange(N_ROWS) % 3
    weights = torch.rand(N_ROWS, generator=generator, dtype=torch.float64) + 0.5
    ridge = torch.linspace(0.01, 0.03, model.n_parameters).double()
    return model, X, y, weights, ridge


def built(head):
    model, X, y, weights, ridge = head
    return HeadCurvature.build(model, model.parameters(), X, y, weights, ridge=ridge)


def dense(head, kept=None):
    """By products with unit vectors; rows that left have weight zero."""
    model, X, y, weights, ridge = head
    weights = weights if kept is None else weights * kept
    matvec = GaussNewtonOperator(model, model.parameters(), X, y, weights).matvec
    columns = [matvec(unit) for unit in torch.eye(model.n_parameters).double()]
    return torch.stack(columns, 1) + torch.diag(ridge)


def test_it_is_the_damped_gauss_newton_matrix(head):
    curvature = built(head)
    torch.testing.assert_close(curvature.matrix, dense(head))
    b = torch.linspace(-1, 1, len(head[-1])).double()
    x, report = curvature.solve(b, tol=1e-8)
    torch.testing.assert_close(x, torch.linalg.solve(dense(head), b))
    assert report.converged
    assert report.n_products == 0
    torch.testing.assert_close(curvature.guess_dot(b, b), torch.dot(b, x))


def test_a_worn_inverse_is_refined(head):
    curvature = built(head)
    b = torch.linspace(-1, 1, len(head[-1])).double()
    worn = replace(curvature, inverse=curvature.inverse * (1 + 1e-5))
    for solver in (curvature, worn):
        x, _ = solver.solve(b.float(), tol=1e-3)
        expected = torch.linalg.solve(dense(head), b.float().double()).float()
        torch.testing.assert_close(x, expected, rtol=3e-7, atol=0)


def test_it_is_the_limit_of_conjugate_gradients(head):
    model, X, y, weights, ridge = head
    b = torch.linspace(1, 2, len(ridge)).double()
    matvec = GaussNewtonOperator(model, model.parameters(), X, y, weights).matvec
    expected, _ = conjugate_gradient(matvec, b, damping=ridge, tol=1e-10, max_products=500)
    torch.testing.assert_close(built(head).solve(b, tol=1e-3)[0], expected)


# few rows take the low-rank update, many a new inverse
@pytest.mark.parametrize("gone", [[4], [0, 7, 9, 12, 20, 29]])
def test_rows_leave_by_an_update(head, gone):
    model, X, _, _, ridge = head
    curvature = built(head).drop(model, model.parameters(), X[gone], torch.tensor(gone))
    kept = torch.ones(N_ROWS).double()
    kept[gone] = 0
    torch.testing.assert_close(curvature.matrix, dense(head, kept))
    torch.testing.assert_close(
        curvature.inverse @ dense(head, kept), torch.eye(len(ridge)).double(), atol=1e-8, rtol=0
    )
    assert len(curvature.roots) == N_ROWS - len(gone)


def test_many_updates_in_turn_stay_exact(head):
    model, X, *_ = head
    curvature, kept = built(head), torch.ones(N_ROWS).double()
    for row in range(25):
        curvature = curvature.drop(model, model.parameters(), X[[row]], torch.tensor([0]))
        kept[row] = 0
    expected = torch.linalg.inv(dense(head, kept))
    torch.testing.assert_close(curvature.inverse, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("net", "active"),
    [
        (nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3)), None),
        (nn.Sequential(nn.Linear(5, 3), nn.Tanh()), None),
        (nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3)), ("0.weight",)),
        (nn.Linear(5, 400), None),
    ],
)
def test_other_models_are_left_to_other_solvers(net, active):
    model = RowwiseModel(net.eval(), nn.CrossEntropyLoss(reduction="none"), active=active)
    X, y = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3
    ridge = torch.ones(model.n_parameters)
    assert HeadCurvature.build(model, model.parameters(), X, y, ridge=ridge) is None


class Permuted(nn.Module):
    """Scores in another order than the layer's outputs, in the same memory."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 6)

    def forward(self, X):
        return self.layer(X).view(-1, 3, 2).transpose(1, 2)


def test_scores_in_another_order_are_left_to_other_solvers():
    with torch.random.fork_rng(devices=[]):
        net = Permuted().eval()
    model = RowwiseModel(net, lambda s, y: (s - 1).square().sum((1, 2)))
    X, y = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)), torch.zeros(6)
    ridge = torch.ones(model.n_parameters)
    assert HeadCurvature.build(model, model.parameters(), X, y, ridge=ridge) is None
