"""What exact removal costs, and what it costs in accuracy: five tables.

``share``: one request of growing size. ``formulas``: rows trained again, counted, against the
formulas. ``selection``: training ARCANE on a part of each class. ``blocks``: states saved
within a class. ``likely``: placing rows by how likely they are to be erased. One thread;
seconds are processor time. Costs without a time are those that ``forget_cost`` previews.

    python benchmarks/bench_exact_studies.py    # fewer rows and settings, to see that it runs
    python benchmarks/bench_exact_studies.py --study blocks --full
"""

import copy
import time

import numpy as np
import torch
from _common import load_letters, parse, print_table, write_json
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from sk_unlearn import ArcaneEnsembleClassifier, RetrainClassifier, SisaClassifier
from sk_unlearn.exact import EntropySelector, KCenterSelector, RandomSelector


def digits():
    """Training rows, test rows, training labels, test labels; standardised."""
    X, y = load_digits(return_X_y=True)
    return _split(X, y)


def letters(n_rows=None):
    """The same of the letters, of which ``n_rows`` are taken."""
    _, X, y = load_letters()
    chosen = np.random.default_rng(0).permutation(len(X))[:n_rows]
    return _split(X[chosen], y[chosen])


def _split(X, y):
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.25, stratify=y, random_state=0)
    scaler = StandardScaler().fit(X)
    return *(scaler.transform(part).astype(np.float32) for part in (X, X_test)), y, y_test


def seconds_of(call, *args):
    """Processor seconds of a call."""
    start = time.process_time()
    call(*args)
    return time.process_time() - start


def shares(model, requests):
    """Previewed share of all row passes of each request."""
    return np.array([model.forget_cost(rows).share_of_retrain for rows in requests])


def study_share(quick):
    """Accuracy and work after one request for a share of the rows."""
    heads = ("data", "requested", "model", "rows retrained", "share", "seconds", "accuracy")
    rows = []
    for name, data in (("digits", digits()), ("letter", letters(1000 if quick else 8000))):
        X, X_test, y, y_test = data
        order = np.random.default_rng(1).permutation(len(X))
        models = {
            "naive": RetrainClassifier(random_state=0),
            "SISA": SisaClassifier(random_state=0),
            "ARCANE": ArcaneEnsembleClassifier(random_state=0),
        }
        for kind, model in models.items():
            taken = seconds_of(model.fit, X, y)
            rows.append([name, "fit", kind, len(X), 1.0, taken, model.score(X_test, y_test)])
            for share in (0.001, 0.8) if quick else (0.001, 0.01, 0.05, 0.2, 0.5, 0.8):
                after = copy.deepcopy(model)
                taken = seconds_of(after.forget, order[: max(1, int(share * len(X)))])
                cost = after.receipts_[-1].cost
                done = (cost.rows_retrained, cost.share_of_retrain, taken)
                rows.append([name, f"{share:.1%}", kind, *done, after.score(X_test, y_test)])
    return "One request for a share of the rows", heads, rows


def study_formulas(quick):
    """Counted work against the formulas; of what kind the models are does not matter."""
    heads = ("request", "setting", "counted", "formula")
    X, _, y, _ = digits()
    rng, rows = np.random.default_rng(2), []
    for n_slices in (1, 5) if quick else (1, 2, 5, 10, 20):
        model = _sisa(5, n_slices).fit(X, y)
        counted = 5 * shares(model, np.arange(len(X))[:: 20 if quick else 1]).mean()
        formula = 2 / 3 + 1 / (3 * n_slices)
        rows.append(["one row, share of a shard", f"{n_slices} slices", counted, formula])
    for n_shards in (5, 20):
        model = _sisa(n_shards, 1).fit(X, y)
        for size in (1, 10) if quick else (1, 2, 5, 10, 20, 50):
            draws = [rng.choice(len(X), size, replace=False) for _ in range(10 if quick else 200)]
            counted = np.mean([model.forget_cost(draw).rows_retrained for draw in draws])
            formula = len(X) * (1 - (1 - 1 / n_shards) ** size)
            setting = (f"{size} rows, rows retrained", f"{n_shards} shards")
            rows.append([*setting, round(counted), round(formula)])
    return f"Counted work against formulas, digits, {len(X)} rows", heads, rows


def _sisa(n_shards, n_slices):
    """SISA whose training takes no time."""
    options = {"n_shards": n_shards, "n_slices": n_slices, "random_state": 0}
    return SisaClassifier(SGDClassifier(), aggregation="hard", max_epochs=21, **options)


def study_selection(quick):
    """ARCANE on a part of each class, with the time that the selection itself takes."""
    heads = ("selector", "selected", "accuracy", "fit s", "forget s", "of fit", "share of passes")
    X, X_test, y, y_test = letters(1000 if quick else 8000)
    requests, rows = np.random.default_rng(3).permutation(len(X))[: 3 if quick else 30], []
    selectors = {
        "entropy": EntropySelector(),
        "random": RandomSelector(),
        "k-centre": KCenterSelector(),
    }
    runs = [(n, s) for n in selectors for s in ((0.5,) if quick else (0.1, 0.25, 0.5, 0.75))] + [
        ("none", 1.0)
    ]
    for name, share in runs:
        model = ArcaneEnsembleClassifier(
            selector=selectors.get(name), selection=share, random_state=0
        )
        fit = seconds_of(model.fit, X, y)
        accuracy = model.score(X_test, y_test)
        forget = np.mean([seconds_of(model.forget, row) for row in requests])
        done = np.mean([receipt.cost.share_of_retrain for receipt in model.receipts_])
        rows.append([name, share, accuracy, fit, forget, f"{forget / fit:.2%}", f"{done:.2%}"])
    return f"ARCANE on a part of each class, letter, {len(X)} rows", heads, rows


def study_blocks(quick):
    """ARCANE with states saved within a class."""
    heads = ("data", "blocks", "accuracy", "fit s", "forget s", "share of a class", "formula")
    rows = []
    for name, data in (("digits", digits()), ("letter", letters(1000 if quick else 8000))):
        X, X_test, y, y_test = data
        order = np.random.default_rng(4).permutation(len(X))
        for n_blocks in (1, 5) if quick else (1, 5, 10, 20):
            model = ArcaneEnsembleClassifier(n_blocks=n_blocks, random_state=0)
            fit = seconds_of(model.fit, X, y)
            accuracy = model.score(X_test, y_test)
            counted = shares(model, order[: 20 if quick else 500]).mean() * len(model.classes_)
            forget = np.mean([seconds_of(model.forget, row) for row in order[-12:]])
            formula = (n_blocks + 1) / (2 * n_blocks)
            rows.append([name, n_blocks, accuracy, fit, forget, counted, formula])
    return "ARCANE with blocks", heads, rows


def study_likely(quick):
    """Rows placed blindly and by how likely they are to be erased.

    A tenth of the rows gets four fifths of the requests; the probabilities given are those
    of a twentieth of all rows leaving.
    """
    heads = ("model", "placed", "accuracy", "requests", "1 row", "10 rows", "50 rows")
    X, X_test, y, y_test = digits()
    rng, rows = np.random.default_rng(5), []
    likely = np.zeros(len(X), dtype=bool)
    likely[rng.choice(len(X), len(X) // 10, replace=False)] = True
    weights = {
        "uniform": np.full(len(X), 1 / len(X)),
        "skewed": np.where(likely, 0.8 / likely.sum(), 0.2 / (~likely).sum()),
    }
    proba = np.minimum(1, weights["skewed"] * 0.05 * len(X))
    n_draws = 10 if quick else 200
    draws = {
        (kind, size): [rng.choice(len(X), size, replace=False, p=p) for _ in range(n_draws)]
        for kind, p in weights.items()
        for size in (1, 10, 50)
    }
    for name, model in (
        ("SISA", SisaClassifier(random_state=0)),
        ("ARCANE", ArcaneEnsembleClassifier(n_blocks=5, random_state=0)),
    ):
        for placed, given in (("blindly", None), ("by probability", proba)):
            model.fit(X, y, forget_proba=given)
            accuracy = model.score(X_test, y_test)
            for kind in weights:
                found = [shares(model, draws[kind, size]).mean() for size in (1, 10, 50)]
                rows.append([name, placed, accuracy, kind, *(f"{share:.1%}" for share in found)])
    return f"Share of row passes done again, digits, {len(X)} rows", heads, rows


STUDIES = {
    "share": study_share,
    "formulas": study_formulas,
    "selection": study_selection,
    "blocks": study_blocks,
    "likely": study_likely,
}


def main():
    options = parse(
        __doc__,
        full={},
        study={"nargs": "+", "choices": STUDIES, "default": list(STUDIES)},
    )
    torch.set_num_threads(1)
    for name in options.study:
        title, heads, rows = STUDIES[name](not options.full)
        rows = [[x.item() if isinstance(x, np.generic) else x for x in row] for row in rows]
        print_table(title, heads, rows)
        records = [dict(zip(heads, row, strict=True)) for row in rows]
        write_json(
            f"exact_study_{name}", records, seed=list(range(5)), title=title, full=options.full
        )


if __name__ == "__main__":
    main()
