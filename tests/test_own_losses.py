"""Losses and nonlinearities of users' own through every estimator that takes a classifier's net.

Each kind either predicts what plain skorch predicts of the same net, with probabilities that are
some, or is refused when ``fit`` is called. What is refused, and where, is written down here.
"""

import numpy as np
import pytest
import torch
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch import (
    NeuralNet,
    NeuralNetBinaryClassifier,
    NeuralNetClassifier,
    NeuralNetRegressor,
)
from torch import nn
from torch.nn import functional as F

from sk_unlearn import (
    PumaClassifier,
    PumaRegressor,
    RetrainClassifier,
    RetrainRegressor,
    SisaClassifier,
    SisaRegressor,
)
from sk_unlearn.exceptions import UnsupportedNetError

N = 60
RNG = np.random.RandomState(0)
NUMBERS = RNG.permutation(np.arange(N) % 3)
X = (RNG.normal(size=(N, 4)) + 3 * np.eye(4)[NUMBERS]).astype(np.float32)
LABELS = np.array(["ape", "bee", "cat"])


class Net(nn.Module):
    def __init__(self, n_outputs=3, end=None):
        super().__init__()
        self.hidden, self.out = nn.Linear(4, 8), nn.Linear(8, n_outputs)
        self.end = end

    def forward(self, X):
        scores = self.out(torch.tanh(self.hidden(X)))
        return scores if self.end is None else getattr(torch, self.end)(scores, dim=-1)


class Flat(Net):
    def forward(self, X):
        return super().forward(X)[:, 0]


class Focal(nn.Module):
    def __init__(self, reduction="mean"):
        super().__init__()
        self.reduction = reduction

    def forward(self, scores, y):
        assert y.dtype == torch.int64
        return self.reduced(F.cross_entropy(scores, y, reduction="none"))

    def reduced(self, loss):
        loss = (1 - torch.exp(-loss)) ** 2 * loss
        return loss.mean() if self.reduction == "mean" else loss


class FocalByGather(Focal):
    def forward(self, scores, y):
        return self.reduced(-scores.log_softmax(-1).gather(1, y[:, None])[:, 0])


class FocalCrossEntropy(nn.CrossEntropyLoss):
    def forward(self, scores, y):
        loss = F.cross_entropy(scores, y, reduction="none")
        loss = (1 - torch.exp(-loss)) ** 2 * loss
        return loss.mean() if self.reduction == "mean" else loss


class OneHotMSE(nn.MSELoss):
    def forward(self, scores, y):
        return super().forward(scores, F.one_hot(y, scores.shape[1]).to(scores.dtype))


class OneAgainstRest(nn.BCEWithLogitsLoss):
    def forward(self, scores, y):
        return super().forward(scores, F.one_hot(y, scores.shape[1]).to(scores.dtype))


class FocalBinary(nn.BCEWithLogitsLoss):
    def forward(self, scores, y):
        loss = F.binary_cross_entropy_with_logits(scores, y, reduction="none")
        loss = (1 - torch.exp(-loss)) ** 2 * loss
        return loss.mean() if self.reduction == "mean" else loss


class Hinge(nn.Module):
    reduction = "mean"

    def forward(self, scores, y):
        loss = (1 - scores.flatten() * (2 * y - 1)).clamp(min=0) ** 2
        return loss.mean() if self.reduction == "mean" else loss


def softmax(scores):
    return torch.softmax(scores, dim=-1)


def two_columns(scores):
    p = torch.sigmoid(scores).flatten()
    return torch.stack((1 - p, p), dim=1)


def three_columns_of_scores(scores):
    return scores * 10 - 5


class OwnProbabilities(NeuralNetClassifier):
    def predict_proba(self, X):
        return torch.softmax(torch.as_tensor(super().predict_proba(X)), dim=-1).numpy()


class OwnEvaluation(NeuralNetClassifier):
    def evaluation_step(self, batch, training=False):
        return super().evaluation_step(batch, training).flip(1)


BINARY = {"kind": NeuralNetBinaryClassifier, "n_outputs": 1}
ONE = {"n_outputs": 1}
PROBABILITIES = {
    "focal loss derived from cross-entropy": {"criterion": FocalCrossEntropy},
    "focal loss, softmax": {"criterion": Focal, "predict_nonlinearity": softmax},
    "focal loss, module ends in softmax": {"criterion": OneHotMSE, "end": "softmax"},
    "focal loss, own predict_proba": {"criterion": Focal, "kind": OwnProbabilities},
    "label smoothing": {"criterion": nn.CrossEntropyLoss, "criterion__label_smoothing": 0.1},
    "likelihood of softmax": {"criterion": nn.NLLLoss, "end": "softmax"},
    "likelihood of log_softmax, plain net": {
        "criterion": nn.NLLLoss,
        "end": "log_softmax",
        "kind": NeuralNet,
    },
    "binary": {"criterion": nn.BCEWithLogitsLoss, **BINARY},
    "binary, vector": {"criterion": nn.BCEWithLogitsLoss, "module": Flat, **BINARY},
    "binary, by a classifier": {"criterion": nn.BCEWithLogitsLoss, **ONE},
    "binary focal loss": {"criterion": FocalBinary, **BINARY},
    "binary focal loss, by a classifier": {"criterion": FocalBinary, **ONE},
    "hinge, two columns": {"criterion": Hinge, "predict_nonlinearity": two_columns, **BINARY},
    "one column, two made of it": {
        "criterion": Hinge,
        "predict_nonlinearity": two_columns,
        **ONE,
    },
}
SCORES = {
    "focal loss": {"criterion": Focal},
    "focal loss by gather": {"criterion": FocalByGather},
    "focal loss, plain net": {"criterion": FocalByGather, "kind": NeuralNet},
    "margins": {"criterion": nn.MultiMarginLoss},
    "no nonlinearity": {"criterion": nn.CrossEntropyLoss, "predict_nonlinearity": None},
    "squares of one-hot": {"criterion": OneHotMSE},
    "one against the rest": {
        "criterion": OneAgainstRest,
        "predict_nonlinearity": torch.sigmoid,
    },
    "own scores": {
        "criterion": nn.CrossEntropyLoss,
        "predict_nonlinearity": three_columns_of_scores,
    },
}
REFUSED = {
    "likelihood of log_softmax": ({"criterion": nn.NLLLoss, "end": "log_softmax"}, "softmax"),
    "likelihood of scores": ({"criterion": nn.NLLLoss}, "CrossEntropyLoss"),
    "hinge, binary": ({"criterion": Hinge, **BINARY}, "predict_nonlinearity"),
    "hinge, one column": ({"criterion": Hinge, **ONE}, "predict_nonlinearity"),
    "hinge, vector": ({"criterion": Hinge, "module": Flat, **ONE}, "predict_nonlinearity"),
    "squares, one column": ({"criterion": nn.MSELoss, **ONE}, "one output a class|two columns"),
    "binary, no nonlinearity": (
        {"criterion": nn.BCEWithLogitsLoss, "predict_nonlinearity": None, **BINARY},
        "predict_nonlinearity",
    ),
    "a nonlinearity that fails": (
        {"criterion": nn.CrossEntropyLoss, "predict_nonlinearity": lambda p: p.softmax(7)},
        "predict_nonlinearity of .* failed",
    ),
}


def make_net(kind=NeuralNetClassifier, module=Net, n_outputs=3, end=None, **settings):
    options = {"max_epochs": 8, "lr": 0.05, "optimizer": torch.optim.Adam, "batch_size": 16}
    fixed = {"train_split": None, "verbose": 0, "module__n_outputs": n_outputs, "module__end": end}
    return kind(module, **fixed, **(options | settings))


def data(settings):
    """Rows of as many classes as the net can tell apart, and their labels."""
    known = (3 if settings.get("n_outputs", 3) > 1 else 2) > NUMBERS
    return X[known], LABELS[NUMBERS[known]]


def trained(net, X, y):
    torch.manual_seed(0)
    target = y if net.criterion not in (nn.BCEWithLogitsLoss, FocalBinary) else y.astype("f4")
    if not isinstance(net, NeuralNetBinaryClassifier) and target.dtype == np.float32:
        target = target[:, None]
    return FrozenEstimator(net.fit(X, target))


RETRAIN = {
    "retrain": lambda net: RetrainClassifier(net, random_state=0),
    "retrain in a pipeline": lambda net: RetrainClassifier(
        make_pipeline(FunctionTransformer(), net), random_state=0
    ),
}
ONE_NET = RETRAIN | {"puma": lambda net: PumaClassifier(net, random_state=0, n_curvature_rows=20)}
SISA = {
    "soft": lambda net: SisaClassifier(net, n_shards=2, n_slices=2, random_state=0),
    "hard": lambda net: SisaClassifier(
        net, n_shards=2, n_slices=2, aggregation="hard", random_state=0
    ),
    "soft, in a pipeline": lambda net: SisaClassifier(
        make_pipeline(FunctionTransformer(), net), n_shards=2, random_state=0
    ),
}


def check_probabilities(clf, X):
    proba = clf.predict_proba(X)
    assert proba.shape == (len(X), len(clf.classes_))
    assert (proba >= 0).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-5)
    assert np.array_equal(clf.classes_[proba.argmax(axis=1)], clf.predict(X))


def check_one_net(clf, X, numbers, *, probabilities):
    """Predictions are those of plain skorch for the same net, among the classes that are left.

    ``numbers`` are the outputs of the classes.
    """
    said = np.asarray(clf.estimator_.predict_proba(X), dtype=np.float64)
    said = said.reshape(len(X), -1)  # skorch gives (n, 2, 1) for one logit of a classifier
    expected = clf.classes_[said[:, numbers].argmax(axis=1)]
    assert np.array_equal(clf.predict(X), expected)
    if probabilities:
        check_probabilities(clf, X)
        return
    with pytest.raises(UnsupportedNetError, match="predict_nonlinearity"):
        clf.predict_proba(X)


ALL = {**{k: (v, True) for k, v in PROBABILITIES.items()}}
ALL |= {k: (v, False) for k, v in SCORES.items()}
pytestmark = pytest.mark.filterwarnings("ignore::sk_unlearn.exceptions.RetrainAdvisedWarning")


@pytest.mark.parametrize("name", ONE_NET)
@pytest.mark.parametrize("loss", ALL)
def test_one_net_predicts_as_plain_skorch(name, loss):
    settings, probabilities = ALL[loss]
    X, y = data(settings)
    if "pipeline" in name and settings.get("kind") is NeuralNet:
        probabilities = False  # skorch does not know that its outputs are logarithms
    clf = ONE_NET[name](make_net(**settings))
    if (name, loss) == ("puma", "margins"):
        with pytest.raises(UnsupportedNetError, match="twice differentiable"):
            clf.fit(X, y)
        return
    clf.fit(X, y)
    assert clf.score(X, y) > 0.8
    n_classes = len(clf.classes_)
    check_one_net(clf, X, np.arange(n_classes), probabilities=probabilities)
    clf.forget(0)
    check_one_net(clf, X, np.arange(n_classes), probabilities=probabilities)
    clf.forget(y == "ape")
    assert clf.classes_.tolist() == LABELS[1:n_classes].tolist()
    # PUMA keeps the outputs; training anew numbers the classes from 0
    first = 1 if name == "puma" else 0
    left = np.arange(first, first + n_classes - 1)
    check_one_net(clf, X, left, probabilities=probabilities)
    if n_classes > 2:
        assert np.mean(clf.predict(X) == y) > 0.8 * np.mean(y != "ape")


@pytest.mark.parametrize("name", SISA)
@pytest.mark.parametrize("loss", ALL)
def test_sisa_votes_or_refuses(name, loss):
    settings, probabilities = ALL[loss]
    X, y = data(settings)
    clf = SISA[name](make_net(**settings))
    if "pipeline" in name and settings.get("kind") is NeuralNet:
        probabilities = False  # skorch does not know that its outputs are logarithms
    if name != "hard" and not probabilities:
        with pytest.raises(UnsupportedNetError, match="predict_nonlinearity"):
            clf.fit(X, y)
        assert not hasattr(clf, "receipts_")
        return
    clf.fit(X, y)
    assert clf.score(X, y) > 0.7
    for request in (0, y == "ape"):
        clf.forget(request)
        check_probabilities(clf, X)
        if name == "hard":
            np.testing.assert_allclose(clf.predict_proba(X), shares_of_votes(clf, X))
    if len(clf.classes_) > 1:
        assert np.mean(clf.predict(X) == y) > 0.7 * np.mean(y != "ape")


def shares_of_votes(clf, X):
    """Each net's own answer counted, by the rows that it holds."""
    total = np.zeros((len(X), len(clf.classes_)))
    for net, chain in zip(clf.estimators_, clf._chains_.values(), strict=True):
        said = np.zeros(len(X), int)
        if len(chain.classes) > 1:
            said = np.asarray(net.predict_proba(X)).reshape(len(X), -1)
            said = said[:, : len(chain.classes)].argmax(axis=1)
        total += chain.n_rows * (chain.classes[said][:, None] == clf.classes_)
    return total / total.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("name", ["retrain", "puma"])
@pytest.mark.parametrize("loss", [loss for loss in ALL if loss != "margins"])
def test_an_adopted_net_predicts_as_plain_skorch(name, loss):
    settings, probabilities = ALL[loss]
    X, labels = data(settings)
    y = np.searchsorted(LABELS, labels)
    clf = ONE_NET[name](trained(make_net(**settings), X, y)).fit(X, y)
    n_classes = len(clf.classes_)
    check_one_net(clf, X, np.arange(n_classes), probabilities=probabilities)
    clf.forget(0).forget(y == 0)
    first = 1 if name == "puma" else 0
    left = np.arange(first, first + n_classes - 1)
    check_one_net(clf, X, left, probabilities=probabilities)


@pytest.mark.parametrize("name", [*ONE_NET, *SISA])
@pytest.mark.parametrize("loss", REFUSED)
def test_what_says_nothing_of_classes_is_refused_before_training(name, loss):
    settings, remedy = REFUSED[loss]
    X, y = data(settings)
    clf = (ONE_NET | SISA)[name](make_net(**settings))
    with pytest.raises(UnsupportedNetError, match=remedy):
        clf.fit(X, y)
    assert not hasattr(clf, "receipts_")


@pytest.mark.parametrize("name", ["retrain", "puma"])
def test_an_adopted_net_that_says_nothing_of_classes_is_refused(name):
    settings = {"criterion": Hinge, **BINARY}
    X, labels = data(settings)
    y = np.searchsorted(LABELS, labels)
    with pytest.raises(UnsupportedNetError, match="predict_nonlinearity"):
        ONE_NET[name](trained(make_net(**settings), X, y.astype(np.float32))).fit(X, y)


class Pinball(nn.Module):
    """A loss of real targets, quadratic near zero."""

    def __init__(self, reduction="mean"):
        super().__init__()
        self.reduction = reduction

    def forward(self, output, target):
        assert target.dtype == output.dtype
        assert target.shape == output.shape
        loss = F.huber_loss(output, target, reduction="none")
        loss = loss * (1 + 0.5 * (target > output))
        return loss.mean() if self.reduction == "mean" else loss


REGRESSORS = {
    "retrain": lambda net: RetrainRegressor(net, random_state=0),
    "puma": lambda net: PumaRegressor(net, random_state=0, n_curvature_rows=20),
    "sisa": lambda net: SisaRegressor(net, n_shards=2, n_slices=2, random_state=0),
}


@pytest.mark.parametrize("name", REGRESSORS)
@pytest.mark.parametrize("kind", [NeuralNetRegressor, NeuralNet])
@pytest.mark.parametrize("module", [Net, Flat])
@pytest.mark.parametrize("target", [float, int])
def test_losses_of_real_targets_get_them_in_the_shape_of_the_output(name, kind, module, target):
    y = NUMBERS.astype(target)
    net = make_net(kind, module, n_outputs=1, criterion=Pinball, max_epochs=20)
    reg = REGRESSORS[name](net).fit(X, y).forget([0, 1])
    assert reg.predict(X).shape == y.shape
    assert reg.score(X, y) > 0.5


@pytest.mark.parametrize("name", [*ONE_NET, *SISA])
def test_how_a_net_predicts_may_be_its_own(name):
    net = make_net(OwnEvaluation, criterion=nn.CrossEntropyLoss)
    clf = (ONE_NET | SISA)[name](net).fit(X, NUMBERS)
    said = clf.predict(X)
    assert np.mean(said == 2 - NUMBERS) > 0.8  # the columns are turned around
    if name in ONE_NET:
        assert np.array_equal(said, clf.estimator_.predict(X))


@pytest.mark.parametrize("name", ONE_NET)
@pytest.mark.parametrize("threshold", [0.2, 0.9])
def test_a_threshold_of_the_net_decides(name, threshold):
    X, y = data(BINARY)
    net = make_net(criterion=nn.BCEWithLogitsLoss, threshold=threshold, **BINARY)
    clf = ONE_NET[name](net).fit(X, y)
    said = clf.estimator_.predict(X)
    assert 0 < said.mean() < 1
    assert np.array_equal(clf.predict(X), clf.classes_[said])
    with pytest.raises(ValueError, match="FixedThresholdClassifier"):
        SisaClassifier(net).fit(X, y)
