"""Importance sampling of curvature rows."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sk_unlearn.functional import (
    EKFACPreconditioner,
    GaussNewtonOperator,
    RowwiseModel,
    SampledPreconditioner,
    _row_sizes,
    row_sizes,
    sample_rows,
    weighted_gradient,
)
from sk_unlearn.functional._score_curvature import ScoreCurvature

from .conftest import seeded


def test_sizes_of_a_linear_model_are_exact():
    net = seeded(lambda: torch.nn.Linear(3, 4).double().eval())
    model = RowwiseModel(net, torch.nn.CrossEntropyLoss(reduction="none"))
    X, y = torch.arange(15.0, dtype=torch.float64).reshape(5, 3).sin(), torch.arange(5) % 4
    params = model.parameters()
    sizes = row_sizes(model, params, X, y, chunk_size=2)
    for row in range(5):
        operator = GaussNewtonOperator(model, params, X[row : row + 1], y[row : row + 1])
        basis = torch.eye(model.n_parameters, dtype=torch.float64)
        trace = sum(float(e @ operator.matvec(e)) for e in basis)
        np.testing.assert_allclose(float(sizes.curvature[row]), trace, rtol=1e-10)
        gradient = weighted_gradient(model, params, X[row : row + 1], y[row : row + 1])
        np.testing.assert_allclose(float(sizes.gradient[row]), float(gradient.norm()), rtol=1e-10)


@settings(max_examples=25)
@given(
    sizes=st.lists(st.floats(0.125, 10, width=32), min_size=8, max_size=20),
    n_rows=st.integers(5, 25),
    seed=st.integers(0, 10),
)
def test_weighted_mean_over_the_sample_is_unbiased(sizes, n_rows, seed):
    size = torch.tensor(sizes, dtype=torch.float64)
    value = torch.arange(1.0, len(size) + 1, dtype=torch.float64)
    rng = np.random.RandomState(seed)
    means = []
    for _ in range(500):
        indices, weights = sample_rows(size, n_rows, torch.from_numpy(rng.rand(len(size))))
        weights = 1.0 if weights is None else weights
        means.append(float((weights * value[indices]).sum() / len(indices)))
    # an empty draw, which falls back to the largest row, has probability below exp(-5)
    error = abs(np.mean(means) - float(value.mean()))
    assert error <= 5 * np.std(means) / np.sqrt(len(means)) + 0.01 * float(value.mean())


def test_sample_is_stable_when_other_rows_leave():
    rng = np.random.RandomState(0)
    size, draw = torch.from_numpy(rng.rand(1000)), torch.from_numpy(rng.rand(1000))
    before, _ = sample_rows(size, 200, draw)
    after, _ = sample_rows(size[10:], 200, draw[10:])
    kept = set((before[before >= 10]).tolist())
    assert len(kept ^ set((after + 10).tolist())) < 10


def test_scores_without_columns_count_as_one_column():
    net = seeded(lambda: torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh()).double())
    net.append(seeded(lambda: torch.nn.Linear(4, 1).double())).eval()
    X = torch.arange(15.0, dtype=torch.float64).reshape(5, 3).sin()
    y = (X[:, 0] > 0).double()
    loss = torch.nn.functional.binary_cross_entropy_with_logits
    flat = RowwiseModel(net, lambda s, y: loss(s, y, reduction="none"), scores=lambda s: s[:, 0])
    wide = RowwiseModel(net, lambda s, y: loss(s[:, 0], y, reduction="none"))
    got, expected = (
        [
            *row_sizes(model, params, X, y, chunk_size=2),
            ScoreCurvature(model.loss, model.forward(params, X), y).dense(),
            ScoreCurvature(model.loss, model.forward(params, X), y).root(),
            SampledPreconditioner(model, params, X, y, damping=0.1)(direction),
            EKFACPreconditioner(model, params, X, y, damping=0.1)(direction),
            GaussNewtonOperator(model, params, X, y).matvec(direction),
        ]
        for model, params, direction in (
            (m, m.parameters(), torch.arange(21.0, dtype=torch.float64).cos())
            for m in (flat, wide)
        )
    )
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("n_numbers", [1, 20])
def test_hessians_are_formed_in_blocks_of_any_size(make, monkeypatch, n_numbers):
    rows = make("cross_entropy")
    expected = row_sizes(*rows, chunk_size=4)
    monkeypatch.setattr(_row_sizes, "HESSIAN_NUMBERS", n_numbers)
    for found, whole in zip(row_sizes(*rows, chunk_size=5), expected, strict=True):
        torch.testing.assert_close(found, whole)
