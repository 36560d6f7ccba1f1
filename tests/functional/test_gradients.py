import numpy as np
import pytest
import torch
from torch import nn

from sk_unlearn.exceptions import UnsupportedNetError
from sk_unlearn.functional import (
    RowwiseModel,
    directional_derivatives,
    losses_and_gradient,
    row_losses,
    weighted_gradient,
)

CASES = ["cross_entropy", "weighted", "bce", "mse", "cnn", "embedder", "probabilities"]


class _Cube(torch.autograd.Function):
    """x^3 without a forward-mode derivative."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * gradient


class _OnceCube(_Cube):
    """Nor a second derivative."""

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return _Cube.backward(ctx, gradient)


class _Apply(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return x**3 if self.function is None else self.function.apply(x)


def cubic(oracle, function):
    net = oracle.seeded(lambda: nn.Sequential(nn.Linear(4, 3), _Apply(function))).double()
    return RowwiseModel(net.eval(), nn.CrossEntropyLoss(reduction="none"))


def direction(model, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(model.n_parameters, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("case", CASES)
def test_directional_derivatives_equal_explicit_dot_products(make, oracle, case):
    model, params, X, y = make(case)
    v = direction(model)
    expected = oracle.per_row_gradients(model, params, X, y) @ v
    got = directional_derivatives(model, params, X, y, v)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("case", CASES)
def test_directional_derivatives_equal_finite_differences(make, case):
    model, params, X, y = make(case)
    v, step = direction(model), 1e-6
    flat = model.flatten(params)
    up, down = (row_losses(model, model.unflatten(flat + s * v), X, y) for s in (step, -step))
    got = directional_derivatives(model, params, X, y, v)
    torch.testing.assert_close(got, (up - down) / (2 * step), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("case", CASES)
def test_weighted_gradient_is_the_weighted_sum_of_row_gradients(make, oracle, case):
    model, params, X, y = make(case)
    weights = torch.tensor([1.0, 0.0, -2.0, 0.5, 0.0, 3.0, 1.0], dtype=torch.float64)
    rows = oracle.per_row_gradients(model, params, X, y)
    torch.testing.assert_close(
        weighted_gradient(model, params, X, y, weights), weights @ rows, rtol=1e-9, atol=1e-11
    )
    torch.testing.assert_close(
        weighted_gradient(model, params, X, y), rows.sum(0), rtol=1e-9, atol=1e-11
    )


@pytest.mark.parametrize("chunk_size", [None, 3])
@pytest.mark.parametrize("case", CASES)
def test_losses_and_gradient_are_those_of_two_passes(make, case, chunk_size):
    rows = make(case)
    losses, gradient = losses_and_gradient(*rows, chunk_size=chunk_size)
    assert not losses.requires_grad
    torch.testing.assert_close(losses, row_losses(*rows))
    torch.testing.assert_close(gradient, weighted_gradient(*rows))


@pytest.mark.parametrize("chunk_size", [1, 3, 7, 100])
@pytest.mark.parametrize("case", ["cross_entropy", "cnn"])
def test_chunks_do_not_matter(make, case, chunk_size):
    model, params, X, y = make(case)
    v = direction(model)
    for function, extra in (
        (row_losses, ()),
        (weighted_gradient, (torch.arange(7.0),)),
        (directional_derivatives, (v,)),
    ):
        whole = function(model, params, X, y, *extra)
        torch.testing.assert_close(
            function(model, params, X, y, *extra, chunk_size=chunk_size), whole
        )


@pytest.mark.parametrize("chunk_size", [0, -1, 2.0, True])
def test_bad_chunk_sizes_are_refused(make, chunk_size):
    model, params, X, y = make("linear")
    with pytest.raises(ValueError, match="chunk_size"):
        row_losses(model, params, X, y, chunk_size=chunk_size)


def test_rows_of_weight_zero_are_not_computed(make):
    model, params, X, y = make("linear")
    X = X.clone()
    X[2] = np.nan
    weights = torch.ones(7)
    weights[2] = 0
    assert torch.isfinite(weighted_gradient(model, params, X, y, weights)).all()


def test_active_subset_is_a_part_of_the_whole(make):
    model, params, X, y = make("cross_entropy")
    head, head_params, _, _ = make("cross_entropy", active=("2.weight", "2.bias"))
    whole = weighted_gradient(model, params, X, y)
    torch.testing.assert_close(weighted_gradient(head, head_params, X, y), whole[-18:])
    v = torch.zeros_like(whole)
    v[-18:] = direction(head)
    torch.testing.assert_close(
        directional_derivatives(head, head_params, X, y, v[-18:]),
        directional_derivatives(model, params, X, y, v),
    )


def test_no_rows_give_empty_answers(make):
    model, params, X, y = make("linear")
    assert row_losses(model, params, X[:0], y[:0]).shape == (0,)
    assert not weighted_gradient(model, params, X[:0], y[:0]).any()
    assert not weighted_gradient(model, params, X, y, torch.zeros(7)).any()
    assert directional_derivatives(model, params, X[:0], y[:0], direction(model)).shape == (0,)


def test_mismatched_lengths_are_refused(make):
    model, params, X, y = make("linear")
    with pytest.raises(ValueError, match="7 rows, y has 6"):
        row_losses(model, params, X, y[:-1])
    with pytest.raises(ValueError, match="weights"):
        weighted_gradient(model, params, X, y, torch.ones(6))


def test_without_forward_mode_a_double_backward_pass_gives_the_same(make, oracle):
    _, _, X, y = make("linear")
    plain, custom = cubic(oracle, None), cubic(oracle, _Cube)
    v = direction(plain)
    got = directional_derivatives(custom, custom.parameters(), X, y, v)
    expected = directional_derivatives(plain, plain.parameters(), X, y, v)
    torch.testing.assert_close(got, expected)
    assert got.abs().min() > 0


def test_without_any_second_way_the_error_says_what_to_do(make, oracle):
    _, _, X, y = make("linear")
    model = cubic(oracle, _OnceCube)
    with pytest.raises(UnsupportedNetError, match="restrict the active parameters"):
        directional_derivatives(model, model.parameters(), X, y, direction(model))


@pytest.mark.cuda
def test_device_is_that_of_the_parameters(make):
    model, params, X, y = make("cross_entropy")
    v = direction(model)
    expected = directional_derivatives(model, params, X, y, v)
    model.module.cuda()
    got = directional_derivatives(model, model.parameters(), X.cuda(), y.cuda(), v.cuda())
    torch.testing.assert_close(got.cpu(), expected)
