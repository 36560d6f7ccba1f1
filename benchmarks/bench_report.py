"""The whole report of how well rows were forgotten, for an MLP on digits.

Claim: PUMA with default settings against 100 retrained nets of each kind, with KLoM, U-LiRA,
membership, accuracies, cost and both controls, takes at most a minute on two cores for a forget
set. Measured values stand beside the reference points for this net (64-128-10, weight decay 1e-4,
60 epochs, 1300 rows trained on), which come from other draws of the rows: 95th percentile of
Gaussian KLoM on forgotten, retained and held-out rows. For mislabelled rows the claim is that the
estimator advises to retrain.

    python benchmarks/bench_report.py
    python benchmarks/bench_report.py --full    # three forget sets, two settings of PUMA
"""

import os
import time

import numpy as np
import torch
from _common import parse, print_table, write_json
from sklearn.datasets import load_digits

from sk_unlearn import PumaClassifier
from sk_unlearn.model_selection import compare_forgetting
from sk_unlearn.nets import default_classifier

ROWS = ("forget", "retain", "held_out")
# forget set: kind, share, reference of doing nothing, bound for PUMA
SETS = {
    "random 1 %": ("random", 0.01, (1.53, 0.12, 0.12), (0.8, 0.15, 0.15)),
    "random 5 %": ("random", 0.05, (7.5, 0.36, 0.41), (1.0, 0.25, 0.25)),
    "mislabelled 1 %": ("mislabelled", 0.01, (69, 4.4, 4.0), None),
}
ESTIMATORS = {"PUMA": {}, "PUMA, damping 3e-3": {"damping": 3e-3}}


def make_net(batch_size=32):
    net = default_classifier(n_features=64, n_outputs=10, n_rows=1300, device="cpu", hidden=(128,))
    return net.set_params(batch_size=batch_size, max_epochs=60, optimizer__weight_decay=1e-4)


def shown(values):
    return " / ".join(f"{value:.2f}" for value in values)


def report(name, args, X, y):
    """Run one comparison; table rows beside the reference, and what was found."""
    kind, share, nothing, bound = SETS[name]
    net = make_net(args.batch)
    estimators = {label: PumaClassifier(net, **ESTIMATORS[label]) for label in args.estimators}
    wall, cpu = time.perf_counter(), os.times()
    comparison = compare_forgetting(
        estimators,
        X,
        y,
        forget={name: kind},
        forget_size=share,
        n_models=args.models,
        test_size=len(y) - 1300,
        random_state=0,
        n_jobs=args.jobs,
        verbose=1,
    )
    wall = time.perf_counter() - wall
    cpu = sum(os.times()[:4]) - sum(cpu[:4])  # with finished workers
    print(f"\n{comparison}")
    references = {"nothing": nothing, "PUMA": bound}
    rows = []
    for record in comparison.records:
        values = [record["metrics"][f"klom_p95_{part}"]["value"] for part in ROWS]
        reference = references.get(record["estimator"])
        if record["estimator"] == "nothing":
            kept = "-"
        elif reference is not None:
            kept = all(v <= r for v, r in zip(values, reference, strict=True))
        else:
            kept = "-"
        sign = "<= " if record["estimator"] == "PUMA" else ""
        rows.append(
            (
                record["estimator"],
                shown(values),
                "-" if reference is None else sign + shown(reference),
                kept,
                "-" if record["control"] else f"{record['cost']['advised']:.0%}",
            )
        )
    print_table(
        f"{name}: KLoM p95 on forgotten / retained / held-out rows; {wall:.0f} s, {cpu:.0f} s CPU",
        ("estimator", "measured", "reference", "within", "advised to retrain"),
        rows,
    )
    found = {"records": comparison.records, "notes": comparison.notes, "wall": wall, "cpu": cpu}
    return found


def main():
    args = parse(
        __doc__,
        full={"sets": list(SETS), "estimators": list(ESTIMATORS)},
        models={"type": int, "default": 100, "help": "of each kind, at least 5"},
        jobs=2,
        sets={"nargs": "*", "default": list(SETS)[:1], "choices": list(SETS)},
        estimators={"nargs": "*", "default": list(ESTIMATORS)[:1], "choices": ESTIMATORS},
        batch={"type": int, "default": 32, "help": "rows in a batch of training"},
    )
    torch.set_num_threads(1)
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)
    found = {name: report(name, args, X, y) for name in args.sets}
    seconds = {name: (result["wall"], result["cpu"]) for name, result in found.items()}
    print_table(
        "Time of the report",
        ("forget set", "wall s", "CPU s"),
        [(n, *s) for n, s in seconds.items()],
    )
    write_json("report", found, **vars(args))


if __name__ == "__main__":
    main()
