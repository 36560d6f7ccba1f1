import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from torch import nn

from sk_unlearn.functional import (
    EKFACPreconditioner,
    GaussNewtonOperator,
    NystromPreconditioner,
    RowwiseModel,
    SampledPreconditioner,
    _ekfac,
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
def test_every_preconditioner_is_symmetric_and_positive_definite(make, oracle, case, n_columns):
    rows = make(case, n_rows=12)
    flat = rows[0].flatten(rows[1])
    matvec = GaussNewtonOperator(*rows).matvec
    for inverse in (
        SampledPreconditioner(*rows, damping=0.1, n_columns=n_columns),
        EKFACPreconditioner(*rows, damping=0.1, seed=n_columns),
        NystromPreconditioner(matvec, flat, damping=0.1, rank=n_columns),
    ):
        got = oracle.dense(inverse, flat)
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
def test_preconditioners_do_not_depend_on_chunks(make, case):
    rows = make(case)
    v = torch.linspace(-1, 1, rows[0].n_parameters).double()
    for kind, options in ((SampledPreconditioner, {"n_columns": 5}), (EKFACPreconditioner, {})):
        whole = kind(*rows, WEIGHTS, damping=0.1, **options)(v)
        parts = kind(*rows, WEIGHTS, damping=0.1, chunk_size=3, **options)(v)
        torch.testing.assert_close(parts, whole)


def test_blocks_of_explicit_gradients_do_not_matter(make, monkeypatch):
    rows = make("cnn")
    v = torch.linspace(-1, 1, rows[0].n_parameters).double()
    whole = [kind(*rows, damping=0.1)(v) for kind in (SampledPreconditioner, EKFACPreconditioner)]
    monkeypatch.setattr(_grams, "BLOCK_BYTES", 1)
    monkeypatch.setattr(_ekfac, "BLOCK_BYTES", 1)
    for kind, expected in zip((SampledPreconditioner, EKFACPreconditioner), whole, strict=True):
        torch.testing.assert_close(kind(*rows, damping=0.1)(v), expected)


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


def test_ekfac_is_exact_for_one_linear_layer_and_one_output(make, oracle):
    # With squared error and one output the matrix is A (x) 1, which is its own factorisation.
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(9, 4, generator=generator, dtype=torch.float64)
    net = oracle.seeded(lambda: nn.Linear(4, 1)).double().eval()
    model = RowwiseModel(net, lambda s, y: 0.5 * (s[:, 0] - y) ** 2)
    rows = (model, model.parameters(), X, X[:, 0])
    got = oracle.dense(EKFACPreconditioner(*rows, damping=0.2), torch.zeros(5).double())
    torch.testing.assert_close(got, damped(oracle.gauss_newton(*rows), 0.2).inverse())


def test_ekfac_has_the_trace_of_each_block_up_to_the_random_signs(make, oracle):
    model, params, X, y = make("cnn", n_rows=100)
    X = X + 1  # or the positions of an image would be independent
    weights = torch.linspace(0, 3, 100).double()
    flat = model.flatten(params)
    inverses = [
        EKFACPreconditioner(model, params, X, y, weights, damping=1.0, seed=seed)
        for seed in range(20)
    ]
    got = [damped(oracle.dense(f, flat).inverse(), -1.0).diagonal() for f in inverses]
    got = torch.stack(got).mean(0)
    matrix = oracle.dense(GaussNewtonOperator(model, params, X, y, weights).matvec, flat)
    # A convolution, the normalisation with one scalar for each of its parameters, the others.
    for block, rel in ((slice(0, 20), 0.1), (slice(20, 24), 0.5), (slice(24, 60), 0.1)):
        expected = float(matrix.diagonal()[block].sum())
        assert float(got[block].sum()) == pytest.approx(expected, rel=rel)
        assert expected > 0


def test_ekfac_without_eigendecomposition_keeps_the_diagonal(make, oracle, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(9, 4, generator=generator, dtype=torch.float64)
    net = oracle.seeded(lambda: nn.Linear(4, 1)).double().eval()
    model = RowwiseModel(net, lambda s, y: 0.5 * (s[:, 0] - y) ** 2)
    rows = (model, model.parameters(), X, X[:, 0])
    monkeypatch.setattr(_ekfac, "MAX_FACTOR", 3)
    got = oracle.dense(EKFACPreconditioner(*rows, damping=0.2), torch.zeros(5).double())
    diagonal = damped(oracle.gauss_newton(*rows), 0.2).diagonal()
    torch.testing.assert_close(got, torch.diag(1 / diagonal))


def test_nystrom_of_full_rank_is_exact_up_to_a_factor(make, oracle):
    rows = make("linear", n_rows=30)
    flat = rows[0].flatten(rows[1])
    matvec = GaussNewtonOperator(*rows).matvec
    inverse = NystromPreconditioner(matvec, flat, damping=0.1, rank=99)
    matrix = oracle.gauss_newton(*rows)
    values = torch.linalg.eigvalsh(matrix).flip(0)
    torch.testing.assert_close(inverse.eigenvalues, values, rtol=1e-6, atol=1e-8)
    got = oracle.dense(inverse, flat)
    torch.testing.assert_close(got, damped(matrix, 0.1).inverse(), rtol=1e-6, atol=1e-6)


def test_nystrom_of_zero_and_of_an_indefinite_matrix():
    like = torch.zeros(4)
    v = torch.arange(4.0)
    zero = NystromPreconditioner(lambda v: 0 * v, like, damping=0.5, rank=2)
    torch.testing.assert_close(zero(v), v / 0.5)
    with pytest.raises(ValueError, match="positive semidefinite"):
        NystromPreconditioner(lambda v: -v, like, damping=0.5, rank=2)


def test_a_matrix_of_zeros_leaves_the_damping(make):
    model, params, X, y = make("linear")
    params["bias"][0] += 1e5
    v = model.flatten(params)
    for kind in (SampledPreconditioner, EKFACPreconditioner):
        torch.testing.assert_close(kind(model, params, X, y, damping=0.5)(v), v / 0.5)


@pytest.mark.parametrize("kind", [SampledPreconditioner, EKFACPreconditioner])
def test_bad_damping_and_weights_are_refused(make, kind):
    rows = make("linear")
    with pytest.raises(ValueError, match="damping"):
        kind(*rows, damping=0.0)
    with pytest.raises(ValueError, match="negative"):
        kind(*rows, -torch.ones(7), damping=0.1)


def test_bad_ranks_are_refused(make):
    with pytest.raises(ValueError, match="n_columns"):
        SampledPreconditioner(*make("linear"), damping=0.1, n_columns=0)
    with pytest.raises(ValueError, match="rank"):
        NystromPreconditioner(lambda v: v, torch.ones(3), damping=0.1, rank=0)


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
def test_preconditioners_work_on_a_gpu(make):
    model, params, X, y = make("cnn")
    v = torch.linspace(-1, 1, model.n_parameters).double()
    kinds = (SampledPreconditioner, EKFACPreconditioner)
    expected = [kind(model, params, X, y, damping=0.1)(v) for kind in kinds]
    model.module.cuda()
    rows = (model, model.parameters(), X.cuda(), y.cuda())
    for kind, want in zip(kinds, expected, strict=True):
        torch.testing.assert_close(kind(*rows, damping=0.1)(v.cuda()).cpu(), want)
