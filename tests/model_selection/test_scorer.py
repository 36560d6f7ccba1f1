"""Scorers find the rows they need by id."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler, Normalizer, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from sk_unlearn import PumaClassifier, RetrainClassifier
from sk_unlearn.model_selection import make_forgetting_scorer
from sk_unlearn.nets import default_classifier
from sk_unlearn.pipeline import make_forget_pipeline

X, y = load_iris(return_X_y=True)
ORDER = np.random.RandomState(0).permutation(150)
X, y = X[ORDER], y[ORDER]
IDS = np.array([f"r{i}" for i in range(150)])
FORGET = np.arange(150) % 5 == 0
CLF = RetrainClassifier(LogisticRegression(max_iter=500))
METRICS = ("mia_auc", "forget_accuracy", "retain_accuracy", "forget_loss", "cost")


def first_fold():
    train, test = next(KFold(3).split(X))
    clf = clone(CLF).fit(X[train], y[train], sample_id=IDS[train], forget=FORGET[train])
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
    clf = clone(CLF).fit(X, y, sample_id=IDS, forget=y == 2)
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
        scorer(clone(CLF).fit(X, y, forget=FORGET))
    with pytest.raises(ValueError, match="has forgotten none"):
        scorer(clone(CLF).fit(X, y, sample_id=IDS))
    with pytest.raises(TypeError, match="an estimator that forgets"):
        scorer(LogisticRegression())


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("frame", [False, True], ids=["array", "frame"])
def test_ids_that_name_other_rows_are_noticed(routing, frame):
    """As long as the training part, and so handed to every fold uncut."""
    data = pd.DataFrame(X, columns=list("abcd")).assign(e=IDS) if frame else X
    clf = make_forget_pipeline(ColumnTransformer([("n", "passthrough", slice(0, 4))]), CLF)
    scorer = make_forgetting_scorer("forget_accuracy", data, y, sample_id=IDS)
    with (
        config_context(enable_metadata_routing=routing),
        pytest.raises(ValueError, match=r"the scorer and the estimator know .* not the same rows"),
    ):
        cross_validate(
            clf,
            data,
            y,
            cv=KFold(3),
            scoring=scorer,
            params={"forget": FORGET, "sample_id": IDS[:100]},
            error_score="raise",
        )
    shuffled = make_forgetting_scorer("cost", data, y, sample_id=np.roll(IDS, 1))
    with pytest.raises(ValueError, match="not the same rows"):
        shuffled(clf.fit(data, y, sample_id=IDS, forget=FORGET))


def test_rows_behind_a_plain_pipeline_are_compared_as_the_splitter_cuts_them():
    pipe = make_pipeline(StandardScaler(), CLF)
    scorer = make_forgetting_scorer("forget_accuracy", X, y, sample_id=np.roll(IDS, 1))
    params = {"forget": FORGET, "sample_id": IDS}
    with (
        config_context(enable_metadata_routing=True),
        pytest.raises(ValueError, match=r"the scorer and the splitter know .* not the same rows"),
    ):
        cross_validate(pipe, X, y, scoring=scorer, params=params, error_score="raise")


@pytest.mark.parametrize(
    ("params", "cv", "message"),
    [
        ({"forget": FORGET[:100]}, 3, "forget has 100 values for the 50 rows that are scored"),
        ({"sample_id": IDS[:100]}, 3, "not the same rows|sample_id has 100 values for the 50"),
        # equal ids that no training part has twice
        ({"sample_id": np.r_[IDS[:75], IDS[:75]]}, 2, "not the same rows|labels differ"),
        ({"sample_id": np.r_[IDS[:75], IDS[:1], IDS[76:]]}, 2, "'r0' is that of a row"),
    ],
)
def test_routed_metadata_is_checked(params, cv, message):
    pipe = make_pipeline(StandardScaler(), CLF)
    scorer = make_forgetting_scorer("forget_accuracy", X, y, sample_id=IDS)
    with config_context(enable_metadata_routing=True), pytest.raises(ValueError, match=message):
        cross_validate(
            pipe,
            X,
            y,
            cv=KFold(cv),
            scoring={"forget": scorer, "accuracy": "accuracy"},
            params={"forget": FORGET, "sample_id": IDS, **params},
            error_score="raise",
        )


def test_a_splitter_that_scores_training_rows():
    scorer = make_forgetting_scorer("forget_accuracy", X, y, sample_id=IDS)
    params = {"forget": FORGET, "sample_id": IDS}
    overlapping = [(np.arange(100), np.arange(90, 150))]
    with config_context(enable_metadata_routing=True):
        with pytest.raises(ValueError, match="'r90' is that of a row"):
            cross_validate(
                CLF, X, y, cv=overlapping, scoring=scorer, params=params, error_score="raise"
            )
        training = [(np.arange(100), np.arange(100))]
        found = cross_validate(CLF, X, y, cv=training, scoring=scorer, params=params)
    clf = clone(CLF).fit(X[:100], y[:100], sample_id=IDS[:100], forget=FORGET[:100])
    assert found["test_score"][0] == scorer(clf)


def test_a_search_and_a_pipeline_that_ends_in_one():
    search = GridSearchCV(CLF, {"estimator__C": [0.01, 1.0]}, cv=2)
    search.fit(X, y, sample_id=IDS, forget=FORGET)
    assert score("forget_loss", search) == score("forget_loss", search.best_estimator_)
    pipe = make_pipeline(Normalizer(), search)
    pipe.fit(X, y, gridsearchcv__sample_id=IDS, gridsearchcv__forget=FORGET)
    assert score("cost", pipe) == 1.0


@pytest.mark.parametrize("kind", [csr_matrix, list, pd.DataFrame])
def test_kinds_of_rows(kind):
    """Held as they were given, or as arrays of the net's type."""
    data = kind(X.tolist() if kind is list else X)
    clf = RetrainClassifier(LogisticRegression(max_iter=500))
    if kind is csr_matrix:
        clf = make_forget_pipeline(MaxAbsScaler(), FunctionTransformer(csr_matrix.toarray), clf)
        clf[1].set_params(accept_sparse=True)
    clf.fit(data, y, sample_id=IDS, forget=FORGET)
    assert 0 <= make_forgetting_scorer("forget_accuracy", data, y, sample_id=IDS)(clf) <= 1
    with pytest.raises(ValueError, match="not the same rows"):
        make_forgetting_scorer("forget_accuracy", data, y, sample_id=np.roll(IDS, 3))(clf)


@pytest.mark.parametrize("labels", [y[::-1], np.array(["a", "b", "c"])[y]])
def test_other_labels_are_noticed(labels):
    scorer = make_forgetting_scorer("forget_loss", X, labels, sample_id=IDS)
    with pytest.raises(ValueError, match=r"labels differ.*same order and encoding"):
        scorer(first_fold()[0], X[:2], labels[:2])


def mia_auc(clf, rows):
    X, y, ids = rows
    return make_forgetting_scorer("mia_auc", X, y, sample_id=ids)(clf)


def noise_rows(seed, n_forget, n_held_out):
    """Rows without any signal, and which of them are trained on and forgotten."""
    rng, n = np.random.default_rng(seed), n_forget + n_held_out + 40
    rows = rng.normal(size=(n, 3)), rng.integers(0, 2, n), np.arange(n)
    return rows, np.arange(n) < n_forget, np.arange(n) >= n_forget + n_held_out


@pytest.mark.parametrize("sizes", [(40, 40), (5, 200), (200, 5)])
@pytest.mark.parametrize("ties", [False, True])
def test_attack_on_what_was_forgotten_exactly_is_a_coin_toss(sizes, ties):
    aucs = []
    for seed in range(30):
        rows, forget, retain = noise_rows(seed, *sizes)
        if ties:
            rows[0][:] = rows[0][:, :1] > 1.5  # two kinds of rows
        used = forget | retain
        clf = RetrainClassifier(LogisticRegression())
        clf.fit(*(part[used] for part in rows[:2]), sample_id=rows[2][used], forget=forget[used])
        aucs.append(mia_auc(clf, rows))
    assert abs(np.mean(aucs) - 0.5) < 4 * np.std(aucs, ddof=1) / np.sqrt(30)


def test_attack_finds_a_model_that_still_knows_the_rows():
    aucs = []
    for seed in range(10):
        rows, forget, retain = noise_rows(seed, 40, 100)
        used = forget | retain
        X, y, ids = (part[used] for part in rows)
        clf = RetrainClassifier(DecisionTreeClassifier(max_depth=8, random_state=0))
        clf.fit(X, y, sample_id=ids, forget=forget[used])
        honest = mia_auc(clf, rows)
        clf.estimator_ = clone(clf.estimator).fit(X, y)
        aucs.append((honest, mia_auc(clf, rows)))
    assert np.mean(aucs, 0)[1] > 0.65
    assert abs(np.mean(aucs, 0)[0] - 0.5) < 0.08


def test_attack_on_equal_answers_is_half():
    rows, forget, retain = noise_rows(0, 5, 50)
    used = forget | retain
    y_bits = np.full(len(used), "a")
    y_bits[used.nonzero()[0][-1]] = "b"  # a class more, so that there is an answer to give
    clf = RetrainClassifier(DummyClassifier(strategy="prior"))
    clf.fit(rows[0][used], y_bits[used], sample_id=rows[2][used], forget=forget[used])
    assert mia_auc(clf, (rows[0], y_bits, rows[2])) == 0.5
