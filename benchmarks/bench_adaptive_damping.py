"""PUMA's damping, fixed and raised where the net is not linear along the step.

Claim: without being told what leaves, the default settings take nets as close to retrained ones
as the smallest damping does for random rows, where it is best, and do not ruin nets that learned
wrong labels by heart, as it does. No choice is best for every request.

Nets of digits with their defaults otherwise; KLoM p95, accuracy on rows never seen, and the
nonlinearity of the steps (see ``_trusted_step``): medians over nets. The net has a fixed number of
epochs, so that nets that were retrained differ from the others by the rows only.

    python benchmarks/bench_adaptive_damping.py
    python benchmarks/bench_adaptive_damping.py --full    # 30 nets, more requests and dampings
"""

import copy
import warnings

import numpy as np
import torch
from _common import parse, print_table, write_json
from bench_report import make_net
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sk_unlearn import PumaClassifier
from sk_unlearn.approximate import _trusted_step
from sk_unlearn.exceptions import RetrainAdvisedWarning
from sk_unlearn.metrics import klom, logit_margin
from sk_unlearn.model_selection import fit_many

CLASS = 3
# of the rows trained on
REQUESTS = {
    "random 1 %": ("random", 0.01),
    "random 5 %": ("random", 0.05),
    "mislabelled 1 %": ("mislabelled", 0.01),
    "mislabelled 5 %": ("mislabelled", 0.05),
    "a class": ("class", None),
}


def leaving(kind, share, y):
    """Which rows leave, and the labels that are trained on."""
    random = np.random.RandomState(0)
    if kind == "class":
        return np.flatnonzero(y == CLASS), y
    rows = random.choice(len(y), int(share * len(y)), replace=False)
    if kind == "mislabelled":
        y = y.copy()
        y[rows] = (y[rows] + random.randint(1, 10, len(rows))) % 10
    return np.sort(rows), y


def margins(models, X, y):
    """Of all models, by rows; a label that a model does not know has probability zero."""
    found = []
    for model in models:
        proba = np.zeros((len(X), 10))
        proba[:, model.classes_] = model.predict_proba(X)
        found.append(logit_margin(np.log(proba + 1e-30), y))
    return np.array(found)


def forgotten(models, rows, **params):
    """Copies of the models after a request, and their reports."""
    moved = [copy.deepcopy(model).set_params(**params).forget(rows) for model in models]
    return moved, [model.receipts_[-1].solver["steps"][0] for model in moved]


def looked_at(models, rows, damping):
    """The same with a fixed damping, the nonlinearity measured but not acted on."""
    limit, _trusted_step.MAX_NONLINEARITY = _trusted_step.MAX_NONLINEARITY, np.inf
    try:
        return forgotten(models, rows, damping=damping)
    finally:
        _trusted_step.MAX_NONLINEARITY = limit


def compare(kind, share, n_models, dampings):
    """KLoM, accuracy, nonlinearity and share of raised dampings, for each alternative."""
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(
        (X / 16).astype(np.float32), y, test_size=len(y) - 1300, stratify=y, random_state=0
    )
    rows, y = leaving(kind, share, y)
    kept = np.setdiff1d(np.arange(len(y)), rows)
    clf, seeds = PumaClassifier(make_net(), damping=1e-3), range(n_models)
    before = fit_many(clf, X, y, seeds).estimators
    retrained, again = (
        fit_many(clf, X[kept], y[kept], [n * n_models + s for s in seeds], sample_id=kept)
        for n in (1, 2)
    )
    # a class that left has margins of its own: they say nothing of how far nets are
    sets = {
        "forgotten": (X[rows], y[rows]) if kind != "class" else None,
        "retained": (X[kept], y[kept]),
        "held out": tuple(each[y_test != CLASS] for each in (X_test, y_test))
        if kind == "class"
        else (X_test, y_test),
    }
    oracle = {k: margins(retrained.estimators, *part) for k, part in sets.items() if part}
    found = {}

    def add(name, models, reports=()):
        looked = [r["nonlinearity"] for r in reports if r["nonlinearity"] is not None]
        found[name] = {
            "klom_p95": {
                k: klom(margins(models, *part), oracle[k], n_resamples=20).value if part else None
                for k, part in sets.items()
            },
            "accuracy": float(np.mean([model.score(X_test, y_test) for model in models])),
            "nonlinearity": float(np.median(looked)) if looked else None,
            "raised": float(np.mean([r["damping_factor"] > 1 for r in reports] or [0])),
        }

    add("nothing", before)
    add("retrained", again.estimators)
    for damping in dampings:
        add(f"damping {damping:g}", *looked_at(before, rows, damping))
    add("raised where needed (default)", *forgotten(before, rows))
    return found


def main():
    args = parse(
        __doc__,
        full={
            "models": 30,
            "requests": list(REQUESTS),
            "dampings": [1e-3, 3e-3, 1e-2, 3e-2, 1e-1],
        },
        models={"type": int, "default": 8, "help": "of each kind"},
        requests={"nargs": "*", "default": ["mislabelled 5 %"], "choices": REQUESTS},
        dampings={"nargs": "*", "type": float, "default": [1e-3, 1e-2]},
    )
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", RetrainAdvisedWarning)
    results = {}
    for name in args.requests:
        results[name] = compare(*REQUESTS[name], args.models, args.dampings)
        heads = ("", "forgotten", "retained", "held out", "accuracy", "nonlinearity", "raised")
        print_table(
            f"{name} of digits leave, {args.models} nets; KLoM p95",
            heads,
            [
                (
                    way,
                    *("-" if v is None else v for v in r["klom_p95"].values()),
                    r["accuracy"],
                    "-" if r["nonlinearity"] is None else r["nonlinearity"],
                    f"{r['raised']:.0%}",
                )
                for way, r in results[name].items()
            ],
        )
    write_json("adaptive_damping", results, **vars(args))


if __name__ == "__main__":
    main()
