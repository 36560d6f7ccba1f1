"""scikit-learn's array API dispatch is on: rows are tensors, arrays, or both."""

import os
import subprocess
import sys

# the switch needs a variable that SciPy reads when it is imported
SCRIPT = """
import warnings
import numpy as np, sklearn, torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sk_unlearn import *
from sk_unlearn.pipeline import make_forget_pipeline
from sk_unlearn.utils._digest import state_digest

warnings.simplefilter("ignore")  # advice on nets that barely trained
X = np.random.RandomState(0).normal(size=(36, 4)).astype(np.float32)
labels = np.arange(36) % 3
X[:, 0] += labels
real = X @ np.ones(4, np.float32)
quick = {"n_shards": 2, "n_slices": 1, "max_epochs": 1, "random_state": 0}
estimators = [
    RetrainClassifier(LogisticRegression(), random_state=0),
    RetrainClassifier(random_state=0),
    RetrainClassifier(make_pipeline(StandardScaler(), LogisticRegression()), random_state=0),
    SisaClassifier(LogisticRegression(), n_shards=2, random_state=0),
    SisaClassifier(**quick),
    ArcaneEnsembleClassifier(GaussianMixture(), random_state=0),
    PumaClassifier(random_state=0),
    make_forget_pipeline(
        StandardScaler(), RetrainClassifier(LogisticRegression(), random_state=0), random_state=0
    ),
    make_forget_pipeline(StandardScaler(), PumaClassifier(random_state=0)),
    RetrainRegressor(Ridge(), random_state=0),
    RetrainRegressor(random_state=0),
    SisaRegressor(Ridge(), n_shards=2, random_state=0),
    PumaRegressor(random_state=0),
]
forms = [lambda array: array, torch.tensor]
for estimator in estimators:
    y = labels if sklearn.base.is_classifier(estimator) else real
    plain = sklearn.clone(estimator).fit(X, y)
    model = state_digest(plain.forget([1, 5])._model_state())
    answer, score = plain.predict(X), plain.score(X, y)
    for rows in forms:
        for targets in forms:
            est = sklearn.clone(estimator)
            with sklearn.config_context(array_api_dispatch=True):
                est.fit(rows(X), targets(y), sample_id=targets(np.arange(36)))
            with sklearn.config_context(array_api_dispatch=targets is not rows):
                est.forget(rows(np.array([1, 5])))
                assert state_digest(est._model_state()) == model, estimator
            with sklearn.config_context(array_api_dispatch=True):
                for again in forms:
                    found = est.predict(again(X))
                    assert type(found) is np.ndarray and np.array_equal(found, answer), estimator
                    assert np.isclose(est.score(again(X), targets(y)), score), estimator
                if hasattr(est, "predict_proba"):
                    proba = est.predict_proba(rows(X))
                    assert np.array_equal(proba, plain.predict_proba(X)), estimator
    with sklearn.config_context(array_api_dispatch=True):
        found = cross_validate(sklearn.clone(estimator), torch.tensor(X), y, cv=3)
        assert len(found["test_score"]) == 3
print("all", len(estimators))
"""


def test_tensors_under_dispatch_are_arrays():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "SCIPY_ARRAY_API": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["all", "13"]
