"""Influences of all rows in forward passes, and products of a curvature solve.

Claims: once the criterion's solve v is known, the influences of all rows cost at most 2
forward passes over them, the derivatives v . g_i of all rows being one forward-mode pass. A
solve with the Gauss-Newton matrix of all rows reaches a relative residual of 1e-2 in at most
8 products at damping 1e-2 and 15 at 1e-3, and setting up its preconditioner takes at most 2
gradient passes. A plain forward pass, conjugate gradients without preconditioner and finite
differences are the references.

A trained 784-128-10 network; for the influences also a deeper one and one of convolutions,
untrained. CPU time on one thread, and the time of a CUDA device where there is one.

Differentiating forwards takes two products with the first weights and three with all others,
where a forward pass takes one: "by products" is what that comes to, in forward passes.

    python benchmarks/bench_influences.py
"""

import time

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
from torch import nn

from sk_unlearn import PumaClassifier
from sk_unlearn.functional import (
    GaussNewtonOperator,
    RowwiseModel,
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


def influences(batch, v, clock, repeats):
    """Seconds of the two passes, in chunks of the same size."""
    chunk = rows_per_chunk(*batch[:3])

    def forward():
        row_losses(*batch, chunk_size=chunk)

    def derivatives():
        directional_derivatives(*batch, v, chunk_size=chunk)

    ways = {"forward": forward, "influences": derivatives}
    # the nets with an aim take short calls: more rounds for them
    rounds = repeats * (3 if len(batch[2]) > 5000 else 1)
    return time_interleaved(ways, repeats=rounds, clock=clock)


def by_products(model, row):
    """Forward passes that the products of a forward-mode pass amount to."""
    sizes = []

    def count(layer, inputs, output):
        # multiplications of a row: each output is a sum over the inputs of one channel
        sizes.append(output[0].numel() * layer.weight[0].numel())

    layers = [m for m in model.module.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    model.forward(model.parameters(), row)
    for hook in hooks:
        hook.remove()
    return 3 - sizes[0] / sum(sizes)


def other_nets(X, y):
    """A deeper network on random rows and one of convolutions on images, untrained."""
    loss = nn.CrossEntropyLoss(reduction="none")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Linear(100, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU()]
        deep = nn.Sequential(*layers, nn.Linear(256, 10))
        side = int(X.shape[1] ** 0.5)
        layers = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        layers += [nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
        images = nn.Sequential(*layers, nn.Linear(32 * (side // 4) ** 2, 10))
        rows = torch.randn(len(X), 100)
    few = slice(0, 2000)
    return {
        "100-256-256-10": (RowwiseModel(deep.eval(), loss), rows, y),
        "two convolutions": (
            RowwiseModel(images.eval(), loss),
            X[few].view(-1, 1, side, side),
            y[few],
        ),
    }


def solves(batch, b, decay, clock, repeats):
    """Products and residual of each solve; seconds of set-up and of a gradient pass."""
    matvec = GaussNewtonOperator(*batch).matvec
    results = {}
    for damping in (1e-2, 1e-3):
        at = damping + decay
        ways = {
            "gradient pass": lambda: weighted_gradient(*batch),
            "set-up": lambda at=at: SampledPreconditioner(*batch, damping=at),
        }
        seconds = time_interleaved(ways, repeats=repeats, clock=clock)
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


def measure(device, clf, data, repeats):
    """Everything on one device."""
    clock, net = clock_of(device, time.process_time), clf.estimator_
    model = rowwise_model(net)
    model.module.to(device)
    params = model.parameters()
    rows, criterion = ([tensor.to(device) for tensor in part] for part in data)
    decay = max(weight_decay(net).values())
    batch = (model, params, *rows)
    slope = weighted_gradient(model, params, *criterion) / len(criterion[1])
    results = solves(batch, slope, decay, clock, repeats)
    inverse = SampledPreconditioner(*batch, damping=1e-3 + decay)
    matvec = GaussNewtonOperator(*batch).matvec
    v, _ = conjugate_gradient(matvec, slope, damping=1e-3 + decay, preconditioner=inverse, tol=TOL)
    nets = {"784-128-10" if rows[0].shape[1] == 784 else "trained": (model, *rows)}
    nets |= other_nets(*(tensor.cpu() for tensor in rows))
    passes = []
    for name, (model_, X, y) in nets.items():
        model_.module.to(device)
        part = (model_, model_.parameters(), X.to(device), y.to(device))
        direction = v if model_ is model else model_.flatten(part[1])
        seconds = influences(part, direction, clock, repeats)
        few = (*part[:2], part[2][:500], part[3][:500])
        passes.append(
            {
                "net": name,
                "n_rows": len(X),
                "forward_passes": ratio(seconds, "influences", "forward"),
                "by_products": by_products(model_, part[2][:2]),
                "finite_differences": finite_differences(*few, direction),
                "seconds": seconds,
            }
        )
    return {"influences": passes, "solves": results}


def show(device, record):
    """Print the tables of one device."""
    print_table(
        f"Influences, v known, {device} (limit {LIMITS['influences']:g} for the first)",
        ("net", "rows", "forward ms", "ms", "passes", "by products", "against differences"),
        [
            (
                r["net"],
                r["n_rows"],
                float(np.median(r["seconds"]["forward"])) * 1e3,
                float(np.median(r["seconds"]["influences"])) * 1e3,
                r["forward_passes"],
                r["by_products"],
                f"{r['finite_differences']:.1e}",
            )
            for r in record["influences"]
        ],
    )
    print_table(
        f"One solve to a relative residual of {TOL:g}, all rows of the first, {device}",
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
            for damping, r in record["solves"].items()
        ],
    )


def main():
    args = parse(__doc__, on_devices=True, repeats=5)
    torch.set_num_threads(1)
    name, X, y = load_images()
    clf = PumaClassifier(random_state=0).fit(X, y)
    net, held_out = clf.estimator_, clf.validation_indices_
    trained = np.setdiff1d(np.arange(len(X)), held_out)
    data = [to_tensors(net, X[rows], y[rows]) for rows in (trained, held_out)]
    accuracy = float(clf.score(X[held_out], y[held_out]))
    for device in devices(args.device):
        record = measure(device, clf, data, args.repeats)
        show(device, record)
        record["accuracy_held_out"] = accuracy
        settings = {"data": name, "n_rows": len(trained), "limits": LIMITS, "tol": TOL}
        write_json("influences", record, device=device, **settings)


if __name__ == "__main__":
    main()
