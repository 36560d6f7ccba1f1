import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from skorch import NeuralNet, NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import LRScheduler
from torch import nn
from torch.nn import functional as F

from sk_unlearn.exceptions import UnsupportedNetError
from sk_unlearn.nets import (
    MLP,
    load_state,
    predict_proba,
    predict_scores,
    predict_stacked,
    prepare,
    read_state,
    rowwise_model,
    stack_tensors,
    to_tensors,
    train_nets,
    train_states,
)
from sk_unlearn.nets import _stacked_jobs as stacked_jobs
from sk_unlearn.utils._seeding import isolated_rng

SIZES = (45, 1, 33, 20, 7, 64, 45)
SEEDS = tuple(range(10, 17))
D, C = 5, 3


class Double(MLP):
    def __init__(self, *args, dtype=torch.float64, **kwargs):
        super().__init__(*args, **kwargs)
        self.to(dtype)


class Probabilities(Double):
    def forward(self, X):
        return super().forward(X).softmax(-1)


class Flat(Double):
    def forward(self, X):
        return super().forward(X).squeeze(-1)


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


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, D))
    y = rng.integers(C, size=80)
    return X, y, [rng.choice(80, size, replace=False) for size in SIZES]


def assert_same(a, b):
    """Equal bits of everything in two states."""
    assert (a.epochs, a.batches, a.losses) == (b.epochs, b.batches, b.losses)
    assert torch.equal(a.rng, b.rng)
    assert all(torch.equal(a.tensors[name], b.tensors[name]) for name in a.tensors)
    assert a.optimizer.keys() == b.optimizer.keys()
    for name, kept in a.optimizer.items():
        assert kept.keys() == b.optimizer[name].keys()
        for key, value in kept.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(b.optimizer[name][key]))


def on_cpu(state):
    tensors = {name: value.cpu() for name, value in state.tensors.items()}
    kept = {
        name: {key: v.cpu() if torch.is_tensor(v) else v for key, v in kept.items()}
        for name, kept in state.optimizer.items()
    }
    return replace(state, tensors=tensors, optimizer=kept)


def assert_close(a, b, rtol=1e-9):
    assert (a.epochs, a.batches) == (b.epochs, b.batches)
    np.testing.assert_allclose(a.losses, b.losses, rtol=rtol)
    for name, value in a.tensors.items():
        torch.testing.assert_close(value, b.tensors[name], rtol=rtol, atol=1e-10)
    assert a.optimizer.keys() == b.optimizer.keys()
    for name, kept in a.optimizer.items():
        for key, value in kept.items():
            torch.testing.assert_close(value, b.optimizer[name][key], rtol=rtol, atol=1e-10)


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
    "adamw": {"optimizer": torch.optim.AdamW, "lr": 0.01, "optimizer__betas": (0.8, 0.99)},
}
SCHEDULES = {
    "step": LRScheduler("StepLR", step_size=2, gamma=0.3),
    "multi": LRScheduler("MultiStepLR", milestones=[1, 2], gamma=0.5),
    "exponential": LRScheduler("ExponentialLR", gamma=0.7),
    "cosine": LRScheduler("CosineAnnealingLR", T_max=3),
    "onecycle": LRScheduler(
        torch.optim.lr_scheduler.OneCycleLR, max_lr=0.2, total_steps=12, step_every="batch"
    ),
    "warm": LRScheduler("WarmRestartLR", min_lr=0.01, max_lr=0.1, base_period=2),
}


class TestAgainstPlainPytorch:
    def plain(self, X, y, rows, seed, optimizer, epochs, batch_size):
        """A loop as a tutorial writes it, on the draws of a DataLoader."""
        with isolated_rng(seed):
            module = Double(D, C, hidden=(7,), activation=nn.ELU)
            optimizer = optimizer(module.parameters())
            dataset = torch.utils.data.TensorDataset(
                torch.from_numpy(X[rows]), torch.from_numpy(y[rows])
            )
            loader = torch.utils.data.DataLoader(dataset, batch_size, shuffle=True)
            for _ in range(epochs):
                for Xb, yb in loader:
                    optimizer.zero_grad()
                    F.cross_entropy(module(Xb), yb).backward()
                    optimizer.step()
        return module

    @pytest.mark.parametrize("name", OPTIMIZERS)
    def test_optimizers(self, data, name):
        X, y, rows = data
        options = {"lr": 0.1, **OPTIMIZERS[name]}
        kwargs = {k.removeprefix("optimizer__"): v for k, v in options.items() if k != "optimizer"}
        trained = train_nets(make_net(**options), X, y, rows, SEEDS, stacked=True)
        for k, net in enumerate(trained.nets):
            plain = self.plain(
                X, y, rows[k], SEEDS[k], lambda p: options["optimizer"](p, **kwargs), 3, 20
            )
            for ours, theirs in zip(net.module_.parameters(), plain.parameters(), strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)

    def test_no_updates_gives_the_initial_weights(self, data):
        X, y, rows = data
        states = train_states(make_net(), X, y, rows, SEEDS, epochs=0, stacked=True).states
        for state, seed in zip(states, SEEDS, strict=True):
            with isolated_rng(seed):
                net = prepare(make_net()).initialize()
            for name, value in net.module_.state_dict().items():
                assert torch.equal(value, state.tensors[name])


class TestAgainstSkorch:
    def check(self, net, X, y, rows):
        together = train_states(net, X, y, rows, SEEDS, stacked=True)
        alone = train_states(net, X, y, rows, SEEDS, stacked=False)
        assert together.stacked
        assert not alone.stacked
        for a, b in zip(together.states, alone.states, strict=True):
            assert_close(a, b)
            assert torch.equal(a.rng, b.rng)

    @pytest.mark.parametrize("optimizer", OPTIMIZERS)
    def test_optimizers(self, data, optimizer):
        self.check(make_net(**OPTIMIZERS[optimizer]), *data)

    @pytest.mark.parametrize("schedule", SCHEDULES)
    @pytest.mark.parametrize("optimizer", ["momentum", "adam"])
    def test_schedules(self, data, optimizer, schedule):
        net = make_net(**OPTIMIZERS[optimizer], callbacks=[("lr", SCHEDULES[schedule])])
        self.check(net, *data)

    @pytest.mark.parametrize(
        "options",
        [
            {"criterion__weight": torch.tensor([0.2, 1.0, 3.0]).double()},
            {"criterion__label_smoothing": 0.2},
            {
                "criterion__weight": torch.tensor([0.2, 1.0, 3.0]).double(),
                "criterion__label_smoothing": 0.2,
                "criterion__ignore_index": 1,
            },
            {"criterion": nn.NLLLoss, "module": Probabilities},
        ],
    )
    def test_losses_of_labels(self, data, options):
        X, y, rows = data
        # no batch may hold the ignored class alone, whose mean is no number
        self.check(make_net(**options, lr=0.05), X, y, [r for r in rows if len(r) > 1] + rows[:1])

    @pytest.mark.parametrize(
        "criterion", [nn.MSELoss, nn.L1Loss, nn.HuberLoss, nn.SmoothL1Loss, nn.BCEWithLogitsLoss]
    )
    def test_losses_of_values(self, data, criterion):
        X, y, rows = data
        target = np.stack([y > 0, y > 1], 1).astype(float)
        net = make_net(NeuralNetRegressor, outputs=2, criterion=criterion)
        self.check(net, X, target, rows)

    def test_real_targets_of_one_column(self, data):
        X, _, rows = data
        net = make_net(NeuralNetRegressor, outputs=1, criterion=nn.MSELoss)
        self.check(net, X, X[:, 0] ** 2, rows)

    @pytest.mark.parametrize("module", [Double, Flat])
    def test_binary(self, data, module):
        X, y, rows = data
        weight = torch.tensor(2.0).double()
        net = make_net(
            NeuralNetBinaryClassifier,
            module=module,
            outputs=1,
            criterion=nn.BCEWithLogitsLoss,
            criterion__pos_weight=weight,
        )
        self.check(net, X, (y > 0).astype(float), rows)

    def test_soft_labels(self, data):
        X, _, rows = data
        soft = np.random.default_rng(1).dirichlet(np.ones(C), size=80)
        self.check(make_net(NeuralNet), X, soft, rows)

    @pytest.mark.parametrize(
        "options",
        [
            {"iterator_train__shuffle": False},
            {"iterator_train__drop_last": True},
            {"iterator_train__batch_size": 33},
            {"batch_size": 1},
        ],
    )
    def test_batches(self, data, options):
        X, y, rows = data
        net = make_net(**options, max_epochs=2)
        together = train_states(net, X, y, rows, SEEDS, stacked=True).states
        # skorch fails on a net without any batch
        full = [k for k in range(len(rows)) if "iterator_train__drop_last" not in options]
        for k in full or [0, 2, 5]:
            alone = train_states(net, X, y, [rows[k]], [SEEDS[k]], stacked=False).states[0]
            assert_close(together[k], alone)

    def test_a_net_without_a_batch_stays_as_it_is(self, data):
        X, y, rows = data
        net = make_net(iterator_train__drop_last=True, **OPTIMIZERS["adam"])
        before = train_states(net, X, y, rows, SEEDS, epochs=0, stacked=True).states[1]
        after = train_states(net, X, y, rows, SEEDS, stacked=True).states[1]
        assert after.optimizer == {}
        assert after.batches == 0
        assert all(torch.equal(before.tensors[n], after.tensors[n]) for n in before.tensors)

    def test_nets_without_any_batch_stay_as_they_are(self, data):
        X, y, rows = data
        net = make_net(iterator_train__drop_last=True, batch_size=100)
        before = train_states(net, X, y, rows, SEEDS, epochs=0, stacked=True).states
        after = train_states(net, X, y, rows, SEEDS, stacked=True).states
        for a, b in zip(before, after, strict=True):
            assert all(torch.equal(a.tensors[n], b.tensors[n]) for n in a.tensors)

    def test_frozen_and_tied_parameters(self, data):
        self.check(make_net(module=Tied, module__hidden=()), *data)


class Tied(nn.Module):
    def __init__(self, n_features, n_outputs, hidden=(), activation=nn.ReLU):
        super().__init__()
        self.first = nn.Linear(n_features, n_features, dtype=torch.float64)
        self.second = nn.Linear(n_features, n_features, dtype=torch.float64)
        self.second.weight = self.first.weight
        self.out = nn.Linear(n_features, n_outputs, dtype=torch.float64)
        self.out.bias.requires_grad_(False)
        self.register_buffer("scale", torch.rand(n_features).double())

    def forward(self, X):
        return self.out(self.second(torch.tanh(self.first(X * self.scale))))


ACTIVATIONS = [nn.ELU, nn.Sigmoid, nn.Softplus, nn.GELU, nn.Tanh]


class TestEqualBits:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("optimizer", ["momentum", "adam", "adamw"])
    def test_width_order_and_company(self, data, optimizer, dtype):
        X, y, rows = data
        net = make_net(**OPTIMIZERS[optimizer], module__dtype=dtype)
        whole = train_states(net, X, y, rows, SEEDS, stacked=True, width=50).states
        for width in (1, 2, 3, 4):
            part = train_states(net, X, y, rows, SEEDS, stacked=True, width=width).states
            for a, b in zip(whole, part, strict=True):
                assert_same(a, b)
        for members in ([5, 1], [6, 0, 3], [1], [1, 1, 1, 1, 2]):
            part = train_states(
                net, X, y, [rows[k] for k in members], [SEEDS[k] for k in members], stacked=True
            ).states
            for k, state in zip(members, part, strict=True):
                assert_same(whole[k], state)

    @pytest.mark.parametrize("activation", ACTIVATIONS)
    def test_odd_sizes_of_every_activation(self, data, activation):
        X, y, rows = data
        net = make_net(
            module__activation=activation,
            module__dtype=torch.float32,
            batch_size=5,
            **OPTIMIZERS["adam"],
        )
        whole = train_states(net, X, y, rows, SEEDS, stacked=True).states
        for width in (2, 3):
            part = train_states(net, X, y, rows, SEEDS, stacked=True, width=width).states
            for a, b in zip(whole, part, strict=True):
                assert_same(a, b)

    def test_wide_layers(self):
        rng = np.random.default_rng(2)
        X, y = rng.normal(size=(120, 784)).astype(np.float32), rng.integers(10, size=120)
        rows = [rng.choice(120, size, replace=False) for size in (70, 64, 33, 90, 10, 120)]
        net = make_net(
            module=MLP,
            module__n_features=784,
            module__n_outputs=10,
            module__hidden=(128, 100),
            batch_size=32,
            max_epochs=2,
            **OPTIMIZERS["adam"],
        )
        whole = train_states(net, X, y, rows, SEEDS[:6], stacked=True).states
        part = train_states(net, X, y, rows, SEEDS[:6], stacked=True, width=2).states
        for a, b in zip(whole, part, strict=True):
            assert_same(a, b)

    @pytest.mark.parametrize(
        "backend", ["threading", pytest.param("loky", marks=pytest.mark.slow)]
    )
    def test_jobs(self, data, backend):
        import joblib

        X, y, rows = data
        net = make_net(module=MLP, **OPTIMIZERS["adam"])
        one = train_states(net, X, y, rows, SEEDS, stacked=True).states
        with joblib.parallel_config(backend=backend):
            two = train_states(net, X, y, rows, SEEDS, stacked=True, n_jobs=2).states
        for a, b in zip(one, two, strict=True):
            assert_same(a, b)

    def test_a_net_that_diverges_leaves_the_others_alone(self, data):
        X, y, rows = data
        X = X.copy()
        X[79] = np.inf
        # the first row of the longest net: the one that a careless padding would hand round
        rows = [r[r != 79] if k != 5 else np.append(79, r[r != 79]) for k, r in enumerate(rows)]
        net = make_net()
        whole = train_states(net, X, y, rows, SEEDS, stacked=True).states
        rest = [k for k in range(7) if k != 5]
        part = train_states(
            net, X, y, [rows[k] for k in rest], [SEEDS[k] for k in rest], stacked=True
        ).states
        assert not torch.isfinite(whole[5].tensors["layers.1.weight"]).all()
        for k, state in zip(rest, part, strict=True):
            assert_same(whole[k], state)

    @pytest.mark.parametrize("schedule", [None, "exponential", "onecycle"])
    @pytest.mark.parametrize("optimizer", ["momentum", "adam"])
    def test_going_on_from_a_state(self, data, optimizer, schedule):
        X, y, rows = data
        callbacks = None if schedule is None else [("lr", SCHEDULES[schedule])]
        net = make_net(**OPTIMIZERS[optimizer], callbacks=callbacks)
        through = train_states(net, X, y, rows, SEEDS, stacked=True).states
        first = train_states(net, X, y, rows, SEEDS, epochs=1, stacked=True).states
        on = train_states(net, X, y, rows, None, start=first, epochs=2, stacked=True).states
        for a, b in zip(through, on, strict=True):
            assert_same(a, b)
        alone = train_states(net, X, y, rows, None, start=first, epochs=2, stacked=False).states
        for a, b in zip(through, alone, strict=True):
            assert_close(a, b)

    def test_starts_at_different_points(self, data):
        X, y, rows = data
        net = make_net(**OPTIMIZERS["adam"], callbacks=[("lr", SCHEDULES["exponential"])])
        early, late = (
            train_states(net, X, y, rows, SEEDS, epochs=epochs, stacked=True).states
            for epochs in (1, 2)
        )
        mixed = [late[k] if k % 2 else early[k] for k in range(7)]
        whole = train_states(net, X, y, rows, range(7), start=mixed, epochs=1, stacked=True).states
        for k in range(7):
            single = train_states(
                net, X, y, [rows[k]], [k], start=[mixed[k]], epochs=1, stacked=True
            ).states[0]
            assert_same(whole[k], single)

    def test_the_start_is_not_changed(self, data):
        X, y, rows = data
        net = make_net(**OPTIMIZERS["adam"])
        first, again = (
            train_states(net, X, y, rows, SEEDS, epochs=1, stacked=True).states for _ in range(2)
        )
        for stacked in (True, False):
            train_states(net, X, y, rows, None, start=first, epochs=1, stacked=stacked)
        for a, b in zip(first, again, strict=True):
            assert_same(a, b)


@pytest.mark.cuda
class TestOnCuda:
    @pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
    def test_close_to_the_cpu(self, data, optimizer):
        X, y, rows = data
        net = make_net(**OPTIMIZERS[optimizer])
        expected = train_nets(net, X, y, rows, SEEDS, stacked=True)
        found = train_nets(net.set_params(device="cuda"), X, y, rows, SEEDS, stacked=True)
        for a, b, one in zip(expected.states, found.states, found.nets, strict=True):
            assert_close(a, on_cpu(b), rtol=1e-7)
            assert next(one.module_.parameters()).device.type == "cuda"
        on = train_states(net, X, y, rows, None, start=found.states, epochs=1, stacked=True)
        assert on.states[0].epochs == found.states[0].epochs + 1
        scores = predict_stacked(found.nets[0], stack_tensors(found.states), X)
        np.testing.assert_allclose(scores[2], predict_scores(found.nets[2], X), rtol=1e-5)


class TestNets:
    def test_they_serve_as_trained_ones(self, data):
        X, y, rows = data
        net = make_net(**OPTIMIZERS["adam"])
        together, alone = (
            train_nets(net, X, y, rows, SEEDS, stacked=stacked).nets for stacked in (True, False)
        )
        for k, (a, b) in enumerate(zip(together, alone, strict=True)):
            np.testing.assert_allclose(predict_proba(a, X), predict_proba(b, X), rtol=1e-8)
            np.testing.assert_array_equal(a.classes_, np.unique(y[rows[k]]))
            np.testing.assert_allclose(a.history[:, "train_loss"], b.history[:, "train_loss"])
            model = rowwise_model(a, *to_tensors(a, X[rows[k]], y[rows[k]]))
            assert set(model.parameters()) == {n for n, _ in a.module_.named_parameters()}
            a.partial_fit(X, y)
            assert len(a.history) == 4 + 2

    def test_loaded_state_is_the_state(self, data):
        X, y, rows = data
        net = make_net(**OPTIMIZERS["adam"])
        state = train_states(net, X, y, rows, SEEDS, stacked=True).states[2]
        loaded = load_state(prepare(net), state)
        again = read_state(
            loaded, rng=state.rng, epochs=3, batches=state.batches, losses=state.losses
        )
        assert_same(state, again)

    def test_global_generators_and_the_net_are_left_as_found(self, data):
        X, y, rows = data
        torch.manual_seed(3)
        np.random.seed(3)
        before = torch.get_rng_state(), np.random.get_state()[1].copy()
        net = make_net()
        callbacks = net.callbacks
        for stacked in (True, False):
            train_nets(net, X, y, rows[:2], SEEDS[:2], stacked=stacked)
        assert torch.equal(before[0], torch.get_rng_state())
        np.testing.assert_array_equal(before[1], np.random.get_state()[1])
        assert not net.initialized_
        assert net.callbacks is callbacks

    def test_arrays_of_their_own(self, data):
        X, y, rows = data
        net = make_net()
        indexed = train_states(net, X, y, rows, SEEDS, stacked=True).states
        own = train_states(
            net, [X[r] for r in rows], [y[r] for r in rows], None, SEEDS, stacked=True
        ).states
        for a, b in zip(indexed, own, strict=True):
            assert_same(a, b)

    @pytest.mark.parametrize("chunk_size", [None, 7])
    def test_predictions(self, data, chunk_size):
        X, y, rows = data
        trained = train_nets(make_net(module=Tied, module__hidden=()), X, y, rows, SEEDS)
        scores = predict_stacked(
            trained.nets[0], stack_tensors(trained.states), X, chunk_size=chunk_size
        )
        assert scores.shape == (7, 80, C)
        for net, own in zip(trained.nets, scores, strict=True):
            np.testing.assert_allclose(own, predict_scores(net, X), rtol=1e-10, atol=1e-12)


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"row_sets": []}, "at least one net"),
            ({"row_sets": [[]], "seeds": [0]}, r"row_sets\[0\]"),
            ({"row_sets": [[0.5]], "seeds": [0]}, r"row_sets\[0\]"),
            ({"row_sets": [[0], [80]], "seeds": [0, 1]}, r"row_sets\[1\].*80"),
            ({"row_sets": [[-1]], "seeds": [0]}, r"row_sets\[0\].*-1"),
            ({"seeds": [0]}, "seeds must have one entry for each of 7"),
            ({"seeds": None}, "seeds may be None only"),
            ({"start": []}, "start must have one entry"),
            ({"stacked": "maybe"}, "'maybe'"),
            ({"width": 0}, "width must be at least 1"),
            ({"epochs": -1}, "epochs must not be negative"),
        ],
    )
    def test_arguments(self, data, changes, message):
        X, y, rows = data
        arguments = {"row_sets": rows, "seeds": SEEDS, **changes}
        with pytest.raises(ValueError, match=message):
            train_nets(make_net(), X, y, **arguments)

    def test_a_state_without_generator_needs_a_seed(self, data):
        X, y, rows = data
        state = read_state(prepare(make_net()).initialize())
        with pytest.raises(ValueError, match=r"start\[0\] has no generator"):
            train_nets(make_net(), X, y, rows[:1], None, start=[state])

    def test_stacked_true_says_why_not(self, data):
        X, y, rows = data
        net = make_net(optimizer=torch.optim.RMSprop)
        with pytest.raises(UnsupportedNetError, match="RMSprop"):
            train_nets(net, X, y, rows, SEEDS, stacked=True)
        trained = train_nets(net, X, y, rows[:2], SEEDS[:2])
        assert not trained.stacked
        assert "RMSprop" in trained.reason


@pytest.mark.parametrize(
    ("sizes", "n_jobs", "width"),
    [([5] * 7, 1, 3), ([1, 9, 4], 8, 50), ([3], 2, 5), ([2] * 5, 2, 50)],
)
def test_plan(sizes, n_jobs, width):
    stacks = stacked_jobs._plan(sizes, n_jobs, width)
    assert sorted(k for members in stacks for k in members) == list(range(len(sizes)))
    assert all(0 < len(members) <= width for members in stacks)
    assert len(stacks) >= min(n_jobs, len(sizes) // 2)


def test_no_warning_reaches_the_caller(data):
    X, y, rows = data
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train_nets(make_net(callbacks=[SCHEDULES["onecycle"]]), X, y, rows, SEEDS, stacked=True)
