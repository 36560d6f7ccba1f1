"""PUMA forgets a thousand of a million rows: time and memory, made for a CUDA device.

Claim: on a CUDA device, a request for 1,000 of a million rows of 100 features by a network of
100-256-256-10 takes at most 1 s, the first as well as the next, and raises the peak of memory
to at most 1.3 times that of ``fit``. Rows are those of ``bench_growth``, synthetic. Training
goes on for one epoch in batches of 1,024; a retrain is ``fit`` again, which is timed.

On the CPU there are fewer rows: it shows that the benchmark runs. What it was reached at:
accuracy on rows never seen, and KLoM of the first request with 5,000 rows, of which 100 leave as
1,000 of 50,000 do, in batches of a tenth: as many steps of training.

    python benchmarks/bench_puma_million.py
    python benchmarks/bench_puma_million.py --device cuda
"""

import warnings

import numpy as np
import torch
from _common import PeakMemory, clock_of, devices, parse, print_table, write_json
from _quality import klom, print_klom
from bench_growth import N_CLASSES, N_FEATURES, UNSEEN, data

from sk_unlearn import PumaClassifier
from sk_unlearn.exceptions import RetrainAdvisedWarning
from sk_unlearn.nets import default_classifier

HIDDEN, HELD_OUT, DAMPING = (256, 256), 1000, 1e-2
ROWS = {"cpu": 50_000, "cuda": 1_000_000}
QUALITY = {"rows": 5000, "leaving": 100, "batch": 102}
LIMITS = {"seconds": 1.0, "memory": 1.3}


def make(n_rows, batch_size, device):
    net = default_classifier(
        n_features=N_FEATURES, n_outputs=N_CLASSES, n_rows=n_rows, hidden=HIDDEN, device=device
    ).set_params(batch_size=batch_size, max_epochs=1)
    return PumaClassifier(
        net, random_state=0, damping=DAMPING, validation_fraction=HELD_OUT / n_rows
    )


def loss(clf, X, y):
    return float(-np.log(clf.predict_proba(X)[np.arange(len(X)), y]).mean())


def measured(device, call):
    """Seconds and peak of memory, in MiB, of which nothing was held before counts as 0."""
    clock = clock_of(device)
    with PeakMemory(device) as peak:
        start = clock()
        call()
        seconds = clock() - start
    return {"seconds": seconds, "peak_mib": peak.held + peak.mib, "held_mib": peak.held}


def bench(device, n_rows, n_leaving, batch_size, repeats):
    """One fit, and requests in turn, of which all but the first are repeated."""
    X, y = data(n_rows, 1)
    X_test, y_test = data(5000, 2)
    leaving = np.random.RandomState(0).choice(n_rows, (repeats + 1, n_leaving), replace=False)
    # torch and the device load what they need when it is first used
    make(5000, batch_size, device).fit(X[:5000], y[:5000]).forget(range(10)).forget(range(10, 20))
    clf = make(n_rows, batch_size, device)
    found = {"fit": measured(device, lambda: clf.fit(X, y))}
    before = clf.score(X_test, y_test), loss(clf, X[leaving[0]], y[leaving[0]])
    found["first"] = measured(device, lambda: clf.forget(leaving[0]))
    after = loss(clf, X[leaving[0]], y[leaving[0]])
    each = [measured(device, lambda rows=rows: clf.forget(rows)) for rows in leaving[1:]]
    found["next"] = {
        "seconds": float(np.median([one["seconds"] for one in each])),
        "peak_mib": max(one["peak_mib"] for one in each),
        "all_seconds": [one["seconds"] for one in each],
    }
    return {
        "n_rows": n_rows,
        "n_leaving": n_leaving,
        "data_mib": X.nbytes / 2**20,
        "requests": found,
        "accuracy": {"before": before[0], "after": clf.score(X_test, y_test)},
        "forget_loss": {"before": before[1], "after": after},
    }


def quality_of(n_models):
    """KLoM on the CPU, where nets are trained side by side."""
    n_rows = QUALITY["rows"]
    return klom(
        make(n_rows, QUALITY["batch"], "cpu"),
        *data(n_rows + UNSEEN, 1),
        forget_size=QUALITY["leaving"],
        n_models=n_models,
        test_size=UNSEEN,
        n_jobs=2,
    )


def main():
    options = parse(
        __doc__,
        on_devices=True,
        rows={"type": int, "help": "default: a million on CUDA, 50,000 on the CPU"},
        leaving=1000,
        batch=1024,
        repeats=5,
        models={"type": int, "default": 20, "help": "for KLoM, of each kind"},
    )
    warnings.simplefilter("ignore", RetrainAdvisedWarning)
    torch.set_num_threads(1)
    quality = quality_of(options.models)
    title = "{leaving} of {rows} rows leave".format(**QUALITY)
    print_klom(f"{title}, {options.models} models of each kind", quality)
    for device in devices(options.device):
        n_rows = options.rows or ROWS[device]
        result = bench(device, n_rows, options.leaving, options.batch, options.repeats)
        found = result["requests"]
        scores = [*result["accuracy"].values(), *result["forget_loss"].values()]
        print_table(
            f"{options.leaving} of {n_rows} rows leave, {device}: accuracy {scores[0]:.4f}, then "
            f"{scores[1]:.4f}; loss on the first {scores[2]:.3f}, then {scores[3]:.3f}",
            ("", "s", "limit on CUDA", "peak, MiB", f"x fit (limit {LIMITS['memory']})"),
            [
                (
                    name,
                    one["seconds"],
                    "" if name == "fit" else f"{LIMITS['seconds']:g}",
                    one["peak_mib"],
                    one["peak_mib"] / found["fit"]["peak_mib"],
                )
                for name, one in found.items()
            ],
        )
        result |= {"quality": quality, "quality_rows": QUALITY["rows"]}
        settings = {"limits": LIMITS, "damping": DAMPING, "held_out": HELD_OUT}
        settings |= {"batch": options.batch, "repeats": options.repeats}
        settings["quality"] = QUALITY | {"models": options.models}
        write_json("puma_million", result, device=device, **settings)


if __name__ == "__main__":
    main()
