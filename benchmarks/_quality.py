"""How close a PUMA estimator comes to retraining, where many nets are cheap: KLoM of a timed row.

A divergence of models needs tens of each kind. Where the rows that are timed are too many for
that, the same settings on fewer, or on digits, stand beside the time, and say so.
"""

import numpy as np
from _common import print_table
from bench_report import ROWS, make_net
from sklearn.datasets import load_digits

from sk_unlearn import PumaClassifier
from sk_unlearn.model_selection import compare_forgetting


def klom(estimator, X, y, *, forget_size, n_models, test_size, n_jobs=None):
    """KLoM p95 by set of rows and accuracy on rows never seen, of PUMA and of both controls.

    Parameters
    ----------
    estimator : PumaClassifier
        Unfitted.
    X : ndarray of shape (n, n_features)
    y : ndarray of shape (n,)
    forget_size : float or int
        Share, or number, of the rows trained on, drawn at random.
    n_models : int
        Of each kind.
    test_size : int
        Rows that no net is trained on.
    n_jobs : int, default=None
        Of the trainings, which are not timed.

    Returns
    -------
    quality : dict of str to dict
        Of "nothing", "retrained" and "PUMA"; and of "null", one set of retrained models against
        another, which few models keep far from zero.
    """
    comparison = compare_forgetting(
        {"PUMA": estimator},
        X,
        y,
        forget_size=forget_size,
        n_models=n_models,
        test_size=test_size,
        metrics=("klom",),
        n_resamples=20,
        random_state=0,
        n_jobs=n_jobs,
    )
    metrics = {record["estimator"]: record["metrics"] for record in comparison.records}
    quality = {name: _picked(found, "value") for name, found in metrics.items()}
    return {**quality, "null": _picked(metrics["PUMA"], "null")}


def klom_on_digits(share, n_models):
    """:func:`klom` of the default PumaClassifier for a share of the rows of digits."""
    X, y = load_digits(return_X_y=True)
    return klom(
        PumaClassifier(make_net()),
        (X / 16).astype(np.float32),
        y,
        forget_size=share,
        n_models=n_models,
        test_size=len(y) - 1300,
        n_jobs=2,
    )


def print_klom(title, quality):
    """Print what :func:`klom` found."""
    print_table(
        f"KLoM p95, {title}",
        ("models", "forgotten", "retained", "held out", "accuracy held out"),
        [[kind, *q["klom_p95"].values(), q["accuracy"]] for kind, q in quality.items()],
    )


def _picked(found, field):
    return {
        "klom_p95": {part: found[f"klom_p95_{part}"][field] for part in ROWS},
        "accuracy": found["accuracy_held_out"][field],
    }
