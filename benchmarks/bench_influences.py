"""Influences of all rows in forward passes, and products of a curvature solve.

Claims: once the criterion's solve v is known, the influences of all rows cost at most 2
forward passes over them, the derivatives v . g_i of all rows being one forward-mode pass. A
solve with the Gauss-Newton matrix of all rows reaches a relative residual of 1e-2 in at most
8 products at damping 1e-2 and 15 at 1e-3, and setting up its preconditioner takes at most 2
gradient passes. A plain forward pass, conjugate gradients without preconditioner and finite
differences are the references.

A trained 784-128-10 network. CPU time on one thread.

    python benchmarks/bench_influences.py
"""

import argparse
import time

import numpy as np
import torch
from _common import load_images, print_table, ratio, time_interleaved, write_json

from sk_unlearn import PumaClassifier
from sk_unlearn.functional import (
    GaussNewtonOperator,
    SampledPreconditioner,
    conjugate_gradient,
    directional_derivatives,
    row_losses,
    rows_per_chunk,
    weighted_gradient,
)
from sk_unlearn.nets import rowwise_model, to_tensors, weight_decay

LIMITS = {"influences": 2.0, "set_up": 2.0, "products": {"0.01": 8, "0.001": 15}}
TOL = 1e-2


def finite_differences(model, params, X, y, v):
    """Relative difference of v . g_i and central differences of the losses, in float64."""
    params = {name: value.double() for name, value in params.items()}
    X, v = X.double(), v.double()
    v = v / v.norm()
    flat, step = model.flatten(params), 1e-5
    up, down = (
        row_losses(model, model.unflatten(flat + sign * step * v), X, y) for sign in (1, -1)
    )
    expected = (up - down) / (2 * step)
    found = directional_derivatives(model, params, X, y, v)
    return float((found - expected).norm() / expected.norm())


def influences(batch, v, repeats):
    """Seconds of the two passes, in chunks of the same size."""
    chunk = rows_per_chunk(*batch[:3])

    def forward():
        row_losses(*batch, chunk_size=chunk)

    def derivatives():
        directional_derivatives(*batch, v, chunk_size=chunk)

    ways = {"forward": forward, "influences": derivatives}
    return time_interleaved(ways, repeats=repeats, clock=time.process_time)


def solves(batch, b, decay, repeats):
    """Products and residual of each solve; seconds of set-up and of a gradient pass."""
    matvec = GaussNewtonOperator(*batch).matvec
    results = {}
    for damping in (1e-2, 1e-3):
        at = damping + decay
        ways = {
            "gradient pass": lambda: weighted_gradient(*batch),
            "set-up": lambda at=at: SampledPreconditioner(*batch, damping=at),
        }
        seconds = time_interleaved(ways, repeats=repeats, clock=time.process_time)
        inverse = SampledPreconditioner(*batch, damping=at)
        settings = {"damping": at, "tol": TOL, "max_products": 500, "verify": False}
        _, with_it = conjugate_gradient(matvec, b, preconditioner=inverse, **settings)
        _, plain = conjugate_gradient(matvec, b, **settings)
        results[f"{damping:g}"] = {
            "products": with_it.n_products,
            "products_plain": plain.n_products,
            "residual": with_it.relative_residual,
            "set_up_gradient_passes": ratio(seconds, "set-up", "gradient pass"),
            "columns": inverse.n_columns,
            "seconds": seconds,
        }
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    name, X, y = load_images()
    clf = PumaClassifier(random_state=0).fit(X, y)
    net, held_out = clf.estimator_, clf.validation_indices_
    trained = np.setdiff1d(np.arange(len(X)), held_out)
    model = rowwise_model(net)
    params = model.parameters()
    decay = max(weight_decay(net).values())
    batch = (model, params, *to_tensors(net, X[trained], y[trained]))
    criterion = to_tensors(net, X[held_out], y[held_out])
    slope = weighted_gradient(model, params, *criterion) / len(held_out)
    results = solves(batch, slope, decay, repeats)
    inverse = SampledPreconditioner(*batch, damping=1e-3 + decay)
    matvec = GaussNewtonOperator(*batch).matvec
    v, _ = conjugate_gradient(matvec, slope, damping=1e-3 + decay, preconditioner=inverse, tol=TOL)
    seconds = influences(batch, v, repeats)
    passes = ratio(seconds, "influences", "forward")
    error = finite_differences(model, params, batch[2][:500], batch[3][:500], v)
    print_table(
        f"Influences of {len(trained)} rows of {name}, v known (limit {LIMITS['influences']:g})",
        ("pass", "median ms", "forward passes", "against finite differences"),
        [
            ("forward", float(np.median(seconds["forward"])) * 1e3, 1.0, ""),
            ("influences", float(np.median(seconds["influences"])) * 1e3, passes, f"{error:.1e}"),
        ],
    )
    print_table(
        f"One solve to a relative residual of {TOL:g}, all {len(trained)} rows",
        (
            "damping",
            "products",
            "limit",
            "residual",
            "without",
            "set-up, gradient passes",
            "limit",
        ),
        [
            (
                damping,
                r["products"],
                LIMITS["products"][damping],
                r["residual"],
                r["products_plain"],
                r["set_up_gradient_passes"],
                LIMITS["set_up"],
            )
            for damping, r in results.items()
        ],
    )
    record = {
        "influences": {"forward_passes": passes, "finite_differences": error, "seconds": seconds},
        "solves": results,
        "accuracy_held_out": float(clf.score(X[held_out], y[held_out])),
    }
    write_json("influences", record, data=name, n_rows=len(trained), limits=LIMITS, tol=TOL)


if __name__ == "__main__":
    main()
