"""Settings that go by the number of a class stay with their class, or are refused."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch import NeuralNetBinaryClassifier, NeuralNetClassifier
from skorch.callbacks import Callback, LRScheduler
from torch import nn
from torch.nn import functional as F

from sk_unlearn import PumaClassifier, RetrainClassifier, SisaClassifier
from sk_unlearn.exceptions import UnsupportedNetError
from sk_unlearn.nets import class_settings

RNG = np.random.RandomState(0)
NUMBERS = np.repeat([0, 1, 2], 60)
X = RNG.normal(size=(180, 2)).astype(np.float32)
X[NUMBERS == 0] += 6
X[NUMBERS == 2, 0] += 0.7
Y = np.array(["a", "b", "c"])[NUMBERS]
pytestmark = pytest.mark.filterwarnings("ignore::sk_unlearn.exceptions.RetrainAdvisedWarning")
WEIGHT = [1.0, 1.0, 50.0]  # so that nearly all but a is called c


class Net(nn.Module):
    def __init__(self, n_outputs=3, prior=None):
        super().__init__()
        self.layer = nn.Linear(2, n_outputs)
        self.register_buffer("prior", None if prior is None else torch.as_tensor(prior))

    def forward(self, X):
        scores = self.layer(X)
        return scores if self.prior is None else scores + self.prior


class Alpha(nn.Module):
    """Weights in a list, a tensor, a buffer, a dictionary or a part of it."""

    reduction = "mean"

    def __init__(self, alpha):
        super().__init__()
        self.alpha = alpha

    def forward(self, scores, y):
        alpha = list(self.alpha.values()) if isinstance(self.alpha, dict) else self.alpha
        weight = torch.as_tensor(alpha)
        loss = F.cross_entropy(scores, y, weight.float(), reduction="none")
        return loss.mean() if self.reduction == "mean" else loss


class Buffered(Alpha):
    def __init__(self, reduction="mean"):
        super().__init__(None)
        del self.alpha
        self.register_buffer("alpha", torch.tensor(WEIGHT))


class Weigher:
    def __init__(self):
        self.alpha = WEIGHT


class Held(Alpha):
    def __init__(self, weigher=None):
        super().__init__(None)
        self.weigher = weigher or Weigher()

    def forward(self, scores, y):
        kept = self.weigher if isinstance(self.weigher, dict) else vars(self.weigher)
        return F.cross_entropy(scores, y, torch.tensor(kept["alpha"]))


COST = [[0.0, 1.0, 9.0], [1.0, 0.0, 9.0], [1.0, 1.0, 0.0]]


class Costs(nn.Module):
    """A matrix of what each mistake costs."""

    reduction = "mean"

    def __init__(self, cost):
        super().__init__()
        self.cost = cost

    def forward(self, scores, y):
        loss = (torch.softmax(scores, dim=-1) * torch.tensor(self.cost)[y]).sum(1)
        return loss.mean() if self.reduction == "mean" else loss


class ByGlobal(Alpha):
    def __init__(self):
        super().__init__(None)

    def forward(self, scores, y):
        loss = F.cross_entropy(scores, y, SHIFT.exp(), reduction="none")
        return loss.mean() if self.reduction == "mean" else loss


class ByClass(Alpha):
    alpha = WEIGHT

    def __init__(self):
        nn.Module.__init__(self)


class ByMethod(Alpha):
    def __init__(self):
        nn.Module.__init__(self)

    @property
    def alpha(self):
        return [1, 1, 50.0]


class ByPart(nn.Module):
    """A loss in a loss, under a name that something else has in this file."""

    def __init__(self):
        super().__init__()
        self.net_of_all = nn.CrossEntropyLoss(weight=torch.tensor(WEIGHT))

    def forward(self, scores, y):
        return self.net_of_all(scores, y)


def net_of_all():
    """Is read by nobody."""


class Transition(Net):
    """Confuses classes as labels with noise do."""

    def __init__(self):
        super().__init__()
        self.register_buffer("confused", torch.eye(3) + torch.tensor([0.0, 0.0, 3.0]))

    def forward(self, X):
        return self.layer(X) @ self.confused


class ByConstants(NeuralNetClassifier):
    def get_loss(self, y_pred, y_true, X=None, training=False):
        weight = torch.tensor([1.0, 1.0, 50.0])
        return F.cross_entropy(y_pred, torch.as_tensor(y_true), weight)


class ByAttribute(NeuralNetClassifier):
    def __init__(self, *args, alpha=None, milestones=(1, 2, 3), **kwargs):
        self.alpha = alpha
        self.milestones = milestones
        super().__init__(*args, **kwargs)

    def get_loss(self, y_pred, y_true, X=None, training=False):
        return F.cross_entropy(y_pred, torch.as_tensor(y_true), torch.tensor(self.alpha))


class ByStep(NeuralNetClassifier):
    def train_step_single(self, batch, **fit_params):
        loss = self.loss_of(self.infer(batch[0]), batch[1])
        loss.backward()
        return {"loss": loss, "y_pred": None}

    def loss_of(self, scores, y):
        return F.cross_entropy(scores, y, SHIFT.exp())


class Sets(Callback):
    def __init__(self, weight):
        self.weight = weight

    def on_train_begin(self, net, **kwargs):
        net.criterion_.weight = torch.as_tensor(self.weight)


class Balanced(Callback):
    """Finds the weights in what it is shown: they are by the numbers of now."""

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        count = np.maximum(np.bincount(np.asarray(y), minlength=3), 1)
        net.set_params(criterion__weight=torch.tensor(len(y) / (3 * count)).float())


SHIFT = torch.tensor([0.0, 0.0, 3.0])


def shifted_by_global(scores):
    return torch.softmax(scores + SHIFT, dim=-1)


def shifted_by_default(scores, shift=SHIFT):
    return torch.softmax(scores + shift, dim=-1)


KINDS = {
    "weight": {"criterion__weight": torch.tensor(WEIGHT)},
    "list": {"criterion": Alpha, "criterion__alpha": WEIGHT},
    "array": {"criterion": Alpha, "criterion__alpha": np.array(WEIGHT)},
    "dictionary": {"criterion": Alpha, "criterion__alpha": dict(enumerate(WEIGHT))},
    "buffer": {"criterion": Buffered},
    "object": {"criterion": Held},
    "Series": {"criterion": Alpha, "criterion__alpha": pd.Series(WEIGHT)},
    "part of a dictionary": {"criterion": Held, "criterion__weigher": {"alpha": WEIGHT}},
    "class": {"criterion": ByClass},
    "method": {"criterion": ByMethod},
    "part": {"criterion": ByPart},
    "training step": {"kind": ByStep},
    "matrix of the module": {"module": Transition},
    "instance": {"criterion": Alpha(WEIGHT)},
    "callback": {"callbacks": [Sets(WEIGHT)]},
    "nonlinearity": {"predict_nonlinearity": shifted_by_global},
    "module": {"module__prior": torch.tensor([0.0, 0.0, 3.0])},
    "buffer of the module": {"module__prior": [0.0, 0.0, 3.0]},
    "matrix": {"criterion": Costs, "criterion__cost": COST},
    "global name": {"criterion": ByGlobal},
    "default": {"predict_nonlinearity": shifted_by_default},
    "constants": {"kind": ByConstants},
    "attribute": {"kind": ByAttribute, "alpha": WEIGHT},
    "ignored class": {"criterion__ignore_index": 0},
}


def make_net(kind=NeuralNetClassifier, **settings):
    settings = {"criterion": nn.CrossEntropyLoss, **settings}
    fixed = {"train_split": None, "verbose": 0, "max_epochs": 10, "batch_size": 30}
    settings = {"module": Net, "optimizer": torch.optim.Adam, "lr": 0.05, **settings}
    return kind(**fixed, **settings)


def piped(net):
    return make_pipeline(FunctionTransformer(), net)


@pytest.mark.parametrize("wrap", [lambda net: net, piped])
@pytest.mark.parametrize("kind", KINDS)
def test_retraining_refuses_to_give_weights_to_other_classes(kind, wrap):
    clf = RetrainClassifier(wrap(make_net(**KINDS[kind])), random_state=0).fit(X, Y)
    before = vars(clf)
    for ask in (clf.forget_cost, clf.forget):
        with pytest.raises(UnsupportedNetError, match="by their numbers"):
            ask(Y == "a")
    assert vars(clf) is before
    assert len(clf.receipts_) == 0
    # rows of a class may leave, and classes by which no number changes hands
    clf.forget([0, 61])
    clf.forget(np.isin(Y, ["a", "b"]))
    assert clf.classes_.tolist() == ["c"]


@pytest.mark.parametrize("wrap", [lambda net: net, piped])
def test_the_last_numbers_may_leave(wrap):
    net = make_net(criterion__weight=torch.tensor([1.0, 50.0, 1.0]))
    clf = RetrainClassifier(wrap(net), random_state=0).fit(X, NUMBERS).forget(NUMBERS == 2)
    kept = NUMBERS != 2
    fresh = RetrainClassifier(wrap(net), random_state=0).fit(X[kept], NUMBERS[kept])
    assert np.array_equal(clf.predict_proba(X), fresh.predict_proba(X))
    with pytest.raises(UnsupportedNetError, match="by their numbers"):
        RetrainClassifier(wrap(net), random_state=0).fit(X, NUMBERS).forget(NUMBERS == 1)


@pytest.mark.parametrize("estimator", [RetrainClassifier, PumaClassifier, SisaClassifier])
@pytest.mark.parametrize("kind", ["weight", "list", "buffer", "callback"])
@pytest.mark.parametrize("wrap", [lambda net: net, piped])
def test_rows_that_lack_a_class_are_refused(estimator, kind, wrap):
    if estimator is PumaClassifier and wrap is piped:
        pytest.skip("takes no pipelines")
    some, options = Y != "a", {}
    if estimator is SisaClassifier:
        options = {"aggregation": "hard"}
    with pytest.raises(ValueError, match=r"by (their|its) number"):
        estimator(wrap(make_net(**KINDS[kind])), random_state=0, **options).fit(X[some], Y[some])


def test_weights_stay_with_their_class_in_puma():
    clf = PumaClassifier(make_net(**KINDS["weight"]), random_state=0).fit(X, Y)
    rest = X[Y != "a"]
    assert np.mean(clf.predict(rest) == "c") > 0.9
    clf.forget(Y == "a")
    assert np.mean(clf.predict(rest) == "c") > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_sisa_refuses_at_fit(kind):
    net = make_net(**KINDS[kind])
    with pytest.raises(ValueError, match="by its number"):
        SisaClassifier(net, aggregation="hard", random_state=0).fit(X, Y)


def test_of_two_classes_weights_stay():
    two = NUMBERS < 2
    X2, y2 = X[two], Y[two]
    for settings in (
        {"criterion": Alpha, "criterion__alpha": [1.0, 5.0], "module__n_outputs": 2},
        {
            "kind": NeuralNetBinaryClassifier,
            "criterion": nn.BCEWithLogitsLoss,
            "criterion__pos_weight": torch.tensor([5.0]),
            "module__n_outputs": 1,
        },
    ):
        for estimator in (RetrainClassifier, PumaClassifier):
            clf = estimator(make_net(**settings), random_state=0).fit(X2, y2)
            assert clf.forget(y2 == "a").predict(X2[:3]).tolist() == ["b"] * 3
        sisa = SisaClassifier(make_net(**settings), aggregation="hard", random_state=0)
        assert sisa.fit(X2, y2).forget(y2 == "a").predict(X2[:3]).tolist() == ["b"] * 3


@pytest.mark.parametrize("estimator", [RetrainClassifier, PumaClassifier])
def test_what_is_no_setting_of_a_class_is_let_through(estimator):
    steps = LRScheduler("MultiStepLR", milestones=[2, 4, 6])
    net = make_net(
        callbacks=[Balanced(), steps],
        criterion__label_smoothing=0.1,
        module__prior=[1.0, 1.0, 1.0],
    )
    clf = estimator(net, random_state=0).fit(X, Y)
    assert clf.forget(Y == "a").classes_.tolist() == ["b", "c"]


def test_an_adopted_net_numbers_by_its_labels():
    some = NUMBERS > 0
    net = make_net(**KINDS["weight"]).fit(X, NUMBERS)
    clf = PumaClassifier(FrozenEstimator(net), random_state=0).fit(X[some], NUMBERS[some])
    assert clf.classes_.tolist() == [1, 2]


def test_names_of_what_is_found():
    for kind, settings in KINDS.items():
        (name, *_) = class_settings(make_net(**settings), {3})
        assert name.partition("__")[0] in {"criterion", "callbacks", "module", name}, kind
        if kind != "ignored class":  # which has no number of entries
            assert class_settings(make_net(**settings), {4, 1, None}) == [], kind
    assert class_settings(piped(make_net(**KINDS["list"])), {3}) == ["criterion__alpha"]
    assert class_settings(FunctionTransformer(), {3}) == []
