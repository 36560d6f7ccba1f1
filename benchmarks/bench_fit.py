"""Training a prepared net against a plain PyTorch loop; predicting against a bare forward.

Claim: at most 1.10 times the plain loop at batch sizes 32 and 128, for a net as a user
writes it and for the default net, on one thread; at most 1.05 times a bare forward pass.
Accuracy is the median of the nets of all rounds, on rows that none is trained on.

    python benchmarks/bench_fit.py
    python benchmarks/bench_fit.py --full    # more rounds, and skorch's own path
"""

import time

import numpy as np
import torch
from _common import load_images, parse, print_table, ratio, time_interleaved, write_json
from skorch import NeuralNetClassifier
from torch import nn

from sk_unlearn.nets import default_classifier, predict_scores, prepare

CLASSES, UNSEEN = 10, 1000


class Net(nn.Module):
    """What a user would write: 784-128-10."""

    def __init__(self, n_features):
        super().__init__()
        self.hidden = nn.Linear(n_features, 128)
        self.out = nn.Linear(128, CLASSES)

    def forward(self, X):
        return self.out(torch.relu(self.hidden(X)))


def plain_loop(X, y, make_module, make_optimizer, batch_size, epochs):
    """Train as a tutorial does, on tensors that are in memory already."""
    module, loss = make_module(), nn.CrossEntropyLoss()
    optimizer = make_optimizer(module.parameters())
    for _ in range(epochs):
        order = torch.randperm(len(X))
        for start in range(0, len(X), batch_size):
            rows = order[start : start + batch_size]
            optimizer.zero_grad()
            loss(module(X[rows]), y[rows]).backward()
            optimizer.step()
    return module


def user_net(n_features, batch_size, epochs, **optimizer):
    return NeuralNetClassifier(
        Net,
        module__n_features=n_features,
        criterion=nn.CrossEntropyLoss,
        batch_size=batch_size,
        max_epochs=epochs,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
        **optimizer,
    )


def accuracy(modules, X, y):
    """Median over some modules."""
    with torch.no_grad():
        found = [module.eval()(torch.from_numpy(X)).argmax(1).numpy() == y for module in modules]
    return float(np.median([right.mean() for right in found]))


def compare_fits(X, y, batch_size, epochs, repeats, *, stock, clock):
    """Times of all ways to train, the modules that they trained, and pairs.

    A pair is a way of ours and the plain loop with the same flags.
    """
    Xt, yt, d = torch.from_numpy(X), torch.from_numpy(y), X.shape[1]
    sgd = {"optimizer": torch.optim.SGD, "lr": 0.1}
    adam = {"optimizer": torch.optim.Adam, "lr": 1e-3}
    default = default_classifier(n_features=d, n_outputs=CLASSES, n_rows=len(X), device="cpu")
    default.set_params(batch_size=batch_size, max_epochs=epochs)

    def loop(make_module, kind, **flags):
        return lambda: plain_loop(
            Xt, yt, make_module, lambda p: kind(p, **flags), batch_size, epochs
        )

    def fit(net):
        return lambda: net.fit(X, y)

    def make_default():
        return default.module(d, CLASSES)

    ways = {
        "plain loop, SGD": loop(lambda: Net(d), torch.optim.SGD, lr=0.1),
        "user net, SGD": fit(prepare(user_net(d, batch_size, epochs, **sgd))),
        "plain loop, Adam": loop(lambda: Net(d), torch.optim.Adam, lr=1e-3),
        "user net, Adam": fit(prepare(user_net(d, batch_size, epochs, **adam))),
        "plain loop, fused Adam": loop(
            make_default, torch.optim.Adam, lr=1e-3, weight_decay=1e-4, fused=True
        ),
        "default net": fit(prepare(default)),
    }
    if stock:
        ways["stock skorch, Adam"] = fit(user_net(d, batch_size, epochs, **adam))
    trained = {way: [] for way in ways}

    def keeping(way, train):
        def run():
            torch.manual_seed(len(trained[way]))  # that of the round
            result = train()
            trained[way].append(getattr(result, "module_", result))

        return run

    kept = {way: keeping(way, train) for way, train in ways.items()}
    seconds = time_interleaved(kept, repeats=repeats, clock=clock)
    pairs = [
        ("user net, SGD", "plain loop, SGD"),
        ("user net, Adam", "plain loop, Adam"),
        ("default net", "plain loop, fused Adam"),
    ]
    if stock:
        pairs.append(("stock skorch, Adam", "plain loop, Adam"))
    return seconds, trained, pairs


def compare_predictions(X, repeats, clock):
    net = prepare(user_net(X.shape[1], 128, 1)).initialize()
    module, Xt = net.module_.eval(), torch.from_numpy(X)

    def bare():
        with torch.no_grad():
            for _ in range(5):
                module(Xt).numpy()

    def ours():
        for _ in range(5):
            predict_scores(net, X)

    def stock():
        for _ in range(5):
            net.forward(X)

    ways = {"bare": bare, "ours": ours, "skorch": stock}
    return time_interleaved(ways, repeats=repeats, clock=clock)


def main():
    args = parse(
        __doc__,
        full={"epochs": 2, "repeats": 9, "stock": True},
        epochs=1,
        repeats=5,
        stock={"action": "store_true", "help": "also time skorch's own path"},
        cpu_time={"action": "store_true", "help": "for a machine that others use too"},
    )
    clock = time.process_time if args.cpu_time else time.perf_counter
    torch.set_num_threads(1)
    torch.manual_seed(0)
    name, X, y = load_images()
    X, y, unseen = X[:-UNSEEN], y[:-UNSEEN], (X[-UNSEEN:], y[-UNSEEN:])
    results, rows = [], []
    for batch_size in (32, 128):
        epochs = args.epochs * (1 if batch_size == 32 else 2)
        seconds, trained, pairs = compare_fits(
            X, y, batch_size, epochs, args.repeats, stock=args.stock, clock=clock
        )
        steps = epochs * -(-len(X) // batch_size)
        for ours, reference in pairs:
            row = (
                batch_size,
                ours,
                min(seconds[ours]) / steps * 1e6,
                ratio(seconds, ours, reference),
                accuracy(trained[ours], *unseen),
                accuracy(trained[reference], *unseen),
            )
            rows.append(row)
        results.append({"batch_size": batch_size, "steps": steps, "seconds": seconds})
    print_table(
        f"Training on {name}, {X.shape[1]}-128-{CLASSES}, one thread",
        ("batch", "way", "best us a step", "x plain loop", "accuracy", "of the plain loop"),
        rows,
    )
    seconds = compare_predictions(X, args.repeats, clock)
    print_table(
        f"Scores of {len(X)} rows",
        ("way", "best ms", "x bare forward"),
        [(w, min(s) / 5 * 1e3, ratio(seconds, w, "bare")) for w, s in seconds.items()],
    )
    write_json(
        "fit",
        {"fit": results, "ratios": rows, "predict": seconds},
        data=name,
        seed=0,
        epochs=args.epochs,
        repeats=args.repeats,
        clock=clock.__name__,
    )


if __name__ == "__main__":
    main()
