"""Nets of one architecture trained side by side against one after another.

Claims: on two cores, 100 small nets on digits (64-128-10, 60 epochs, 1300 rows) in at most
10 seconds; 20 shards of images (784-128-10, 375 to 500 rows each, batch 32) at least 1.5
times faster than one after another through prepared skorch nets; on a CUDA device at least 8
times. Accuracy is the mean over nets, each on the rows of another shard.

    python benchmarks/bench_stacked.py
    python benchmarks/bench_stacked.py --full    # more nets, widths of a stack, worker processes
    python benchmarks/bench_stacked.py --device cuda
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
from joblib import Parallel, delayed, parallel_config
from sklearn.base import clone
from sklearn.datasets import load_digits
from skorch import NeuralNetClassifier
from torch import nn

from sk_unlearn.nets import MLP, can_stack, default_classifier, prepare, train_nets, train_states
from sk_unlearn.utils._seeding import isolated_rng
from sk_unlearn.utils._threads import reproducible_threads

CLASSES, LIMITS = 10, {"cpu": 1.5, "cuda": 8.0}


def default_net(n_features, epochs, device="cpu"):
    net = default_classifier(
        n_features=n_features, n_outputs=CLASSES, n_rows=1300, device=device, hidden=(128,)
    )
    return net.set_params(batch_size=32, max_epochs=epochs)


def user_net(n_features, epochs, **optimizer):
    return NeuralNetClassifier(
        MLP,
        module__n_features=n_features,
        module__n_outputs=CLASSES,
        criterion=nn.CrossEntropyLoss,
        batch_size=32,
        max_epochs=epochs,
        iterator_train__shuffle=True,
        train_split=None,
        callbacks__epoch_timer=None,
        verbose=0,
        **optimizer,
    )


def n_steps(row_sets, epochs):
    return epochs * sum(-(-len(rows) // 32) for rows in row_sets)


def one_by_one(net, X, y, row_sets, seeds, n_jobs=None):
    """Each net alone, through skorch."""
    jobs = (
        delayed(alone)(net, X[rows], y[rows], s) for rows, s in zip(row_sets, seeds, strict=True)
    )
    return Parallel(n_jobs)(jobs)


def alone(net, X, y, seed):
    with isolated_rng(seed), reproducible_threads():
        return prepare(clone(net)).initialize().partial_fit(X, y)


def accuracy(train, net, X, y, row_sets):
    """Mean over nets of the accuracy on the rows of another shard."""
    nets = train(net, X, y, row_sets, range(len(row_sets)))
    others = [row_sets[i - 1] for i in range(len(nets))]
    return float(
        np.mean([(m.predict(X[o]) == y[o]).mean() for m, o in zip(nets, others, strict=True)])
    )


def compare_shards(X, y, row_sets, epochs, repeats, jobs, clock, device, full):
    """Times of shards side by side and one after another, for each net and number of jobs."""
    seeds, d = range(len(row_sets)), X.shape[1]
    nets = {
        "default (fused Adam)": default_net(d, epochs, device),
        "SGD": user_net(d, epochs, device=device, optimizer=torch.optim.SGD, lr=0.1),
    }
    if full:
        nets["Adam"] = user_net(d, epochs, device=device, optimizer=torch.optim.Adam, lr=1e-3)
    reasons = {name: can_stack(net, X[:2], y[:2]) for name, net in nets.items()}
    for name, reason in reasons.items():
        if reason:
            print(f"{name}: not side by side on {device}, {reason}")
    scores = {
        name: [accuracy(train, net, X, y, row_sets) for train in (train_nets, one_by_one)]
        for name, net in nets.items()
        if not reasons[name]
    }
    seconds, rows = {}, []
    for n_jobs in jobs:
        for name in scores:
            net = nets[name]
            ways = {
                way: lambda net=net, train=train, n_jobs=n_jobs: train(
                    net, X, y, row_sets, seeds, n_jobs=n_jobs
                )
                for way, train in (("stacked", train_states), ("one by one", one_by_one))
            }
            # CPU time counts this process only: workers' time is taken by the wall clock
            own = clock if n_jobs == 1 else time.perf_counter
            found = time_interleaved(ways, repeats=repeats, clock=own)
            steps = n_steps(row_sets, epochs)
            rows.append(
                (
                    name,
                    n_jobs,
                    min(found["stacked"]) / steps * 1e6,
                    min(found["one by one"]) / steps * 1e6,
                    ratio(found, "one by one", "stacked"),
                    *scores[name],
                )
            )
            seconds[f"{name}, {n_jobs} jobs"] = found
    return seconds, rows


def compare_widths(X, y, row_sets, epochs, widths, repeats, clock):
    net, seeds = default_net(X.shape[1], epochs), range(len(row_sets))
    ways = {
        str(width): lambda width=width: train_states(net, X, y, row_sets, seeds, width=width)
        for width in widths
    }
    seconds = time_interleaved(ways, repeats=repeats, clock=clock)
    steps = n_steps(row_sets, epochs)
    return seconds, [(width, min(s) / steps * 1e6) for width, s in seconds.items()]


def time_oracles(X, y, n_nets, epochs, batch_size, backend):
    """Wall and CPU time of the nets of a forgetting metric, two stacks at a time.

    CPU time is that of this process.
    """
    rng = np.random.default_rng(0)
    row_sets = [rng.choice(len(X), 1300, replace=False) for _ in range(n_nets)]
    net = default_net(X.shape[1], epochs).set_params(batch_size=batch_size)
    with parallel_config(backend=backend):
        train_states(net, X, y, row_sets[:4], range(4), epochs=1, n_jobs=2, width=2)  # start
        wall, cpu = time.perf_counter(), time.process_time()
        train_states(net, X, y, row_sets, range(n_nets), n_jobs=2)
        return time.perf_counter() - wall, time.process_time() - cpu


def on_device(args, device, name, X, y, shards):
    """Shards, and on the CPU the rest; write the results."""
    clock = clock_of(device, time.process_time if args.cpu_time else time.perf_counter)
    jobs = args.jobs if device == "cpu" else [1]
    seconds, rows = compare_shards(
        X, y, shards, args.epochs, args.repeats, jobs, clock, device, args.full
    )
    print_table(
        f"20 shards of {name}, {X.shape[1]}-128-{CLASSES}, batch 32, {args.epochs} epochs, on "
        f"{device}",
        (
            "net",
            "jobs",
            "stacked, us a step",
            "one by one, us a step",
            f"times faster (limit {LIMITS[device]:g})",
            "accuracy, stacked",
            "one by one",
        ),
        rows,
    )
    found = {"shards": seconds, "ratios": rows}
    if device == "cpu":
        found |= many_nets(args, clock, name, X, y, shards)
    settings = {key: value for key, value in vars(args).items() if key != "device"}
    write_json("stacked", found, device=device, data=name, clock=clock.__name__, **settings)


def many_nets(args, clock, name, X, y, shards):
    """The nets of a metric, and with ``--full`` stacks of several widths."""
    digits, labels = load_digits(return_X_y=True)
    digits, widths = (digits / 16).astype(np.float32), {}
    rng = np.random.default_rng(1)
    hundred = [rng.choice(len(digits), 320, replace=False) for _ in range(100)]
    for data, arrays, sets, tried in (
        (name, (X, y), shards, (2, 5, 10, 20)),
        ("digits", (digits, labels), hundred, (5, 10, 20, 50, 100)),
    ):
        if args.full:
            widths[data] = compare_widths(*arrays, sets, args.epochs, tried, args.repeats, clock)
            print_table(
                f"Width of a stack on {data}, default net, one thread",
                ("most nets in a stack", "us a step of a net"),
                widths[data][1],
            )
    oracles = [
        (size, backend, *time_oracles(digits, labels, 100, args.oracle_epochs, size, backend))
        for size in (32, 128)
        for backend in ("threading", "loky")[: 2 if args.full else 1]
    ]
    print_table(
        f"100 nets on digits, 1300 rows, {args.oracle_epochs} epochs, two jobs",
        ("batch", "backend", "wall s", "CPU s of this process"),
        oracles,
    )
    return {"widths": widths, "oracles": oracles}


def main():
    args = parse(
        __doc__,
        full={"jobs": [1, 2]},
        on_devices=True,
        epochs={"type": int, "default": 5, "help": "of the shards"},
        oracle_epochs=60,
        repeats=5,
        jobs={"type": int, "nargs": "*", "default": [1]},
        cpu_time={"action": "store_true", "help": "for a machine that others use too"},
    )
    torch.set_num_threads(1)
    name, X, y = load_images()
    rng = np.random.default_rng(0)
    shards = np.split(rng.permutation(len(X))[: 20 * 500], 20) if len(X) >= 10_000 else None
    shards = shards or np.array_split(rng.permutation(len(X)), 20)
    shards = [shard[: rng.integers(3 * len(shard) // 4, len(shard) + 1)] for shard in shards]
    for device in devices(args.device):
        on_device(args, device, name, X, y, shards)


if __name__ == "__main__":
    main()
