"""Stock cross-validation against the same loop by hand: equal, not close."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedGroupKFold,
    StratifiedKFold,
    TimeSeriesSplit,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from torch import nn

from sk_unlearn import PumaClassifier, RetrainClassifier, SisaClassifier
from sk_unlearn.model_selection import forget_params, make_forgetting_scorer
from sk_unlearn.nets import MLP
from sk_unlearn.pipeline import make_forget_pipeline

N = 90
RNG = np.random.RandomState(0)
y = RNG.permutation(np.arange(N) % 3)
X = (RNG.normal(size=(N, 4)) + y[:, None]).astype(np.float32)
IDS = np.array([f"r{i}" for i in RNG.permutation(N)])
GROUPS = RNG.randint(9, size=N)
MASK = np.zeros(N, dtype=bool)
MASK[RNG.choice(N, 12, replace=False)] = True
CLF = RetrainClassifier(LogisticRegression(max_iter=300), random_state=0)
SPLITTERS = [
    KFold(4),
    StratifiedKFold(3, shuffle=True, random_state=1),
    RepeatedStratifiedKFold(n_splits=2, n_repeats=2, random_state=0),
    TimeSeriesSplit(3),
    ShuffleSplit(2, random_state=0),
    GroupKFold(3),
    StratifiedGroupKFold(3),
    LeaveOneGroupOut(),
]


def puma(**params):
    net = NeuralNetClassifier(
        MLP,
        criterion=nn.CrossEntropyLoss,
        module__n_features=4,
        module__n_outputs=3,
        module__hidden=(6,),
        max_epochs=3,
        lr=0.1,
        train_split=None,
        verbose=0,
    )
    return PumaClassifier(net, damping=0.1, **{"random_state": 0, **params})


ESTIMATORS = {
    "retrain": CLF,
    "sisa": SisaClassifier(LogisticRegression(), n_shards=3, random_state=0),
    "puma": puma(),
    "forget pipeline": make_forget_pipeline(StandardScaler(), puma(), random_state=0),
    "pipeline": make_pipeline(StandardScaler(), CLF),
}


def scorers():
    return {
        "accuracy": "accuracy",
        "log_loss": "neg_log_loss",
        **{
            name: make_forgetting_scorer(name, X, y, sample_id=IDS)
            for name in ("mia_auc", "forget_accuracy", "retain_accuracy", "forget_loss")
        },
    }


def by_hand(estimator, splits):
    """Fit on a fold's rows, forget by id, and measure."""
    scores = {name: [] for name in scorers()}
    for train, test in splits:
        kept, gone = train[~MASK[train]], train[MASK[train]]
        fitted = clone(estimator)
        ids = IDS[train]
        if hasattr(fitted, "forget"):
            fitted.fit(X[train], y[train], sample_id=ids).forget(sample_id=IDS[gone])
        else:
            fitted[:-1].fit(X[train])
            fitted[-1].fit(fitted[:-1].transform(X[train]), y[train], sample_id=ids)
            fitted[-1].forget(sample_id=IDS[gone])
        correct, proba = fitted.predict(X) == y, fitted.predict_proba(X)
        own = proba[np.arange(N), y].astype(np.float64)
        held_out = np.setdiff1d(np.arange(N), train)
        both = np.r_[gone, held_out]
        scores["accuracy"].append(np.mean(correct[test]))
        scores["log_loss"].append(-log_loss(y[test], proba[test], labels=[0, 1, 2]))
        scores["forget_accuracy"].append(np.mean(correct[gone]))
        scores["retain_accuracy"].append(np.mean(correct[kept]))
        for name, formula in (
            ("forget_loss", -np.log(own[gone]).mean()),
            ("mia_auc", roc_auc_score(np.isin(both, gone), own[both])),
        ):
            scores[name].append(scorers()[name](fitted))
            assert scores[name][-1] == pytest.approx(formula, rel=1e-5)
    return {name: np.array(values) for name, values in scores.items()}


def assert_same(found, expected):
    for name, values in expected.items():
        np.testing.assert_array_equal(found[f"test_{name}"], values)


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("cv", SPLITTERS, ids=lambda cv: type(cv).__name__)
def test_every_splitter(cv, routing):
    grouped = "Group" in type(cv).__name__
    params = {"forget": MASK, "sample_id": IDS}
    options = {}
    if grouped and routing:
        params["groups"] = GROUPS  # for the splitter, and for the estimator
    elif grouped:
        options["groups"] = GROUPS  # for the splitter only
    with config_context(enable_metadata_routing=routing):
        found = cross_validate(
            CLF,
            X,
            y,
            cv=cv,
            scoring=scorers(),
            params=params,
            error_score="raise",
            return_estimator=True,
            **options,
        )
    splits = list(cv.split(X, y, GROUPS if grouped else None))
    assert_same(found, by_hand(CLF, splits))
    for (train, _), fitted in zip(splits, found["estimator"], strict=True):
        kept, rows = train[~MASK[train]], fitted._rows_
        assert list(rows.sample_id) == list(IDS[kept])
        assert np.array_equal(rows.groups, GROUPS[kept]) == (grouped and routing)


@pytest.mark.filterwarnings("ignore::sk_unlearn.exceptions.RetrainAdvisedWarning")
@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_kind_of_estimator(name, routing):
    estimator, cv = ESTIMATORS[name], StratifiedKFold(2)
    step = "retrainclassifier" if name == "pipeline" and not routing else None
    params = forget_params(X, forget=MASK, sample_id=IDS, step=step)
    with config_context(enable_metadata_routing=routing):
        found = cross_validate(
            estimator, X, y, cv=cv, scoring=scorers(), params=params, error_score="raise"
        )
    assert_same(found, by_hand(estimator, cv.split(X, y)))


@pytest.mark.parametrize("routing", [False, True])
def test_the_other_tools(routing):
    params, cv = {"forget": MASK, "sample_id": IDS}, KFold(3)
    with config_context(enable_metadata_routing=routing):
        scores = cross_val_score(CLF, X, y, cv=cv, params=params)
        predicted = cross_val_predict(CLF, X, y, cv=cv, params=params)
    expected = by_hand(CLF, cv.split(X))["accuracy"]
    np.testing.assert_array_equal(scores, expected)
    parts = [np.mean(predicted[test] == y[test]) for _, test in cv.split(X)]
    np.testing.assert_array_equal(parts, expected)


@pytest.mark.parametrize("routing", [False, True])
def test_train_scores_and_searches_inside(routing):
    search = GridSearchCV(CLF, {"estimator__C": [0.01, 1.0]}, cv=2, error_score="raise")
    params = {"forget": MASK, "sample_id": IDS}
    with config_context(enable_metadata_routing=routing):
        found = cross_validate(
            search,
            X,
            y,
            cv=KFold(2),
            params=params,
            scoring=scorers(),
            return_train_score=True,
            return_estimator=True,
            error_score="raise",
        )
    for (train, _), mia, fitted in zip(
        KFold(2).split(X), found["train_mia_auc"], found["estimator"], strict=True
    ):
        hand = clone(CLF).set_params(**fitted.best_params_)
        hand.fit(X[train], y[train], sample_id=IDS[train], forget=MASK[train])
        assert scorers()["mia_auc"](hand) == mia
    np.testing.assert_array_equal(found["test_mia_auc"], found["train_mia_auc"])


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"forget": [3, 17]}, "must be a boolean mask"),
        ({"forget": np.arange(N)}, "must be a boolean mask"),
        ({"forget": MASK.astype(int)}, "must be a boolean mask"),
        ({"forget": MASK[:-1]}, r"must be a boolean mask .* got dtype bool and shape \(89,\)"),
        ({"sample_id": IDS[:-1]}, r"'sample_id' .* got shape \(89,\)"),
        ({"sample_id": np.full(N, "same")}, r"'sample_id' .* must be unique, got 'same'"),
    ],
)
def test_mistakes_are_errors_in_every_fold(params, message, routing):
    with (
        config_context(enable_metadata_routing=routing),
        pytest.raises(ValueError, match=f"(?s)All the 3 fits failed.*{message}"),
    ):
        cross_validate(CLF, X, y, cv=3, params={"sample_id": IDS, "forget": MASK, **params})
