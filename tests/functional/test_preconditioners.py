import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from torch import nn

from sk_unlearn.functional import (
    GaussNewtonOperator,
    RowwiseModel,
    SampledPreconditioner,
    _grams,
    _sampled,
    conjugate_gradient,
    weighted_gradient,
)
from sk_unlearn.functional._layers import find_layers
from sk_unlearn.functional._sampling import inclusion_probabilities, systematic_sample

CASES = ["cross_entropy", "weighted", "bce", "mse", "cnn", "embedder", "probabilities"]
WEIGHTS = torch.tensor([1.0, 0.0, 2.0, 0.5, 0.0, 3.0, 1.0], dtype=torch.float64)


def damped(matrix, damping):
    return matrix + damping * torch.eye(len(matrix)).to(matrix)


@pytest.mark.parametrize("case", CASES)
def test_sampling_every_column_gives_the_exact_inverse(make, oracle, case):
    rows = make(case)
    inverse = SampledPreconditioner(*rows, WEIGHTS, damping=0.1, chunk_size=3)
    expected = damped(oracle.gauss_newton(*rows, WEIGHTS), 0.1).inverse()
    got = oracle.dense(inverse, rows[0].flatten(rows[1]))
    assert inverse.exact
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-7)


def test_sampled_subset_of_parameters_inverts_the_block(make, oracle):
    for active in (("2.weight",), ("0.bias", "2.bias"), ("2.bias", "0.weight")):
        rows = make("cross_entropy", active=active)
        got = oracle.dense(SampledPreconditioner(*rows, damping=0.1), rows[0].flatten(rows[1]))
        expected = damped(oracle.gauss_newton(*rows), 0.1).inverse()
        torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("n_columns", [1, 4, 9])
@pytest.mark.parametrize("case", ["cross_entropy", "cnn", "embedder"])
def test_the_preconditioner_is_symmetric_and_positive_definite(make, oracle, case, n_columns):
    rows = make(case, n_rows=12)
    inverse = SampledPreconditioner(*rows, damping=0.1, n_columns=n_columns)
    got = oracle.dense(inverse, rows[0].flatten(rows[1]))
    torch.testing.assert_close(got, got.T)
    assert torch.linalg.eigvalsh(got).min() > 0


def test_sampled_columns_leave_an_inverse_between_damping_and_exact(make, oracle):
    # Gains are at most what keeps a column under three dampings.
    rows = make("cross_entropy", n_rows=40)
    inverse = SampledPreconditioner(*rows, damping=1e-3, n_columns=10)
    assert not inverse.exact
    assert 9 <= inverse.n_columns <= 11
    P = oracle.dense(inverse, rows[0].flatten(rows[1])).inverse()
    over = torch.linalg.eigvalsh(P - damped(oracle.gauss_newton(*rows), 1e-3)).max()
    assert over < inverse.n_columns * _grams.MAX_GAIN * 1e-3


def test_seeds_decide_the_sample(make):
    rows = make("cross_entropy", n_rows=40)
    v = torch.linspace(-1, 1, rows[0].n_parameters).double()

    def apply(seed):
        return SampledPreconditioner(*rows, damping=0.1, n_columns=9, seed=seed)(v)

    assert torch.equal(apply(0), apply(0))
    assert not torch.allclose(apply(0), apply(1))


@pytest.mark.parametrize("case", ["cross_entropy", "cnn"])
def test_the_preconditioner_does_not_depend_on_chunks(make, case):
    rows = make(case)
    v = torch.linspace(-1, 1, rows[0].n_parameters).double()
    whole = SampledPreconditioner(*rows, WEIGHTS, damping=0.1, n_columns=5)(v)
    parts = SampledPreconditioner(*rows, WEIGHTS, damping=0.1, chunk_size=3, n_columns=5)(v)
    torch.testing.assert_close(parts, whole)


def test_blocks_of_explicit_gradients_do_not_matter(make, monkeypatch):
    rows = make("cnn")
    v = torch.linspace(-1, 1, rows[0].n_parameters).double()
    whole = SampledPreconditioner(*rows, damping=0.1)(v)
    monkeypatch.setattr(_grams, "BLOCK_BYTES", 1)
    torch.testing.assert_close(SampledPreconditioner(*rows, damping=0.1)(v), whole)


def test_memory_limit_lowers_the_number_of_columns(make, monkeypatch):
    rows = make("embedder")
    _, rest = find_layers(rows[0], rows[1], rows[2])
    monkeypatch.setattr(_sampled, "REST_BYTES", 4 * sum(rows[1][n].nbytes for n in rest))
    assert SampledPreconditioner(*rows, damping=0.1).n_columns <= 4


def test_layers_used_otherwise_are_left_over(make):
    model, params, X, _ = make("embedder")
    layers, rest = find_layers(model, params, X)
    assert [layer.names for layer in layers] == [("head.weight", "head.bias")]
    assert set(rest) == {
        "embed.weight",
        "norm.weight",
        "norm.bias",
        "twice.weight",
        "twice.bias",
    }
    model, params, X, _ = make("cnn")
    layers, rest = find_layers(model, params, X)
    assert [layer.names for layer in layers] == [
        ("0.weight", "0.bias"),
        ("3.weight",),
        ("5.weight", "5.bias"),
    ]
    assert rest == ["1.weight", "1.bias"]


def test_rows_in_another_dimension_are_not_a_layer():
    class Transposed(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.utils.skip_init(nn.Linear, 2, 2, dtype=torch.float64)

        def forward(self, X):
            return self.inner(X.transpose(0, 1)).mean(dim=0)

    model = RowwiseModel(Transposed().eval(), nn.CrossEntropyLoss(reduction="none"))
    # Three positions: with three rows the dimensions have the same length.
    layers, rest = find_layers(model, model.parameters(), torch.ones(3, 3, 2).double())
    assert layers == []
    assert rest == ["inner.weight", "inner.bias"]


def test_a_matrix_of_zeros_leaves_the_damping(make):
    model, params, X, y = make("linear")
    params["bias"][0] += 1e5
    v = model.flatten(params)
    inverse = SampledPreconditioner(model, params, X, y, damping=0.5)
    torch.testing.assert_close(inverse(v), v / 0.5)


def test_bad_damping_and_weights_are_refused(make):
    rows = make("linear")
    with pytest.raises(ValueError, match="damping"):
        SampledPreconditioner(*rows, damping=0.0)
    with pytest.raises(ValueError, match="negative"):
        SampledPreconditioner(*rows, -torch.ones(7), damping=0.1)


def test_a_bad_number_of_columns_is_refused(make):
    with pytest.raises(ValueError, match="n_columns"):
        SampledPreconditioner(*make("linear"), damping=0.1, n_columns=0)


@settings(max_examples=50)
@given(
    st.lists(st.sampled_from([0.0, 1e-9, 0.3, 1.0, 50.0]), min_size=1, max_size=30),
    st.integers(1, 12),
    st.integers(0, 5),
)
def test_inclusion_probabilities_are_capped_and_add_up(sizes, n_picked, seed):
    sizes = torch.tensor(sizes, dtype=torch.float64)
    p = inclusion_probabilities(sizes, n_picked)
    positive = int((sizes > 0).sum())
    assert ((p >= 0) & (p <= 1)).all()
    assert float(p.sum()) == pytest.approx(min(positive, n_picked))
    assert torch.equal(p > 0, sizes > 0)
    partial = p < 1
    if positive > n_picked and partial.any():
        # Where not capped, proportional to the size; where capped, no smaller.
        rate = float((p / sizes.clamp_min(1e-300))[partial & (sizes > 0)].max())
        torch.testing.assert_close(p, (rate * sizes).clamp_max(1), rtol=1e-9, atol=0)
    picked = systematic_sample(p, seed)
    assert len(picked.unique()) == len(picked)
    assert abs(len(picked) - float(p.sum())) < 1
    assert (p[picked] > 0).all()
    assert set((p == 1).nonzero()[:, 0].tolist()) <= set(picked.tolist())


def test_systematic_sample_keeps_its_probabilities():
    p = torch.tensor([0.1, 0.9, 0.5, 1.0, 0.5], dtype=torch.float64)
    counts = torch.zeros(5)
    for seed in range(600):
        counts[systematic_sample(p, seed)] += 1
    torch.testing.assert_close(counts / 600, p.float(), rtol=0, atol=0.07)


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    X, y = torch.tensor(X[:600] / 16, dtype=torch.float32), torch.tensor(y[:600])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        optimiser = torch.optim.Adam(net.parameters(), lr=5e-3, weight_decay=1e-4)
        for _ in range(60):
            for chunk in torch.arange(600).split(100):
                optimiser.zero_grad()
                nn.functional.cross_entropy(net(X[chunk]), y[chunk]).backward()
                optimiser.step()
    model = RowwiseModel(net.eval(), nn.CrossEntropyLoss(reduction="none"))
    return model, model.parameters(), X, y


@pytest.mark.parametrize(("damping", "most"), [(1e-2, 8), (1e-3, 15)])
def test_few_products_on_a_trained_net(digits, damping, most):
    model, params, X, y = digits
    operator = GaussNewtonOperator(*digits)
    b = weighted_gradient(model, params, X[:30], y[:30]) / len(X)
    inverse = SampledPreconditioner(*digits, damping=damping)
    _, report = conjugate_gradient(operator.matvec, b, damping=damping, preconditioner=inverse)
    assert report.converged
    assert report.n_products - 1 <= most
    _, plain = conjugate_gradient(operator.matvec, b, damping=damping)
    assert report.n_products < plain.n_products / 2


@pytest.mark.cuda
def test_the_preconditioner_works_on_a_gpu(make):
    model, params, X, y = make("cnn")
    v = torch.linspace(-1, 1, model.n_parameters).double()
    expected = SampledPreconditioner(model, params, X, y, damping=0.1)(v)
    model.module.cuda()
    rows = (model, model.parameters(), X.cuda(), y.cuda())
    torch.testing.assert_close(SampledPreconditioner(*rows, damping=0.1)(v.cuda()).cpu(), expected)
