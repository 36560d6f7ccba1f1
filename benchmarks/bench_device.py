"""What users do most, on a CUDA device beside the CPU: fit, predict, forget, influences.

One network of 784-128-10 on images (or digits): training over a plain PyTorch loop on tensors
that are on the device, ``predict_proba`` over the bare net, PUMA's requests for 1 % of the rows
over a retrain, influences of all rows over a forward pass; SISA of 20 shards and 5 slices, whose
request for one row is compared with its fit. The claims about these ratios are those of
``bench_fit``, ``bench_predict``, ``bench_puma`` and ``bench_influences``, on two cores; here one
script repeats them in short on every device. Where there is none but the CPU it leaves them to
those; ``--device cpu`` runs it all the same.

    python benchmarks/bench_device.py
"""

import copy
import warnings

import numpy as np
import torch
from _common import (
    clock_of,
    devices,
    load_images,
    parse,
    print_table,
    ratio,
    time_interleaved,
    write_json,
)
from bench_fit import plain_loop
from sklearn.base import clone
from sklearn.model_selection import train_test_split

from sk_unlearn import PumaClassifier, RetrainClassifier, SisaClassifier
from sk_unlearn.exceptions import RetrainAdvisedWarning
from sk_unlearn.functional import directional_derivatives, row_losses, rows_per_chunk
from sk_unlearn.nets import MLP, default_classifier, prepare, rowwise_model, to_tensors

REFERENCES = {
    "fit": "plain loop",
    "predict_proba": "bare net",
    "forget, first": "retrain",
    "forget, next": "retrain",
    "influences": "forward pass",
    "SISA, forget one": "SISA, fit",
}
LIMITS = {"fit": 1.10, "predict_proba": 1.05, "forget, first": 0.08, "forget, next": 0.02}
LIMITS["influences"] = 2.0


def training(net, X, y, device):
    """Our fit, and the same training as a tutorial writes it."""
    rows, labels = (torch.from_numpy(array).to(device) for array in (X, y))
    n_outputs = len(np.unique(y))

    def optimizer(parameters):
        return torch.optim.Adam(parameters, lr=1e-3, weight_decay=1e-4, fused=True)

    def loop():
        def module():
            return MLP(X.shape[1], n_outputs).to(device)

        plain_loop(rows, labels, module, optimizer, net.batch_size, net.max_epochs)

    prepared = prepare(net)
    return {"plain loop": loop, "fit": lambda: prepared.fit(X, y)}


def prediction(clf, X, device):
    """``predict_proba``, and a softmax of the net on the same array."""
    module = clf.estimator_.module_.eval()

    def bare():
        with torch.no_grad():
            torch.softmax(module(torch.from_numpy(X).to(device)), 1).cpu().numpy()

    return {"bare net": bare, "predict_proba": lambda: clf.predict_proba(X)}


def passes(clf, X, y):
    """Derivatives of all rows' losses along one direction, and their losses."""
    model = rowwise_model(clf.estimator_)
    batch = (model, model.parameters(), *to_tensors(clf.estimator_, X, y))
    chunk = rows_per_chunk(*batch[:3])
    v = torch.ones(model.n_parameters, device=batch[2].device)
    return {
        "forward pass": lambda: row_losses(*batch, chunk_size=chunk),
        "influences": lambda: directional_derivatives(*batch, v, chunk_size=chunk),
    }


def removal(clf, retrain, X, repeats, clock):
    """Seconds of a retrain and of two requests for 1 % each, and the last of the estimators."""
    rows = np.random.RandomState(0).permutation(len(X))
    first, following = np.split(rows[: 2 * (len(X) // 100)], 2)
    seconds = {"retrain": [], "forget, first": [], "forget, next": []}
    for round_ in range(repeats + 1):
        puma, naive = copy.deepcopy(clf), copy.deepcopy(retrain)
        calls = (
            ("retrain", naive, first),
            ("forget, first", puma, first),
            ("forget, next", puma, following),
        )
        for name, model, leaving in calls:
            start = clock()
            model.forget(leaving)
            if round_:  # the first warms up
                seconds[name].append(clock() - start)
    return seconds, puma, naive


def ensemble(net, X, y, repeats, clock):
    """Seconds of a fit of an ensemble, and of a request for one row of it."""
    row = np.random.RandomState(0).randint(len(X), size=repeats + 1)
    make = SisaClassifier(net, n_shards=20, n_slices=5, random_state=0)
    seconds = {"SISA, fit": [], "SISA, forget one": []}
    for round_ in range(repeats + 1):
        start = clock()
        sisa = clone(make).fit(X, y)
        fitted = clock()
        sisa.forget(row[round_])
        if round_:  # the first warms up
            seconds["SISA, fit"].append(fitted - start)
            seconds["SISA, forget one"].append(clock() - fitted)
    return seconds


def bench(device, repeats, epochs):
    name, X, y = load_images()
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.2, stratify=y, random_state=0)
    clock = clock_of(device)
    net = default_classifier(
        n_features=X.shape[1], n_outputs=len(np.unique(y)), n_rows=len(X), device=device
    )
    clf = PumaClassifier(net, random_state=0).fit(X, y)
    retrain = RetrainClassifier(net, random_state=0).fit(X, y)
    seconds = {}
    few = clone(net).set_params(max_epochs=epochs)
    for ways in (training(few, X, y, device), prediction(clf, X, device), passes(clf, X, y)):
        seconds |= time_interleaved(ways, repeats=repeats, clock=clock)
    seconds |= ensemble(few, X, y, repeats, clock)
    removed, puma, naive = removal(clf, retrain, X, repeats, clock)
    seconds |= removed
    accuracy = {
        "fitted": clf.score(X_test, y_test),
        "after": puma.score(X_test, y_test),
        "retrained": naive.score(X_test, y_test),
    }
    rows = [
        {
            "what": what,
            "ms": float(np.median(seconds[what])) * 1e3,
            "over": over,
            "reference_ms": float(np.median(seconds[over])) * 1e3,
            "ratio": ratio(seconds, what, over),
            "limit": LIMITS.get(what, ""),
        }
        for what, over in REFERENCES.items()
    ]
    return name, {"rows": rows, "accuracy": accuracy, "seconds": seconds}


def main():
    options = parse(__doc__, on_devices=True, repeats=5, epochs=3)
    warnings.simplefilter("ignore", RetrainAdvisedWarning)
    torch.set_num_threads(1)
    found = devices(options.device)
    if found == ["cpu"] and options.device is None:
        return
    for device in found:
        name, result = bench(device, options.repeats, options.epochs)
        scores = ", ".join(f"{k} {v:.4f}" for k, v in result["accuracy"].items())
        print_table(
            f"784-128-10 and the like on {name}, on {device}; accuracy: {scores}",
            ("what", "ms", "over", "ms", "ratio", "limit on two cores"),
            [tuple(row.values()) for row in result["rows"]],
        )
        write_json(
            "device",
            result,
            device=device,
            data=name,
            repeats=options.repeats,
            epochs=options.epochs,
        )


if __name__ == "__main__":
    main()
