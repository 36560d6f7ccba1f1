"""Recorded operations against the functions that they were recorded from."""

import gc
import weakref

import numpy as np
import pytest
import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import LRScheduler
from torch import nn
from torch.nn import functional as F

from sk_unlearn.nets import MLP, _stacked_step, train_states
from sk_unlearn.nets._cuda_graph import CapturedCall
from sk_unlearn.nets._replay import Recording, record
from sk_unlearn.nets._stacked_optimizer import StackedOptimizer


def linear(X, w):
    return F.linear(X, w).relu()


def in_place(X, w):
    h = X @ w.T
    h[:, 0] = 0
    return h.relu_().add_(1)


def made_inside(X, w):
    mask = torch.arange(w.shape[0], device=w.device) % 2
    return torch.where(mask.bool(), X @ w.T, torch.zeros((), device=w.device))


def several_results(X, w):
    values, places = (X @ w.T).max(dim=1)
    return values * places


def no_out_variant(X, w):
    return F.layer_norm(X @ w.T, (w.shape[0],)), F.gelu(X @ w.T)


def views(X, w):
    return (X @ w.T).T.reshape(-1)[::2].unsqueeze(0).expand(3, -1) * 2


def sums(X, w):
    product = X @ w.T
    return product.sum(), product.sum(1), product.mean()


def losses(X, w):
    w = w.detach().requires_grad_()
    with torch.enable_grad():
        loss = F.cross_entropy(torch.tanh(X @ w.T), X.argmax(1) % w.shape[0])
        return [loss.detach(), *torch.autograd.grad(loss, [w])]


DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
FUNCTIONS = [linear, in_place, made_inside, several_results, no_out_variant, views, sums, losses]


def leaves(result):
    return [result] if torch.is_tensor(result) else list(result)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("device", DEVICES)
def test_repeated_on_new_contents(function, dtype, device):
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(6, 5, generator=generator, dtype=dtype).to(device)
    w = torch.randn(4, 5, generator=generator, dtype=dtype).to(device)
    with torch.no_grad():
        recording = record(function, X, w)
        for expected, found in zip(leaves(function(X, w)), leaves(recording.result), strict=True):
            assert torch.equal(expected, found)
        for _ in range(3):
            X.copy_(torch.randn(6, 5, generator=generator, dtype=dtype))
            w.copy_(torch.randn(4, 5, generator=generator, dtype=dtype))
            repeated = recording.repeat()
            for expected, found in zip(leaves(function(X, w)), leaves(repeated), strict=True):
                assert torch.equal(expected, found)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_nothing_is_needed_of_what_it_wrote(function):
    X, w = torch.randn(6, 5), torch.randn(4, 5)
    with torch.no_grad():
        recording = record(function, X, w)
        expected = [each.clone() for each in leaves(recording.result)]
        for tensor in recording.written:
            tensor.fill_(7)
        for found, each in zip(leaves(recording.repeat()), expected, strict=True):
            assert torch.equal(found, each)


def test_the_memory_stays():
    X, w = torch.ones(6, 5), torch.ones(4, 5)
    recording = record(linear, X, w)
    place = recording.result.data_ptr()
    assert recording.repeat().data_ptr() == place


@pytest.mark.parametrize("device", [None, torch.device("cuda")])
def test_nothing_waits_for_the_garbage_collector(device):
    """Memory of a device is out of its sight."""
    memory = torch.ones(2)
    recording = Recording([(torch.add, (memory, 1), {})], None, [], device)
    gone = weakref.ref(recording), weakref.ref(memory)
    gc.disable()
    try:
        del recording, memory
        assert [reference() for reference in gone] == [None, None]
    finally:
        gc.enable()


@pytest.mark.cuda
@pytest.mark.parametrize("function", [lambda X: X + torch.ones(3).to(X.device), torch.nonzero])
def test_what_the_host_waits_for_is_not_captured(function):
    X = torch.ones(3, device="cuda")
    with torch.no_grad():
        recording = record(function, X)
        for _ in range(3):
            torch.testing.assert_close(recording.repeat(), function(X))
    assert not isinstance(recording._run, CapturedCall)


def test_no_graph_is_kept():
    X, w = torch.ones(6, 5), torch.ones(4, 5, requires_grad=True)
    assert record(linear, X, w).result.grad_fn is None


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda X: X * X.sum().item(), "read as a number"),
        (lambda X: X if X.sum() > 0 else -X, "read as a number"),
        (lambda X: X + torch.randn(5), "random numbers"),
        (lambda X: F.dropout(X, 0.5), "random numbers"),
    ],
)
def test_refused(function, reason):
    with pytest.raises(ValueError, match=reason):
        record(function, torch.ones(6, 5))


class Anew:
    """Stands in for a recording: calls the function again."""

    def __init__(self, function):
        self.function, self.result = function, function()

    def repeat(self):
        self.result = self.function()
        return self.result


def step_anew(self, active, gradients, settings):
    for (rows, _, parameters), is_active in zip(self.blocks, active, strict=True):
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient[rows] if is_active else None
    self._optimizer.step()


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": torch.optim.SGD, "lr": 0.1},
        {"optimizer": torch.optim.SGD, "lr": 0.1, "optimizer__momentum": 0.9},
        {"optimizer": torch.optim.Adam, "lr": 0.01, "optimizer__weight_decay": 0.01},
        {"optimizer": torch.optim.AdamW, "lr": 0.01, "criterion__weight": torch.rand(3)},
        {"lr": 0.1, "callbacks": [("s", LRScheduler("ExponentialLR", gamma=0.7))]},
        {
            "lr": 0.1,
            "callbacks": [
                ("s", LRScheduler("CyclicLR", base_lr=0.01, max_lr=0.2, step_every="batch"))
            ],
        },
    ],
)
def test_a_stack_trains_as_without_recordings(options, monkeypatch):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(90, 5)).astype(np.float32), rng.integers(3, size=90)
    row_sets = [rng.choice(90, size, replace=False) for size in (90, 70, 33, 20, 5)]
    net = NeuralNetClassifier(
        MLP,
        module__n_features=5,
        module__n_outputs=3,
        criterion=nn.CrossEntropyLoss,
        batch_size=16,
        max_epochs=4,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
        **options,
    )

    def train():
        return train_states(net, X, y, row_sets, range(5), stacked=True).states

    recorded = train()
    monkeypatch.setattr(_stacked_step, "record", Anew)
    monkeypatch.setattr(StackedOptimizer, "_step", step_anew)
    for a, b in zip(recorded, train(), strict=True):
        assert a.losses == b.losses
        assert all(torch.equal(value, b.tensors[name]) for name, value in a.tensors.items())
        for name, kept in a.optimizer.items():
            for key, value in kept.items():
                other = b.optimizer[name][key]
                assert torch.equal(torch.as_tensor(value), torch.as_tensor(other))
