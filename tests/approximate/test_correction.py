"""The second look at a step: what is lowered, how far, and the way on from there."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from sk_unlearn import PumaClassifier
from sk_unlearn.approximate import _correction
from sk_unlearn.approximate._correction import corrected, rows_to_look_at
from sk_unlearn.approximate._curvature_cache import CurvatureCache
from sk_unlearn.approximate._curvature_system import (
    Objective,
    RowBatch,
)
from sk_unlearn.functional import RowwiseModel, row_sizes

N = 60
pytestmark = pytest.mark.filterwarnings("ignore::sk_unlearn.exceptions.RetrainAdvisedWarning")


@pytest.fixture
def quadratic():
    """Least squares with a ridge that differs between parameters."""
    draw = torch.Generator().manual_seed(0)
    X = torch.randn(N, 4, generator=draw, dtype=torch.float64)
    y = torch.randn(N, 3, generator=draw, dtype=torch.float64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Linear(4, 3).double().eval()
    model = RowwiseModel(net, lambda s, t: 0.5 * (s - t).square().sum(dim=1))
    ridge = torch.linspace(0.05, 0.5, model.n_parameters, dtype=torch.float64)
    places = np.random.RandomState(0).uniform(size=N)
    trained = torch.ones(N, dtype=bool)
    return Objective(model, RowBatch(X, y), trained, places, N, ridge, 100, 100, True)


class Inverse:
    """The inverse of curvature times a factor: a system that is wrong about lengths."""

    def __init__(self, objective, factor):
        X = torch.cat([objective.rows.X, torch.ones(N, 1).double()], dim=1)
        block = X.T @ X / N
        # weight (3, 4) row by row, then the bias
        H = torch.zeros(15, 15).double()
        for output in range(3):
            index = [*range(4 * output, 4 * output + 4), 12 + output]
            H[np.ix_(index, index)] = block
        self.H, self.factor = H + torch.diag(objective.ridge), factor

    def solve(self, b):
        return self.factor * torch.linalg.solve(self.H, b), None


@pytest.mark.parametrize("factor", [0.7, 1.0, 3.0])
def test_a_quadratic_is_solved_whatever_the_length_of_the_step(quadratic, factor):
    model, params = quadratic.model, quadratic.model.parameters()
    system = Inverse(quadratic, factor)
    pull = torch.linspace(-1, 1, 15).double()
    start = model.flatten(params)
    step = system.solve(pull)[0]
    sample = rows_to_look_at(quadratic, CurvatureCache(np.arange(N)))
    moved, found = corrected(
        quadratic, params, model.unflatten(start + step), pull, system, sample
    )
    torch.testing.assert_close(
        model.flatten(moved) - start, torch.linalg.solve(system.H, pull), rtol=1e-5, atol=1e-7
    )
    # along the step the balance is 2 t - factor t^2, over what the step promised
    assert found.gain == pytest.approx(2 - factor, abs=1e-5)
    assert found.share == pytest.approx(1 / factor)


def test_a_step_that_promises_nothing_stays(quadratic):
    params, model = quadratic.model.parameters(), quadratic.model
    sample = rows_to_look_at(quadratic, CurvatureCache(np.arange(N)))
    away = -torch.linspace(-1, 1, 15).double()
    moved = model.unflatten(model.flatten(params) + away)
    same, found = corrected(quadratic, params, moved, -away, Inverse(quadratic, 1.0), sample)
    assert found is None
    assert same is moved


def test_a_sample_stands_for_all_rows(quadratic, monkeypatch):
    monkeypatch.setattr(_correction, "N_ROWS", 20)
    rows, model = quadratic.rows, quadratic.model
    sizes, gradients = row_sizes(model, model.parameters(), rows.X, rows.y)
    totals = []
    for seed in range(400):
        draw = np.random.RandomState(seed).uniform(size=N)
        cache = CurvatureCache(np.arange(N), sizes, gradients, draw)
        sample, weights = rows_to_look_at(replace(quadratic, draw=draw), cache)
        assert len(sample) < 2 * N / 3
        totals.append(weights @ sample.X)
    np.testing.assert_allclose(np.mean(totals, axis=0), rows.X.mean(0), atol=0.05)


def test_it_costs_what_it_says_and_only_long_steps_of_the_trainings_damping_have_it():
    X, y = load_digits(return_X_y=True)
    clf = PumaClassifier(random_state=0).fit(X / 16, y)
    short, long = range(3), np.flatnonzero(y == 3)[:100]
    for rows, damping, looked_at in [
        (short, "training", False),
        (long, "training", True),
        (long, 1e-2, False),
    ]:
        moved = copy.deepcopy(clf).set_params(damping=damping, compensation=None).forget(rows)
        step = moved.receipts_[-1].solver["steps"][0]
        assert (step["gain"] is not None) == looked_at
    with_it = copy.deepcopy(clf).forget(long).receipts_[-1]
    without = copy.deepcopy(clf).set_params(n_steps=2).forget(long).receipts_[-1]
    assert all(step["gain"] is None for step in without.solver["steps"])
    assert with_it.cost.share_of_retrain < 0.25
