import pytest
import torch
from torch import nn

from sk_unlearn.exceptions import UnsupportedNetError
from sk_unlearn.functional import (
    GaussNewtonOperator,
    HeadCurvature,
    RowSpace,
    RowwiseModel,
    SampledPreconditioner,
    _row_space,
    conjugate_gradient,
    row_sizes,
)

CASES = ["cross_entropy", "weighted", "bce", "mse", "probabilities", "linear"]
WEIGHTS = torch.tensor([1.0, 0.0, 2.0, 0.5, 0.0, 3.0, 1.0], dtype=torch.float64)


def right_hand_side(model, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(model.n_parameters, generator=generator, dtype=torch.float64)


def damped_inverse(oracle, rows, weights, damping):
    matrix = oracle.gauss_newton(*rows, weights)
    return (matrix + damping * torch.eye(len(matrix)).to(matrix)).inverse()


@pytest.mark.parametrize("n_columns", [2, 8, 21])
@pytest.mark.parametrize("case", CASES)
def test_solution_is_that_of_the_dense_system(make, oracle, case, n_columns):
    rows = make(case)
    b = right_hand_side(rows[0])
    space = RowSpace.build(*rows, WEIGHTS, damping=0.1, n_columns=n_columns)
    x, report = space.solve(b, tol=1e-9)
    assert report.converged
    torch.testing.assert_close(x, damped_inverse(oracle, rows, WEIGHTS, 0.1) @ b)


@pytest.mark.parametrize("active", [("2.weight",), ("0.weight", "2.bias", "2.weight"), None])
def test_subset_of_parameters_in_any_order(make, oracle, active):
    rows = make("cross_entropy", active=active)
    b = right_hand_side(rows[0])
    x, _ = RowSpace.build(*rows, damping=0.1, n_columns=4).solve(b, tol=1e-9)
    torch.testing.assert_close(x, damped_inverse(oracle, rows, None, 0.1) @ b)


def test_every_column_makes_the_first_guess_exact(make, oracle):
    rows = make("cross_entropy")
    b = right_hand_side(rows[0])
    space = RowSpace.build(*rows, WEIGHTS, damping=0.1, n_columns=100)
    a = right_hand_side(rows[0], seed=4)
    expected = a @ damped_inverse(oracle, rows, WEIGHTS, 0.1) @ b
    torch.testing.assert_close(space.guess_dot(a, b), expected)
    assert space.solve(b, tol=1e-6)[1].n_products == 1


@pytest.mark.parametrize("gone", [[0], [2, 5], [6, 0, 3, 4], [1, 2, 3, 4, 5, 6]])
@pytest.mark.parametrize("case", ["cross_entropy", "weighted", "mse"])
def test_dropped_rows_leave_the_system_of_the_others(make, oracle, case, gone):
    model, params, X, y = make(case)
    space = RowSpace.build(model, params, X, y, WEIGHTS, damping=0.1, n_columns=9)
    first, *others = gone
    later = torch.tensor([place - (place > first) for place in others], dtype=torch.int64)
    rest = space.drop(torch.tensor([first])).drop(later)
    weights = WEIGHTS.clone()
    weights[gone] = 0
    b = right_hand_side(model)
    inverse = damped_inverse(oracle, (model, params, X, y), weights, 0.1)
    torch.testing.assert_close(rest.solve(b, tol=1e-9)[0], inverse @ b)
    assert rest.nbytes < space.nbytes
    assert all(len(a) == 7 - len(gone) for a in rest._inputs)
    # the solver that it was taken from is as it was
    whole = damped_inverse(oracle, (model, params, X, y), WEIGHTS, 0.1)
    torch.testing.assert_close(space.solve(b, tol=1e-9)[0], whole @ b)


def test_dropped_rows_leave_a_preconditioner_of_the_others(make, oracle):
    model, params, X, y = make("cross_entropy")
    space = RowSpace.build(model, params, X, y, WEIGHTS, damping=0.1, n_columns=100)
    rest, b = space.drop(torch.tensor([2, 3])), right_hand_side(model)
    assert rest.solve(b, tol=1e-6)[1].n_products == 1  # every column of theirs is in it


def test_a_guess_before_changes_no_solution(make):
    rows = make("cross_entropy")
    space = RowSpace.build(*rows, damping=0.1, n_columns=4)
    a, b = (right_hand_side(rows[0], seed=seed) for seed in (3, 4))
    expected = [space.solve(v, tol=1e-9)[0] for v in (a, b, 2 * b)]
    space.guess_dot(a, b)
    assert torch.equal(space.solve(a, tol=1e-9)[0], expected[0])
    assert torch.equal(space.solve(b, tol=1e-9)[0], expected[1])
    b.mul_(2)  # a vector that was written to since is another one
    assert torch.equal(space.solve(b, tol=1e-9)[0], expected[2])


def test_reported_residual_is_that_of_the_parameters(make, oracle):
    rows = make("cross_entropy", n_rows=30)
    b = right_hand_side(rows[0])
    space = RowSpace.build(*rows, damping=1e-2, n_columns=5)
    for tol in (0.5, 0.1, 1e-2, 1e-4):
        x, report = space.solve(b, tol=tol)
        residual = b - oracle.gauss_newton(*rows) @ x - 1e-2 * x
        expected = float(residual.norm() / b.norm())
        assert report.relative_residual == pytest.approx(expected, rel=1e-6)
        assert report.relative_residual <= tol


def test_a_large_sample_takes_the_iterates_of_the_parameter_space(make):
    # every column is sampled, so that both preconditioners and thereby all iterates agree
    rows = make("mse", n_rows=9)
    b = right_hand_side(rows[0])
    known = {"damping": 1e-3, "n_columns": 1000}
    inverse = SampledPreconditioner(*rows, **known)
    expected, primal = conjugate_gradient(
        GaussNewtonOperator(*rows).matvec,
        b,
        damping=1e-3,
        preconditioner=inverse,
        tol=1e-3,
        verify=False,
    )
    x, report = RowSpace.build(*rows, **known).solve(b, tol=1e-3)
    assert report.n_products == primal.n_products
    torch.testing.assert_close(x, expected)


@pytest.mark.parametrize("case", ["cross_entropy", "weighted", "mse"])
@pytest.mark.parametrize("tol", [0.3, 0.1, 1e-2, 1e-3])
def test_what_a_tolerance_leaves_out_moves_residuals_by_less(make, oracle, case, tol):
    rows = make(case, n_rows=30)
    b = right_hand_side(rows[0])
    space = RowSpace.build(*rows, damping=1e-2, n_columns=20, tol=tol)
    x, _ = space.solve(b, tol=1e-9)
    residual = b - oracle.gauss_newton(*rows) @ x - 1e-2 * x
    assert residual.norm() <= tol * b.norm()


def test_a_tolerance_leaves_out_columns(make):
    model, params, X, y = make("cross_entropy", n_rows=30)
    sure = {name: 20 * param for name, param in params.items()}
    sizes = [
        RowSpace.build(model, sure, X, y, damping=1e-2, n_columns=1000, tol=tol).n_columns
        for tol in (0.5, 1e-3, None)
    ]
    assert sizes[0] < sizes[1] <= sizes[2]


def test_max_products_stops_the_solve(make):
    rows = make("cross_entropy", n_rows=30)
    space = RowSpace.build(*rows, damping=1e-4, n_columns=1)
    seen = []
    _, report = space.solve(
        right_hand_side(rows[0]), tol=1e-8, max_products=2, callback=lambda *at: seen.append(at)
    )
    assert (report.converged, report.n_products) == (False, 2)
    assert [i for i, _ in seen] == [1, 2]


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_no_step_for_a_zero_or_a_broken_right_hand_side(make, value):
    rows = make("cross_entropy")
    b = torch.full((rows[0].n_parameters,), value, dtype=torch.float64)
    x, report = RowSpace.build(*rows, damping=0.1, n_columns=3).solve(b, tol=0.1)
    assert not x.any()
    assert report.converged == (value == 0.0)


def test_rows_without_curvature_leave_the_damping(make):
    rows = make("cross_entropy")
    b = right_hand_side(rows[0])
    space = RowSpace.build(*rows, torch.zeros_like(WEIGHTS), damping=0.1, n_columns=3)
    x, report = space.solve(b, tol=1e-6)
    assert report.converged
    torch.testing.assert_close(x, b / 0.1)


@pytest.mark.parametrize("case", ["cnn", "embedder"])
def test_not_for_layers_with_positions_or_embeddings(make, case):
    assert RowSpace.build(*make(case), damping=0.1, n_columns=3) is None


def test_not_for_many_rows_or_large_slopes(make, monkeypatch):
    rows = make("cross_entropy")
    with monkeypatch.context() as patch:
        patch.setattr(_row_space, "MAX_ROWS", 6)
        assert RowSpace.build(*rows, damping=0.1, n_columns=3) is None
    monkeypatch.setattr(_row_space, "BLOCK_BYTES", 7 * 3 * (5 + 3) * 8)
    assert RowSpace.build(*rows, damping=0.1, n_columns=3) is not None
    monkeypatch.setattr(_row_space, "BLOCK_BYTES", 7 * 3 * (5 + 3) * 8 - 1)
    assert RowSpace.build(*rows, damping=0.1, n_columns=3) is None


def test_convolution_with_a_single_position(oracle):
    with torch.random.fork_rng(devices=[]):
        net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten()).double().eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for param in net.parameters():
            param.copy_(torch.randn(param.shape, generator=generator, dtype=torch.float64))
    X = torch.randn(5, 1, 3, 3, generator=generator, dtype=torch.float64)
    model = RowwiseModel(net, nn.CrossEntropyLoss(reduction="none"))
    rows = (model, model.parameters(), X, torch.arange(5) % 3)
    b = right_hand_side(model)
    x, _ = RowSpace.build(*rows, damping=0.1, n_columns=4).solve(b, tol=1e-9)
    torch.testing.assert_close(x, damped_inverse(oracle, rows, None, 0.1) @ b)


def test_linear_losses_are_refused(make):
    model, params, X, y = make("cross_entropy")
    linear = RowwiseModel(model.module, lambda s, y: s.sum(dim=1))
    with pytest.raises(UnsupportedNetError, match="linear in the scores"):
        RowSpace.build(linear, params, X, y, damping=0.1, n_columns=3)


def _mlp(inplace):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        first, second = nn.Linear(5, 8), nn.Linear(8, 3)
    layers = first, nn.ReLU(inplace=inplace), second, nn.ReLU(inplace=inplace)
    return RowwiseModel(
        nn.Sequential(*layers).double().eval(),
        lambda scores, y: nn.functional.cross_entropy(scores, y, reduction="none"),
    )


def test_activations_in_place_change_nothing():
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(40, 5, generator=generator, dtype=torch.float64)
    rows = X, torch.arange(40) % 3
    found = []
    for inplace in (False, True):
        model = _mlp(inplace)
        data = model, model.parameters(), *rows
        b = right_hand_side(model)
        space = RowSpace.build(*data, damping=0.1, n_columns=20)
        preconditioner = SampledPreconditioner(*data, damping=0.1)
        found.append((space.solve(b, tol=1e-9)[0], preconditioner(b), row_sizes(*data)[0]))
    for plain, overwritten in zip(*found, strict=True):
        torch.testing.assert_close(plain, overwritten, rtol=0, atol=0)


def test_an_activation_in_place_makes_no_linear_head():
    with torch.random.fork_rng(devices=[]):
        linear, X = nn.Linear(5, 3), torch.randn(9, 5).double()
    module = nn.Sequential(linear, nn.ReLU(inplace=True)).double().eval()
    model = RowwiseModel(module, lambda s, y: nn.functional.cross_entropy(s, y, reduction="none"))
    data = model, model.parameters(), X, torch.arange(9) % 3, None
    assert HeadCurvature.build(*data, ridge=torch.full((18,), 0.1).double()) is None
