"""A planted problem, where it is known who forgets."""

import json

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from sk_unlearn import PumaClassifier, RetrainClassifier
from sk_unlearn.model_selection import ForgettingComparison, compare_forgetting
from sk_unlearn.nets import default_classifier

# rows divided by 100 train little, which is what some of the tests want
pytestmark = pytest.mark.filterwarnings("ignore::sk_unlearn.exceptions.InputScaleWarning")

QUICK = {"n_models": 8, "n_resamples": 40, "random_state": 0}


@pytest.fixture
def comparison(planted, rows):
    estimators = {
        "perfect": planted(),
        "useless": planted(forgets=0.0),
        "half": planted(forgets=0.5),
    }
    return compare_forgetting(estimators, *rows, forget=["random", "mislabelled"], **QUICK)


def find(comparison, estimator, forget="random"):
    return next(
        r for r in comparison.records if (r["estimator"], r["forget"]) == (estimator, forget)
    )


def test_controls_and_verdicts(comparison):
    names = [r["estimator"] for r in comparison.records if r["forget"] == "random"]
    assert names == ["nothing", "retrained", "perfect", "useless", "half"]
    for name, verdict in {
        "nothing": "fails",
        "retrained": "passes",
        "perfect": "passes",
        "useless": "fails",
        "half": "fails",
    }.items():
        assert find(comparison, name)["verdict"] == verdict, name
    nothing, useless = find(comparison, "nothing"), find(comparison, "useless")
    assert {"klom_p95_forget", "u_lira"} <= set(nothing["failed"])
    assert useless["metrics"] == nothing["metrics"]
    assert nothing["trace_left"] == 1
    assert abs(find(comparison, "perfect")["trace_left"]) < 0.2
    assert 0.05 < find(comparison, "half")["trace_left"] < 0.8


def test_nothing_is_undecided_when_there_is_nothing_to_forget(planted, rows):
    comparison = compare_forgetting({"perfect": planted(memory=0.0)}, *rows, **QUICK)
    assert find(comparison, "nothing")["verdict"] == "passes"
    assert find(comparison, "perfect")["verdict"] == "undecided"
    assert any("doing nothing passes" in note for note in comparison.notes)
    assert "Note: 'random': doing nothing passes" in str(comparison)


def test_fits_are_shared_where_only_forgetting_differs(planted, rows):
    def count(*forgets):
        planted.fits = 0
        estimators = {f"f{f}": planted(forgets=f) for f in forgets}
        compare_forgetting(estimators, *rows, **QUICK)
        return planted.fits

    assert count(1.0, 0.5, 0.0) == count(1.0) == 8 + 3 * 8 + 1  # one more to take its time
    planted.fits = 0
    two = compare_forgetting({"a": planted(), "b": planted(memory=2.0)}, *rows, **QUICK)
    assert planted.fits == 2 * 33
    assert [r["estimator"] for r in two.records][:2] == ["nothing (a)", "retrained (a)"]


def test_oracles_never_see_what_is_forgotten(planted, rows):
    seen = []

    class Spy(planted):
        def fit(self, X, y, sample_id=None):
            seen.append(
                (set(X[:, 0].astype(int)), self.random_state, sample_id[X[:, 0] == X[0, 0]])
            )
            return super().fit(X, y, sample_id)

    mask = np.arange(240) < 20
    comparison = compare_forgetting(
        {"spy": Spy()}, *rows, forget={"mine": mask}, sample_id=np.arange(240) + 1000, **QUICK
    )
    held_out, forgotten = set(comparison.held_out.tolist()), set(range(20))
    assert len(held_out) == 60
    assert not held_out & forgotten
    fits = [ids for ids, _, _ in seen]
    assert fits[:8] == [set(range(240)) - held_out] * 8
    assert fits[8:32] == [set(range(240)) - held_out - forgotten] * 24
    seeds = [seed for _, seed, _ in seen[:32]]
    assert len(set(seeds)) == 32
    assert all(ids[0] == 1000 + min(rows) for rows, _, ids in seen)


def test_mislabelled_rows_are_trained_on_and_measured_under_their_wrong_labels(comparison):
    # the planted model reads the true label, so that it is always wrong about these
    record = find(comparison, "nothing", "mislabelled")
    assert record["metrics"]["accuracy_forget"]["value"] < 0.2
    assert find(comparison, "nothing")["metrics"]["accuracy_forget"]["value"] > 0.9


def test_json_and_frames(comparison, tmp_path):
    text = comparison.to_json(tmp_path / "c.json")
    again = ForgettingComparison.from_json(tmp_path / "c.json")
    assert json.loads(text)["records"] == comparison.records == again.records
    assert str(again) == str(comparison)
    results = comparison.results
    assert set(results["forget"]) == {"random", "mislabelled"}
    row = results.query("forget == 'random' and estimator == 'half' and metric == 'u_lira'")
    assert row["value"].item() == find(comparison, "half")["metrics"]["u_lira"]["value"]
    assert comparison.summary.loc[("random", "half"), "verdict"] == "fails"
    assert comparison.per_model["random", "half"].margins["forget"].shape == (8, 9)
    assert comparison.per_model["random", "half"].accuracy.shape == (8, 3)


def test_text(comparison):
    text = str(comparison)
    assert "random: 9 of 180 rows forgotten, 60 held out, 8 models of each kind" in text
    assert max(map(len, text.splitlines())) < 140
    line = next(line for line in text.splitlines() if line.startswith("useless"))
    assert "*" in line
    assert line.endswith("fails")


def test_max_rows_bounds_what_is_measured(planted, rows):
    comparison = compare_forgetting(planted(), *rows, max_rows=11, **QUICK)
    margins = comparison.per_model["random", "Planted"].margins
    assert {name: m.shape[1] for name, m in margins.items()} == {
        "forget": 9,
        "retain": 11,
        "held_out": 11,
    }


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"n_models": 4}, r"n_models=4 is too few: klom needs 5, u_lira needs 5, tug_of_war"),
        ({"n_models": 1, "metrics": "mia"}, "n_models=1 is too few: mia needs 2"),
        ({"metrics": ["klom", "kolm"]}, "metrics must be some of"),
        ({"forget": "hardest"}, "forget must be one of"),
        ({"forget": np.zeros(7, bool)}, r"shape \(n_samples,\) = \(240,\).*\(7,\)"),
        ({"forget": {"a": [3, 240]}}, r"forget\['a'\] must lie in \[0, 240\), got 240"),
        ({"forget": np.zeros(240, bool)}, "must mark one or more rows"),
        ({"forget": {}}, "at least one set"),
        ({"forget": [0, 5], "test_size": np.arange(240) < 4}, "rows that are never trained on"),
        ({"forget": np.arange(240), "test_size": 0.25}, "test_size must hold out at least one"),
        ({"forget": np.arange(200), "test_size": np.arange(240) >= 200}, "at least one must"),
        ({"forget_size": 1.0}, "forget_size must be"),
        ({"forget_size": 0}, "forget_size must be"),
        ({"test_size": 1.5}, "test_size must hold out"),
        ({"sample_id": [1, 2]}, "sample_id"),
        ({"sample_id": np.zeros(240, int)}, "must be unique"),
        ({"max_rows": 0}, "max_rows must be"),
    ],
)
def test_wrong_arguments_are_refused_before_any_fit(planted, rows, options, match):
    planted.fits = 0
    with pytest.raises(ValueError, match=match):
        compare_forgetting(planted(), *rows, **QUICK | options)
    assert planted.fits == 0


def test_wrong_estimators_and_data_are_refused(planted, rows):
    X, y = rows
    with pytest.raises(TypeError, match=r"estimators\['LogisticRegression'\] must have a forget"):
        compare_forgetting(LogisticRegression(), X, y)
    with pytest.raises(TypeError, match="must have a predict_proba"):
        compare_forgetting({"svm": RetrainClassifier(SVC())}, X, y)
    with pytest.raises(TypeError, match="adopts a trained model"):
        compare_forgetting(RetrainClassifier(FrozenEstimator(LogisticRegression())), X, y)
    with pytest.raises(ValueError, match="must not be named nothing or retrained"):
        compare_forgetting({"nothing": planted()}, X, y)
    with pytest.raises(ValueError, match="at least one estimator"):
        compare_forgetting([], X, y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        compare_forgetting(planted(), X[:-1], y)
    with pytest.raises(ValueError, match="two classes"):
        compare_forgetting(planted(), X, np.zeros(240))


def test_hard_rows_and_classes(rows):
    X, y = rows
    rng = np.random.RandomState(0)
    X = np.column_stack([y + 0.7 * rng.randn(240), rng.randn(240)])
    tree = RetrainClassifier(DecisionTreeClassifier(min_samples_leaf=5, max_features=1))
    options = {**QUICK, "n_models": 5, "forget_size": 20}
    person = np.arange(240) // 12
    comparison = compare_forgetting(
        tree, X, y, forget={"hard": "hard", "one": "class"}, groups=person, **options
    )
    hard, one = comparison.forget_sets["hard"], comparison.forget_sets["one"]
    assert len(hard) == 20
    wrong = np.mean((X[hard, 0] > 0.5) != y[hard])
    assert wrong > 0.6 > 2 * np.mean((X[:, 0] > 0.5) != y)
    assert len(set(person[one])) == 1
    train = np.setdiff1d(np.arange(240), comparison.held_out)
    assert set(one) == set(train[person[train] == person[one[0]]])
    whole = compare_forgetting(
        clone(tree), np.vstack([X, X[:60]]), np.r_[y, np.full(60, 2)], forget="class", **options
    )
    assert len(np.unique(np.r_[y, np.full(60, 2)][whole.forget_sets["class"]])) == 1


def nets(X, y):
    net = default_classifier(n_features=2, n_outputs=2, n_rows=180, device="cpu", hidden=(4,))
    net.set_params(max_epochs=2)
    return {
        "puma": PumaClassifier(net),
        "weaker": PumaClassifier(net, eta=0.5),
        "retrain": RetrainClassifier(net),
        "tree": RetrainClassifier(DecisionTreeClassifier(max_features=1, min_samples_leaf=4)),
    }


def test_a_cache_of_trainings_is_left_alone(rows, tmp_path):
    X, y = rows[0] / 100, rows[1]
    puma = nets(X, y)["puma"].set_params(memory=str(tmp_path), random_state=0)
    options = {**QUICK, "n_models": 2, "metrics": "mia", "max_rows": 20}
    with_memory, without = (
        compare_forgetting(clone(puma).set_params(memory=memory), X, y, **options)
        for memory in (str(tmp_path), None)
    )
    assert not list(tmp_path.iterdir())
    for a, b in zip(with_memory.records, without.records, strict=True):
        assert a["metrics"] == b["metrics"]


@pytest.mark.slow
def test_results_do_not_depend_on_n_jobs(rows):
    X, y = rows[0] / 100, rows[1]
    options = {**QUICK, "n_models": 5, "max_rows": 40}
    one, two = (compare_forgetting(nets(X, y), X, y, n_jobs=n, **options) for n in (1, 2))
    measured = ("seconds", "seconds_share")
    for a, b in zip(one.records, two.records, strict=True):
        for cost in (a["cost"], b["cost"]):
            for name in measured:
                cost.pop(name)
        assert a == b
    assert [r["estimator"] for r in one.records if r["control"] == "nothing"] == [
        "nothing (puma)",
        "nothing (retrain)",
        "nothing (tree)",
    ]
    assert any("tree: trained one by one" in note for note in one.notes)
