"""Results are the same bits for every joblib backend and number of jobs."""

import functools
import logging
import os
import threading
from contextlib import contextmanager

import numpy as np
import pytest
from joblib import Parallel, delayed, parallel_config
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_validate
from skorch import NeuralNetClassifier
from torch import nn

from sk_unlearn import PumaClassifier, RetrainClassifier, SisaClassifier
from sk_unlearn.model_selection import compare_forgetting, fit_many
from sk_unlearn.nets import MLP
from sk_unlearn.utils._digest import state_digest

RNG = np.random.RandomState(0)
Y = RNG.permutation(np.arange(80) % 3)
X = RNG.normal(size=(80, 4)) + Y[:, None]
IDS = np.array([f"row-{i:02}" for i in range(80)])
FORGET = np.arange(80) % 20 == 0


def net():
    return NeuralNetClassifier(
        MLP,
        criterion=nn.CrossEntropyLoss,
        module__n_features=4,
        module__n_outputs=3,
        module__hidden=(5,),
        max_epochs=3,
        batch_size=16,
        train_split=None,
        verbose=0,
    )


def puma():
    return PumaClassifier(net(), eta=0.2, damping=1.0, compensation=None, random_state=0)


def sisa():
    sisa = SisaClassifier(net(), n_shards=3, n_slices=2, random_state=0)
    sisa.fit(X, Y, sample_id=IDS)
    fitted = state_digest((sisa.estimators_, sisa.predict_proba(X)))
    sisa.forget(sample_id=IDS[:5].tolist())
    return fitted, state_digest((sisa.estimators_, sisa.predict_proba(X)))


def many():
    fitted = fit_many(puma(), X, Y, [0, 1, 2])
    return fitted.stacked, [state_digest(each.estimator_.module_) for each in fitted.estimators]


def folds():
    scores = cross_validate(
        SisaClassifier(net(), n_shards=2, n_slices=2, random_state=0),
        X,
        Y,
        cv=3,
        params={"forget": FORGET, "sample_id": IDS},
        scoring="neg_log_loss",
        error_score="raise",
        return_estimator=True,
    )
    return scores["test_score"].tolist(), [
        state_digest(each.estimators_) for each in scores["estimator"]
    ]


def comparison():
    estimators = {"puma": puma(), "retrain": RetrainClassifier(LogisticRegression())}
    options = {"n_models": 2, "metrics": "mia", "n_resamples": 20, "forget_size": 0.1}
    found = compare_forgetting(estimators, X, Y, random_state=0, **options)
    for record in found.records:
        for name in ("seconds", "seconds_share"):
            record["cost"].pop(name)
    return found.records, state_digest(found.per_model)


WORK = {"sisa": sisa, "fit_many": many, "cross_validate": folds, "compare": comparison}


@functools.cache
def serial(name):
    return WORK[name]()


@pytest.mark.parametrize("name", sorted(WORK))
def test_threads(name):
    with parallel_config("threading", n_jobs=2):
        found = WORK[name]()
    assert found == serial(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(WORK))
def test_processes(name):
    with parallel_config("loky", n_jobs=2):
        found = WORK[name]()
    assert found == serial(name)


@contextmanager
def cluster_of(seconds=3600, **options):
    """Client of a cluster on this machine, closed in any case; waits are broken off in time."""
    distributed = pytest.importorskip("distributed")
    # any free port: another cluster on the machine may have the usual one
    options |= {"dashboard_address": ":0", "silence_logs": logging.ERROR}
    with (
        distributed.LocalCluster(**options) as local,
        distributed.Client(local, timeout="3600s") as client,
    ):
        client.wait_for_workers(options["n_workers"], timeout=3600)
        # tasks that wait for each other would wait for ever
        guard = threading.Timer(seconds, local.close)
        guard.start()
        try:
            yield client
        finally:
            guard.cancel()


@pytest.fixture(scope="module")
def cluster():
    with cluster_of(processes=True, n_workers=2, threads_per_worker=1) as client:
        yield client


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(WORK))
def test_a_cluster(name, cluster):
    """Also where tasks hand out tasks: there are more folds than workers."""
    with parallel_config("dask"):
        found = WORK[name]()
    assert found == serial(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cross_validate", "sisa"])
def test_a_cluster_of_threads_of_this_process(name):
    options = {"processes": False, "n_workers": 1, "threads_per_worker": 2}
    with cluster_of(**options), parallel_config("dask"):
        found = WORK[name]()
    assert found == serial(name)


@pytest.mark.slow
def test_the_cluster_did_the_work(cluster):
    with parallel_config("dask"):
        pids = set(Parallel()(delayed(os.getpid)() for _ in range(8)))
    assert os.getpid() not in pids
    assert pids <= set(cluster.run(os.getpid).values())
