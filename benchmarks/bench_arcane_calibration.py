"""How well ARCANE's probabilities are calibrated, with its temperature and without.

Log-loss, and the mean difference between confidence and accuracy over fifteen equal bins of
confidence, on test rows; a quarter of the rows, mean over splits (five with ``--full``).

    python benchmarks/bench_arcane_calibration.py
"""

import numpy as np
from _common import load_letters, parse, print_table, write_json
from scipy.special import softmax
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from sk_unlearn import ArcaneEnsembleClassifier

N_BINS = 15
SMALL = {
    "digits": load_digits,
    "breast cancer": load_breast_cancer,
    "wine": load_wine,
    "iris": load_iris,
}


def calibration_error(proba, correct):
    confidence = proba.max(axis=1)
    bins = np.minimum((confidence * N_BINS).astype(int), N_BINS - 1)
    gaps = [abs((confidence - correct)[bins == k].sum()) for k in range(N_BINS)]
    return sum(gaps) / len(correct)


def measure(X, y, seed):
    split = train_test_split(X, y, stratify=y, random_state=seed)
    scaler = StandardScaler().fit(split[0])
    train, test = (scaler.transform(part).astype(np.float32) for part in split[:2])
    clf = ArcaneEnsembleClassifier(random_state=seed).fit(train, split[2])
    tempered = clf.predict_proba(test)
    scores = clf.decision_function(test)
    scores = np.c_[np.zeros(len(test)), scores] if scores.ndim == 1 else scores
    labels = split[3]
    correct = clf.classes_[tempered.argmax(axis=1)] == labels
    return [
        (log_loss(labels, p, labels=clf.classes_), calibration_error(p, correct))
        for p in (softmax(scores, axis=1), tempered)
    ]


def main():
    options = parse(__doc__, full={"seeds": 5}, seeds=1)
    sets = {name: load(return_X_y=True) for name, load in SMALL.items()}
    name, X, y = load_letters()
    sets[name] = (X, y)
    rows, record = [], {}
    for name, (X, y) in sets.items():
        n_seeds = 1 if len(X) > 5000 else options.seeds
        means = np.mean([measure(X, y, seed) for seed in range(n_seeds)], axis=0)
        record[name] = {"bayes": means[0].tolist(), "temperature": means[1].tolist()}
        rows.append([name, *(f"{v:.3f}" for v in (*means[:, 0], *means[:, 1]))])
    heads = ["data", "log-loss", "with temperature", "calibration error", "with temperature"]
    print_table("ARCANE's probabilities, default settings", heads, rows)
    write_json("arcane_calibration", record, seed=list(range(options.seeds)))


if __name__ == "__main__":
    main()
