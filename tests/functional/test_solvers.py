import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sk_unlearn.functional import GaussNewtonOperator, RowwiseModel, conjugate_gradient


def system(d=12, seed=0, condition=1e3):
    generator = torch.Generator().manual_seed(seed)
    Q = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64))[0]
    values = torch.logspace(0, -torch.log10(torch.tensor(condition)).item(), d).double()
    return Q @ torch.diag(values) @ Q.T, torch.randn(d, generator=generator, dtype=torch.float64)


@settings(max_examples=25)
@given(st.integers(1, 15), st.integers(0, 100), st.floats(1e-3, 1.0))
def test_solution_equals_dense_solve(d, seed, damping):
    H, b = system(d, seed)
    x, report = conjugate_gradient(H.matmul, b, damping=damping, tol=1e-10)
    A = H + damping * torch.eye(d).double()
    torch.testing.assert_close(x, torch.linalg.solve(A, b), rtol=1e-6, atol=1e-8)
    assert report.converged
    true = float((b - A @ x).norm() / b.norm())
    assert report.relative_residual == pytest.approx(true, rel=1e-6)
    assert true <= 1e-10


def test_diagonal_damping_preconditioner_and_start_lead_to_the_same_solution():
    H, b = system()
    damping = torch.linspace(0.01, 5.0, len(b)).double()
    A = H + torch.diag(damping)
    expected = torch.linalg.solve(A, b)
    for options in (
        {},
        {"preconditioner": lambda r: r / A.diagonal()},
        {"x0": expected + 0.1},
    ):
        x, report = conjugate_gradient(H.matmul, b, damping=damping, tol=1e-9, **options)
        torch.testing.assert_close(x, expected)
        assert report.converged


def test_exact_preconditioner_takes_one_product_and_one_to_verify():
    H, b = system()
    A = H + 0.01 * torch.eye(len(b)).double()
    for verify in (True, False):
        _, report = conjugate_gradient(
            H.matmul, b, damping=0.01, verify=verify, preconditioner=lambda r: A.inverse() @ r
        )
        assert report.n_products == 1 + verify


def test_good_start_takes_one_product():
    H, b = system()
    x0 = torch.linalg.solve(H, b)
    x, report = conjugate_gradient(H.matmul, b, x0=x0, verify=False)
    assert torch.equal(x, x0)
    assert report.n_products == 1
    assert report.converged


def test_zero_right_hand_side_is_solved_without_products():
    def refuse(v):
        raise AssertionError

    x, report = conjugate_gradient(refuse, torch.zeros(3), x0=torch.ones(3))
    assert torch.equal(x, torch.zeros(3))
    assert (report.converged, report.n_products, report.relative_residual) == (True, 0, 0.0)


def test_limit_on_iterations_is_reported():
    H, b = system(condition=1e6)
    x, report = conjugate_gradient(H.matmul, b, tol=1e-8, max_products=3)
    assert not report.converged
    assert report.n_products == 4
    assert "3 iterations" in report.message
    assert report.relative_residual == pytest.approx(float((b - H @ x).norm() / b.norm()))
    assert report.relative_residual > 1e-8


def test_negative_curvature_is_reported():
    H = torch.diag(torch.tensor([1.0, -2.0]))
    x, report = conjugate_gradient(H.matmul, torch.tensor([0.1, 1.0]), max_products=50)
    assert not report.converged
    assert "not positive" in report.message
    assert torch.equal(x, torch.zeros(2))
    assert report.relative_residual == 1.0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_numbers_are_reported(value):
    b = torch.ones(2)
    bad = torch.tensor([value, 1.0])
    for matvec, right in ((lambda v: v * bad, b), (lambda v: v, bad)):
        x, report = conjugate_gradient(matvec, right)
        assert not report.converged
        assert "non-finite" in report.message
        assert torch.isfinite(x).all()


@pytest.mark.parametrize("factor", [-1.0, 0.0, float("nan")])
def test_bad_preconditioner_is_reported(factor):
    _, report = conjugate_gradient(lambda v: v, torch.ones(2), preconditioner=lambda r: factor * r)
    assert not report.converged
    assert "preconditioner" in report.message


def test_residual_is_that_of_the_matrix_not_of_the_recursion():
    H, b = system()
    calls = []

    def drifting(v):
        calls.append(None)
        return H @ v + (0.3 * v if len(calls) <= 2 else 0.0)

    # Two false products flatter the recursion; the verification must notice and go on.
    x, report = conjugate_gradient(drifting, b, damping=0.5, tol=0.2)
    true = float((b - H @ x - 0.5 * x).norm() / b.norm())
    assert report.relative_residual == pytest.approx(true)
    assert report.converged


def test_every_iteration_is_called_back():
    H, b = system()
    seen = []
    _, report = conjugate_gradient(H.matmul, b, damping=0.1, callback=lambda *a: seen.append(a))
    assert [k for k, _ in seen] == list(range(1, report.n_products))
    assert [r for _, r in seen] == list(report.residuals[1:-1])
    assert report.residuals[0] == 1.0


def test_influence_on_ridge_regression_has_its_closed_form():
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(20, 4, generator=generator, dtype=torch.float64)
    y = torch.randn(20, generator=generator, dtype=torch.float64)
    net = torch.nn.utils.skip_init(torch.nn.Linear, 4, 1, bias=False, dtype=torch.float64)
    model = RowwiseModel(net.eval(), lambda s, y: 0.5 * (s[:, 0] - y) ** 2)
    params = {"weight": torch.zeros(1, 4, dtype=torch.float64)}
    matvec = GaussNewtonOperator(model, params, X, y).matvec
    x, _ = conjugate_gradient(matvec, X.T @ y / 20, damping=0.3, tol=1e-10)
    expected = torch.linalg.solve(X.T @ X / 20 + 0.3 * torch.eye(4).double(), X.T @ y / 20)
    torch.testing.assert_close(x, expected)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"tol": 0.0}, "tol"),
        ({"max_products": 0}, "max_products"),
        ({"x0": torch.zeros(2)}, "x0"),
    ],
)
def test_bad_options_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        conjugate_gradient(lambda v: v, torch.ones(3), **options)
    with pytest.raises(ValueError, match="shape"):
        conjugate_gradient(lambda v: v, torch.ones(3, 1))
