"""Nets side by side: what each would be alone, with the same bits in any company."""

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from sklearn.base import clone
from skorch import NeuralNet, NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import LRScheduler
from torch import nn

from sk_unlearn.exceptions import UnsupportedNetError
from sk_unlearn.nets import (
    MLP,
    load_state,
    predict_proba,
    prepare,
    read_state,
    train_nets,
    train_states,
)
from sk_unlearn.utils._grid_scale import GridScale
from sk_unlearn.utils._seeding import isolated_rng

SIZES = (45, 1, 33, 20, 7, 64, 45)
SEEDS = tuple(range(10, 17))
D, C = 5, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, D))
Y = RNG.integers(C, size=80)
ROWS = [RNG.choice(80, size, replace=False) for size in SIZES]


class Double(MLP):
    def __init__(self, *args, dtype=torch.float64, **kwargs):
        super().__init__(*args, **kwargs)
        self.to(dtype)


def sequence(n_features, n_outputs, hidden=(), activation=None, head=nn.Identity):
    layers = [nn.Linear(n_features, 6, bias=False), nn.Sequential(nn.Tanh(), nn.Dropout(0.0))]
    return nn.Sequential(*layers, nn.Linear(6, n_outputs), head()).double()


def make_net(kind=NeuralNetClassifier, module=Double, outputs=C, **options):
    settings = {
        "module__n_features": D,
        "module__n_outputs": outputs,
        "module__hidden": (7,),
        "module__activation": nn.ELU,
        "criterion": nn.CrossEntropyLoss,
        "optimizer": torch.optim.SGD,
        "lr": 0.1,
        "batch_size": 20,
        "max_epochs": 3,
        "iterator_train__shuffle": True,
        "train_split": None,
        "verbose": 0,
    }
    return kind(module, **{**settings, **options})


def alone(net, X, y, rows, seed):
    """What skorch makes of it."""
    with isolated_rng(seed):
        return prepare(clone(net)).initialize().partial_fit(X[rows], y[rows])


def assert_same(states, others):
    """Equal bits of everything in two lists of states."""
    for a, b in zip(states, others, strict=True):
        assert (a.epochs, a.batches, a.losses) == (b.epochs, b.batches, b.losses)
        assert torch.equal(a.rng, b.rng)
        assert all(torch.equal(a.tensors[name], b.tensors[name]) for name in a.tensors)
        assert a.optimizer.keys() == b.optimizer.keys()
        for name, kept in a.optimizer.items():
            assert kept.keys() == b.optimizer[name].keys()
            assert all(torch.equal(value, b.optimizer[name][key]) for key, value in kept.items())


def assert_like_skorch(net, y=Y, rows=ROWS, seeds=SEEDS):
    for k, state in enumerate(train_states(net, X, y, rows, seeds)):
        one = alone(net, X, y, rows[k], seeds[k])
        expected = read_state(one)
        losses = [row["train_loss"] for row in one.history]
        np.testing.assert_allclose(state.losses, losses, rtol=1e-9)
        assert state.batches == sum(row["train_batch_count"] for row in one.history)
        assert state.optimizer.keys() == expected.optimizer.keys()
        for name, value in state.tensors.items():
            torch.testing.assert_close(value, expected.tensors[name], rtol=1e-9, atol=1e-10)
        for name, kept in state.optimizer.items():
            for key, value in kept.items():
                other = expected.optimizer[name][key]
                torch.testing.assert_close(value, other, rtol=1e-9, atol=1e-10)


OPTIMIZERS = {
    "sgd": {"optimizer": torch.optim.SGD},
    "decayed": {"optimizer": torch.optim.SGD, "optimizer__weight_decay": 0.01},
    "momentum": {
        "optimizer": torch.optim.SGD,
        "optimizer__momentum": 0.9,
        "optimizer__dampening": 0.3,
    },
    "nesterov": {
        "optimizer": torch.optim.SGD,
        "optimizer__momentum": 0.8,
        "optimizer__nesterov": True,
    },
    "adam": {"optimizer": torch.optim.Adam, "lr": 0.01, "optimizer__weight_decay": 0.01},
    "amsgrad": {"optimizer": torch.optim.Adam, "lr": 0.01, "optimizer__amsgrad": True},
    "maximize": {"optimizer": torch.optim.Adam, "lr": 1e-3, "optimizer__maximize": True},
    "adamw": {"optimizer": torch.optim.AdamW, "lr": 0.01, "optimizer__betas": (0.8, 0.99)},
}
SCHEDULES = {
    "step": LRScheduler("StepLR", step_size=2, gamma=0.3),
    "cosine": LRScheduler("CosineAnnealingLR", T_max=3),
    "onecycle": LRScheduler(
        torch.optim.lr_scheduler.OneCycleLR, max_lr=0.2, total_steps=12, step_every="batch"
    ),
    "warm": LRScheduler("WarmRestartLR", min_lr=0.01, max_lr=0.1, base_period=2),
}
WEIGHT = torch.tensor([0.2, 1.0, 3.0]).double()


class TestAgainstSkorch:
    @pytest.mark.parametrize("optimizer", OPTIMIZERS)
    def test_optimizers(self, optimizer):
        assert_like_skorch(make_net(**OPTIMIZERS[optimizer]))

    @pytest.mark.parametrize("schedule", SCHEDULES)
    @pytest.mark.parametrize("optimizer", ["momentum", "adam"])
    def test_schedules(self, optimizer, schedule):
        callbacks = [("lr", SCHEDULES[schedule])]
        assert_like_skorch(make_net(**OPTIMIZERS[optimizer], callbacks=callbacks))

    @pytest.mark.parametrize(
        "options",
        [
            {"criterion__weight": WEIGHT},
            {"criterion__label_smoothing": 0.2},
            {
                "criterion__weight": WEIGHT,
                "criterion__label_smoothing": 0.2,
                "criterion__ignore_index": 1,
            },
            {"module": sequence, "module__head": lambda: nn.Softmax(1), "criterion": nn.NLLLoss},
        ],
    )
    def test_losses_of_labels(self, options):
        # no batch may hold the ignored class alone, whose mean is no number
        rows = [r for r in ROWS if len(r) > 1]
        assert_like_skorch(make_net(**options, lr=0.05), rows=rows, seeds=SEEDS[1:])

    @pytest.mark.parametrize(
        "criterion", [nn.MSELoss, nn.L1Loss, nn.HuberLoss, nn.SmoothL1Loss, nn.BCEWithLogitsLoss]
    )
    def test_losses_of_values(self, criterion):
        target = np.stack([Y > 0, Y > 1], 1).astype(float)
        assert_like_skorch(make_net(NeuralNetRegressor, outputs=2, criterion=criterion), target)

    def test_real_targets_of_one_column(self):
        net = make_net(NeuralNetRegressor, outputs=1, criterion=nn.MSELoss)
        assert_like_skorch(net, X[:, :1] ** 2)

    @pytest.mark.parametrize("columns", [1, 2])
    def test_weighted_columns(self, columns):
        net = make_net(
            NeuralNetBinaryClassifier if columns == 1 else NeuralNetRegressor,
            outputs=columns,
            criterion=nn.BCEWithLogitsLoss,
            criterion__pos_weight=torch.arange(2.0, 2 + columns).double(),
        )
        y = (Y > 0).astype(float)
        assert_like_skorch(net, y if columns == 1 else np.c_[y, 1 - y])

    def test_soft_labels(self):
        assert_like_skorch(make_net(NeuralNet), RNG.dirichlet(np.ones(C), size=80))

    @pytest.mark.parametrize(
        "options",
        [
            {"iterator_train__shuffle": False},
            {"iterator_train__batch_size": 33},
            {"batch_size": 1, "max_epochs": 1},
        ],
    )
    def test_batches(self, options):
        assert_like_skorch(make_net(**options))

    @pytest.mark.parametrize(
        "activation", [nn.ReLU, nn.Sigmoid, nn.Tanh, nn.ELU, nn.GELU, nn.SiLU, nn.Softplus]
    )
    def test_layers(self, activation):
        inputs = GridScale(scale=(1.0, 2.0, 0.5, 1.0, 4.0), offset=(0.0, 1.0, 0.0, -1.0, 2.0))
        hidden = {"module__hidden": (7, 40), "module__activation": activation}
        assert_like_skorch(make_net(**hidden, module__inputs=inputs))
        assert_like_skorch(make_net(module=sequence))

    def test_nets_without_a_batch_stay_as_they_are(self):
        net = make_net(iterator_train__drop_last=True, **OPTIMIZERS["adam"])
        for size in (20, 100):
            net.set_params(batch_size=size)
            before, after = (train_states(net, X, Y, ROWS, SEEDS, epochs=n) for n in (0, 3))
            for a, b, rows in zip(before, after, ROWS, strict=True):
                assert b.batches == 3 * (len(rows) // size)
                if len(rows) < size:
                    assert b.optimizer == {}
                    assert all(torch.equal(a.tensors[n], b.tensors[n]) for n in a.tensors)
                else:
                    one = alone(net, X, Y, rows, SEEDS[SIZES.index(len(rows))])
                    assert len(one.history) == 3


class TestEqualBits:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("optimizer", ["momentum", "adam", "adamw"])
    def test_width_order_and_company(self, optimizer, dtype):
        net = make_net(**OPTIMIZERS[optimizer], module__dtype=dtype)
        whole = train_states(net, X, Y, ROWS, SEEDS, width=50)
        for width in (1, 2, 3, 4):
            assert_same(whole, train_states(net, X, Y, ROWS, SEEDS, width=width))
        for members in ([5, 1], [6, 0, 3], [1], [1, 1, 1, 1, 2]):
            rows, seeds = [ROWS[k] for k in members], [SEEDS[k] for k in members]
            assert_same([whole[k] for k in members], train_states(net, X, Y, rows, seeds))

    @pytest.mark.parametrize("activation", [nn.ELU, nn.Sigmoid, nn.Softplus, nn.GELU, nn.Tanh])
    def test_odd_sizes_of_every_activation(self, activation):
        options = {"module__activation": activation, "module__dtype": torch.float32}
        net = make_net(**options, batch_size=5, **OPTIMIZERS["adam"])
        whole = train_states(net, X, Y, ROWS, SEEDS)
        for width in (1, 2, 3):
            assert_same(whole, train_states(net, X, Y, ROWS, SEEDS, width=width))

    def test_wide_layers(self):
        X, y = RNG.normal(size=(120, 784)).astype(np.float32), RNG.integers(10, size=120)
        rows = [RNG.choice(120, size, replace=False) for size in (70, 64, 33, 90, 10, 120)]
        sizes = {"module__n_features": 784, "module__n_outputs": 10, "module__hidden": (128, 100)}
        net = make_net(module=MLP, batch_size=32, **sizes, **OPTIMIZERS["adam"])
        whole = train_states(net, X, y, rows, SEEDS[:6])
        for width in (1, 2):
            assert_same(whole, train_states(net, X, y, rows, SEEDS[:6], width=width))

    @pytest.mark.parametrize(
        "backend", ["threading", pytest.param("loky", marks=pytest.mark.slow)]
    )
    def test_jobs(self, backend):
        import joblib

        net = make_net(module=MLP, **OPTIMIZERS["adam"])
        one = train_states(net, X, Y, ROWS, SEEDS)
        with joblib.parallel_config(backend=backend):
            assert_same(one, train_states(net, X, Y, ROWS, SEEDS, n_jobs=2))

    def test_calls_from_several_threads_do_not_meet(self):
        expected = train_states(make_net(), X, Y, ROWS, SEEDS)
        with ThreadPoolExecutor(4) as pool:
            jobs = [pool.submit(train_states, make_net(), X, Y, ROWS, SEEDS) for _ in range(8)]
            for job in jobs:
                assert_same(expected, job.result())

    def test_a_net_that_diverges_leaves_the_others_alone(self):
        own = X.copy()
        own[79] = np.inf
        # the first row of the longest net: the one that a careless padding would hand round
        rows = [r[r != 79] if k != 5 else np.append(79, r[r != 79]) for k, r in enumerate(ROWS)]
        whole, rest = train_states(make_net(), own, Y, rows, SEEDS), [0, 1, 2, 3, 4, 6]
        assert not torch.isfinite(whole[5].tensors["layers.1.weight"]).all()
        part = train_states(make_net(), own, Y, [rows[k] for k in rest], [SEEDS[k] for k in rest])
        assert_same([whole[k] for k in rest], part)

    @pytest.mark.parametrize("schedule", [None, "step", "onecycle"])
    @pytest.mark.parametrize("optimizer", ["momentum", "adam"])
    def test_going_on_from_a_state(self, optimizer, schedule):
        callbacks = None if schedule is None else [("lr", SCHEDULES[schedule])]
        net = make_net(**OPTIMIZERS[optimizer], callbacks=callbacks)
        first, again = (train_states(net, X, Y, ROWS, SEEDS, epochs=1) for _ in range(2))
        on = train_states(net, X, Y, ROWS, start=first, epochs=2)
        assert_same(train_states(net, X, Y, ROWS, SEEDS), on)
        assert_same(first, again)  # the start is not changed

    def test_starts_at_different_points(self):
        net = make_net(**OPTIMIZERS["adam"], callbacks=[("lr", SCHEDULES["step"])])
        early, late = (train_states(net, X, Y, ROWS, SEEDS, epochs=n) for n in (1, 2))
        mixed = [late[k] if k % 2 else early[k] for k in range(7)]
        whole = train_states(net, X, Y, ROWS, range(7), start=mixed, epochs=1)
        for k in range(7):
            single = train_states(net, X, Y, [ROWS[k]], [k], start=[mixed[k]], epochs=1)
            assert_same([whole[k]], single)


@pytest.mark.cuda
@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_close_to_the_cpu(optimizer):
    net = make_net(**OPTIMIZERS[optimizer])
    expected = train_states(net, X, Y, ROWS, SEEDS)
    found = train_states(net.set_params(device="cuda"), X, Y, ROWS, SEEDS)
    for a, b in zip(expected, found, strict=True):
        for name, value in a.tensors.items():
            torch.testing.assert_close(value, b.tensors[name].cpu(), rtol=1e-7, atol=1e-10)
    on = train_states(net, X, Y, ROWS, start=found, epochs=1)
    assert on[0].epochs == found[0].epochs + 1


class TestNets:
    def test_they_serve_as_trained_ones(self):
        net = make_net(**OPTIMIZERS["adam"])
        nets = train_nets(net, X, Y, ROWS, SEEDS)
        for own, rows, seed in zip(nets, ROWS, SEEDS, strict=True):
            one = alone(net, X, Y, rows, seed)
            np.testing.assert_allclose(predict_proba(own, X), predict_proba(one, X), rtol=1e-8)
            np.testing.assert_array_equal(own.classes_, np.unique(Y[rows]))
            own.partial_fit(X, Y)
            assert len(own.history) == 3 + 3
        assert not net.initialized_

    def test_loaded_state_is_the_state(self):
        net = make_net(**OPTIMIZERS["adam"])
        state = train_states(net, X, Y, ROWS, SEEDS)[2]
        loaded, counts = (
            load_state(prepare(clone(net)), state),
            {"epochs": 3, "batches": state.batches},
        )
        assert_same([state], [read_state(loaded, rng=state.rng, **counts, losses=state.losses)])

    def test_global_generators_are_left_as_found(self):
        torch.manual_seed(3)
        np.random.seed(3)
        before = torch.get_rng_state(), np.random.get_state()[1].copy()
        train_nets(make_net(), X, Y, ROWS[:2], SEEDS[:2])
        assert torch.equal(before[0], torch.get_rng_state())
        np.testing.assert_array_equal(before[1], np.random.get_state()[1])

    def test_an_instance_is_trained_on_copies(self):
        module = Double(D, C)
        before = module.layers[1].weight.detach().clone()
        net = NeuralNetClassifier(
            module, criterion=nn.CrossEntropyLoss, train_split=None, verbose=0
        )
        train_nets(net, X, Y, ROWS[:2], [0, 1], epochs=1)
        assert torch.equal(before, module.layers[1].weight)

    def test_what_cannot_be_stacked_says_why(self):
        with pytest.raises(UnsupportedNetError, match="RMSprop"):
            train_nets(make_net(optimizer=torch.optim.RMSprop), X, Y, ROWS, SEEDS)

    def test_no_warning_reaches_the_caller(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            train_nets(make_net(callbacks=[SCHEDULES["onecycle"]]), X, Y, ROWS, SEEDS)
