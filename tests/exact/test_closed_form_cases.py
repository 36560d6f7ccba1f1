"""Closed-form models of random configurations, after random additions and removals.

Run as a script it prints a digest for each case, for comparison between processes.
"""

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.preprocessing import Normalizer

from sk_unlearn import ClosedFormClassifier, ClosedFormRegressor
from sk_unlearn.nets import default_classifier
from sk_unlearn.utils._digest import state_digest

N_CASES, N_SHARED = 2400, 60
_nets = {}


def frozen_net(n_columns):
    if n_columns not in _nets:
        net = default_classifier(n_features=n_columns, n_outputs=3, n_rows=99, device="cpu")
        net.set_params(module__hidden=(11,), max_epochs=1, optimizer__fused=False)
        rng = np.random.RandomState(n_columns)
        net.set_params(iterator_train__shuffle=False)
        net.initialize()
        for parameter in net.module_.parameters():
            values = rng.normal(size=tuple(parameter.shape)).astype(np.float32)
            parameter.data[:] = parameter.data.new_tensor(values)
        _nets[n_columns] = FrozenEstimator(net)
    return _nets[n_columns]


def configuration(rng, n_columns):
    kind = rng.choice(
        ["fourier", "passthrough", "normal", "pca", "net"], p=[0.4, 0.3, 0.1, 0.1, 0.1]
    )
    features = {
        "fourier": lambda: None,
        "passthrough": lambda: "passthrough",
        "normal": Normalizer,
        "pca": lambda: FrozenEstimator(
            PCA(min(3, n_columns)).fit(np.random.RandomState(0).normal(size=(20, n_columns)))
        ),
        "net": lambda: frozen_net(n_columns),
    }[kind]()
    params = {"random_state": int(rng.randint(100)), "n_components": int(rng.randint(1, 70))}
    params["scaling"] = rng.choice(["auto", "auto", "common", "columns", None])
    params["alpha"] = [0.3, "auto", 1e-3][rng.randint(3)]
    params["keep"] = rng.choice(["features", "inputs"])
    if rng.rand() < 0.25:
        return ClosedFormRegressor(features, **params), kind
    head = rng.choice(["ridge", "ridge", "lda", "naive_bayes"])
    if head == "ridge" and rng.rand() < 0.2:
        params["alpha"] = [0.01, 1.0]
    return ClosedFormClassifier(features, head=head, **params), kind


def table(rng, kind, n_rows, n_columns):
    """Rows in one of the forms, some of them extreme enough to move units."""
    X = rng.normal(size=(n_rows, n_columns)) * 10.0 ** rng.randint(-2, 3, n_columns)
    X += rng.choice([0, 0, 1e3], n_columns)
    if rng.rand() < 0.3:
        X[rng.randint(n_rows)] *= 50
    if rng.rand() < 0.3:
        X[:, 0] = np.rint(rng.normal())
    form = rng.choice(["f8", "f4", "i8", "sparse", "fortran"])
    if form == "sparse" and kind in ("fourier", "passthrough"):
        return sparse.csr_array(np.where(rng.rand(*X.shape) < 0.4, X, 0))
    if form == "i8":
        return np.rint(X).astype(np.int64)
    return (
        np.asfortranarray(X)
        if form == "fortran"
        else X.astype(np.float32 if form == "f4" else float)
    )


def run(seed):
    """Two models that must be the same: one that changed, and a fresh one."""
    rng = np.random.RandomState(seed)
    n_rows = int(rng.choice([8, 30, 90, 300, 700], p=[0.2, 0.3, 0.3, 0.15, 0.05]))
    n_columns = int(rng.randint(1, 13))
    model, kind = configuration(rng, n_columns)
    X = table(rng, kind, n_rows, n_columns)
    if isinstance(model, ClosedFormRegressor):
        y = rng.normal(size=(n_rows, 2) if rng.rand() < 0.3 else n_rows) * 10.0 ** rng.randint(
            -3, 4
        )
    else:
        y = rng.randint(0, rng.randint(1, 6), n_rows)
        y = np.array(["a", "b", "c", "d", "e"])[y] if rng.rand() < 0.4 else y
    ids = rng.permutation(10 * n_rows)[:n_rows]
    ids = np.array([f"r{i}" for i in ids], dtype=object) if rng.rand() < 0.5 else ids
    weights = rng.randint(1, 4, n_rows) if rng.rand() < 0.3 else None

    def part(rows):
        metadata = {"sample_id": ids[rows]}
        return metadata if weights is None else {**metadata, "sample_weight": weights[rows]}

    there = np.arange(int(rng.randint(n_rows // 2, n_rows + 1)))
    outside = np.arange(len(there), n_rows)
    model.fit(X[there], y[there], **part(there))
    for _ in range(rng.randint(1, 5)):
        if len(outside) and rng.rand() < 0.4:
            some = rng.permutation(outside)[: rng.randint(1, len(outside) + 1)]
            model.partial_fit(X[some], y[some], **part(some))
            outside = np.setdiff1d(outside, some)
            there = np.concatenate([there, some])
        else:
            n_leave = min(int(rng.choice([1, 1, 3, n_rows // 3 + 1])), len(there) - 1)
            leave = rng.permutation(there)[:n_leave]
            model.forget(sample_id=ids[leave])
            there = there[~np.isin(there, leave)]
            outside = np.union1d(outside, leave) if rng.rand() < 0.3 else outside
    return model, clone(model).fit(X[there], y[there], **part(there)), X


def digests(model, X):
    state = model._exact_state()
    state["predictions"] = model.predict(X)
    if hasattr(model, "predict_proba"):
        state["probabilities"] = model.predict_proba(X)
    return {name: state_digest(value) for name, value in state.items()}


def differing(seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of numbers far out, where scaling is None
        model, fresh, X = run(seed)
        found, expected = digests(model, X), digests(fresh, X)
    return [name for name in {*found, *expected} if found.get(name) != expected.get(name)]


@pytest.mark.parametrize("first", range(0, 120, 40))
def test_some_cases(first):
    wrong = {seed: differing(seed) for seed in range(first, first + 40)}
    assert not {seed: names for seed, names in wrong.items() if names}


@pytest.mark.slow
@pytest.mark.parametrize("first", range(120, N_CASES, 190))
def test_many_cases(first):
    wrong = {seed: differing(seed) for seed in range(first, first + 190)}
    assert not {seed: names for seed, names in wrong.items() if names}


def in_a_process(threads):
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, str(threads))}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", __file__], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_the_number_of_threads_changes_no_bit():
    expected = in_a_process(1)
    assert len(expected) == N_SHARED
    assert all(line.split()[0] == line.split()[1] for line in expected)
    for threads in (2, 4):
        assert in_a_process(threads) == expected


if __name__ == "__main__":
    for seed in range(N_SHARED):
        one, other, rows = run(seed)
        print(*(state_digest(sorted(digests(m, rows).items())) for m in (one, other)))
