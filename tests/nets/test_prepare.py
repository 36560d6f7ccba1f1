import copy
import pickle
import random
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import Callback, EpochScoring
from skorch.dataset import Dataset, ValidSplit
from torch import nn
from torch.utils.data import DataLoader

from sk_unlearn import RetrainClassifier
from sk_unlearn.exceptions import UnsupportedNetError
from sk_unlearn.nets import (
    MLP,
    ArrayDataset,
    TensorBatches,
    carries_training,
    check_trainable,
    contains_net,
    prepare,
)

N = 70


class Conv(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten()
        )
        self.head = nn.Linear(4 * 4 * 4, 3)

    def forward(self, X):
        return self.head(self.layers(X))


class Squeezed(MLP):
    def forward(self, X):
        return super().forward(X).squeeze(-1)


class Softmax(MLP):
    def forward(self, X):
        return super().forward(X).softmax(-1)


@pytest.fixture(scope="module")
def data():
    rng = np.random.RandomState(0)
    return rng.normal(size=(N, 5)).astype(np.float32), rng.randint(0, 3, N)


def make(module=MLP, kind=NeuralNetClassifier, **settings):
    defaults = {"max_epochs": 3, "batch_size": 16, "verbose": 0}
    if isinstance(module, type) and issubclass(module, MLP):
        defaults |= {"module__n_features": 5, "module__n_outputs": 3, "module__hidden": (7,)}
    if kind is NeuralNetClassifier:
        defaults["criterion"] = nn.CrossEntropyLoss
    return kind(module, **defaults | settings)


def train(net, X, y):
    torch.manual_seed(3)
    np.random.seed(3)
    net.fit(X, y)
    values = [v.detach().double().reshape(-1) for v in net.module_.state_dict().values()]
    return torch.cat(values), torch.get_rng_state()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"iterator_train__shuffle": True},
        {"iterator_train__shuffle": True, "iterator_train__drop_last": True, "train_split": None},
        {"train_split": ValidSplit(0.2, stratified=True), "optimizer": torch.optim.Adam},
        {"callbacks": [EpochScoring("accuracy", on_train=True, name="a")], "train_split": None},
        {"callbacks": "disable", "batch_size": -1},
        {"module": Softmax, "criterion": nn.NLLLoss},
        {"iterator_valid__batch_size": 5},
    ],
)
def test_weights_and_history_equal_those_of_skorchs_own_path(data, settings):
    stock, ours = make(**settings), prepare(make(**settings))
    expected, got = train(stock, *data), train(ours, *data)
    assert ours.iterator_train is TensorBatches
    assert torch.equal(got[0], expected[0])
    assert torch.equal(got[1], expected[1])
    without_clock = [
        [{k: v for k, v in epoch.items() if k != "dur"} for epoch in net.history]
        for net in (ours, stock)
    ]
    assert without_clock[0] == without_clock[1]


def test_images_batchnorm_and_dropout_too(data):
    X = np.random.RandomState(1).normal(size=(N, 1, 6, 6)).astype(np.float32)
    settings = {"module": Conv, "iterator_train__shuffle": True, "train_split": None}
    expected, got = (
        train(make(**settings), X, data[1]),
        train(prepare(make(**settings)), X, data[1]),
    )
    assert torch.equal(got[0], expected[0])
    assert torch.equal(got[1], expected[1])


@pytest.mark.parametrize("inputs", [np.float64, np.int32, np.uint8])
def test_inputs_are_cast_to_the_nets_dtype(data, inputs):
    X, y = (data[0] * 10).astype(inputs), data[1].astype(np.int32)
    net = prepare(make()).fit(X, y)
    assert net.predict(X).shape == (N,)
    assert prepare(make(MLP(5, 3).double())).fit(X, y).predict_proba(X).dtype == np.float64


def test_integers_reach_an_embedding_as_they_are():
    X = np.random.RandomState(0).randint(0, 9, (N, 4))
    net = prepare(make(Embedded)).fit(X, X[:, 0] % 3)
    assert net.get_dataset(X).tensors[0].dtype == torch.int64
    assert np.isfinite(net.history[:, "train_loss"]).all()


class Embedded(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Embedding(9, 2), nn.Flatten(), nn.Linear(8, 3))

    def forward(self, X):
        return self.layers(X)


def test_binary_cross_entropy_gets_float_targets(data):
    net = make(MLP, NeuralNetBinaryClassifier, module__n_outputs=1)
    X, y = data[0].astype(np.float64), (data[1] > 0).astype(np.int64)
    prepare(net).fit(X, y)
    assert net.get_dataset(X, y).tensors[1].dtype == torch.float32
    assert np.isfinite(net.history[:, "train_loss"]).all()


@pytest.mark.parametrize(("module", "ndim"), [(MLP, 1), (MLP, 2), (Squeezed, 1), (Squeezed, 2)])
def test_regression_target_takes_the_shape_of_the_output(data, module, ndim):
    X, y = data[0], data[0][:, 0].astype(np.float64) * 3
    settings = {"module__n_outputs": 1, "lr": 0.05, "max_epochs": 60, "train_split": None}
    net = prepare(make(module, NeuralNetRegressor, **settings))
    net.fit(X, y if ndim == 1 else y[:, None])
    assert np.corrcoef(net.predict(X).ravel(), y)[0, 1] > 0.9


def test_outputs_and_targets_that_do_not_match_are_refused(data):
    X, y = data
    with pytest.raises(UnsupportedNetError, match="as many outputs as y has columns"):
        prepare(make(MLP, NeuralNetRegressor)).fit(X, X[:, 0])
    with pytest.raises(UnsupportedNetError, match=r"2 outputs and y has 3 classes.*n_outputs=3"):
        prepare(make(module__n_outputs=2, callbacks="disable")).fit(X, y)


def test_a_net_in_a_pipeline_is_prepared_and_checked_there(data):
    X, y = data
    pipe = prepare(make_pipeline(StandardScaler(), make()))
    assert pipe[-1].dataset is ArrayDataset
    pipe.fit(X.astype(np.float64), y)
    bad = make_pipeline(StandardScaler(), make(MLP, NeuralNetRegressor))
    with pytest.raises(UnsupportedNetError, match="broadcast"):
        prepare(bad).fit(X, X[:, 0])


class UserLoader(DataLoader):
    pass


@pytest.mark.parametrize(
    "settings",
    [
        {"iterator_train": UserLoader},
        {"iterator_valid": UserLoader},
        {"iterator_train__num_workers": 0},
        {"iterator_train__collate_fn": torch.utils.data.default_collate},
        {"dataset": type("OwnDataset", (Dataset,), {})},
    ],
)
def test_the_users_own_data_path_is_kept(data, settings):
    net = prepare(make(**settings))
    for name, value in settings.items():
        assert net.get_params()[name] is value
    assert TensorBatches not in (net.iterator_train, net.iterator_valid)
    net.fit(*data)


def test_user_callbacks_see_every_event(data):
    class Spy(Callback):
        seen = []

        def on_batch_end(self, net, batch, training, **kwargs):
            self.seen.append((len(batch[0]), training))

        def on_grad_computed(self, net, named_parameters, **kwargs):
            self.seen.append([name for name, _ in named_parameters])

    prepare(make(callbacks=[Spy()], max_epochs=1)).fit(*data)
    sizes = [s[0] for s in Spy.seen if isinstance(s, tuple)]
    assert sum(sizes) == N
    assert Spy.seen[0][:2] == ["layers.1.weight", "layers.1.bias"]


def test_prepared_nets_are_cloned_pickled_and_reset(data):
    net = prepare(prepare(clone(prepare(make(callbacks="disable")))))
    first = train(net, *data)[0]
    again = pickle.loads(pickle.dumps(clone(net)))
    assert torch.equal(train(again, *data)[0], first)
    net.set_params(verbose=0, max_epochs=1).fit(*data)


def test_a_module_instance_is_copied_for_every_fit(data):
    module = MLP(5, 3, hidden=(7,))
    before = copy.deepcopy(module.state_dict())
    net = prepare(clone(make(module)))
    first, second = train(net, *data)[0], train(net, *data)[0]
    assert torch.equal(first, second)
    assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())


def test_trained_instances_are_recognised(data):
    net = make(MLP(5, 3))
    assert not carries_training(net)
    net.fit(*data)
    assert carries_training(net)
    assert carries_training(pickle.loads(pickle.dumps(net)))
    assert carries_training(make_pipeline(StandardScaler(), net))
    assert not carries_training(make_pipeline(StandardScaler(), FrozenEstimator(net)))
    assert not carries_training(make().fit(*data))


class Around(nn.Module):
    def __init__(self, part):
        super().__init__()
        part = part["body"] if isinstance(part, dict) else part
        if isinstance(part, nn.Module):
            self.body = part
        else:  # vectors, whose memory it shares
            self.weight = nn.Parameter(torch.as_tensor(part))
        self.head = nn.Linear(7, 3)

    def forward(self, x):
        return self.head(self.body(x) if hasattr(self, "body") else x @ self.weight)


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.linspace(1.0, 2.0, 3))

    def forward(self, scores, y):
        return nn.functional.cross_entropy(scores * self.scale, y)


def vectors():
    return np.linspace(-1, 1, 35, dtype=np.float32).reshape(5, 7)


GIVEN = {
    "module": lambda: make(Around, module__part=nn.Linear(5, 7)),
    "in a dict": lambda: make(Around, module__part={"body": nn.Linear(5, 7)}),
    "tensor": lambda: make(Around, module__part=torch.from_numpy(vectors())),
    "array": lambda: make(Around, module__part=vectors()),
    "partial": lambda: make(partial(Around, nn.Linear(5, 7))),
    "criterion": lambda: make(criterion=Scaled()),
}


@pytest.mark.parametrize("kind", GIVEN)
def test_trained_parts_in_parameters_are_recognised(data, kind):
    net = GIVEN[kind]()
    assert not carries_training(net)
    RetrainClassifier(net, random_state=0).fit(*data)
    net.fit(*data)
    for each in (net, pickle.loads(pickle.dumps(net))):
        assert carries_training(each)
        with pytest.raises(UnsupportedNetError, match="trained, itself or in a parameter"):
            RetrainClassifier(each, random_state=0).fit(*data)


def test_parts_that_training_does_not_move_are_no_training(data):
    weight = torch.tensor([1.0, 2.0, 3.0])
    body = nn.Linear(5, 7).requires_grad_(False)
    for net in (
        make(criterion=nn.CrossEntropyLoss(weight=weight)),
        make(criterion__weight=weight),
        make(Around, module__part=body),
        make(module__hidden=(7,), callbacks=[("own", None)]),
    ):
        assert not carries_training(net.fit(*data))


def test_frozen_nets_are_found_and_left_alone(data):
    frozen = make_pipeline(StandardScaler(), FrozenEstimator(make()))
    assert contains_net(frozen)
    assert prepare(frozen)[-1].estimator.dataset is Dataset
    assert contains_net(FrozenEstimator(make()))
    assert prepare(FrozenEstimator(make())).estimator.dataset is Dataset
    assert not contains_net(make_pipeline(StandardScaler(), LogisticRegression()))
    assert not contains_net(object())


class Lazy(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.LazyLinear(3)


class Frozen(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(2, 3).requires_grad_(False)


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(2, 3)
        self.tail = nn.Linear(3, 3).double()


@pytest.mark.parametrize(
    ("module", "cause", "remedy"),
    [
        (Lazy, r"lazy parameters \(head.weight", "Give the sizes"),
        (Frozen, "no parameter that requires a gradient", "requires_grad_"),
        (Mixed, "torch.float32", "module.float"),
        (nn.Flatten, "no parameter that requires a gradient", "Unfreeze"),
    ],
)
def test_untrainable_modules_are_refused_with_a_remedy(module, cause, remedy):
    with pytest.raises(UnsupportedNetError, match=f"(?s){cause}.*{remedy}"):
        prepare(make(module))


def test_checking_draws_from_no_generator_and_leaves_the_net_alone():
    net = make()
    torch.manual_seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    check_trainable(net)
    prepare(net)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])
    assert before[2] == random.getstate()
    assert not net.initialized_
    assert not hasattr(net, "module_")
