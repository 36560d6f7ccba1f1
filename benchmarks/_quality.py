"""How close the default PumaClassifier comes to retraining, where many nets are cheap: on digits.

A divergence of models needs tens of each kind, on MNIST minutes. The same settings on digits,
for the same share of random rows, stand beside a timing instead, and say so.
"""

import numpy as np
from bench_report import ROWS, make_net
from sklearn.datasets import load_digits

from sk_unlearn import PumaClassifier
from sk_unlearn.model_selection import compare_forgetting


def klom_on_digits(share, n_models):
    """KLoM p95 by set of rows and accuracy on rows never seen, of PUMA and of both controls.

    Parameters
    ----------
    share : float
        Of the rows trained on, drawn at random.
    n_models : int
        Of each kind.

    Returns
    -------
    quality : dict of str to dict
        Of "nothing", "retrained" and "PUMA"; and of "null", one set of retrained models against
        another, which few models keep far from zero.
    """
    X, y = load_digits(return_X_y=True)
    comparison = compare_forgetting(
        {"PUMA": PumaClassifier(make_net())},
        (X / 16).astype(np.float32),
        y,
        forget_size=share,
        n_models=n_models,
        test_size=len(y) - 1300,
        metrics=("klom",),
        n_resamples=20,
        random_state=0,
    )
    metrics = {record["estimator"]: record["metrics"] for record in comparison.records}
    quality = {name: _picked(found, "value") for name, found in metrics.items()}
    return {**quality, "null": _picked(metrics["PUMA"], "null")}


def _picked(found, field):
    return {
        "klom_p95": {part: found[f"klom_p95_{part}"][field] for part in ROWS},
        "accuracy": found["accuracy_held_out"][field],
    }
