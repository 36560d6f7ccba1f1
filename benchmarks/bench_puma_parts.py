"""The parts of a PUMA request for 1 % of MNIST rows, and what its arithmetic alone would take.

Each part is without the parts that it calls. The floor counts the multiplications of matrices
that the request cannot do without, at the rate of the largest of them in the same process:
losses and gradients of the held-out rows, of the leaving rows, of the candidates for
compensation, the inner products of the curvature rows, their products in the solves.

    python benchmarks/bench_puma_parts.py
"""

import copy
import time
import warnings

import numpy as np
import torch
from _common import load_images, parse, print_table, write_json
from _parts import Parts
from bench_puma import requests

from sk_unlearn import PumaClassifier, base
from sk_unlearn.approximate import _puma_base, _removal_step
from sk_unlearn.approximate import base as net_base
from sk_unlearn.approximate._criterion import HeldOutLoss
from sk_unlearn.approximate._curvature_cache import CurvatureCache, KeptCurvature
from sk_unlearn.approximate._curvature_system import CurvatureSystem
from sk_unlearn.approximate._imprint import NetImprint
from sk_unlearn.approximate._net_rows import NetRows
from sk_unlearn.approximate._row_store import StoredRows
from sk_unlearn.exceptions import RetrainAdvisedWarning

PLACES = {
    "curvature of the sampled rows, preconditioner": [(_puma_base, "build_system")],
    "rows dropped from the kept solver": [(KeptCurvature, "drop")],
    "net as the last request left it": [(NetImprint, "fits"), (CurvatureCache, "after")],
    "solves": [(CurvatureSystem, "solve"), (CurvatureSystem, "guess_dot")],
    "criterion on the held-out rows": [
        (HeldOutLoss, "value"),
        (HeldOutLoss, "value_and_gradient"),
    ],
    "compensation": [(_removal_step, "_reweigh")],
    "losses and gradient of the leaving rows": [
        (_removal_step, "losses_and_gradient"),
        (_removal_step, "row_losses"),
    ],
    "rows looked up": [(NetRows, "take"), (StoredRows, "take")],
    "blocks without the rows": [(StoredRows, "drop")],
    "copy of the net": [(_puma_base, "rowwise_model")],
    "fresh net": [(net_base, "rebuilt_net")],
    "digests": [(base, "state_digest")],
}
REST = "the rest: request, receipt, checks"


def products(clf, n_leaving):
    """Multiplications of the last request: shapes (m, k, n) of its products of matrices."""
    net, solver = clf.estimator_.module_, clf.receipts_[-1].solver["steps"][0]
    layers = [m for m in net.modules() if isinstance(m, torch.nn.Linear)]
    shapes = [(layer.in_features, layer.out_features) for layer in layers]
    held_out, sampled = len(clf.validation_indices_), clf.n_curvature_rows
    n_solves, n_products = len(solver["solves"]), sum(s["n_products"] for s in solver["solves"])
    found = []
    for i, (k, n) in enumerate(shapes):
        deep = 2 if i else 1  # the first layer's input needs no gradient
        found += [(held_out, k, n)] * (2 + deep)  # before, after, backward
        found += [(n_leaving, k, n)] * (2 + deep)
        found += [(sampled, k, n)] * (1 + 2 + 1)  # candidates: forward, backward, slopes, sum
        found += [(sampled, k, sampled), (sampled, k, n)]  # inner products, forward
        found += [(sampled, k, n)] * (2 * n_solves + 1)  # into the space of rows and back
        found += [(sampled, sampled, n)] * (2 * n_products)
    return found


def seconds_of(shapes):
    """What these products of matrices take at the rate of the largest of them."""
    flops = {shape: 2 * shape[0] * shape[1] * shape[2] for shape in shapes}
    m, k, n = max(flops, key=flops.get)
    a, b, taken = torch.randn(m, k), torch.randn(k, n), []
    for _ in range(50):
        start = time.perf_counter()
        a @ b
        taken.append(time.perf_counter() - start)
    rate = flops[m, k, n] / min(taken)
    return sum(flops[shape] for shape in shapes) / rate, rate


def measure(clf, n_rows, repeats):
    """Median seconds of each part and of all, of the second of two requests to a copy."""
    first, following = requests(n_rows)
    parts, rounds = Parts(PLACES), []
    with parts:
        for _ in range(repeats + 1):
            asked = copy.deepcopy(clf).forget(first)
            parts.clear()
            start = time.perf_counter()
            asked.forget(following)
            taken = time.perf_counter() - start
            rounds.append({**dict.fromkeys(PLACES, 0.0), **parts.seconds, "all": taken})
    rounds = rounds[1:]  # the first warms up
    seconds = {name: float(np.median([r[name] for r in rounds])) for name in rounds[0]}
    seconds[REST] = seconds["all"] - sum(seconds[name] for name in PLACES)
    return seconds, asked, len(following)


def main():
    args = parse(__doc__, full={"repeats": 21}, repeats=9)
    warnings.simplefilter("ignore", RetrainAdvisedWarning)
    torch.set_num_threads(1)
    name, X, y = load_images()
    seconds, asked, n_leaving = measure(
        PumaClassifier(random_state=0).fit(X, y), len(X), args.repeats
    )
    floor, rate = seconds_of(products(asked, n_leaving))
    ordered = sorted(seconds.items(), key=lambda item: -item[1])
    rows = [[part, 1e3 * taken, f"{taken / seconds['all']:.0%}"] for part, taken in ordered]
    rows.append(["products of matrices alone", 1e3 * floor, f"{floor / seconds['all']:.0%}"])
    print_table(f"A later request to {name}, {len(X)} rows", ["part", "ms", "of all"], rows)
    record = {"seconds": seconds, "floor": floor, "flops_per_second": rate}
    write_json("puma_parts", record, data=name, n_rows=len(X), repeats=args.repeats)


if __name__ == "__main__":
    main()
