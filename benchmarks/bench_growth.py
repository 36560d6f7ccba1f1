"""PUMA as the number of rows grows and the forget set does not: time and memory.

Claim: at most 2 times the time from 10^4 to 10^6 rows for a request to an estimator that has
answered one before, at a fixed number of curvature rows and of held-out rows. The first
request has to read all rows three times, which no method that holds them by reference can
avoid: to verify that they are what was fitted, to copy the retained ones, and to size their
curvature in one forward pass. Its parts are timed apart.

Synthetic rows of 100 features, ten classes; the default network, trained for 400 steps, or one
epoch if that is more. CPU time on one thread. What it was reached at: accuracy on rows never
seen, and KLoM of the first request at the smallest number of rows, where tens of nets can be
trained.

    python benchmarks/bench_growth.py
"""

import time
import warnings

import numpy as np
import torch
from _common import PeakMemory, parse, print_table, write_json
from _quality import klom, print_klom

from sk_unlearn import PumaClassifier
from sk_unlearn.exceptions import RetrainAdvisedWarning
from sk_unlearn.functional import row_losses
from sk_unlearn.nets import default_classifier, rowwise_model, to_tensors
from sk_unlearn.utils._fingerprint import fingerprint

N_FEATURES, N_LATENT, N_CLASSES = 100, 10, 10
BATCH_SIZE, STEPS, HELD_OUT, LEAVING = 256, 400, 1000, 100
# At 1e-3, 300 curvature rows let the steps of these data grow too long.
DAMPING = 1e-2
LIMIT = 2.0
UNSEEN = 2000  # rows for KLoM


def data(n_rows, seed):
    """Points near a plane of ten dimensions, labelled by their place in it.

    Without such a structure 300 curvature rows say nothing about most directions.
    """
    random, fixed = np.random.default_rng(seed), np.random.default_rng(0)
    plane, directions = (
        fixed.standard_normal((N_LATENT, n)).astype(np.float32) for n in (N_FEATURES, N_CLASSES)
    )
    Z = random.standard_normal((n_rows, N_LATENT), dtype=np.float32)
    noise = random.standard_normal((n_rows, N_CLASSES), dtype=np.float32)
    X = Z @ plane / np.float32(N_LATENT**0.5)
    X += 0.1 * random.standard_normal((n_rows, N_FEATURES), dtype=np.float32)
    return X, (Z @ directions + noise).argmax(axis=1)


def timed(function, *arguments):
    start = time.process_time()
    function(*arguments)
    return time.process_time() - start


def request(clf, rows):
    """CPU seconds of a request, and by how much it raised the peak of memory, in MiB."""
    with PeakMemory() as peak:
        seconds = timed(clf.forget, rows)
    return seconds, peak.mib


def floors(clf, X):
    """What the first request cannot do without, in CPU seconds."""
    net = clf.estimator_
    batch = to_tensors(net, X, np.zeros(len(X), dtype=np.int64))
    model = rowwise_model(net)
    params = model.parameters()
    kept = np.arange(len(X) - LEAVING)

    def forward():
        with torch.no_grad():
            row_losses(model, params, *batch, chunk_size=4096)

    return {
        "verify": timed(fingerprint, X),
        "copy": timed(lambda: X[kept]),
        "forward": timed(forward),
    }


def loss(clf, X, y):
    proba = clf.predict_proba(X)[np.arange(len(X)), y]
    return float(-np.log(proba).mean())


def make(n_rows):
    net = default_classifier(
        n_features=N_FEATURES, n_outputs=N_CLASSES, n_rows=n_rows, device="cpu"
    )
    epochs = max(1, round(STEPS * BATCH_SIZE / n_rows))
    net.set_params(batch_size=BATCH_SIZE, max_epochs=epochs)
    return PumaClassifier(
        net, random_state=0, damping=DAMPING, validation_fraction=HELD_OUT / n_rows
    )


def bench(n_rows, repeats):
    X, y = data(n_rows, 1)
    X_test, y_test = data(5000, 2)
    clf = make(n_rows)
    fit = timed(clf.fit, X, y)
    floor = floors(clf, X)
    leaving = np.random.RandomState(0).choice(n_rows, LEAVING * (repeats + 2), replace=False)
    leaving = leaving.reshape(repeats + 2, LEAVING)
    scores = {"accuracy_before": clf.score(X_test, y_test)}
    scores["forget_loss_before"] = loss(clf, X[leaving[0]], y[leaving[0]])
    first, first_memory = request(clf, leaving[0])
    scores["forget_loss_after"] = loss(clf, X[leaving[0]], y[leaving[0]])
    following = [request(clf, rows) for rows in leaving[1:]][1:]
    scores["accuracy_after"] = clf.score(X_test, y_test)
    return {
        "n_rows": n_rows,
        "data_mib": X.nbytes / 2**20,
        "seconds": {
            "fit": fit,
            "first": first,
            "next": float(np.median([seconds for seconds, _ in following])),
            "all_next": [seconds for seconds, _ in following],
        },
        "floor": floor,
        "extra_mib": {"first": first_memory, "next": max(extra for _, extra in following)},
        **scores,
    }


def main():
    options = parse(
        __doc__,
        repeats=5,
        models={"type": int, "default": 20, "help": "for KLoM, of each kind"},
        sizes={"type": float, "nargs": "+", "default": [1e4, 1e5, 1e6]},
    )
    warnings.simplefilter("ignore", RetrainAdvisedWarning)
    torch.set_num_threads(1)
    bench(int(options.sizes[0]), 1)  # torch loads its forward mode when it is first used
    results = [bench(int(n), options.repeats) for n in options.sizes]
    smallest = results[0]["seconds"]
    print_table(
        f"{LEAVING} rows leave (CPU seconds; x: over {results[0]['n_rows']} rows)",
        ("rows", "fit", "first", "next", f"x next (limit {LIMIT:g})", "verify", "copy", "forward"),
        [
            (
                r["n_rows"],
                *(r["seconds"][k] for k in ("fit", "first", "next")),
                r["seconds"]["next"] / smallest["next"],
                *r["floor"].values(),
            )
            for r in results
        ],
    )
    print_table(
        "Memory over that before the request, and what it was reached at",
        (
            "rows",
            "data, MiB",
            "first",
            "next",
            "accuracy before",
            "after",
            "forget loss before",
            "after",
        ),
        [
            (
                r["n_rows"],
                r["data_mib"],
                *r["extra_mib"].values(),
                r["accuracy_before"],
                r["accuracy_after"],
                r["forget_loss_before"],
                r["forget_loss_after"],
            )
            for r in results
        ],
    )
    n_rows = results[0]["n_rows"]
    quality = klom(
        make(n_rows),
        *data(n_rows + UNSEEN, 1),
        forget_size=LEAVING,
        n_models=options.models,
        test_size=UNSEEN,
        n_jobs=2,
    )
    print_klom(f"{LEAVING} of {n_rows} rows leave, {options.models} models of each kind", quality)
    settings = {"limit": LIMIT, "held_out": HELD_OUT, "damping": DAMPING}
    settings |= {"repeats": options.repeats, "models": options.models}
    write_json("growth", {"sizes": results, "quality": quality}, **settings)


if __name__ == "__main__":
    main()
