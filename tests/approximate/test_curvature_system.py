"""The system of a step, in whichever space it is solved, against the dense one."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from sk_unlearn.approximate._criterion import HeldOutLoss
from sk_unlearn.approximate._curvature_cache import CurvatureCache
from sk_unlearn.approximate._curvature_system import (
    Objective,
    RowBatch,
    SolverSettings,
    build_system,
)
from sk_unlearn.approximate._removal_step import (
    Measurement,
    StepSettings,
    _HeadMeasurement,
    _measurement,
    removal_step,
)
from sk_unlearn.functional import RowSpace, RowwiseModel

N_ROWS, N_OBJECTIVE, DAMPING = 12, 15, 0.05


@pytest.fixture
def objective():
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double().eval()
    model = RowwiseModel(net, nn.CrossEntropyLoss(reduction="none"))
    X = torch.randn(N_ROWS, 4, generator=generator, dtype=torch.float64)
    rows = RowBatch(X, torch.arange(N_ROWS) % 3)
    trained = torch.arange(N_ROWS) != 4
    ridge = torch.full((model.n_parameters,), DAMPING, dtype=torch.float64)
    return Objective(model, rows, trained, np.linspace(0, 1, N_ROWS), N_OBJECTIVE, ridge, 100, 100)


def built(objective, later, **settings):
    settings = {"n_sampled": N_ROWS, "tol": 1e-3, **settings}
    cache = CurvatureCache(np.arange(N_ROWS))
    params = objective.model.parameters()
    return build_system(objective, params, cache, SolverSettings(**settings), later)[0]


def dense(objective, later):
    """Sum over the rows of the objective from dense Jacobians, plus the ridge."""
    model, flat = objective.model, objective.model.flatten(objective.model.parameters())
    rows = objective.rows.take(objective.trained.nonzero()[:, 0]).join(later)
    jacobian = torch.autograd.functional.jacobian(
        lambda v: model.forward(model.unflatten(v), rows.X), flat
    )
    p = model.forward(model.parameters(), rows.X).detach().softmax(dim=1)
    inner = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    total = torch.einsum("nkd,nkl,nle->de", jacobian, inner, jacobian)
    return total / objective.n_rows + torch.diag(objective.ridge)


@pytest.mark.parametrize("n_later", [0, 2])
@pytest.mark.parametrize("in_rows", [True, False])
def test_solution_is_that_of_the_dense_system(objective, in_rows, n_later):
    if not in_rows:  # a ridge that differs between parameters
        objective = replace(objective, ridge=objective.ridge * torch.linspace(1, 2, 43).double())
    later = RowBatch(objective.rows.X[:n_later] + 1, objective.rows.y[:n_later])
    system = built(objective, later)
    assert isinstance(system.space, RowSpace) == in_rows
    b = torch.linspace(-1, 1, objective.model.n_parameters).double()
    x, report = system.solve(b, tol=1e-9)
    assert report.converged
    torch.testing.assert_close(x, torch.linalg.solve(dense(objective, later), b))
    assert system.guess_dot(b, b) > 0


@pytest.mark.parametrize("settings", [{"tol": 1e-4}, {"curvature": "hessian"}])
def test_tight_tolerances_and_hessians_are_for_the_parameter_space(objective, settings):
    space = built(objective, objective.rows.take([]), **settings).space
    assert not isinstance(space, RowSpace)


def test_chunks_are_respected(objective):
    system = built(replace(objective, chunk_size=2, most_kept=2), objective.rows.take([]))
    assert not isinstance(system.space, RowSpace)
    assert system.space.operator.chunk_size == 1


def test_compensation_is_the_same_with_gradients_by_layers_and_by_passes(objective):
    """A step through the layers' gradients against one that knows no layers."""
    criterion = HeldOutLoss(objective.model, objective.rows.X[:5], objective.rows.y[:5], 100)
    params, leaving = objective.model.parameters(), objective.rows.take([7, 8, 9])
    settings = StepSettings(compensation="l1", strict=True)
    candidates = torch.arange(N_ROWS)
    steps = {}
    for most_kept in (100, N_ROWS - 1):  # the smaller one leaves the candidates to passes
        limited = replace(objective, most_kept=most_kept)
        system = built(objective, objective.rows.take([]))
        seen = system.row_gradients(limited, params, objective.rows.take(candidates))
        assert (seen is None) == (most_kept < N_ROWS)
        moved, report, _ = removal_step(
            limited, params, leaving, system, criterion, settings, lambda: candidates
        )
        assert report.n_weighted
        steps[most_kept] = objective.model.flatten(moved)
    torch.testing.assert_close(*steps.values())


def test_a_graph_that_may_be_kept_is_not_built_anew(objective):
    """Small chunks of a pass say nothing about what is kept from product to product."""
    small = replace(objective, chunk_size=2)
    later = objective.rows.take([])
    assert isinstance(built(small, later).space, RowSpace)
    operator = built(small, later, tol=1e-9).space.operator
    assert operator.keep_graph
    assert not built(replace(small, most_kept=2), later, tol=1e-9).space.operator.keep_graph


@pytest.mark.parametrize("bias", [True, False])
def test_rows_measured_together_measure_as_they_do_apart(objective, bias):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3, bias=bias)).double().eval()
    model = RowwiseModel(net, objective.model.loss)
    ridge = objective.ridge[: model.n_parameters]
    linear = replace(objective, model=model, ridge=ridge)
    criterion = HeldOutLoss(model, objective.rows.X[:5] + 1, objective.rows.y[:5], 100)
    leaving, system = objective.rows.take([7, 8, 9]), built(linear, objective.rows.take([]))
    together = _measurement(linear, leaving, system, criterion)
    apart = Measurement(linear, leaving, criterion)
    assert isinstance(together, _HeadMeasurement)
    params = model.parameters()
    for found, expected in zip(together.before(params), apart.before(params), strict=True):
        torch.testing.assert_close(found, expected)
    step = torch.randn(model.n_parameters, dtype=torch.float64)
    moved = model.unflatten(model.flatten(params) + step)
    after = apart.after(moved, step)
    for found, expected, unmoved in zip(
        together.after(moved, step), after, apart.before(params)[::2], strict=True
    ):
        torch.testing.assert_close(found, expected)
        assert np.abs(np.asarray(expected) - np.asarray(unmoved)).min() > 1e-3
    # too many rows for one pass, no criterion, or one of the user's: apart
    few = replace(linear, chunk_size=7)
    assert isinstance(_measurement(few, leaving, system, criterion), Measurement)
    assert isinstance(_measurement(linear, leaving, system, None), Measurement)
    assert Measurement(linear, leaving, None).after(params, step)[1] is None


@pytest.mark.parametrize("n_rows", [1, 3, 6])
def test_rows_of_the_largest_gradients_are_found(n_rows):
    sizes = torch.tensor([0.0, 5.0, 2.0, 2.0, 7.0, 2.0])
    cache = CurvatureCache(np.arange(6), gradient=sizes)
    found = cache.largest_gradients(n_rows).tolist()
    order = sorted(range(6), key=lambda i: (-sizes[i], i))  # the first of equals
    assert found == sorted(order[:n_rows])


def test_a_gradient_that_is_no_number_is_among_the_largest():
    cache = CurvatureCache(np.arange(3), gradient=torch.tensor([1.0, torch.nan, 3.0]))
    assert cache.largest_gradients(2).tolist() == [1, 2]
    cache = CurvatureCache(
        np.arange(5), gradient=torch.tensor([1.0, torch.nan, 3.0, torch.nan, 2.0])
    )
    assert cache.largest_gradients(1).tolist() == [1]
    assert cache.largest_gradients(3).tolist() == [1, 2, 3]
