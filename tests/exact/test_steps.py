"""Training in steps: what callbacks set at the start, splits, and who stops by himself."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import (
    Perceptron,
    SGDClassifier,
    SGDOneClassSVM,
    SGDRegressor,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier
from skorch import NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import (
    Callback,
    EarlyStopping,
    EpochScoring,
    Initializer,
    InputShapeSetter,
    LRScheduler,
)
from skorch.dataset import Dataset, ValidSplit
from skorch.helper import predefined_split
from torch import nn

from sk_unlearn import (
    ArcaneEnsembleClassifier,
    PumaClassifier,
    RetrainClassifier,
    SisaClassifier,
    SisaRegressor,
)
from sk_unlearn.exact import _arcane_base
from sk_unlearn.exceptions import UnsupportedNetError
from sk_unlearn.nets import DensityNet, prepare
from sk_unlearn.nets._resume import net_state, resume_training
from sk_unlearn.utils._digest import state_digest

N = 90
RNG = np.random.RandomState(0)
Y = RNG.permutation(np.arange(N) % 3)
X = (RNG.normal(size=(N, 6)) + 3 * np.eye(6)[Y]).astype(np.float32)
IDS, KEPT = np.arange(N), np.arange(2, N)


class Net(nn.Module):
    def __init__(self, input_dim=10, hidden=4, n_outputs=3, prior=None, norm=nn.BatchNorm1d):
        super().__init__()
        self.a, self.b = nn.Linear(input_dim, hidden), nn.Linear(hidden, n_outputs)
        self.norm = norm(hidden)
        self.register_buffer("prior", torch.zeros(1) if prior is None else prior)

    def forward(self, X):
        return self.b(torch.relu(self.norm(self.a(X)))) + self.prior


class Setting(Callback):
    """Sets parameters of the net when training starts."""

    def __init__(self, values):
        self.values = values

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        net.set_params(**{k: v(y) if callable(v) else v for k, v in self.values.items()})


class Records(Callback):
    seen: tuple = ()

    def on_epoch_begin(self, net, **kwargs):
        group = net.optimizer_.param_groups[0]
        weight = getattr(net.criterion_, "weight", None)
        kept = None if weight is None else weight.tolist()
        type(self).seen = (*type(self).seen, (group["lr"], kept))


def balanced(y):
    count = np.maximum(np.bincount(np.asarray(y), minlength=3), 1)
    return torch.tensor(len(y) / (3 * count)).float()


class InPlace(Callback):
    def on_train_begin(self, net, X=None, y=None, **kwargs):
        net.criterion_.weight = balanced(y)


class Prior(Callback):
    def on_train_begin(self, net, X=None, y=None, **kwargs):
        net.module_.prior = balanced(y).log()


def make_net(**settings):
    settings = {"module__input_dim": 6, "criterion": nn.CrossEntropyLoss, **settings}
    fixed = {"train_split": None, "verbose": 0, "batch_size": 10, "max_epochs": 6}
    fixed |= {"lr": 0.02, "iterator_train__drop_last": True}  # no batch of one row
    return NeuralNetClassifier(Net, optimizer=torch.optim.Adam, **{**fixed, **settings})


def plain_net(**settings):
    """Without layers that need several rows in each batch."""
    options = {"module__norm": nn.Identity, "iterator_train__drop_last": False}
    return make_net(**options, **settings)


SETTINGS = {
    "shape of the input": {"callbacks": [InputShapeSetter()], "module__input_dim": 10},
    "width": {"callbacks": [Setting(dict(module__hidden=8))]},
    "weights of the criterion": {"callbacks": [Setting(dict(criterion__weight=balanced))]},
    "weights in place": {"callbacks": [InPlace()]},
    "learning rate": {"callbacks": [Setting(dict(lr=lambda y: 1 / len(y)))]},
    "optimizer": {"callbacks": [Setting(dict(optimizer__weight_decay=0.01))]},
    "weights of the module": {"callbacks": [Initializer("b.weight", fn=nn.init.zeros_)]},
    "width and a schedule": {
        "callbacks": [
            Setting(dict(module__hidden=8)),
            LRScheduler("StepLR", step_size=1, gamma=0.5),
        ]
    },
}


def same_state(one, other):
    a, b = one._exact_state(), other._exact_state()
    return [k for k in b if state_digest(a[k]) != state_digest(b[k])] == []


@pytest.mark.parametrize("name", SETTINGS)
def test_callbacks_that_set_parameters_train_in_slices(name):
    def make():
        net = make_net(**SETTINGS[name])
        return SisaClassifier(net, n_shards=2, n_slices=3, random_state=0)

    clf = make().fit(X, Y, sample_id=IDS)
    assert len(clf._chains_[0].steps) == 3
    assert clf.score(X, Y) > 0.8
    assert clf.estimators_[0].module_.b.weight.any()
    clf.forget([0, 1])
    assert same_state(clf, make().fit(X[KEPT], Y[KEPT], sample_id=KEPT))


@pytest.mark.parametrize("name", SETTINGS)
def test_a_step_goes_on_from_what_was_learned(name):
    template = prepare(make_net(**SETTINGS[name]))
    torch.manual_seed(0)
    first = resume_training(template, None, X[:60], Y[:60], epochs=6)
    state = net_state(first)
    again = resume_training(template, state, X, Y, epochs=0)
    for (key, one), other in zip(
        first.module_.state_dict().items(), again.module_.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), key
    moments = first.optimizer_.state_dict()["state"]
    assert state_digest(again.optimizer_.state_dict()["state"]) == state_digest(moments)


def test_weights_are_drawn_once():
    net = plain_net(callbacks=[Initializer("b.weight", fn=nn.init.zeros_)])
    first = resume_training(prepare(net), None, X[:60], Y[:60], epochs=3)
    still = prepare(net.set_params(optimizer=torch.optim.SGD, lr=0.0))
    state = {**net_state(first), "optimizer_": net_state(still_fresh(still))["optimizer_"]}
    again = resume_training(still, state, X, Y, epochs=1)
    assert first.module_.b.weight.any()
    assert torch.equal(again.module_.b.weight, first.module_.b.weight)


def still_fresh(template):
    return resume_training(template, None, X, Y, epochs=0)


def test_what_a_callback_finds_is_that_of_the_rows_of_the_step():
    Records.seen = ()
    net = make_net(
        callbacks=[Setting(dict(criterion__weight=balanced, lr=lambda y: 1 / len(y))), Records()]
    )
    template = prepare(net)
    first = resume_training(template, None, X[:60], Y[:60], epochs=1)
    resume_training(template, net_state(first), X, Y, epochs=1)
    expected = [(1 / n, balanced(Y[:n]).tolist()) for n in (60, N)]
    assert list(Records.seen) == expected


@pytest.mark.parametrize(
    "callback",
    [
        Prior(),
        Setting(dict(module__hidden=lambda y: len(y))),
        Setting(dict(module__prior=balanced)),
    ],
)
def test_what_cannot_be_resumed_is_refused_with_the_remedy(callback):
    net = make_net(callbacks=[callback])
    clf = SisaClassifier(net, n_slices=3, random_state=0)
    with pytest.raises(UnsupportedNetError, match="n_slices=1"):
        clf.fit(X, Y)
    assert not hasattr(clf, "receipts_")
    assert clf.set_params(n_slices=1).fit(X, Y).score(X, Y) > 0.9


class Density(nn.Module):
    def __init__(self, scale=1.0, n_features=2):
        super().__init__()
        self.centre, self.scale = nn.Parameter(torch.zeros(n_features)), scale

    def forward(self, X):
        return -self.scale * ((X - self.centre) ** 2).sum(dim=1)


def test_arcane_blocks_train_with_what_a_callback_sets():
    def make():
        setting = Setting(dict(module__n_features=6, lr=0.05))
        net = DensityNet(Density, max_epochs=10, callbacks=[setting], verbose=0)
        return ArcaneEnsembleClassifier(net, n_blocks=3, random_state=0)

    clf = make().fit(X, Y, sample_id=IDS)
    assert clf.score(X, Y) > 0.9
    assert same_state(clf.forget([0, 1]), make().fit(X[KEPT], Y[KEPT], sample_id=KEPT))


# --- rows that a split holds out


def test_a_split_that_nothing_reads_holds_out_no_rows():
    listens = EpochScoring("accuracy", on_train=True, name="train_acc")
    plain = SisaClassifier(plain_net(callbacks=[listens]), n_shards=2, random_state=0).fit(X, Y)
    for split in (ValidSplit(5, stratified=True), ValidSplit(0.3)):
        net = plain_net(train_split=split, callbacks=[listens])
        with pytest.warns(UserWarning, match="train_split=None"):
            clf = SisaClassifier(net, n_shards=2, random_state=0).fit(X, Y)
        assert all(each.train_split is None for each in clf.estimators_)
        assert np.array_equal(clf.predict_proba(X), plain.predict_proba(X))
    with pytest.warns(UserWarning, match="train_split=None"):
        default = SisaClassifier(plain_net(train_split=ValidSplit(5)), random_state=0).fit(X, Y)
    assert default.stacked_ is SisaClassifier(plain_net(), random_state=0).fit(X, Y).stacked_
    default.forget(0)  # says nothing again


def test_inside_of_pipelines_and_regressors_too():
    net = plain_net(train_split=ValidSplit(5))
    piped = make_pipeline(FunctionTransformer(), net)
    with pytest.warns(UserWarning, match="train_split=None"):
        clf = SisaClassifier(piped, random_state=0).fit(X, Y)
    assert clf.estimators_[0][-1].train_split is None
    reg = NeuralNetRegressor(
        Net, module__input_dim=6, module__n_outputs=1, verbose=0, max_epochs=1
    )
    with pytest.warns(UserWarning, match="train_split=None"):
        SisaRegressor(reg, random_state=0).fit(X, X[:, 0])
    density = DensityNet(Density, module__n_features=6, train_split=ValidSplit(3), verbose=0)
    with pytest.warns(UserWarning, match="train_split=None"):
        ArcaneEnsembleClassifier(density, random_state=0).fit(X, Y)


class Listener(Callback):
    """Nobody knows what it does."""


@pytest.mark.parametrize(
    "callback",
    [
        EarlyStopping(patience=2),
        LRScheduler("ReduceLROnPlateau"),
        LRScheduler(torch.optim.lr_scheduler.ReduceLROnPlateau),
        Listener(),
        ("mine", Listener),
    ],
    ids=["stopping", "schedule", "schedule by class", "unknown", "named"],
)
def test_rows_are_held_out_for_what_may_read_them(callback):
    split = ValidSplit(3, stratified=True)
    net = plain_net(train_split=split, callbacks=[callback])
    clf = SisaClassifier(net, n_shards=2, n_slices=2, random_state=0)
    clf.fit(X, Y, sample_id=IDS)
    assert all(isinstance(each.train_split, ValidSplit) for each in clf.estimators_)
    fresh = SisaClassifier(net, n_shards=2, n_slices=2, random_state=0)
    clf.forget([0, 1])
    assert same_state(clf, fresh.fit(X[KEPT], Y[KEPT], sample_id=KEPT))


# --- validation data from elsewhere


def brought(rows, targets):
    return predefined_split(Dataset(rows, targets))


ESTIMATORS = {
    "retrain": lambda net: RetrainClassifier(net, random_state=0),
    "retrain in a pipeline": lambda net: RetrainClassifier(
        make_pipeline(FunctionTransformer(), net), random_state=0
    ),
    "puma": lambda net: PumaClassifier(net, random_state=0),
    "sisa": lambda net: SisaClassifier(net, random_state=0),
    "sisa, hard, one slice": lambda net: SisaClassifier(
        net, n_slices=1, aggregation="hard", random_state=0
    ),
}
OTHERS = X + 0.5


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_validation_rows_that_are_rows_of_fit_are_refused(name, kind):
    if kind is np.float64 and "sisa" in name:
        kind = np.float32  # shards without these rows would train, and skorch casts nothing
    held_out = np.concatenate([OTHERS[:4], X[70:72]]).astype(kind)
    split = brought(held_out, np.concatenate([Y[:4], Y[70:72]]))
    clf = ESTIMATORS[name](plain_net(train_split=split))
    with pytest.raises(UnsupportedNetError, match="of the 6 validation rows"):
        clf.fit(X, Y)
    assert not hasattr(clf, "receipts_")


@pytest.mark.parametrize("name", ESTIMATORS)
def test_other_validation_rows_are_not(name):
    split = brought(OTHERS[:20], Y[:20])
    clf = ESTIMATORS[name](plain_net(train_split=split, callbacks=[EarlyStopping(patience=3)]))
    clf.fit(X, Y, sample_id=IDS).forget([0, 1])
    if "puma" not in name:
        kept = ESTIMATORS[name](clf.estimator).fit(X[KEPT], Y[KEPT], sample_id=KEPT)
        assert np.array_equal(clf.predict(X), kept.predict(X))


@pytest.mark.parametrize("name", ["retrain", "puma"])
def test_an_adopted_net_with_rows_of_fit_is_refused(name):
    from sklearn.frozen import FrozenEstimator

    net = plain_net(train_split=brought(X[5:9], Y[5:9])).fit(X, Y)
    with pytest.raises(UnsupportedNetError, match="4 of the 4 validation rows"):
        ESTIMATORS[name](FrozenEstimator(net)).fit(X, Y)


# --- estimators that stop by themselves

STOPPING = {
    "sgd": SGDClassifier(tol=1e-2, random_state=0),
    "perceptron": Perceptron(random_state=0),
    "passive": SGDClassifier(
        loss="hinge", penalty=None, learning_rate="pa1", eta0=1.0, random_state=0
    ),
    "early": SGDClassifier(early_stopping=True, random_state=0),
    "mlp": MLPClassifier((8,), tol=1e-1, random_state=0),
    "early mlp": MLPClassifier((8,), early_stopping=True, n_iter_no_change=2, random_state=0),
}


@pytest.mark.parametrize("name", STOPPING)
def test_who_stops_by_himself_is_trained_in_one_go(name):
    inner = STOPPING[name]
    clf = SisaClassifier(inner, n_shards=2, aggregation="hard", random_state=0)
    clf.fit(X, Y, sample_id=IDS)
    for chain in clf._chains_.values():
        assert len(chain.steps) == 1
        alone = type(inner)(**inner.get_params()).fit(
            *(
                data[clf._placement_.ordered(np.flatnonzero(clf._placement_.part == 0))]
                for data in (X, Y)
            )
        )
    model = clf.estimators_[0]
    assert model.n_iter_ == alone.n_iter_ < inner.max_iter
    assert np.array_equal(model.predict(X), alone.predict(X))
    clf.forget([0, 1])
    fresh = SisaClassifier(inner, n_shards=2, aggregation="hard", random_state=0)
    assert same_state(clf, fresh.fit(X[KEPT], Y[KEPT], sample_id=KEPT))


@pytest.mark.parametrize(
    "inner",
    [SGDRegressor(), MLPRegressor(hidden_layer_sizes=(4,), tol=0.5, n_iter_no_change=2)],
    ids=["sgd", "mlp"],
)
def test_regressors_too(inner):
    reg = SisaRegressor(inner, random_state=0).fit(X, X[:, 0])
    assert all(model.n_iter_ < inner.max_iter for model in reg.estimators_)


@pytest.mark.parametrize(
    ("inner", "options", "n_steps"),
    [
        (GaussianNB(), {}, 5),
        (SGDClassifier(tol=None, max_iter=5), {}, 5),
        (SGDClassifier(), {"max_epochs": 10}, 5),
        (SGDClassifier(), {"n_slices": 3}, 3),
        (SGDClassifier(), {}, 1),
    ],
)
def test_a_fixed_number_of_passes_is_cut_into_steps(inner, options, n_steps):
    clf = SisaClassifier(inner, aggregation="hard", n_shards=1, random_state=0, **options)
    assert len(clf.fit(X, Y)._chains_[0].steps) == n_steps


@pytest.mark.parametrize(
    "params", [{"n_slices": 2}, {"n_slices": 2, "max_epochs": 3}, {"max_epochs": 3}]
)
@pytest.mark.parametrize(
    ("inner", "rule"),
    [
        (STOPPING["early"], "early_stopping=True"),
        (STOPPING["early mlp"], "early_stopping=True"),
        (SGDClassifier(tol=None, max_iter=5, class_weight="balanced"), "class_weight='balanced'"),
    ],
)
def test_what_partial_fit_does_not_heed_is_refused_in_steps(inner, rule, params):
    clf = SisaClassifier(inner, aggregation="hard", random_state=0, **params)
    with pytest.raises(ValueError, match=f"{rule} of {type(inner).__name__}.*n_slices=1") as said:
        clf.fit(X, Y)
    assert ("max_epochs=None" in str(said.value)) == ("max_epochs" in params)
    clf.set_params(n_slices=1, max_epochs=None).fit(X, Y)  # as it says
    clf.set_params(n_slices="auto").fit(X, Y)
    assert all(len(chain.steps) == 1 for chain in clf._chains_.values())


@pytest.mark.parametrize(
    ("inner", "params"),
    [
        (SGDClassifier(), {"n_slices": 1}),
        (DecisionTreeClassifier(), {}),
        (make_pipeline(StandardScaler(), SGDClassifier()), {"n_slices": 1}),
    ],
)
def test_passes_are_not_counted_where_nobody_would_heed_it(inner, params):
    clf = SisaClassifier(inner, max_epochs=3, aggregation="hard", **params)
    with pytest.raises(ValueError, match=r"max_epochs=3 counts passes.*max_epochs=None"):
        clf.fit(X, Y)
    clf.set_params(max_epochs=None).fit(X, Y)


def test_arcane_trains_who_stops_by_himself_in_one_block(monkeypatch):
    monkeypatch.setattr(_arcane_base, "_AUTO_BLOCK_ROWS", 1)
    detector = SGDOneClassSVM(random_state=0)
    clf = ArcaneEnsembleClassifier(detector, random_state=0).fit(X, Y)
    assert all(len(chain.steps) == 1 for chain in clf._chains_.values())
    fixed = detector.set_params(tol=None, max_iter=5)
    clf = ArcaneEnsembleClassifier(fixed, random_state=0).fit(X, Y)
    assert all(len(chain.steps) == 5 for chain in clf._chains_.values())
