"""PUMA on a linear net: one row leaves by the cached closed form, against a refit.

Claim: a request for one row is at least 100 times faster than training the same linear net
again without it. Curvature of a linear head of at most 1,024 parameters is inverted once, in
the first request, and updated when rows leave. The step is compared with that of conjugate
gradients on the same rows (for a linear net the Hessian is the Gauss-Newton matrix).

CPU time on one thread; the first request builds the inverse and is timed apart. Refits take turns
with the requests. What it was reached at: accuracy on rows never seen, and KLoM of a request for
1 % of 2,000 rows, where tens of nets can be trained.

    python benchmarks/bench_linear_head.py
    python benchmarks/bench_linear_head.py --lr 1e-3    # KLoM alone, far from the minimum
"""

import argparse
import copy
import time
import warnings

import numpy as np
import torch
from _common import load_images, load_letters, print_table, write_json
from _quality import klom, print_klom
from _softmax_newton import log_proba, newton
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

from sk_unlearn import PumaClassifier, RetrainClassifier
from sk_unlearn.exceptions import RetrainAdvisedWarning
from sk_unlearn.nets import default_classifier

LIMIT, N_NEWTON = 100, 5
QUALITY = {"rows": 2000, "leaving": 20, "unseen": 1000}


def pooled_images():
    """Images averaged over squares, so that ten outputs have at most 1,024 parameters."""
    name, X, y = load_images()
    side = int(X.shape[1] ** 0.5)
    step = 4 if side == 28 else 1
    X = X.reshape(-1, side // step, step, side // step, step).mean(axis=(2, 4)).reshape(len(X), -1)
    return f"{name}, {X.shape[1]} pixels", (X - X.mean(0)) / (X.std(0) + 1e-3), y


def linear_net(X, y):
    return default_classifier(
        n_features=X.shape[1], n_outputs=len(np.unique(y)), n_rows=len(X), hidden=(), device="cpu"
    )


def timed(function):
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def row_loss(clf, X, y, row):
    return float(-np.log(clf.predict_proba(X[[row]])[0, np.searchsorted(clf.classes_, y[row])]))


def vector(clf):
    return np.concatenate(
        [p.detach().numpy().ravel() for p in clf.estimator_.module_.parameters()]
    )


def bench(name, X, y, repeats, n_retrains):
    X, X_test, y, y_test = train_test_split(
        X.astype(np.float32), y, test_size=0.2, random_state=0, stratify=y
    )
    puma = PumaClassifier(linear_net(X, y), random_state=0).fit(X, y)
    retrain = RetrainClassifier(linear_net(X, y), random_state=0).fit(X, y)
    trained = np.setdiff1d(np.arange(len(X)), puma.validation_indices_)
    rows = np.random.RandomState(0).permutation(trained)[: repeats + 2].tolist()
    fitted = copy.deepcopy(puma)
    copy.deepcopy(puma).forget(rows[0])  # torch loads its forward mode when it is first used
    by_cg = copy.deepcopy(puma).set_params(curvature="hessian", tol=1e-6, max_products=1000)
    start = vector(puma)
    first, _ = timed(lambda: puma.forget(rows[0]))
    steps = [vector(clf) - start for clf in (puma, by_cg.forget(rows[0]))]
    following, refits = [], []
    for turn, row in enumerate(rows[1:]):
        following.append(timed(lambda row=row: puma.forget(row))[0])
        if turn < n_retrains:
            refits.append(timed(lambda row=row: copy.copy(retrain).forget(row)))
    exact = refits[-1][1]
    row = rows[n_retrains]
    refit = float(np.median([seconds for seconds, _ in refits]))
    following_s = float(np.median(following[1:]))
    return {
        "data": name,
        "n_rows": len(X),
        "n_parameters": len(start),
        "seconds": {"refit": refit, "first": first, "next": following_s, "all_next": following},
        "speed_up": {"first": refit / first, "next": refit / following_s, "limit": LIMIT},
        "step_against_cg": float(np.linalg.norm(steps[0] - steps[1]) / np.linalg.norm(steps[1])),
        "accuracy": {
            "before": fitted.score(X_test, y_test),
            "after": puma.score(X_test, y_test),
            "refit": exact.score(X_test, y_test),
        },
        "row_loss": {
            "before": row_loss(fitted, X, y, row),
            "after": row_loss(puma, X, y, row),
            "refit": row_loss(exact, X, y, row),
        },
    }


def quality_of(X, y, n_models, **settings):
    """KLoM of one request to nets of some of the rows, with settings of the net."""
    chosen = np.random.RandomState(0).permutation(len(X))[: QUALITY["rows"] + QUALITY["unseen"]]
    X, y = X[chosen].astype(np.float32), y[chosen]
    return klom(
        PumaClassifier(linear_net(X[: QUALITY["rows"]], y).set_params(**settings)),
        X,
        y,
        forget_size=QUALITY["leaving"],
        n_models=n_models,
        test_size=QUALITY["unseen"],
        n_jobs=2,
    )


def closed_form(name, X, y):
    """Rival: Newton's method with the dense Hessian of all rows, without the package.

    One step from the minimum with all rows, which is what a request does, and the minimum
    without the row, from zero and from there: the reference for what a request should reach.
    """
    X, X_test, y, y_test = train_test_split(
        X.astype(np.float32), y, test_size=0.2, random_state=0, stratify=y
    )
    decay, n_classes = linear_net(X, y).optimizer__weight_decay, len(np.unique(y))
    row, kept = 0, np.arange(1, len(X))
    seconds, (exact, n_steps) = timed(lambda: newton(X[kept], y[kept], n_classes, decay))
    # nearly there: the same minimum as from zero, in fewer steps
    minimum, _ = newton(X, y, n_classes, decay, start=exact)
    runs = {"refit by Newton, from zero": ([seconds], exact, n_steps)}
    for way, steps in (
        ("one Newton step, all rows", 1),
        ("refit by Newton, from the minimum", 50),
    ):

        def refit(steps=steps):
            return newton(X[kept], y[kept], n_classes, decay, start=minimum, steps=steps)

        rounds = [timed(refit) for _ in range(N_NEWTON)]
        runs[way] = ([taken for taken, _ in rounds], *rounds[-1][1])
    moved = np.linalg.norm(exact - minimum)
    found = {
        way: {
            "seconds": float(np.median(taken)),
            "steps": n_steps,
            "accuracy": float((log_proba(weights, X_test).argmax(axis=1) == y_test).mean()),
            "row_loss": float(-log_proba(weights, X[[row]])[0, y[row]]),
            # of the parameters to the minimum, over that of doing nothing
            "distance": float(np.linalg.norm(weights - exact) / moved),
        }
        for way, (taken, weights, n_steps) in runs.items()
    }
    return {"data": name, "ways": found, "seed": 0}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=20, help="requests for one row")
    parser.add_argument("--retrains", type=int, default=5)
    parser.add_argument("--models", type=int, default=20, help="for KLoM, of each kind")
    parser.add_argument(
        "--lr", type=float, help="only print KLoM, of nets that learn at this rate"
    )
    options = parser.parse_args()
    warnings.simplefilter("ignore", RetrainAdvisedWarning)
    torch.set_num_threads(1)
    threadpool_limits(1)  # NumPy's products in the rival too: threads that wait count as CPU time
    datasets = pooled_images(), load_letters()
    if options.lr:
        for name, X, y in datasets:
            print_klom(
                f"{name}, learning rate {options.lr}",
                quality_of(X, y, options.models, lr=options.lr),
            )
        return
    results = [bench(*data, options.repeats, options.retrains) for data in datasets]
    print_table(
        "One row leaves a linear net (CPU seconds; accuracy on rows never seen)",
        (
            "data",
            "refit",
            "first",
            "next",
            "x first",
            f"x next (limit {LIMIT})",
            "accuracy before",
        ),
        [
            (
                f"{r['data']}, {r['n_parameters']} parameters",
                *(r["seconds"][k] for k in ("refit", "first", "next")),
                *(f"{r['speed_up'][k]:.0f}" for k in ("first", "next")),
                r["accuracy"]["before"],
            )
            for r in results
        ],
    )
    print_table(
        "What it was reached at",
        ("data", "step against CG", "accuracy after", "refit", "loss before", "after", "refit"),
        [
            (
                r["data"],
                f"{r['step_against_cg']:.1e}",
                *(r["accuracy"][k] for k in ("after", "refit")),
                *(r["row_loss"][k] for k in ("before", "after", "refit")),
            )
            for r in results
        ],
    )
    rivals = [closed_form(*data) for data in datasets]
    print_table(
        "Rivals without the package: the minimum in closed form (CPU seconds)",
        ("data", "way", "s", "steps", "accuracy", "loss of the row", "distance left"),
        [
            (rival["data"], way, *r.values())
            for rival in rivals
            for way, r in rival["ways"].items()
        ],
    )
    write_json("linear_head_rivals", rivals)
    for result, (name, X, y) in zip(results, datasets, strict=True):
        result["quality"] = quality_of(X, y, options.models)
        print_klom(f"{QUALITY['leaving']} of {QUALITY['rows']} rows, {name}", result["quality"])
    write_json("linear_head", results, quality=QUALITY, **vars(options))


if __name__ == "__main__":
    main()
