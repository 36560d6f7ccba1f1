"""Importance sampling of curvature rows."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sk_unlearn.functional import (
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


MANY = 80


def smooth(scores, y):
    return torch.nn.functional.cross_entropy(
        scores,
        y,
        reduction="none",
        label_smoothing=0.1,
        weight=torch.linspace(0.2, 3, scores.shape[1]).to(scores),
    )


def focal(scores, y):
    loss = torch.nn.functional.cross_entropy(scores, y, reduction="none")
    return (1 - torch.exp(-loss)).square() * loss


def one_hot_squares(scores, y):
    return (scores.exp() - torch.nn.functional.one_hot(y, scores.shape[1])).square().sum(dim=1)


def plain(scores, y):
    return torch.nn.functional.cross_entropy(scores, y, reduction="none")


def own_softmax(scores, y):
    return scores.logsumexp(dim=1) - scores.gather(1, y[:, None])[:, 0]


def scores_of(n_scores, scale=1.0, n_rows=12, dtype=torch.float64):
    generator = torch.Generator().manual_seed(3)
    scores = torch.randn(n_rows, n_scores, generator=generator, dtype=torch.float64) * scale
    return scores.to(dtype), torch.arange(n_rows) % n_scores


def products_of(curvature):
    """Number of products with the Hessian that a curvature does from here on."""
    counted, product = [0], curvature.product

    def counting(direction):
        counted[0] += 1
        return product(direction)

    curvature.product = counting
    return counted


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0, 100.0])
@pytest.mark.parametrize("loss", [plain, smooth, own_softmax])
def test_the_trace_of_a_softmax_is_closed(loss, scale, dtype):
    scores, y = scores_of(MANY, scale, dtype=dtype)
    curvature = ScoreCurvature(loss, scores, y)
    dense = ScoreCurvature(loss, scores.double(), y).dense().diagonal(dim1=1, dim2=2).sum(dim=1)
    counted = products_of(curvature)
    curvature.dense = None  # it must not be asked
    found = curvature.trace().double()
    assert counted == [1]
    np.testing.assert_allclose(found, dense, rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize("loss", [focal, one_hot_squares, lambda s, y: (s - 1).square().sum(1)])
def test_other_traces_are_estimated(loss):
    scores, y = scores_of(MANY, 0.3)
    curvature = ScoreCurvature(loss, scores, y)
    dense = curvature.dense().diagonal(dim1=1, dim2=2).sum(dim=1)
    counted = products_of(curvature)
    curvature.dense = None
    found = curvature.trace()
    assert counted[0] <= 16
    positive = dense > 0
    np.testing.assert_allclose(found[positive], dense[positive], rtol=0.6)
    assert (found >= 0).all()


@pytest.mark.parametrize("loss", [plain, focal])
@pytest.mark.parametrize("n_scores", [33, 100, 1000])
def test_products_do_not_grow_with_the_scores(loss, n_scores):
    """Everything that a request asks of the scores' curvature, but for few of them."""
    scores, y = scores_of(n_scores)
    curvature = ScoreCurvature(loss, scores, y)
    counted = products_of(curvature)
    curvature.dense = None
    curvature.trace()
    assert curvature.root().shape[2] <= 8
    curvature.probed_size()
    curvature.refuse_linear()
    assert counted[0] <= 16 + 8 + 3 + 1


def test_sizes_do_not_depend_on_the_batch_with_many_scores():
    net = seeded(lambda: torch.nn.Linear(5, MANY).double().eval())
    X = torch.randn(20, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.arange(20)
    for loss in (plain, focal):
        model = RowwiseModel(net, loss)
        whole = row_sizes(model, model.parameters(), X, y, chunk_size=20)
        parts = row_sizes(model, model.parameters(), X, y, chunk_size=3)
        for one, other in zip(whole, parts, strict=True):
            torch.testing.assert_close(one, other)
