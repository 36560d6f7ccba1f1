import torch
from torch import nn

from sk_unlearn.functional._linearize import grads
from sk_unlearn.functional._pullbacks import pullbacks


class Opaque(torch.autograd.Function):
    """A cube whose backward pass leaves torch, so that it cannot be batched."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return torch.from_numpy(3 * x.detach().numpy() ** 2 * gradient.numpy())


def check(function):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(5, 4, generator=generator).requires_grad_()
    other = torch.rand(2, generator=generator).requires_grad_()
    hidden = x * 2
    output = function(hidden)
    cotangents = torch.randn(3, *output.shape, generator=generator)
    both = pullbacks(output, (x, hidden, other), cotangents)
    for k, cotangent in enumerate(cotangents):
        expected = grads(output, (x, hidden, other), cotangent, retain_graph=True)
        for found, part in zip(both, expected, strict=True):
            torch.testing.assert_close(found[k], part)


def test_each_cotangent_has_the_product_of_its_own_pass():
    with torch.random.fork_rng():
        net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    check(net)


def test_operations_that_cannot_be_batched_take_a_pass_each():
    check(Opaque.apply)
