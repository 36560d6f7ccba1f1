"""How close a PUMA estimator comes to retraining, where many nets are cheap: KLoM of a timed row.

A divergence of models needs tens of each kind. Where the rows that are timed are too many for
that, the same settings on fewer, or on digits, stand beside the time, and say so.
"""

from dataclasses import replace

import numpy as np
from _common import print_table
from bench_report import ROWS, make_net
from sklearn.datasets import load_digits

from sk_unlearn import PumaClassifier
from sk_unlearn.model_selection import compare_forgetting


class InTurn(PumaClassifier):
    """Forgets the rows of a request in two requests of half of them, in random order."""

    def forget(self, X_idx=None, **named):
        """As PumaClassifier does, twice."""
        rows = np.random.RandomState(0).permutation(np.asarray(X_idx))
        for part in np.array_split(rows, 2):
            super().forget(np.sort(part), **named)
            self._after_part()
        return self

    def _after_part(self):
        """Keep what the request left for the next one."""


class InTurnAnew(InTurn):
    """The same with curvature that is computed anew for each."""

    def _after_part(self):
        self._curvature_cache_ = replace(self._curvature_cache_, kept=None)


def klom(estimators, X, y, *, forget_size, n_models, test_size, n_jobs=None):
    """KLoM p95 by set of rows and accuracy on rows never seen, of PUMA and of both controls.

    Parameters
    ----------
    estimators : PumaClassifier, or dict of str to PumaClassifier
        Unfitted; a single one is called "PUMA".
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
        Of "nothing", "retrained" and the estimators; and of "null", one set of retrained models
        against another, which few models keep far from zero.
    """
    if not isinstance(estimators, dict):
        estimators = {"PUMA": estimators}
    comparison = compare_forgetting(
        estimators,
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
    # controls of several estimators are those of the first
    metrics = {r["estimator"].split(" (")[0]: r["metrics"] for r in comparison.records[::-1]}
    names = ("nothing", "retrained", *estimators)
    quality = {name: _picked(metrics[name], "value") for name in names}
    return {**quality, "null": _picked(metrics[names[2]], "null")}


def klom_on_digits(share, n_models):
    """:func:`klom` of the default PumaClassifier for a share of the rows of digits."""
    return _on_digits(PumaClassifier(make_net()), share, n_models)


def klom_in_turn(share, n_models):
    """The same of two requests for a share each, with curvature kept between them and anew."""
    found = {"curvature kept": InTurn(make_net()), "curvature anew": InTurnAnew(make_net())}
    return _on_digits(found, 2 * share, n_models)


def _on_digits(estimators, share, n_models):
    X, y = load_digits(return_X_y=True)
    X, unseen = (X / 16).astype(np.float32), len(y) - 1300
    sizes = {"forget_size": share, "n_models": n_models, "test_size": unseen}
    return klom(estimators, X, y, **sizes, n_jobs=2)


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
