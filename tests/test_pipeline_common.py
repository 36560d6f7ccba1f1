"""Pipelines through the checks of every estimator that can forget."""

import numpy as np
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KernelDensity
from sklearn.preprocessing import MaxAbsScaler, Normalizer, StandardScaler
from skorch import NeuralNetClassifier
from torch import nn, optim

from sk_unlearn import (
    ArcaneEnsembleClassifier,
    ClosedFormClassifier,
    PumaClassifier,
    PumaRegressor,
    RetrainClassifier,
    RetrainRegressor,
    SisaClassifier,
)
from sk_unlearn.exceptions import FullRetrainWarning
from sk_unlearn.nets import MLP, _defaults
from sk_unlearn.pipeline import ForgetPipeline, make_forget_pipeline
from sk_unlearn.utils._digest import state_digest
from sk_unlearn.utils.estimator_checks import (
    forget_checks_generator,
    parametrize_with_forget_checks,
)

RNG = np.random.RandomState(0)
HOLES = RNG.normal(size=(36, 4))
HOLES[::7, 1] = np.nan
LABELS = np.arange(36) % 3


def net_classifier():
    return NeuralNetClassifier(
        MLP,
        criterion=nn.CrossEntropyLoss,
        optimizer=optim.Adam,
        module__n_features=4,
        module__n_outputs=3,
        module__hidden=(8,),
        max_epochs=3,
        train_split=None,
        verbose=0,
    )


EXACT = [
    make_forget_pipeline(StandardScaler(), RetrainClassifier(LogisticRegression())),
    make_forget_pipeline(Normalizer(), RetrainClassifier(LogisticRegression())),
    make_forget_pipeline(StandardScaler(), RetrainClassifier()),
    make_forget_pipeline(StandardScaler(), RetrainRegressor(Ridge())),
    make_forget_pipeline(MaxAbsScaler(), SisaClassifier(LogisticRegression(), n_shards=2)),
    make_forget_pipeline("passthrough", SisaClassifier(net_classifier(), n_shards=2, n_slices=2)),
    make_forget_pipeline(StandardScaler(), ArcaneEnsembleClassifier(KernelDensity())),
    make_forget_pipeline(StandardScaler(), ClosedFormClassifier(n_components=30)),
    make_forget_pipeline(Normalizer(), ClosedFormClassifier("passthrough", head="lda")),
    make_forget_pipeline(
        StandardScaler(),
        make_forget_pipeline(MaxAbsScaler(), RetrainClassifier(LogisticRegression())),
    ),
    (
        make_forget_pipeline(
            SimpleImputer(keep_empty_features=True),
            StandardScaler(),
            RetrainClassifier(LogisticRegression()),
        ),
        HOLES,
        LABELS,
    ),
]
APPROXIMATE = [
    make_forget_pipeline(StandardScaler(), PumaClassifier(net_classifier())),
    make_forget_pipeline(Normalizer(), PumaClassifier(net_classifier())),
    make_forget_pipeline(StandardScaler(), Normalizer(), PumaRegressor()),
]


@pytest.fixture
def short_training(monkeypatch):
    monkeypatch.setattr(_defaults, "_EPOCHS", (3, 5))


@pytest.mark.usefixtures("short_training")
@pytest.mark.filterwarnings(f"ignore::{FullRetrainWarning.__module__}.FullRetrainWarning")
@parametrize_with_forget_checks([*EXACT, *APPROXIMATE])
def test_forget_checks(estimator, check):
    check(estimator)


class Forgetful(ForgetPipeline):
    """Leaves its steps as they were: what the checks have to notice."""

    def _forget_rows(self, rows, retained, hit):
        steps = self.steps[:-1]
        removal = super()._forget_rows(rows, retained, hit)
        self.steps = [*steps, self.steps[-1]]
        return removal


class Remembering(ForgetPipeline):
    """Leaves a forgotten row in an attribute of a step."""

    def _forget_rows(self, rows, retained, hit):
        removal = super()._forget_rows(rows, retained, hit)
        self.steps[0][1].kept = rows.X[hit]
        return removal


@pytest.mark.parametrize(
    ("kind", "named"),
    [(Forgetful, "check_forget_is_exact"), (Remembering, "check_forget_leaves_no_residue")],
)
def test_the_checks_notice_planted_faults(kind, named):
    pipe = kind([("scale", StandardScaler()), ("clf", RetrainClassifier(LogisticRegression()))])
    checks = {check.__name__: check for _, check in forget_checks_generator(pipe)}
    with pytest.raises(AssertionError, match="breaks the rule"):
        checks[named](pipe)


def test_every_attribute_of_every_step_is_that_of_a_fresh_fit():
    X, y, ids = HOLES, LABELS, np.arange(36) * 10
    hit = np.arange(36) % 5 == 0
    pipe = make_forget_pipeline(
        SimpleImputer(), StandardScaler(), RetrainClassifier(net_classifier()), random_state=0
    )
    pipe.fit(X, y, sample_id=ids).forget(hit)
    fresh = make_forget_pipeline(
        SimpleImputer(), StandardScaler(), RetrainClassifier(net_classifier()), random_state=0
    ).fit(X[~hit], y[~hit], sample_id=ids[~hit])
    for (name, step), (_, expected) in zip(pipe.steps, fresh.steps, strict=True):
        for attribute, value in vars(expected).items():
            if attribute not in ("receipts_", "_rows_"):
                found = state_digest(vars(step)[attribute])
                assert found == state_digest(value), (name, attribute)
