import pickle
from copy import deepcopy

import numpy as np
import pytest
import torch
from skorch import NeuralNet, NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import Callback
from torch import nn

from sk_unlearn.exceptions import UnsupportedNetError
from sk_unlearn.functional import GaussNewtonOperator
from sk_unlearn.nets import (
    MLP,
    predict_proba,
    predict_scores,
    prepare,
    rowwise_model,
    to_tensors,
    weight_decay,
    with_parameters,
)

N, D = 40, 5
RNG = np.random.RandomState(0)
X = RNG.normal(size=(N, D)).astype(np.float32)
LABELS, BITS = RNG.randint(0, 3, N), RNG.randint(0, 2, N)
TARGETS, WIDE = X[:, :1] ** 2, X[:, :3] ** 2


class Softmax(MLP):
    def forward(self, X):
        return super().forward(X).softmax(-1)


class LogSoftmax(MLP):
    def forward(self, X):
        return super().forward(X).log_softmax(-1)


class Sigmoid(MLP):
    def forward(self, X):
        return super().forward(X).sigmoid()


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Unflatten(1, (1, D)),
            nn.Conv1d(1, 4, 2),
            nn.BatchNorm1d(4),
            nn.Dropout(),
            nn.Flatten(),
        )
        self.head = nn.Linear(16, 3)

    def forward(self, X):
        return self.head(self.layers(X))


def fit(kind, y, module=MLP, *, epochs=2, **settings):
    if issubclass(module, MLP):
        n_outputs = {id(LABELS): 3, id(WIDE): 3}.get(id(y), 1)
        sizes = {"module__n_features": D, "module__n_outputs": n_outputs, "module__hidden": (6,)}
        settings = sizes | settings
    torch.manual_seed(0)
    net = kind(module, train_split=None, verbose=0, max_epochs=epochs, lr=0.1, **settings)
    return prepare(net).fit(X, y)


WEIGHTS = torch.tensor([0.2, 1.0, 3.0])
CRITERIA = {
    "cross entropy": (NeuralNetClassifier, LABELS, MLP, {"criterion": nn.CrossEntropyLoss}),
    "weighted": (
        NeuralNetClassifier,
        LABELS,
        MLP,
        {"criterion": nn.CrossEntropyLoss, "criterion__weight": WEIGHTS},
    ),
    "weighted and smoothed": (
        NeuralNetClassifier,
        LABELS,
        MLP,
        {
            "criterion": nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=0.1),
        },
    ),
    "nll of probabilities": (NeuralNetClassifier, LABELS, Softmax, {}),
    "weighted nll": (NeuralNetClassifier, LABELS, Softmax, {"criterion__weight": WEIGHTS}),
    "nll of log-probabilities": (NeuralNet, LABELS, LogSoftmax, {"criterion": nn.NLLLoss}),
    "bce with logits": (NeuralNetBinaryClassifier, BITS, MLP, {}),
    "bce with pos_weight": (
        NeuralNetBinaryClassifier,
        BITS,
        MLP,
        {"criterion__pos_weight": torch.tensor(3.0)},
    ),
    "bce": (NeuralNetBinaryClassifier, BITS, Sigmoid, {"criterion": nn.BCELoss}),
    "mse": (NeuralNetRegressor, TARGETS, MLP, {}),
    "mse of columns": (NeuralNetRegressor, WIDE, MLP, {}),
    "smooth l1": (NeuralNetRegressor, WIDE, MLP, {"criterion": nn.SmoothL1Loss}),
    "huber": (NeuralNetRegressor, TARGETS[:, 0], MLP, {"criterion": nn.HuberLoss}),
    "multi margin": (NeuralNetClassifier, LABELS, MLP, {"criterion": nn.MultiMarginLoss}),
    "poisson": (NeuralNetRegressor, WIDE, MLP, {"criterion": nn.PoissonNLLLoss}),
    "batchnorm, dropout": (
        NeuralNetClassifier,
        LABELS,
        Normed,
        {"criterion": nn.CrossEntropyLoss},
    ),
}


@pytest.fixture(params=CRITERIA, scope="module")
def case(request):
    kind, y, module, settings = CRITERIA[request.param]
    return request.param, fit(kind, y, module, **settings), y


def test_mean_of_row_losses_is_the_nets_loss(case):
    _, net, y = case
    Xt, yt = to_tensors(net, X, y)
    model = rowwise_model(net, Xt, yt)
    losses = model.row_losses(model.parameters(), Xt, yt)
    net.module_.eval()
    target = yt[:, None] if y is CRITERIA["huber"][1] else yt
    with torch.no_grad():
        expected = net.get_loss(net.infer(Xt), target)
    assert losses.shape == (N,)
    torch.testing.assert_close(losses.mean(), expected, rtol=1e-5, atol=1e-5)


def test_gradient_of_row_losses_is_the_nets_gradient(case):
    _, net, y = case
    Xt, yt = to_tensors(net, X, y)
    model = rowwise_model(net, Xt, yt)
    params = {name: value.requires_grad_() for name, value in model.parameters().items()}
    got = torch.autograd.grad(model.row_losses(params, Xt, yt).mean(), list(params.values()))
    module = net.module_.eval()
    target = yt[:, None] if y is CRITERIA["huber"][1] else yt
    expected = torch.autograd.grad(net.get_loss(net.infer(Xt), target), list(module.parameters()))
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "same_as"), [("nll of probabilities", "cross entropy")])
def test_gauss_newton_of_probabilities_is_that_of_logits(name, same_as):
    products = []
    for key in (name, same_as):
        kind, y, module, settings = CRITERIA[key]
        net = fit(kind, y, module, epochs=0, **settings)
        Xt, yt = to_tensors(net, X, y)
        model = rowwise_model(net, Xt, yt)
        operator = GaussNewtonOperator(model, model.parameters(), Xt, yt)
        products.append(operator.matvec(torch.linspace(-1, 1, model.n_parameters)))
    torch.testing.assert_close(*products, rtol=1e-3, atol=1e-5)


def test_predictions_equal_skorchs(case):
    name, net, _ = case
    stock = net.forward(X).numpy()
    np.testing.assert_allclose(
        predict_scores(net, X, chunk_size=7).reshape(stock.shape), stock, atol=1e-6
    )
    if name == "nll of log-probabilities":
        np.testing.assert_allclose(predict_proba(net, X).sum(1), 1, atol=1e-5)
    else:
        np.testing.assert_allclose(predict_proba(net, X), net.predict_proba(X), atol=1e-6)


def test_the_net_is_left_as_it_was(case):
    _, net, y = case
    net.module_.train()
    before = pickle.dumps(net.module_.state_dict()), net.criterion_.reduction, net.module_.training
    Xt, yt = to_tensors(net, X, y)
    model = rowwise_model(net, Xt, yt)
    for parameter in model.module.parameters():
        assert parameter.grad is None
        parameter.data.zero_()
    after = pickle.dumps(net.module_.state_dict()), net.criterion_.reduction, net.module_.training
    assert before == after


def test_own_nonlinearity_comes_first():
    kind, y, module, settings = CRITERIA["cross entropy"]
    net = fit(kind, y, module, predict_nonlinearity=torch.sigmoid, **settings)
    np.testing.assert_allclose(predict_proba(net, X), net.predict_proba(X), atol=1e-6)
    net.set_params(predict_nonlinearity=None)
    np.testing.assert_allclose(predict_proba(net, X), predict_scores(net, X))


class Overwriting(MLP):
    def forward(self, X):
        return super().forward(X.mul_(2))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_predicting_never_writes_to_the_callers_array(dtype):
    net = fit(NeuralNetClassifier, LABELS, Overwriting, criterion=nn.CrossEntropyLoss)
    rows = (10 * X).astype(dtype)
    before = rows.copy()
    first = predict_scores(net, rows, chunk_size=9)
    assert np.array_equal(rows, before)
    np.testing.assert_array_equal(predict_scores(net, rows, chunk_size=9), first)


def test_no_rows_give_no_scores():
    net = fit(NeuralNetClassifier, LABELS, criterion=nn.CrossEntropyLoss)
    assert predict_proba(net, X[:0]).shape == (0, 3)


class TwoOutputs(MLP):
    def forward(self, X):
        return super().forward(X), X


class Rounding(MLP):
    def forward(self, X):
        return super().forward(X).detach() + torch.zeros(1, requires_grad=True)


class Learned(nn.MSELoss):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))


class Penalised(NeuralNetRegressor):
    def get_loss(self, y_pred, y_true, *args, **kwargs):
        return super().get_loss(y_pred, y_true, *args, **kwargs) + 1


class Unsplit(nn.Module):
    def forward(self, scores, y):
        return (scores - y).square().mean()


@pytest.mark.parametrize(
    ("kind", "module", "settings", "message"),
    [
        (NeuralNetRegressor, MLP, {"criterion": nn.L1Loss}, "L1Loss.*SmoothL1Loss"),
        (NeuralNetRegressor, MLP, {"criterion__reduction": "sum"}, "'sum'.*reduction='mean'"),
        (NeuralNetRegressor, MLP, {"criterion": Learned}, "Learned.*parameters of its own"),
        (NeuralNetRegressor, MLP, {"criterion": Unsplit}, "Unsplit.*no 'reduction'"),
        (Penalised, MLP, {}, "Penalised overrides get_loss"),
        (NeuralNetRegressor, Rounding, {}, "No gradient.*detach"),
        (NeuralNetRegressor, MLP, {"optimizer__maximize": True}, "maximises"),
    ],
)
def test_what_no_removal_method_can_use_is_refused(kind, module, settings, message):
    net = fit(kind, WIDE, module, epochs=0, **settings)
    with pytest.raises(UnsupportedNetError, match=f"(?s){message}"):
        rowwise_model(net, *to_tensors(net, X, WIDE))


def test_ignored_classes_and_several_outputs_are_refused():
    net = fit(NeuralNetClassifier, LABELS, criterion=nn.CrossEntropyLoss(ignore_index=1))
    with pytest.raises(UnsupportedNetError, match="ignore_index=1"):
        rowwise_model(net)
    net = fit(NeuralNetClassifier, LABELS, TwoOutputs, epochs=0, criterion=nn.CrossEntropyLoss)
    with pytest.raises(UnsupportedNetError, match="returns 2 outputs"):
        rowwise_model(net, *to_tensors(net, X, LABELS))


def test_patterns_choose_parameters():
    net = fit(NeuralNetClassifier, LABELS, criterion=nn.CrossEntropyLoss)
    assert rowwise_model(net, params="*bias").active == ("layers.1.bias", "layers.3.bias")
    assert rowwise_model(net, params=["layers.3*"]).active == ("layers.3.weight", "layers.3.bias")
    net.module_.layers[3].bias.requires_grad_(False)
    assert "layers.3.bias" not in rowwise_model(net).active
    with pytest.raises(UnsupportedNetError, match=r"matches \['layers.9\*'\].*layers.1.weight"):
        rowwise_model(net, params=["layers.9*", "layers.1*"])


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [(torch.optim.SGD, 0.5), (torch.optim.Adam, 0.5), (torch.optim.AdamW, 0.0)],
)
def test_weight_decay_follows_the_optimizers_groups(optimizer, expected):
    net = fit(
        NeuralNetRegressor,
        TARGETS,
        optimizer=optimizer,
        optimizer__weight_decay=0.5,
        optimizer__param_groups=[("*bias", {"weight_decay": 0.0})],
    )
    assert weight_decay(net) == {
        "layers.1.weight": expected,
        "layers.1.bias": 0.0,
        "layers.3.weight": expected,
        "layers.3.bias": 0.0,
    }
    assert weight_decay(pickle.loads(pickle.dumps(net))) == weight_decay(net)


class Counter(Callback):
    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.seen_ = X


@pytest.mark.parametrize("instance", [False, True])
@pytest.mark.parametrize("pickled", [False, True])
@pytest.mark.parametrize("prepared", [False, True])
def test_with_parameters_leaves_no_trace_of_the_old_training(instance, pickled, prepared):
    module = Normed() if instance else Normed
    net = NeuralNetClassifier(
        module,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        callbacks=[Counter()],
        train_split=None,
        verbose=0,
        max_epochs=2,
    )
    net = (prepare(net) if prepared else net).fit(X, LABELS.copy())
    if pickled:
        net = pickle.loads(pickle.dumps(net))
    before = deepcopy(net.module_.state_dict())
    state = torch.get_rng_state()
    new = with_parameters(net, {"head.bias": torch.tensor([1.0, 2.0, 3.0])}, classes=[0, 1, 2])
    assert torch.equal(state, torch.get_rng_state())
    assert len(net.history) == 2
    assert all(torch.equal(before[k], v) for k, v in net.module_.state_dict().items())
    for name, value in new.module_.state_dict().items():
        if name == "head.bias":
            assert value.tolist() == [1, 2, 3]
        else:
            assert torch.equal(value, before[name])
            assert value.data_ptr() != net.module_.state_dict()[name].data_ptr()
    assert not new.history
    assert not new.optimizer_.state
    assert all(parameter.grad is None for parameter in new.module_.parameters())
    assert not any(hasattr(callback, "seen_") for _, callback in new.callbacks_)
    own = {id(p) for p in new.module_.parameters()}
    assert {id(p) for group in new.optimizer_.param_groups for p in group["params"]} == own
    stale = net.module_.head.bias.detach().numpy().tobytes()
    assert stale not in pickle.dumps(new)
    new.partial_fit(X, LABELS)
    assert new.predict(X).shape == (N,)


def test_with_parameters_checks_names_and_shapes():
    net = fit(NeuralNetRegressor, TARGETS)
    with pytest.raises(ValueError, match=r"no parameters \['x'\].*layers.1.weight"):
        with_parameters(net, {"x": torch.ones(1)})
    with pytest.raises(ValueError, match=r"'layers.3.bias' has shape \(1,\), got \(2,\)"):
        with_parameters(net, {"layers.3.bias": torch.ones(2)})


def test_float64_nets_stay_float64():
    net = prepare(
        NeuralNetRegressor(MLP(D, 1).double(), train_split=None, verbose=0, max_epochs=1)
    ).fit(X, TARGETS)
    Xt, yt = to_tensors(net, X, TARGETS)
    assert (Xt.dtype, yt.dtype) == (torch.float64, torch.float64)
    assert predict_scores(with_parameters(net, {}), X).dtype == np.float64


class Anchored(torch.optim.SGD):
    """Remembers where the parameters were when it was made."""

    def __init__(self, params, **kwargs):
        super().__init__(params, **kwargs)
        self.start = [p.detach().clone() for group in self.param_groups for p in group["params"]]


@pytest.mark.parametrize("optimizer", [Anchored, torch.optim.Adam])
def test_the_optimizer_of_a_net_with_other_parameters_knows_these(optimizer):
    net = fit(NeuralNetRegressor, TARGETS, optimizer=optimizer)
    parameters = {name: value + 1 for name, value in net.module_.state_dict().items()}
    new = with_parameters(net, parameters)
    own = list(new.module_.parameters())
    (group,) = new.optimizer_.param_groups
    assert all(a is b for a, b in zip(group["params"], own, strict=True))
    if optimizer is Anchored:
        assert all(map(torch.equal, new.optimizer_.start, own))
