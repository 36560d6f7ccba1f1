"""Exact removal against naive retraining: time, and what of it is not training.

Claims: SISA of 20 shards and 5 slices forgets one row at least 18 times faster than the same
net is retrained, and takes at most 1.1 times the share of row passes that it does again, with
checkpoints in memory or in files; its shards are fitted at least 1.5 times faster side by side
than one by one. ARCANE forgets one row at least 25 times faster than the default net of all
classes is retrained, and takes at most 1.1 times the share of row passes of its own fit. One
thread; training, placement, checkpoints and receipts are all timed.

    python benchmarks/bench_exact_cost.py
"""

import argparse
import tempfile
import time

import numpy as np
import torch
from _common import load_images, load_letters, print_table, write_json
from sklearn.base import clone
from sklearn.model_selection import train_test_split
from skorch.callbacks import Callback

from sk_unlearn import ArcaneEnsembleClassifier, RetrainClassifier, SisaClassifier
from sk_unlearn.nets import default_classifier

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def timed(call):
    """Seconds of a call by each clock."""
    start = {name: clock() for name, clock in CLOCKS.items()}
    call()
    return {name: clock() - start[name] for name, clock in CLOCKS.items()}


def forget(clf, rows):
    """Seconds of one request, and the share of all row passes that it does again."""
    seconds = timed(lambda: clf.forget(rows))
    return seconds | {"share": clf.receipts_[-1].cost.share_of_retrain}


def summarise(requests, full, naive):
    """Means over requests, in units of a full training and of a naive retrain.

    Parameters
    ----------
    requests : list of dict
        What :func:`forget` returned.
    full, naive : list of dict
        Seconds of trainings: of that whose row passes the shares count, and of one net.
    """
    share = np.mean([request["share"] for request in requests])
    summary = {"requests": len(requests), "share": float(share)}
    for clock in CLOCKS:
        mean = np.mean([request[clock] for request in requests])
        medians = [np.median([run[clock] for run in runs]) for runs in (full, naive)]
        summary[clock] = {
            "seconds": float(mean),
            "ratio": float(mean / medians[0] / share),
            "speed_up": float(medians[1] / mean),
        }
    return summary


def split(load):
    """Name, training rows, test rows, training labels, test labels."""
    name, X, y = load()
    return name, *train_test_split(X, y, test_size=0.25, stratify=y, random_state=0)


def shards(net, **options):
    """SISA of 20 shards and 5 slices."""
    return SisaClassifier(net, n_shards=20, n_slices=5, random_state=0, **options)


def fits(net, X, y, rounds):
    """Seconds of fitting all shards side by side and one by one, and the models."""
    # a callback that does nothing: what it does cannot be known, so the nets train alone
    idle = clone(net).set_params(callbacks=[("idle", Callback())])
    kinds = {"side by side": net, "one by one": idle}
    models = {kind: shards(own) for kind, own in kinds.items()}
    seconds = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for kind, model in models.items():
            seconds[kind].append(timed(lambda model=model: model.fit(X, y)))
    assert [model.stacked_ for model in models.values()] == [True, False]
    return seconds, models


def sisa(rounds, per_round, epochs):
    """One net of 784-128-10, alone and in 20 shards of 5 slices."""
    name, X, X_test, y, y_test = split(load_images)
    net = default_classifier(
        n_features=X.shape[1], n_outputs=len(np.unique(y)), n_rows=len(X), device="cpu"
    ).set_params(batch_size=32, max_epochs=epochs)
    rows = np.random.default_rng(0).permutation(len(X))
    fit_seconds, fitted = fits(net, X, y, rounds)
    naive, single = [], {"memory": [], "files": []}
    with tempfile.TemporaryDirectory() as folder:
        models = {"naive": RetrainClassifier(net, random_state=0).fit(X, y)}
        for kind, checkpoints in (("memory", None), ("files", folder)):
            models[kind] = shards(net, checkpoints=checkpoints).fit(X, y)
        scores = {kind: model.score(X_test, y_test) for kind, model in models.items()}
        for round_ in range(rounds):
            naive.append(forget(models["naive"], rows[round_]))
            for row in rows[round_ * per_round : (round_ + 1) * per_round]:
                for kind, requests in single.items():
                    requests.append(forget(models[kind], row))
        many = rows[-(len(X) // 100) :]
        batch = {kind: [forget(models[kind], many)] for kind in single}
        naive.append(forget(models["naive"], many))
    results = {"naive": {"accuracy": scores["naive"], "runs": naive}}
    results["fit"] = {
        kind: {"accuracy": model.score(X_test, y_test), "runs": fit_seconds[kind]}
        for kind, model in fitted.items()
    }
    for kind in single:
        results[kind] = {
            "accuracy": scores[kind],
            "one row": summarise(single[kind], naive, naive),
        }
        results[kind]["1 %"] = summarise(batch[kind], naive, naive)
    return f"SISA, 20 shards of 5 slices, {name}, {len(X)} rows", results


def arcane(rounds, per_round):
    """Default density nets of the letters, with all rows and with half of them selected."""
    name, X, X_test, y, y_test = split(load_letters)
    rows = np.random.default_rng(0).permutation(len(X))
    models = {
        f"selection {share:g}": ArcaneEnsembleClassifier(selection=share, random_state=0)
        for share in (1.0, 0.5)
    }
    naive_model = RetrainClassifier(random_state=0).fit(X, y)
    results = {"naive": {"accuracy": naive_model.score(X_test, y_test)}}
    naive, full = [], {kind: [] for kind in models}
    requests = {kind: [] for kind in models}
    for round_ in range(rounds):
        naive.append(forget(naive_model, rows[round_]))
        for kind, model in models.items():
            full[kind].append(timed(lambda model=model: model.fit(X, y)))
            results.setdefault(kind, {"accuracy": model.score(X_test, y_test)})
            for row in rows[round_ * per_round : (round_ + 1) * per_round]:
                requests[kind].append(forget(model, row))
    results["naive"]["runs"] = naive
    for kind in models:
        results[kind]["fit"] = full[kind]
        results[kind]["one row"] = summarise(requests[kind], full[kind], naive)
    return f"ARCANE, {name}, {len(X)} rows", results


def report(title, results, speed_up):
    """Print one part; the limits hold for one row, that on the ratio for all."""
    rows = []
    naive = results["naive"]
    seconds = [float(np.median([run[clock] for run in naive["runs"]])) for clock in CLOCKS]
    rows.append(["naive", "all", 1.0, *seconds, "", "", f"{naive['accuracy']:.4f}"])
    for kind, result in results.items():
        for request in ("one row", "1 %"):
            if request not in result:
                continue
            found = result[request]
            rows.append(
                [
                    kind,
                    request,
                    found["share"],
                    *(found[clock]["seconds"] for clock in CLOCKS),
                    " / ".join(f"{found[clock]['ratio']:.2f}" for clock in CLOCKS),
                    " / ".join(f"{found[clock]['speed_up']:.1f}" for clock in CLOCKS),
                    f"{result['accuracy']:.4f}",
                ]
            )
    heads = ("model", "request", "share of passes", "wall s", "cpu s")
    limits = ("time over share, limit 1.10", f"speed-up, limit {speed_up} for one row")
    print_table(f"{title}; wall / cpu", (*heads, *limits, "accuracy"), rows)


def report_fits(results):
    """Print how much faster shards are fitted side by side."""
    medians = {
        kind: {clock: np.median([run[clock] for run in found["runs"]]) for clock in CLOCKS}
        for kind, found in results.items()
    }
    rows = [
        [
            kind,
            *(float(medians[kind][clock]) for clock in CLOCKS),
            " / ".join(f"{medians['one by one'][c] / medians[kind][c]:.2f}" for c in CLOCKS),
            f"{found['accuracy']:.4f}",
        ]
        for kind, found in results.items()
    ]
    heads = ("shards", "wall s", "cpu s", "speed-up, limit 1.5", "accuracy")
    print_table("SISA, fit of 20 shards; wall / cpu", heads, rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20, help="of the net in SISA")
    parser.add_argument("--part", choices=("sisa", "arcane"), help="default: both")
    options = parser.parse_args()
    torch.set_num_threads(1)
    parts = {
        "sisa": (lambda: sisa(options.rounds, 4, options.epochs), 18),
        "arcane": (lambda: arcane(options.rounds, 12), 25),
    }
    for name in parts if options.part is None else (options.part,):
        run, speed_up = parts[name]
        title, results = run()
        report(title, results, speed_up)
        if "fit" in results:
            report_fits(results["fit"])
        write_json(f"exact_cost_{name}", results, title=title, **vars(options))


if __name__ == "__main__":
    main()
