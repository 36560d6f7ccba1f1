"""The Gauss-Newton step without compensation against published reference points.

The reference points are 95th percentiles of Gaussian KLoM on forgotten, retained and held-out
rows for an MLP on digits (64-128-10, weight decay 1e-4, 60 epochs, 1300 rows trained on, 100
models), each for one draw of the forgotten rows. How much a draw matters is seen in doing
nothing, so that several draws are measured here, and a reference is reproduced if it lies
between the smallest and the largest of them, for doing nothing as for the step. That takes
``--full``: without it there is one draw.

    python benchmarks/bench_gauss_newton.py
"""

import numpy as np
import torch
from _common import parse, print_table, write_json
from bench_report import ROWS, make_net, shown
from sklearn.datasets import load_digits

from sk_unlearn import PumaClassifier
from sk_unlearn.model_selection import compare_forgetting

ALL_ROWS = {"damping": 1e-3, "n_curvature_rows": None}
# share forgotten: name, parameters and reference of each step
STEPS = {
    0.01: {
        "nothing": (None, (1.53, 0.12, 0.12)),
        "damping 1e-2, 25 % of rows": (
            {"damping": 1e-2, "n_curvature_rows": 0.25},
            (0.79, 0.09, 0.09),
        ),
        "damping 1e-3, all rows": (ALL_ROWS, (0.39, 0.08, 0.08)),
    },
    0.05: {
        "nothing": (None, (7.5, 0.36, 0.41)),
        "damping 3e-3, 50 % of rows": (
            {"damping": 3e-3, "n_curvature_rows": 0.5},
            (1.05, 0.22, 0.17),
        ),
        "damping 1e-3, all rows": (ALL_ROWS, (0.46, 0.15, 0.15)),
    },
}


def measure(share, X, y, args):
    """KLoM of each step, one line a draw."""
    rng = np.random.default_rng(0)
    held_out = np.zeros(len(y), dtype=bool)
    held_out[rng.permutation(len(y))[1300:]] = True
    trained = np.flatnonzero(~held_out)
    draws = {
        f"draw {k}": rng.choice(trained, round(1300 * share), replace=False)
        for k in range(args.draws)
    }
    comparison = compare_forgetting(
        {
            name: PumaClassifier(make_net(), compensation=None, **params)
            for name, (params, _) in STEPS[share].items()
            if params is not None
        },
        X,
        y,
        forget=draws,
        n_models=args.models,
        test_size=held_out,
        metrics="klom",
        random_state=0,
        n_jobs=args.jobs,
        verbose=1,
    )
    found = {name: [] for name in STEPS[share]}
    for record in comparison.records:
        if record["estimator"] in found:
            values = [record["metrics"][f"klom_p95_{part}"]["value"] for part in ROWS]
            found[record["estimator"]].append(values)
    return found


def main():
    args = parse(
        __doc__,
        full={"models": 50, "draws": 3, "shares": list(STEPS)},
        models={"type": int, "default": 20, "help": "of each kind, at least 20"},
        draws={"type": int, "default": 1, "help": "of the forgotten rows"},
        jobs=2,
        shares={"type": float, "nargs": "*", "default": [0.01], "choices": list(STEPS)},
    )
    torch.set_num_threads(1)
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)
    results = {}
    for share in args.shares:
        results[share] = found = measure(share, X, y, args)
        rows = []
        for name, values in found.items():
            low, high, reference = np.min(values, 0), np.max(values, 0), STEPS[share][name][1]
            inside = [bool(a <= r <= b) for a, r, b in zip(low, reference, high, strict=True)]
            rows.append((name, shown(low), shown(high), shown(reference), inside))
        print_table(
            f"{share:.0%} of rows, {args.draws} draws, KLoM p95 forgotten / retained / held out",
            ("step", "smallest", "largest", "reference", "inside"),
            rows,
        )
    write_json("gauss_newton", results, **vars(args))


if __name__ == "__main__":
    main()
