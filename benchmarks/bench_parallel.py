"""Shards in two workers against one after another, and the threads that workers run.

Claims: SISA with eight shards of images (784-128-10, 500 rows each), trained one by one, is
fitted at least 1.5 times faster by two worker processes than by one on two cores; no worker
computes with more than one torch thread, so that workers do not fight for cores.

Shards of the same architecture are trained side by side in one process by default; that way is
shown beside. Accuracy is on images that no shard has.

    python benchmarks/bench_parallel.py
"""

import os

import numpy as np
import torch
from _common import load_images, parse, print_table, ratio, time_interleaved, write_json
from joblib import parallel_config
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from torch import nn

from sk_unlearn import SisaClassifier
from sk_unlearn.nets import MLP

CLASSES, UNSEEN = 10, 2000


class Threads(Callback):
    """Notes in the net's history with how many threads torch computes, and in which process."""

    def on_epoch_end(self, net, **kwargs):
        net.history.record("threads", torch.get_num_threads())
        net.history.record("process", os.getpid())


def make_net(n_features, epochs, *, callbacks=None):
    return NeuralNetClassifier(
        MLP,
        module__n_features=n_features,
        module__n_outputs=CLASSES,
        module__hidden=(128,),
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=1e-3,
        batch_size=32,
        max_epochs=epochs,
        iterator_train__shuffle=True,
        train_split=None,
        callbacks=callbacks,
        callbacks__epoch_timer=None,
        verbose=0,
    )


def fit(X, y, n_shards, epochs, backend, n_jobs, *, callbacks=None):
    net = make_net(X.shape[1], epochs, callbacks=callbacks)
    clf = SisaClassifier(net, n_shards=n_shards, n_slices=2, random_state=0)
    with parallel_config(backend, n_jobs=n_jobs):
        return clf.fit(X, y)


def threads_of_workers(X, y, n_shards, backend, n_jobs):
    """Largest number of torch threads in an epoch, and processes that trained."""
    clf = fit(X, y, n_shards, 1, backend, n_jobs, callbacks=[("threads", Threads())])
    histories = [net.history for net in clf.estimators_]
    threads = max(count for history in histories for count in history[:, "threads"])
    return threads, len({pid for history in histories for pid in history[:, "process"]})


def main():
    args = parse(__doc__, full={"epochs": 20}, shards=8, rows=500, epochs=6, repeats=5)
    name, X, y = load_images()
    n_rows = args.shards * args.rows
    unseen = X[n_rows : n_rows + UNSEEN], y[n_rows : n_rows + UNSEEN]
    X, y = X[:n_rows], y[:n_rows]
    ways = {"one": ("loky", 1), "two processes": ("loky", 2), "two threads": ("threading", 2)}
    data = X, y, args.shards
    # the round that is not timed starts the workers
    # a callback of one's own keeps nets from being trained side by side
    noted = {"": [("threads", Threads())], ", side by side": None}
    # threads train these shards in turn, which their number shows below; no need to time it
    pairs = [(w, s) for s in noted for w in ways if (w, s) != ("two threads", "")]
    fitted = {}

    def fitting(way, how, callbacks):
        def run():
            fitted[way] = fit(*data, args.epochs, *how, callbacks=callbacks)

        return run

    seconds = time_interleaved(
        {
            f"{way}{suffix}": fitting(f"{way}{suffix}", ways[way], noted[suffix])
            for way, suffix in pairs
        },
        repeats=args.repeats,
    )
    rows = [
        (way, float(np.median(times)), ratio(seconds, "one", way), fitted[way].score(*unseen))
        for way, times in seconds.items()
    ]
    print_table(
        f"{args.shards} shards of {name}, {len(X) // args.shards} rows each, "
        f"{args.epochs} epochs, {X.shape[1]}-128-{CLASSES}",
        ("workers", "median s", "times faster than one", "accuracy"),
        rows,
    )
    threads = {way: threads_of_workers(*data, *how) for way, how in ways.items()}
    print_table(
        f"Torch threads; this process has {torch.get_num_threads()}",
        ("workers", "most threads of one", "processes that trained"),
        [(way, *found) for way, found in threads.items()],
    )
    load = os.getloadavg()[0]
    print(f"\nLoad of the machine in the last minute: {load:.2f} on {os.cpu_count()} cores")
    write_json(
        "parallel",
        {"seconds": seconds, "ratios": rows, "threads": threads, "load": load},
        data=name,
        seed=0,
        **vars(args),
    )


if __name__ == "__main__":
    main()
