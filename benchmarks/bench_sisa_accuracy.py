"""Accuracy of SISA by its number of shards, against one net that sees all rows.

Claim: with its default number of shards SISA loses at most two points of accuracy to the
default net on each of six data sets. Stratified splits of 75 to 25; features are standardised
by the training part, images are divided by 255.

    python benchmarks/bench_sisa_accuracy.py
    python benchmarks/bench_sisa_accuracy.py --full    # six data sets, six numbers of shards
"""

import time

import numpy as np
import torch
from _common import load_images, load_letters, parse, print_table, write_json
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from sk_unlearn import RetrainClassifier, SisaClassifier
from sk_unlearn.nets import default_classifier

LIMIT = 0.02
DATA = {
    "mnist": load_images,
    "letter": load_letters,
    "digits": load_digits,
    "breast_cancer": load_breast_cancer,
    "wine": load_wine,
    "iris": load_iris,
}


def load(name):
    """Rows as float32, labels, and whether the features need standardising."""
    if name in ("mnist", "letter"):
        found, X, y = DATA[name]()
        return X, y, found == "letter"
    X, y = DATA[name](return_X_y=True)
    return X.astype(np.float32), y, True


def split(X, y, scale, seed):
    """Training and test rows, training and test labels."""
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.25, stratify=y, random_state=seed)
    if scale:
        scaler = StandardScaler().fit(X)
        X, X_test = (scaler.transform(part).astype(np.float32) for part in (X, X_test))
    return X, X_test, y, y_test


def shard_net(X, y, n_shards, lr):
    """Net for a shard of average size, with a learning rate; None is SISA's own choice."""
    if lr is None:
        return None
    size = 2 ** round(np.log2(len(X) / n_shards))
    net = default_classifier(n_features=X.shape[1], n_outputs=len(np.unique(y)), n_rows=size)
    return net.set_params(lr=lr)


def measure(data, shards, seeds, lr=None):
    """Accuracy and seconds of ``fit`` of each model for each seed."""
    X, y, scale = load(data)
    found = {}
    for seed in range(seeds):
        A, B, a, b = split(X, y, scale, seed)
        models = {"one net": RetrainClassifier(random_state=seed)}
        for n_shards in shards:
            net = shard_net(A, a, n_shards, lr)
            models[n_shards] = SisaClassifier(net, n_shards=n_shards, random_state=seed)
        for name, model in models.items():
            start = time.process_time()
            model.fit(A, a)
            seconds = time.process_time() - start
            found.setdefault(name, []).append((float(model.score(B, b)), seconds))
    return found


def main():
    options = parse(
        __doc__,
        full={"data": list(DATA), "shards": [1, 2, 3, 5, 10, 20], "seeds": 3},
        data={"nargs": "+", "choices": DATA, "default": ["letter", "digits", "wine"]},
        shards={"nargs": "+", "type": int, "default": [3, 20]},
        seeds=1,
        lr={"type": float, "help": "learning rate of SISA's nets"},
    )
    torch.set_num_threads(1)
    default = SisaClassifier().n_shards
    results, accuracy, seconds = {}, [], []
    for data in options.data:
        found = results[data] = measure(data, options.shards, options.seeds, options.lr)
        means = {name: np.mean(runs, axis=0) for name, runs in found.items()}
        lost = means["one net"][0] - means[default][0] if default in means else float("nan")
        verdict = "yes" if lost <= LIMIT else "no"
        accuracy.append([data, *(f"{m[0]:.4f}" for m in means.values()), f"{lost:.4f}", verdict])
        seconds.append([data, *(float(m[1]) for m in means.values())])
        print(" ".join(accuracy[-1]), flush=True)
    heads = ("data", "one net", *(f"{n} shards" for n in options.shards))
    print_table(
        f"Accuracy, mean of {options.seeds} splits",
        (*heads, f"lost at {default}", f"at most {LIMIT}"),
        accuracy,
    )
    print_table("Training, CPU seconds", heads, seconds)
    name = "sisa_accuracy" if options.lr is None else f"sisa_accuracy_lr_{options.lr:g}"
    write_json(name, results, seed=list(range(options.seeds)), **vars(options))


if __name__ == "__main__":
    main()
