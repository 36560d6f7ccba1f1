"""Data, nets and requests of the trust battery; which half each belongs to.

The *development* half, draws a to c, is what constants and thresholds were chosen on. The
*reported* half has other draws, three more data sets and more kinds of nets.
"""

from dataclasses import dataclass

import numpy as np
import torch
from _common import load_images, load_letters
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, make_friedman1
from torch import nn

from sk_unlearn import PumaClassifier, PumaRegressor
from sk_unlearn.nets import MLP, default_classifier


class SmallConv(nn.Module):
    """Two convolutions and a linear layer, for 8 x 8 images that come as 64 numbers."""

    def __init__(self):
        super().__init__()
        self.parts = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(64, 10),
        )

    def forward(self, X):
        return self.parts(X.reshape(-1, 1, 8, 8))


class DropoutMLP(MLP):
    """An MLP whose first hidden layer drops a tenth of its outputs in training."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.layers.insert(3, nn.Dropout(0.1))


@dataclass(frozen=True)
class Scenario:
    """Nets of one kind on some rows, and what they are asked to forget.

    Attributes
    ----------
    data, net, draw : str
    requests : tuple of str
        See :func:`rows_of`.
    """

    data: str
    net: str
    draw: str
    requests: tuple

    @property
    def half(self):
        """Whether constants may look at it."""
        return "development" if self.draw in "abc" else "reported"

    @property
    def name(self):
        """Of the scenario, such as "digits default a"."""
        return f"{self.data} {self.net} {self.draw}"


_SOME = ("random 1%", "random 5%", "hardest 1%", "one row")
_REAL = ("random 1%", "random 5%", "hardest 1%")
SCENARIOS = [
    Scenario("digits", "default", "a", ("random 5%", "random 5% in 20", "random 20%", "hardest 1%",
                                        "half a class", "near duplicates")),
    Scenario("digits", "default", "b", ("random 1%", "one class", "mislabelled 5%")),
    Scenario("letter", "default", "a", ("random 10%", "one class", "hardest 1%")),
    Scenario("letter", "default", "b", ("random 5%", "random 5% in 20", "half a class",
                                        "easiest 5%")),
    Scenario("digits", "one epoch", "b", ("random 5%", "hardest 1%")),
    Scenario("digits", "linear slow", "b", ("random 5%", "hardest 1%")),
    Scenario("digits", "overfit", "b", ("random 5%", "mislabelled 1%")),
    Scenario("digits", "SGD", "c", ("random 5%", "hardest 1%", "one class")),
    Scenario("digits", "wide", "c", ("random 5%", "one row")),
    Scenario("digits", "deep", "c", ("random 5%", "hardest 1%")),
    Scenario("digits", "schedule", "c", ("random 20%",)),
    Scenario("census", "default", "a", ("random 1%", "subgroup", "hardest 1%")),
    Scenario("census", "default", "b", ("random 5%", "subgroup", "near duplicates", "one row")),
    Scenario("friedman", "default", "a", _REAL),
    Scenario("cancer", "default", "d", ("random 5%", "hardest 1%", "easiest 5%", "one row",
                                        "random 20%")),
    Scenario("census", "default", "d", ("random 1%", "random 5% in 20", "random 10%", "subgroup",
                                        "hardest 1%", "near duplicates")),
    Scenario("letter", "default", "d", ("random 5%", "random 5% in 20", "random 10%",
                                        "half a class", "one class", "hardest 1%")),
    Scenario("letter", "linear slow", "d", ("random 5%", "hardest 1%")),
    Scenario("digits", "default", "d", ("random 1%", "random 5%", "random 5% in 20", "random 20%",
                                        "hardest 1%", "one class", "mislabelled 1%",
                                        "mislabelled 5%")),
    Scenario("digits", "deep", "d", _SOME),
    Scenario("digits", "wide", "e", _SOME),
    Scenario("digits", "overfit", "e", _SOME),
    Scenario("digits", "two epochs", "e", _SOME),
    Scenario("digits", "SGD", "f", _SOME),
    Scenario("digits", "schedule", "f", _SOME),
    Scenario("friedman", "default", "d", (*_REAL, "random 5% in 20", "random 20%")),
    Scenario("diabetes", "default", "d", _REAL),
    Scenario("mnist", "default", "d", ("random 1%", "random 5%", "random 5% in 20", "random 20%",
                                       "one class", "hardest 1%", "one row")),
    Scenario("digits", "dropout", "e", ("random 5%", "hardest 1%")),
    Scenario("digits", "CNN", "d", ("random 5%", "hardest 1%")),
]  # fmt: skip
# The smaller battery, of both halves.
SMALL = {
    "digits default a": ("random 5%", "hardest 1%"),
    "letter default a": ("random 10%",),
    "digits one epoch b": ("random 5%",),
    "mnist default d": ("random 5%", "hardest 1%"),
    "census default d": ("random 1%", "subgroup"),
    "digits default d": ("random 5% in 20", "random 20%", "one class"),
    "digits SGD f": ("random 5%",),
    "friedman default d": ("random 5%",),
}


REAL = {"friedman", "diabetes"}  # whose targets are numbers


def load(data, draw):
    """Rows trained on and rows never seen, drawn by the letter; and a mark of a subgroup."""
    random = np.random.RandomState(ord(draw))
    if data == "digits":
        X, y = load_digits(return_X_y=True)
        X, n = X / 16, 1300
    elif data == "letter":
        _, X, y = load_letters()
        n = 4000
    elif data == "mnist":
        _, X, y = load_images()
        X, n = X.reshape(len(X), -1), 4000
    elif data == "cancer":
        X, y = load_breast_cancer(return_X_y=True)
        X, n = (X - X.mean(0)) / X.std(0), 430
    elif data == "friedman":
        X, y = make_friedman1(2500, noise=1.0, random_state=ord(draw))
        n = 2000
    elif data == "diabetes":
        X, y = load_diabetes(return_X_y=True)
        n = 350
    else:
        X, y = _census(random)
        n = 4000
    if data not in REAL:
        y = np.unique(y, return_inverse=True)[1]
    order = random.permutation(len(y))
    n = min(n, int(0.8 * len(y)))
    train, test = order[:n], order[n : n + 500]
    return X[train].astype(np.float32), y[train], X[test].astype(np.float32), y[test]


def _census(random):
    """Made-up people: eight categories as one-hot columns, two numbers, and a noisy label."""
    n, parts, score = 6000, [], np.zeros(6000)
    for size in (7, 14, 6, 5, 2, 30, 16, 9):
        share = 1 / np.arange(1, size + 1) ** 1.2
        value = random.choice(size, n, p=share / share.sum())
        parts.append(np.eye(size)[value])
        score += random.normal(size=size)[value] * 0.7
    numbers = random.normal(size=(n, 2))
    score += numbers @ (0.8, -0.5) + numbers[:, 0] * parts[4][:, 1] - 1
    y = score + random.logistic(size=n) > 0
    return np.hstack([*parts, numbers]), y


def estimator_of(scenario, X, y):
    """An unfitted estimator."""
    if scenario.data in REAL:
        return PumaRegressor()
    return PumaClassifier(net_of(scenario.net, X, y))


def net_of(kind, X, y):
    """An unfitted net."""
    sizes = {"n_features": X.shape[1], "n_outputs": int(y.max()) + 1, "n_rows": len(y)}
    hidden = {"linear slow": (), "wide": (512,), "deep": (96, 96, 96)}.get(kind, (128,))
    net = default_classifier(**sizes, hidden=hidden, device="cpu")
    epochs = {"one epoch": 1, "two epochs": 2, "overfit": 3 * net.max_epochs}
    net.set_params(max_epochs=epochs.get(kind, net.max_epochs))
    if kind == "linear slow":
        net.set_params(lr=1e-3, max_epochs=10)
    elif kind == "SGD":
        net.set_params(optimizer=torch.optim.SGD, lr=0.02, optimizer__momentum=0.9)
    elif kind == "schedule":
        from skorch.callbacks import LRScheduler

        policy = LRScheduler("CosineAnnealingLR", T_max=net.max_epochs)
        net.set_params(callbacks=[policy])
    elif kind == "CNN":
        net.set_params(module=SmallConv)
        for name in [name for name in net.get_params(deep=False) if name.startswith("module__")]:
            delattr(net, name)
            net._params_to_validate = set(getattr(net, "_params_to_validate", ())) - {name}
    elif kind == "dropout":
        net.set_params(module=DropoutMLP)
    return net


def rows_of(request, X, y, margins, draw):
    """Rows to forget, one request after the other, and the labels that are trained on.

    Parameters
    ----------
    request : str
    X, y : ndarray
    margins : ndarray of shape (n_rows,)
        Of a net trained on them, small where a row is hard.
    draw : str
    """
    random = np.random.RandomState(1000 + ord(draw))
    request, _, several = request.partition(" in ")
    kind, _, amount = request.rpartition(" ")
    count = max(1, round(float(amount[:-1]) / 100 * len(y))) if amount.endswith("%") else 0
    order = np.argsort(margins)
    label = random.randint(int(y.max()) + 1)
    if kind in ("random", "mislabelled"):
        rows = random.choice(len(y), count, replace=False)
    elif kind == "hardest":
        rows = order[:count]
    elif kind == "easiest":
        rows = order[-count:]
    elif request == "one row":
        rows = order[len(y) // 100 : len(y) // 100 + 1]
    elif request == "one class":
        rows = np.flatnonzero(y == label)
    elif request == "half a class":
        rows = random.permutation(np.flatnonzero(y == label))[: (y == label).sum() // 2]
    elif request == "near duplicates":
        rows = np.argsort(np.linalg.norm(X - X[order[0]], axis=1))[: len(y) // 100]
    else:  # a subgroup: rows that share a rare feature
        share = (X > 0.5).mean(0)
        column = np.argmin(np.where(share > 0.015, share, 1))
        rows = np.flatnonzero(X[:, column] > 0.5)
    requests = [np.sort(rows)] if not several else np.array_split(rows, int(several))
    if kind == "mislabelled":
        y = y.copy()
        classes = y.max() + 1
        y[rows] = (y[rows] + random.randint(1, classes, len(rows))) % classes
    return requests, y
