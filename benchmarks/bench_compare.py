"""Four ways of forgetting beside both controls, on digits.

Claim: ``compare_forgetting`` over RetrainClassifier, SisaClassifier, ArcaneEnsembleClassifier and
PumaClassifier, each with its defaults, takes less than two minutes on two cores. Doing nothing
fails, the models retrained for the control pass, and so do the exact methods.

    python benchmarks/bench_compare.py
"""

import time

import numpy as np
import torch
from _common import parse, print_table, write_json
from sklearn.datasets import load_digits

from sk_unlearn import ArcaneEnsembleClassifier, PumaClassifier, RetrainClassifier, SisaClassifier
from sk_unlearn.model_selection import compare_forgetting

ESTIMATORS = {
    "Retrain": RetrainClassifier(),
    "SISA": SisaClassifier(),
    "ARCANE": ArcaneEnsembleClassifier(),
    "PUMA": PumaClassifier(),
}


def main():
    args = parse(
        __doc__,
        models={"type": int, "default": 5, "help": "of each kind, at least 5"},
        jobs=2,
        forget={"nargs": "*", "default": ["mislabelled"]},
        size={"type": float, "default": 0.05, "help": "share of the rows trained on"},
    )
    torch.set_num_threads(1)
    X, y = load_digits(return_X_y=True)
    start = time.perf_counter()
    comparison = compare_forgetting(
        ESTIMATORS,
        (X / 16).astype(np.float32),
        y,
        forget={kind: kind for kind in args.forget},
        forget_size=args.size,
        n_models=args.models,
        random_state=0,
        n_jobs=args.jobs,
        verbose=1,
    )
    seconds = time.perf_counter() - start
    print(f"\n{comparison}")
    controls = [record for record in comparison.records if record["control"]]
    print_table(
        f"{args.models} models of each kind, {args.jobs} jobs: {seconds:.0f} s",
        ("control", "verdict"),
        [(record["estimator"], record["verdict"]) for record in controls],
    )
    found = {"records": comparison.records, "notes": comparison.notes, "wall": seconds}
    write_json("compare", found, n_models=args.models, n_jobs=args.jobs, size=args.size)


if __name__ == "__main__":
    main()
