"""Stock searches over how to forget and what to train."""

import numpy as np
import pytest
from scipy.stats import loguniform
from sklearn import config_context
from sklearn.base import clone
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    KFold,
    RandomizedSearchCV,
    StratifiedKFold,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from skorch import NeuralNetClassifier
from torch import nn

from sk_unlearn import PumaClassifier, RetrainClassifier, SisaClassifier
from sk_unlearn.model_selection import best_within_bounds, forget_params, make_forgetting_scorer
from sk_unlearn.nets import MLP
from sk_unlearn.pipeline import make_forget_pipeline

N = 90
RNG = np.random.RandomState(0)
y = RNG.permutation(np.arange(N) % 3)
X = (RNG.normal(size=(N, 4)) + y[:, None]).astype(np.float32)
X[:, 3] = np.arange(N)  # names the row
IDS = np.array([f"r{i}" for i in range(N)])
MASK = np.arange(N) % 8 == 0
PARAMS = {"forget": MASK, "sample_id": IDS}
LOGISTIC = LogisticRegression(max_iter=50, tol=0.1)
pytestmark = pytest.mark.filterwarnings(
    "ignore::sk_unlearn.exceptions.RetrainAdvisedWarning",
    "ignore::sk_unlearn.exceptions.FullRetrainWarning",
    "ignore::sk_unlearn.exceptions.InputScaleWarning",
    "ignore::sklearn.exceptions.ConvergenceWarning",
)


def net():
    return NeuralNetClassifier(
        MLP,
        criterion=nn.CrossEntropyLoss,
        module__n_features=4,
        module__n_outputs=3,
        module__hidden=(6,),
        max_epochs=2,
        train_split=None,
        verbose=0,
    )


def puma(**params):
    return PumaClassifier(net(), **{"damping": 0.1, "random_state": 0, **params})


def forgetting(name, **options):
    return make_forgetting_scorer(name, X, y, sample_id=IDS, **options)


def by_hand(estimator, candidates, cv, scorers):
    """Scores of each metric, of shape (n_candidates, n_splits)."""
    found = {name: np.empty((len(candidates), cv.get_n_splits())) for name in scorers}
    for i, params in enumerate(candidates):
        for k, (train, test) in enumerate(cv.split(X, y)):
            fitted = clone(estimator).set_params(**params)
            fitted.fit(X[train], y[train], sample_id=IDS[train])
            fitted.forget(sample_id=IDS[train[MASK[train]]])
            for name, scorer in scorers.items():
                own = scorer is None
                value = fitted.score(X[test], y[test]) if own else scorer(fitted, X[test], y[test])
                found[name][i, k] = value
    return found


CASES = {
    "puma": (puma(), {"eta": [0.0, 1.0], "damping": [0.1, 1.0]}),
    "puma compensation": (puma(), {"compensation": ["l1", "l2", None], "estimator__lr": [0.1]}),
    "retrain": (RetrainClassifier(net(), random_state=0), {"estimator__lr": [0.01, 0.5]}),
    "sisa": (
        SisaClassifier(LOGISTIC, random_state=0),
        {"n_shards": [1, 3], "estimator__C": [0.1, 10.0]},
    ),
    "steps inside": (
        RetrainClassifier(make_pipeline(StandardScaler(), LOGISTIC), random_state=0),
        {"estimator__standardscaler__with_mean": [False, True]},
    ),
    "forget pipeline": (
        make_forget_pipeline(StandardScaler(), puma(), random_state=0),
        {
            "pumaclassifier__eta": [0.0, 1.0],
            "pumaclassifier__estimator__lr": [0.1],
            "standardscaler": [StandardScaler(), Normalizer()],
        },
    ),
}


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_a_grid_is_the_loop_by_hand(case, routing):
    estimator, grid = CASES[case]
    with config_context(enable_metadata_routing=routing):
        scorers = {"accuracy": None, "loss": forgetting("forget_loss"), "cost": forgetting("cost")}
        search = GridSearchCV(
            estimator,
            grid,
            cv=StratifiedKFold(2),
            scoring={**scorers, "accuracy": "accuracy"},
            refit="accuracy",
            error_score="raise",
        ).fit(X, y, **PARAMS)
    results = search.cv_results_
    expected = by_hand(estimator, results["params"], StratifiedKFold(2), scorers)
    for name, values in expected.items():
        found = np.transpose([results[f"split{k}_test_{name}"] for k in range(2)])
        np.testing.assert_array_equal(found, values)
    assert search.best_estimator_.receipts_[-1].n_forgotten == MASK.sum()


class Recording(RetrainClassifier):
    """Keeps what each fit was given."""

    seen = []

    def fit(self, X, y, *, sample_id=None, forget=None):
        self.seen.append((X[:, 3].astype(int), np.asarray(y), sample_id, forget))
        return super().fit(X, y, sample_id=sample_id, forget=forget)


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("kind", ["grid", "random", "halving grid", "halving random"])
def test_every_search_cuts_masks_and_ids_with_the_rows(kind, routing):
    grid = {"estimator__C": [0.01, 0.1, 1.0, 10.0]}
    drawn = {"estimator__C": loguniform(1e-2, 10)}
    halving = {"cv": 2, "min_resources": 40, "factor": 2, "random_state": 0}
    estimator = Recording(LOGISTIC, random_state=0)
    searches = {
        "grid": lambda: GridSearchCV(estimator, grid, cv=2),
        "random": lambda: RandomizedSearchCV(estimator, drawn, n_iter=3, cv=2, random_state=0),
        "halving grid": lambda: HalvingGridSearchCV(estimator, grid, **halving),
        "halving random": lambda: HalvingRandomSearchCV(estimator, drawn, **halving),
    }
    with config_context(enable_metadata_routing=routing):
        search = searches[kind]()
        search.set_params(scoring=forgetting("forget_loss"), error_score="raise")
        Recording.seen = []
        search.fit(X, y, **PARAMS)
    for rows, labels, ids, mask in Recording.seen:
        assert np.array_equal(labels, y[rows])
        assert list(ids) == list(IDS[rows])
        assert np.array_equal(mask, MASK[rows])
    sizes = {len(rows) for rows, *_ in Recording.seen}
    assert sizes == ({N, N // 2} if "halving" not in kind else {N, 20, 40})
    assert search.best_estimator_.receipts_[-1].n_forgotten == MASK.sum()


@pytest.mark.parametrize("routing", [False, True])
def test_groups_reach_the_splitter_and_with_routing_the_estimator(routing):
    groups = RNG.randint(6, size=N)
    with config_context(enable_metadata_routing=routing):
        search = GridSearchCV(
            RetrainClassifier(LOGISTIC), {"estimator__C": [1.0]}, cv=GroupKFold(2)
        ).fit(X, y, groups=groups, **PARAMS)
    scores = []
    for train, test in GroupKFold(2).split(X, y, groups):
        hand = RetrainClassifier(clone(LOGISTIC).set_params(C=1.0))
        hand.fit(X[train], y[train], forget=MASK[train])
        scores.append(hand.score(X[test], y[test]))
    assert [search.cv_results_[f"split{k}_test_score"][0] for k in range(2)] == scores
    kept = search.best_estimator_._rows_.groups
    assert np.array_equal(kept, groups[~MASK]) if routing else kept is None


def test_halving_over_another_resource():
    search = HalvingGridSearchCV(
        RetrainClassifier(net(), random_state=0),
        {"estimator__lr": [0.01, 0.1]},
        resource="estimator__max_epochs",
        max_resources=2,
        factor=2,
        cv=2,
        scoring=forgetting("forget_loss", greater_is_better=False),
        error_score="raise",
    ).fit(X, y, **PARAMS)
    assert search.n_resources_ == [1, 2]
    assert search.best_estimator_.receipts_[-1].n_forgotten == MASK.sum()


def test_halving_parts_without_rows_to_forget_have_no_score():
    search = HalvingGridSearchCV(
        RetrainClassifier(LOGISTIC),
        {"estimator__C": [0.1, 1.0]},
        cv=2,
        factor=2,
        min_resources=20,
        max_resources=40,
        random_state=0,
        scoring=forgetting("forget_loss"),
    )
    rare = np.arange(N) == 0
    with pytest.warns(UserWarning, match="has forgotten none of the rows|non-finite"):
        search.fit(X, y, sample_id=IDS, forget=rare)
    assert np.isnan(search.cv_results_["mean_test_score"]).any()


@pytest.mark.parametrize("routing", [False, True])
def test_the_metadata_of_a_step_of_a_plain_pipeline(routing):
    pipe = make_pipeline(StandardScaler(), puma())
    grid = {"pumaclassifier__eta": [0.0, 2.0], "standardscaler__with_std": [True]}
    step = None if routing else "pumaclassifier"
    with config_context(enable_metadata_routing=routing):
        search = GridSearchCV(
            pipe, grid, cv=KFold(2), scoring=forgetting("forget_loss"), error_score="raise"
        ).fit(X, y, **forget_params(X, forget=MASK, sample_id=IDS, step=step))
    for k, (train, test) in enumerate(KFold(2).split(X)):
        for i, eta in enumerate(grid["pumaclassifier__eta"]):
            scaler = StandardScaler().fit(X[train])
            hand = puma(eta=eta).fit(scaler.transform(X[train]), y[train], sample_id=IDS[train])
            hand.forget(sample_id=IDS[train[MASK[train]]])
            whole = clone(pipe)
            whole.steps = [("standardscaler", scaler), ("pumaclassifier", hand)]
            value = forgetting("forget_loss")(whole, X[test], y[test])
            assert search.cv_results_[f"split{k}_test_score"][i] == value


def test_a_rule_trades_accuracy_forgetting_and_cost():
    scoring = {name: forgetting(name) for name in ("forget_loss", "cost")}
    search = GridSearchCV(
        puma(),
        {"eta": [0.0, 0.5, 1.0]},
        cv=2,
        scoring={**scoring, "accuracy": "accuracy"},
        refit=best_within_bounds("accuracy", {"forget_loss": (0, None), "cost": (None, 50)}),
        error_score="raise",
    )
    found = clone(search).fit(X, y, **PARAMS)
    accuracy, loss = (found.cv_results_[f"mean_test_{m}"] for m in ("accuracy", "forget_loss"))
    assert found.best_index_ == accuracy.argmax()
    most = best_within_bounds("accuracy", {"forget_loss": (loss.max(), None)})
    found = clone(search).set_params(refit=most).fit(X, y, **PARAMS)
    assert found.best_index_ == loss.argmax() != 0
    assert found.best_estimator_.eta == found.best_params_["eta"]
    none = best_within_bounds("accuracy", {"cost": (None, 0)})
    with pytest.raises(ValueError, match=r"Nearest is \{'eta'") as raised:
        clone(search).set_params(refit=none).fit(X, y, **PARAMS)
    np.testing.assert_array_equal(raised.value.cv_results["mean_test_accuracy"], accuracy)
