"""Accuracy of one isolated density net per class against a net that sees all classes.

Claim: on none of six data sets do the isolated nets lose more than a point to the better of
a per-class Gaussian and a per-class autoencoder; and training the one class that a removal
touches takes less than a 25th of the time of training the joint net.

    python benchmarks/bench_arcane_accuracy.py
"""

import time

import numpy as np
import torch
from _common import load_images, load_letters, parse, print_table, write_json
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn

from sk_unlearn.nets import (
    DensityNet,
    default_classifier,
    default_density,
    predict_proba,
    prepare,
)

WAYS = ("density", "softmax", "gaussian", "autoencoder")


class Autoencoder(nn.Module):
    """Minus the reconstruction error of a row, after noise in training."""

    def __init__(self, n_features, hidden=64, noise=0.3):
        super().__init__()
        self.noise = noise
        bottleneck = max(2, min(32, n_features // 2))
        self.layers = nn.Sequential(
            nn.Linear(n_features, hidden),
            nn.ReLU(),
            nn.Linear(hidden, bottleneck),
            nn.Linear(bottleneck, hidden),
            nn.ReLU(),
            nn.Linear(hidden, n_features),
        )

    def forward(self, X):
        noisy = X + self.noise * torch.randn_like(X) if self.training else X
        return -(self.layers(noisy) - X).square().sum(dim=1)


def one_class(way, n_features):
    """Unfitted net of one class."""
    net = default_density(n_features=n_features, device="cpu")
    if way == "gaussian":
        net.set_params(max_epochs=0)
    if way == "autoencoder":
        net = DensityNet(
            Autoencoder,
            module__n_features=n_features,
            optimizer=torch.optim.Adam,
            lr=2e-3,
            batch_size=32,
            max_epochs=30,
            iterator_train__shuffle=True,
            verbose=0,
        )
    return prepare(net)


def run(way, X, y, Z, seed):
    """Predicted classes of Z, seconds of training, median seconds of one class."""
    torch.manual_seed(seed)
    classes, counts = np.unique(y, return_counts=True)
    if way == "softmax":
        net = default_classifier(
            n_features=X.shape[1], n_outputs=len(classes), n_rows=len(X), device="cpu"
        )
        start = time.process_time()
        net = prepare(net).fit(X, y)
        seconds = time.process_time() - start
        return predict_proba(net, Z).argmax(axis=1), seconds, seconds
    scores, seconds = [], []
    for label, count in zip(classes, counts, strict=True):
        own = X[y == label]
        start = time.process_time()
        net = one_class(way, X.shape[1]).fit(own)
        seconds.append(time.process_time() - start)
        # an error of reconstruction is no density, and a prior means nothing beside it
        prior = 0.0 if way == "autoencoder" else np.log(count / len(X))
        scores.append(net.score_samples(Z) + prior)
    return np.argmax(scores, axis=0), sum(seconds), float(np.median(seconds))


def data_sets():
    """Name, rows and labels 0 ... K-1 of each."""
    yield load_images()
    yield load_letters()
    for load in (load_digits, load_breast_cancer, load_wine, load_iris):
        X, y = load(return_X_y=True)
        yield load.__name__.removeprefix("load_"), X.astype(np.float32), y


def main():
    args = parse(
        __doc__,
        full={"seeds": 3},
        seeds=1,
        # training autoencoders takes minutes and changes no conclusion: only on demand
        ways={"nargs": "+", "choices": WAYS, "default": list(WAYS[:3])},
    )
    torch.set_num_threads(1)
    results, accuracies, costs = [], [], []
    for name, X, y in data_sets():
        found = {way: [] for way in args.ways}
        for seed in range(args.seeds):
            Xa, Xb, ya, yb = train_test_split(X, y, test_size=0.25, stratify=y, random_state=seed)
            scaler = StandardScaler().fit(Xa)
            Xa, Xb = (scaler.transform(part).astype(np.float32) for part in (Xa, Xb))
            for way in args.ways:
                predicted, seconds, each = run(way, Xa, ya, Xb, seed)
                found[way].append((float(np.mean(predicted == yb)), seconds, each))
        means = {way: np.mean(values, axis=0) for way, values in found.items()}
        accuracies.append((name, *(f"{means[way][0]:.4f}" for way in args.ways)))
        for way in args.ways:
            costs.append((name, way, means[way][1], means[way][2] * 1e3))
        results.append({"data": name, "accuracy_total_each": found})
        print(accuracies[-1], flush=True)
    print_table(f"Accuracy, mean of {args.seeds} splits", ("data", *args.ways), accuracies)
    print_table("Training, CPU time", ("data", "way", "all classes, s", "one net, ms"), costs)
    write_json("arcane_accuracy", results, seed=list(range(args.seeds)), ways=args.ways)


if __name__ == "__main__":
    main()
