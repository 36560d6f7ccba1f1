"""Scorers find the rows they need by id."""

import pickle

import numpy as np
import pytest
from sklearn import config_context
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, KFold, cross_validate

from sk_unlearn import PumaClassifier, RetrainClassifier
from sk_unlearn.model_selection import make_forgetting_scorer
from sk_unlearn.nets import default_classifier

X, y = load_iris(return_X_y=True)
ORDER = np.random.RandomState(0).permutation(150)
X, y = X[ORDER], y[ORDER]
IDS = np.array([f"r{i}" for i in range(150)])
FORGET = np.arange(150) % 5 == 0
CLF = RetrainClassifier(LogisticRegression(max_iter=500))
METRICS = ("mia_auc", "forget_accuracy", "retain_accuracy", "forget_loss", "cost")


def first_fold():
    train, test = next(KFold(3).split(X))
    clf = CLF.fit(X[train], y[train], sample_id=IDS[train], forget=FORGET[train])
    return clf, train[FORGET[train]], train[~FORGET[train]], test


def score(name, clf, **options):
    return make_forgetting_scorer(name, X, y, sample_id=IDS, **options)(clf, X[:2], y[:2])


def test_each_metric_by_hand():
    clf, forgotten, retained, test = first_fold()
    p = clf.predict_proba(X)[np.arange(150), y]
    both = np.r_[forgotten, test]
    auc = roc_auc_score(np.isin(both, forgotten), p[both])
    assert score("mia_auc", clf) == pytest.approx(auc)
    assert score("forget_accuracy", clf) == np.mean(clf.predict(X[forgotten]) == y[forgotten])
    assert score("retain_accuracy", clf) == np.mean(clf.predict(X[retained]) == y[retained])
    assert score("forget_loss", clf) == pytest.approx(-np.log(p[forgotten]).mean())
    assert score("cost", clf, greater_is_better=False) == -1.0

    def mine(estimator, X_forget, y_forget, X_retain, y_retain):
        assert estimator is clf
        np.testing.assert_array_equal(X_retain, X[retained])
        np.testing.assert_array_equal(y_retain, y[retained])
        np.testing.assert_array_equal(X_forget, X[forgotten])
        return len(y_forget)

    assert score(mine, clf) == len(forgotten)


@pytest.mark.parametrize("routing", [False, True])
def test_cross_validate_with_several_metrics(routing):
    scoring = {name: make_forgetting_scorer(name, X, y, sample_id=IDS) for name in METRICS}
    with config_context(enable_metadata_routing=routing):
        scores = cross_validate(
            CLF,
            X,
            y,
            cv=KFold(3),
            params={"forget": FORGET, "sample_id": IDS},
            scoring={**scoring, "accuracy": "accuracy"},
            error_score="raise",
        )
    clf = first_fold()[0]
    for name, scorer in scoring.items():
        assert scores[f"test_{name}"][0] == scorer(clf)


@pytest.mark.filterwarnings("ignore::sk_unlearn.exceptions.RetrainAdvisedWarning")
def test_grid_search():
    net = default_classifier(n_features=4, n_outputs=3, n_rows=100, device="cpu", hidden=(4,))
    search = GridSearchCV(
        PumaClassifier(net.set_params(max_epochs=2), random_state=0, damping=0.1),
        {"eta": [0.0, 1.0]},
        cv=2,
        scoring={
            "loss": make_forgetting_scorer("forget_loss", X, y, sample_id=IDS),
            "accuracy": "accuracy",
        },
        refit="loss",
        error_score="raise",
    )
    search.fit(X, y, forget=FORGET, sample_id=IDS)
    assert search.cv_results_["mean_test_loss"][1] != search.cv_results_["mean_test_loss"][0]


def test_a_forgotten_class_has_probability_zero():
    clf = CLF.fit(X, y, sample_id=IDS, forget=y == 2)
    assert score("forget_loss", clf) > 80
    assert score("forget_accuracy", clf) == 0


def test_copies_and_text():
    scorer = make_forgetting_scorer("mia_auc", X, y, sample_id=IDS, greater_is_better=False)
    clf = first_fold()[0]
    assert pickle.loads(pickle.dumps(scorer))(clf) == scorer(clf)
    assert repr(scorer) == "make_forgetting_scorer('mia_auc', X, y, greater_is_better=False)"


def test_refusals():
    with pytest.raises(ValueError, match=r"metric must be a callable or one of .*'mia'"):
        make_forgetting_scorer("mia", X, y)
    with pytest.raises(ValueError, match="inconsistent numbers"):
        make_forgetting_scorer("mia_auc", X[:-1], y)
    with pytest.raises(ValueError, match="'sample_id'"):
        make_forgetting_scorer("mia_auc", X, y, sample_id=IDS[:-1])
    scorer = make_forgetting_scorer("mia_auc", X, y, sample_id=IDS)
    with pytest.raises(ValueError, match="fitted without sample_id"):
        scorer(CLF.fit(X, y, forget=FORGET))
    with pytest.raises(ValueError, match="has forgotten none"):
        scorer(CLF.fit(X, y, sample_id=IDS))
    with pytest.raises(TypeError, match="an estimator that forgets"):
        scorer(LogisticRegression())
