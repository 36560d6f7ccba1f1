"""Prediction by the estimators against the bare nets that they hold.

Claim: ``predict_proba`` and ``predict`` take at most 1.05 times what a loop written by hand does
with a tensor that is there already, for 10,000 rows. For ``predict_proba`` the loop is a forward
pass over all rows and a softmax for each net; for ``predict`` it is a forward pass and an argmax
of one net (PUMA), the argmax of the summed probabilities of several (SISA), or of their densities
(ARCANE). Chunks that stay in the cache, and activations that overwrite what a layer made, can make
the estimators faster than that loop. For few rows the checks of the input and the look at what the
module is are all that is seen; the checks of scikit-learn's ``validate_data``, which arrays of the
right form are spared, are timed beside.

CPU time on one thread, of as many calls in a row as take a hundredth of a second or more: the
first after others finds the caches full of what these did. Accuracy is that of the predictions
that are timed.

    python benchmarks/bench_predict.py
"""

import argparse
import time
import warnings

import numpy as np
import torch
from _common import (
    load_images,
    load_letters,
    print_table,
    ratio,
    time_interleaved,
    write_json,
)

from sk_unlearn import ArcaneEnsembleClassifier, PumaClassifier, SisaClassifier
from sk_unlearn.nets import default_classifier
from sk_unlearn.utils._inputs import check_net_input

SIZES = (1, 100, 10_000)
LIMIT = 1.05
SECONDS = 0.015  # of each timing
FITTED, CLASSES = 1000, 8


def few_classes(name, X, y):
    """Rows of the first classes, so that an ensemble of one net a class stays small."""
    kept = y < CLASSES
    return name, X[kept], y[kept]


def estimators():
    """Each estimator with the data that it is timed on."""
    images, letters = (few_classes(*data) for data in (load_images(), load_letters()))

    def net(data):
        _, X, y = data
        made = default_classifier(
            n_features=X.shape[1], n_outputs=len(np.unique(y)), n_rows=FITTED, device="cpu"
        )
        return made.set_params(max_epochs=3)

    return [
        (PumaClassifier(net(images), random_state=0), images),
        (PumaClassifier(net(letters), random_state=0), letters),
        (SisaClassifier(net(letters), random_state=0), letters),
        (ArcaneEnsembleClassifier(random_state=0), letters),
    ]


def modules_of(clf):
    """The modules of all nets of an estimator."""
    held = getattr(clf, "estimators_", None)
    held = [clf.estimator_] if held is None else held
    held = held.values() if isinstance(held, dict) else held
    return [net.module_.eval() for net in held if hasattr(net, "module_")]


def outputs_of(modules, rows):
    """What each module says, as probabilities where it scores classes."""
    for module in modules:
        scores = module(rows)
        scores = scores[0] if isinstance(scores, tuple) else scores
        yield torch.softmax(scores, 1) if scores.ndim > 1 else scores


def bare_proba(modules, X):
    """Forward passes and a softmax on a tensor that is there already."""
    rows = torch.from_numpy(X)

    def predict():
        with torch.no_grad():
            for output in outputs_of(modules, rows):
                output.numpy()

    return predict


def bare_labels(modules, X):
    """The same up to one argmax; a single net needs no softmax for it."""
    rows = torch.from_numpy(X)

    def predict():
        with torch.no_grad():
            if len(modules) == 1:
                scores = modules[0](rows)
            else:
                outputs = list(outputs_of(modules, rows))
                scores = sum(outputs) if outputs[0].ndim > 1 else torch.stack(outputs, 1)
            scores.argmax(1).numpy()

    return predict


def repeated(function, times):
    """Calls in a row."""

    def run():
        for _ in range(times):
            function()

    return run


def bench(clf, data, repeats):
    name, X, y = data
    clf.fit(X[:FITTED], y[:FITTED])
    modules, results = modules_of(clf), []
    for n_rows in SIZES:
        rows = X[np.arange(n_rows) % len(X)]
        ways = {
            "bare": bare_proba(modules, rows),
            "ours": lambda rows=rows: clf.predict_proba(rows),
            "bare labels": bare_labels(modules, rows),
            "labels": lambda rows=rows: clf.predict(rows),
        }
        if hasattr(clf, "_integer_rows_"):
            ways["validation"] = lambda rows=rows: check_net_input(clf, rows)
        once = time_interleaved({"bare": ways["bare"]}, repeats=3, clock=time.process_time)
        times = max(1, round(SECONDS / min(once["bare"])))
        ways = {way: repeated(function, times) for way, function in ways.items()}
        # the rows with an aim are a few long calls: more rounds for them
        rounds = repeats * (2 if n_rows == SIZES[-1] else 1)
        seconds = time_interleaved(ways, repeats=rounds, clock=time.process_time)
        medians = {way: float(np.median(values)) / times for way, values in seconds.items()}
        results.append(
            {
                "estimator": type(clf).__name__,
                "data": name,
                "n_nets": len(modules),
                "n_rows": n_rows,
                "calls_in_a_row": times,
                "seconds": medians,
                "ratio": ratio(seconds, "ours", "bare"),
                "ratio_labels": ratio(seconds, "labels", "bare labels"),
                "accuracy": float(clf.score(rows, y[np.arange(n_rows) % len(X)])),
            }
        )
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--repeats", type=int, default=7, help="rounds, twice as many for many rows"
    )
    repeats = parser.parse_args().repeats
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    results = []
    for clf, data in estimators():
        results += bench(clf, data, repeats)
    print_table(
        f"predict_proba and predict, one thread (limit {LIMIT:g} at {SIZES[-1]} rows)",
        (
            "estimator",
            "data",
            "nets",
            "rows",
            "bare ms",
            "ours ms",
            "ratio",
            "bare labels ms",
            "labels ms",
            "ratio",
            "validation ms",
            "accuracy",
        ),
        [
            (
                r["estimator"],
                r["data"],
                r["n_nets"],
                r["n_rows"],
                r["seconds"]["bare"] * 1e3,
                r["seconds"]["ours"] * 1e3,
                r["ratio"],
                r["seconds"]["bare labels"] * 1e3,
                r["seconds"]["labels"] * 1e3,
                r["ratio_labels"],
                r["seconds"].get("validation", float("nan")) * 1e3,
                r["accuracy"],
            )
            for r in results
        ],
    )
    write_json("predict", results, fitted=FITTED, repeats=repeats, limit=LIMIT)


if __name__ == "__main__":
    main()
