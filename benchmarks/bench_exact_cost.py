"""Exact removal against naive retraining and a plain SISA: time, and what of it is not training.

Claims: SISA of 20 shards and 5 slices forgets one row at least 18 times faster than the same
net is retrained, and takes at most 1.1 times the share of row passes that it does again, with
checkpoints in memory or in files. ARCANE forgets one row at least 25 times faster than the
default net of all classes is retrained, and takes at most 1.1 times the share of row passes
of its own fit. Shards are trained side by side, those of "one by one" are not. One thread;
training, placement, checkpoints and receipts are all timed.

The rivals in the same rounds are a retrain of one net without the rows, and SISA as one writes
it after its paper (``_plain_sisa``): one model after another, checkpoint files, plain loops.

    python benchmarks/bench_exact_cost.py
    python benchmarks/bench_exact_cost.py --full    # 20 epochs instead of 10, more kinds of SISA
"""

import tempfile
import time

import numpy as np
import torch
from _common import load_images, load_letters, parse, print_table, write_json
from _plain_sisa import PlainSisa
from sklearn.base import clone
from sklearn.model_selection import train_test_split
from skorch.callbacks import Callback

from sk_unlearn import ArcaneEnsembleClassifier, RetrainClassifier, SisaClassifier
from sk_unlearn.nets import MLP, default_classifier

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
SHARDS = {"n_shards": 20, "n_slices": 5}
LIMIT = 1.10
SPEED_UPS = {"sisa": 18, "arcane": 25}


def timed(call):
    """Seconds of a call by each clock."""
    start = {name: clock() for name, clock in CLOCKS.items()}
    call()
    return {name: clock() - start[name] for name, clock in CLOCKS.items()}


def forget(model, rows):
    """Seconds of one request, and the share of all row passes that it does again."""
    if isinstance(model, PlainSisa):
        seconds = timed(lambda: model.forget(np.atleast_1d(rows)))
        return seconds | {"share": model.row_passes_ / model.all_row_passes_}
    seconds = timed(lambda: model.forget(rows))
    return seconds | {"share": model.receipts_[-1].cost.share_of_retrain}


def rounds_of(make, data, n_rounds, n_single):
    """Fit every model in turn, ask it for single rows and then for 1 % of the rows.

    Parameters
    ----------
    make : callable
        Returns a dict of unfitted models, the naive retrain first.
    data : tuple of ndarray
        Training rows, test rows, training labels, test labels.
    n_rounds, n_single : int

    Returns
    -------
    found : dict
        For each model a dict of lists with one entry a round: "fit", "one row", "1 %", each a
        dict of mean seconds by clock and mean share, and "accuracy", "accuracy_after".
    """
    X, X_test, y, y_test = data
    found = {}
    naive = make()["naive"].fit(X, y)
    for round_ in range(n_rounds):
        rows = np.random.default_rng([1, round_]).permutation(len(X))  # places are drawn by 0
        single, many = rows[:n_single], rows[-(len(X) // 100) :]
        for kind, model in make().items():
            record = found.setdefault(kind, {})

            def note(key, value, record=record):
                record.setdefault(key, []).append(value)

            if kind == "naive":  # any row costs the same
                note("one row", forget(naive, many))
                note("accuracy", float(naive.score(X_test, y_test)))
                continue
            note("fit", timed(lambda model=model: model.fit(X, y)))
            note("accuracy", float(model.score(X_test, y_test)))
            requests = [forget(model, row) for row in single]
            note("one row", {key: np.mean([r[key] for r in requests]) for key in requests[0]})
            note("1 %", forget(model, many))
            note("accuracy_after", float(model.score(X_test, y_test)))
    return found


def summarise(found, whole):
    """Medians over rounds of what :func:`rounds_of` measured.

    Parameters
    ----------
    found : dict
    whole : callable
        Name of a model to that of the training whose row passes its shares count.

    Returns
    -------
    summary : dict
        ``ratio``: seconds over share times seconds of the whole training; ``ratio_own``: over
        share times the model's own ``fit``; ``speed_up``: over the naive retrain.
    """

    def median(values):
        return float(np.median(values))

    naive, summary = found["naive"]["one row"], {}
    for kind, record in found.items():
        own = record.get("fit", naive)
        result = {"accuracy": median(record["accuracy"])}
        summary[kind] = result
        result["fit"] = {clock: median([run[clock] for run in own]) for clock in CLOCKS}
        full = naive if whole(kind) == "naive" else own
        for request in ("one row", "1 %"):
            runs = record.get(request)
            if runs is None:
                continue
            result[request] = {"share": median([run["share"] for run in runs])}
            for clock in CLOCKS:
                spent = np.array([run[clock] / run["share"] for run in runs])
                result[request][clock] = {
                    "seconds": median([run[clock] for run in runs]),
                    "ratio": median(spent / [run[clock] for run in full]),
                    "ratio_own": median(spent / [run[clock] for run in own]),
                    "speed_up": median(
                        [n[clock] / run[clock] for n, run in zip(naive, runs, strict=True)]
                    ),
                }
        if "accuracy_after" in record:
            result["accuracy_after"] = median(record["accuracy_after"])
    return summary


def split(load):
    """Name, and training rows, test rows, training labels, test labels."""
    name, X, y = load()
    return name, train_test_split(X, y, test_size=0.25, stratify=y, random_state=0)


def sisa(rounds, epochs, more):
    """One net of 784-128-10, alone and in 20 shards of 5 slices; ``more`` kinds of these."""
    name, data = split(load_images)
    n_features, n_outputs = data[0].shape[1], len(np.unique(data[2]))
    net = default_classifier(
        n_features=n_features, n_outputs=n_outputs, n_rows=len(data[0]), device="cpu"
    ).set_params(batch_size=32, max_epochs=epochs)

    def optimizer(parameters):
        return torch.optim.Adam(parameters, lr=net.lr, weight_decay=1e-4, fused=True)

    with tempfile.TemporaryDirectory() as files, tempfile.TemporaryDirectory() as plain:

        def make():
            models = {
                "naive": RetrainClassifier(net, random_state=0),
                "SISA": SisaClassifier(net, **SHARDS, random_state=0),
                "plain SISA": PlainSisa(
                    lambda: MLP(n_features, n_outputs),
                    optimizer,
                    **SHARDS,
                    epochs=epochs,
                    batch_size=32,
                    folder=plain,
                ),
            }
            if more:
                # a callback that does nothing: what it does cannot be known
                idle = clone(net).set_params(callbacks=[("idle", Callback())])
                options = {"checkpoints": files, "random_state": 0}
                models["SISA, files"] = SisaClassifier(net, **SHARDS, **options)
                models["SISA, one by one"] = SisaClassifier(idle, **SHARDS, random_state=0)
            return models

        found = rounds_of(make, data, rounds, 6)
    title = f"SISA, 20 shards of 5 slices, {name}, {len(data[0])} rows, {epochs} epochs"
    return title, found, summarise(found, lambda kind: "naive")


def arcane(rounds, *_):
    """Default density nets of the letters, with all rows and with half of them selected."""
    name, data = split(load_letters)

    def make():
        return {"naive": RetrainClassifier(random_state=0)} | {
            f"ARCANE, selection {share:g}": ArcaneEnsembleClassifier(
                selection=share, random_state=0
            )
            for share in (1.0, 0.5)
        }

    found = rounds_of(make, data, rounds, 12)
    title = f"ARCANE, {name}, {len(data[0])} rows"
    return title, found, summarise(found, lambda kind: "naive" if kind == "naive" else "own")


def report(title, summary, speed_up):
    """Print one part; the limit on the speed-up holds for one row, that on the ratio for all."""
    rows = []
    for kind, result in summary.items():
        for request in ("one row", "1 %"):
            if request not in result:
                continue
            found = result[request]
            rows.append(
                [
                    kind,
                    "any" if kind == "naive" else request,
                    result["fit"]["wall"],
                    found["share"],
                    *(found[clock]["seconds"] for clock in CLOCKS),
                    *(
                        " / ".join(f"{found[clock][key]:.2f}" for clock in CLOCKS)
                        for key in ("ratio", "ratio_own")
                    ),
                    " / ".join(f"{found[clock]['speed_up']:.1f}" for clock in CLOCKS),
                    f"{result['accuracy']:.4f}",
                    f"{result['accuracy_after']:.4f}" if "accuracy_after" in result else "",
                ]
            )
    heads = ("model", "request", "fit, wall s", "share of passes", "wall s", "cpu s")
    limits = (f"time over share (limit {LIMIT:g})", "... of its own fit")
    scores = (f"times faster (limit {speed_up} for one row)", "accuracy", "after all requests")
    print_table(f"{title}; wall / cpu", (*heads, *limits, *scores), rows)


def main():
    options = parse(
        __doc__,
        full={"epochs": 20},
        rounds=5,
        epochs={"type": int, "default": 10, "help": "of the nets in SISA"},
        part={"choices": ("sisa", "arcane"), "help": "default: both"},
    )
    torch.set_num_threads(1)
    for name, run in (("sisa", sisa), ("arcane", arcane)):
        if options.part in (None, name):
            title, found, summary = run(options.rounds, options.epochs, options.full)
            report(title, summary, SPEED_UPS[name])
            write_json(
                f"exact_cost_{name}",
                {"summary": summary, "rounds": found},
                seed=list(range(options.rounds)),
                title=title,
                limit=LIMIT,
                **vars(options),
            )


if __name__ == "__main__":
    main()
