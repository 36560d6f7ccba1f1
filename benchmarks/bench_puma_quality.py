"""How close PUMA comes to retrained models on digits: KLoM of many nets, moved and retrained.

Claim: on random requests the default curvature rows (300, drawn by their curvature) come as
close to retrained models as all rows do. Uniformly drawn rows, other dampings and a tighter
tol stand beside them. For each request a set of nets is trained on all rows, moved by the
library's own step without compensation, and compared with nets trained on the retained rows.
KLoM is the Kullback-Leibler divergence of each row's margin between the two sets, of Gaussians
fitted to them; 95th percentile over rows. The null is one half of the retrained nets against
the other: half as many nets make it higher than a null of full sets would be. KLoM differs
much between draws of a request, so compare within a table. Thirty nets of each kind with
``--full``, eight without: enough to see that it runs, too few to compare.

    python benchmarks/bench_puma_quality.py
"""

import math
import time
from itertools import pairwise

import numpy as np
import torch
from _common import parse, print_table, write_json
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from sk_unlearn.approximate._advice import MAX_STEP_RATIO
from sk_unlearn.approximate._curvature_cache import CurvatureCache
from sk_unlearn.approximate._curvature_system import (
    COLUMNS_PER_ROW,
    Objective,
    RowBatch,
    SolverSettings,
    build_system,
)
from sk_unlearn.approximate._removal_step import StepSettings, removal_step
from sk_unlearn.functional import (
    GaussNewtonOperator,
    RowwiseModel,
    SampledPreconditioner,
    conjugate_gradient,
    rows_per_chunk,
    weighted_gradient,
)
from sk_unlearn.metrics import klom, logit_margin

SIZES = (64, 128, 10)
EPOCHS, BATCH_SIZE, LR, DECAY = 60, 32, 1e-3, 1e-4
# share of the rows, and whether their labels are wrong
REQUESTS = {
    "random 1 %": (0.01, False),
    "random 5 %": (0.05, False),
    "mislabelled 1 %": (0.01, True),
    "random 5 %, another draw": (0.05, False),
}
# curvature rows (None: all), how they are drawn, damping, tol
ALTERNATIVES = {
    "all curvature rows": (None, "importance", 1e-3, 1e-1),
    "300 by curvature (default)": (300, "importance", 1e-3, 1e-1),
    "300 uniform": (300, "uniform", 1e-3, 1e-1),
    "damping 3e-3": (300, "importance", 3e-3, 1e-1),
    "damping 1e-2": (300, "importance", 1e-2, 1e-1),
    "tol 1e-2": (300, "importance", 1e-3, 1e-2),
}


def mlp():
    return nn.Sequential(nn.Linear(*SIZES[:2]), nn.ReLU(), nn.Linear(*SIZES[1:])).eval()


def forward(stack, X):
    """Scores of all nets; X of shape (n_models, n, 64)."""
    w1, b1, w2, b2 = stack
    hidden = torch.relu(torch.baddbmm(b1[:, None], X, w1.mT))
    return torch.baddbmm(b2[:, None], hidden, w2.mT)


def train(X, y, n_models, seed):
    """Train nets that differ in initial weights and batches, as one stack of each parameter."""
    generator = torch.Generator().manual_seed(seed)
    stack = []
    for fan_in, fan_out in pairwise(SIZES):  # as nn.Linear does
        for shape in ((n_models, fan_out, fan_in), (n_models, fan_out)):
            start = (2 * torch.rand(shape, generator=generator) - 1) / math.sqrt(fan_in)
            stack.append(start.requires_grad_())
    optimizer = torch.optim.Adam(stack, lr=LR, weight_decay=DECAY, fused=True)
    for _ in range(EPOCHS):
        orders = torch.argsort(torch.rand(n_models, len(X), generator=generator), 1)
        for rows in orders.split(BATCH_SIZE, dim=1):
            scores = forward(stack, X[rows]).flatten(0, 1)
            losses = nn.functional.cross_entropy(scores, y[rows].flatten(), reduction="sum")
            optimizer.zero_grad()
            (losses / rows.shape[1]).backward()
            optimizer.step()
    return [tensor.detach() for tensor in stack]


def margins(stack, batch):
    """Margin of the label under each net, shape (n_models, n)."""
    scores = forward(stack, batch.X.expand(len(stack[0]), -1, -1)).double()
    return logit_margin(scores.numpy(), batch.y.numpy())


def mean_loss(stack, batch):
    return float(np.logaddexp(0, -margins(stack, batch)).mean())


def params_of(stack, k, model):
    """Parameters of the k-th net by their names in the module."""
    return {name: tensor[k].clone() for name, tensor in zip(model.active, stack, strict=True)}


def move(stack, forgotten, retained, n_sampled, drawn, damping, tol):
    """Each net by the step of PumaClassifier without compensation; stack and reports."""
    model, n_retained = RowwiseModel(mlp(), nn.CrossEntropyLoss(reduction="none")), len(retained)
    trained = torch.ones(n_retained, dtype=torch.bool)
    ridge = torch.full((model.n_parameters,), damping + DECAY)
    moved, reports = [], []
    for k in range(len(stack[0])):
        params, random = params_of(stack, k, model), np.random.RandomState(k)
        cache, draw = CurvatureCache(np.arange(n_retained)), random.uniform(size=n_retained)
        if drawn == "uniform":  # equal sizes and distinct ranks: a plain subsample, weights 1
            ones = torch.ones(n_retained, dtype=torch.float64)
            cache = CurvatureCache(cache.position, ones, ones)
            draw = (random.permutation(n_retained) + 0.5) / n_retained
        size, n_rows = rows_per_chunk(model, params, retained.X), n_retained + len(forgotten)
        objective = Objective(model, retained, trained, draw, n_rows, ridge, size, size)
        settings = SolverSettings(n_sampled or n_retained, tol=tol)
        system, _ = build_system(objective, params, cache, settings, forgotten.take([]))
        params, report = removal_step(objective, params, forgotten, system, None, StepSettings())
        moved.append(list(params.values()))
        reports.append(report)
    return [torch.stack(parts) for parts in zip(*moved, strict=True)], reports


def compare(title, original, retrained, batches):
    """Print and return one request's table; `batches` are forgotten, retained, held out."""
    n_models = len(original[0])
    half, other = zip(*(t.chunk(2) for t in retrained), strict=True)
    before, target = (mean_loss(stack, batches[0]) for stack in (original, retrained))
    rows, record = [], {}

    def add(name, stack, reports=(), reference=retrained):
        distances = [
            klom(margins(stack, b), margins(reference, b), n_resamples=20).value for b in batches
        ]
        ratios = [r.step_ratio for r in reports]
        products = [r.n_products for r in reports]
        record[name] = {
            "klom_p95": dict(zip(("forgotten", "retained", "held_out"), distances, strict=True)),
            "forget_loss": mean_loss(stack, batches[0]),
            "step_ratio": ratios,
            "products": products,
        }
        warned = f"{sum(r > MAX_STEP_RATIO for r in ratios)}/{n_models}" if reports else "-"
        medians = [f"{np.median(v):.3g}" if reports else "-" for v in (ratios, products)]
        loss = f"{record[name]['forget_loss']:.4f}"
        rows.append([name, *(f"{d:.2f}" for d in distances), loss, *medians, warned])

    add("nothing", original)
    add("retrained (null)", half, reference=other)
    for name, settings in ALTERNATIVES.items():
        add(name, *move(original, *batches[:2], *settings))
    heads = ["", "forgotten", "retained", "held out", "loss after", "step", "products"]
    print_table(
        f"{title}: {len(batches[0])} of {len(batches[0]) + len(batches[1])} rows, {n_models} "
        f"nets. KLoM p95, and mean loss on the\nforgotten rows: before {before:.4f}, "
        f"retrained {target:.4f}. Step in parameters' norms and products are medians.",
        [*heads, f"step > {MAX_STEP_RATIO}"],
        rows,
    )
    return {"forget_loss": {"before": before, "retrained": target}, "alternatives": record}


def count_products(stack, forgotten, retained):
    """Products until CG reaches a residual of 1e-2, on all retained rows, for the first net."""
    model = RowwiseModel(mlp(), nn.CrossEntropyLoss(reduction="none"))
    params, n_rows = params_of(stack, 0, model), len(retained)
    batch = (model, params, retained.X, retained.y)
    matvec = GaussNewtonOperator(*batch).matvec
    b = weighted_gradient(model, params, forgotten.X, forgotten.y) / n_rows
    counts = {}
    for damping in (1e-2, 1e-3):
        at = damping + DECAY
        inverses = {
            "none": None,
        }
        for n_columns in (n_rows // 3, int(COLUMNS_PER_ROW * n_rows)):
            sampled = SampledPreconditioner(*batch, damping=at, n_columns=n_columns)
            inverses[f"sampled, {n_columns} columns"] = sampled
        for name, inverse in inverses.items():
            settings = {"damping": at, "tol": 1e-2, "max_products": 1000, "verify": False}
            _, report = conjugate_gradient(matvec, b, preconditioner=inverse, **settings)
            counts.setdefault(name, []).append(report.n_products)
    print_table(
        f"Products of one solve to a residual of 1e-2, {n_rows} curvature rows",
        ["preconditioner", "damping 1e-2", "damping 1e-3"],
        [[name, *products] for name, products in counts.items()],
    )
    return counts


def main():
    n_models = parse(__doc__, full={"models": 30}, models=8).models
    torch.set_num_threads(1)
    start, (X, y) = time.perf_counter(), load_digits(return_X_y=True)
    split = train_test_split(X / 16, y, train_size=1300, random_state=0, stratify=y)
    X, X_out = (torch.tensor(part, dtype=torch.float32) for part in split[:2])
    y, y_out = (torch.tensor(part) for part in split[2:])
    on_all, record = train(X, y, n_models, 0), {}
    for i, (title, (share, mislabelled)) in enumerate(REQUESTS.items(), start=1):
        random, labels, original = np.random.RandomState(i), y.clone(), on_all
        leaving = np.sort(random.choice(len(y), round(share * len(y)), replace=False))
        if mislabelled:
            shift = torch.from_numpy(random.randint(1, 10, len(leaving)))
            labels[leaving] = (y[leaving] + shift) % 10
            original = train(X, labels, n_models, 0)
        rows = RowBatch(X, labels)
        staying = np.setdiff1d(np.arange(len(y)), leaving)
        forgotten, retained = rows.take(leaving), rows.take(staying)
        retrained = train(retained.X, retained.y, n_models, 100 + i)
        batches = (forgotten, retained, RowBatch(X_out, y_out))
        record[title] = compare(title, original, retrained, batches)
        if i == 1:
            record["products"] = count_products(original, forgotten, retained)
    print(f"\n{time.perf_counter() - start:.0f} s")
    write_json(
        "puma_quality", record, seed=list(range(5)), data="digits", n_models=n_models, sizes=SIZES
    )


if __name__ == "__main__":
    main()
