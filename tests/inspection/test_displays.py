"""What the displays draw."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

from sk_unlearn.inspection import ForgettingComparisonDisplay, MembershipDisplay  # noqa: E402


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def record(name, value, share, control=None, forget="random", training=""):
    entry = {"value": value, "low": value / 9, "high": value * 9, "null": 0.1}
    entry |= {"null_low": 0.05, "null_high": 0.2, "passes": True}
    costs = dict.fromkeys(("seconds_share", "share_of_retrain", "gradient_passes"), share)
    return {
        "forget": forget,
        "estimator": name,
        "control": control,
        "training": training,
        "verdict": "passes",
        "metrics": {"klom_p95_forget": entry, "tug_of_war": entry},
        "cost": costs,
    }


def comparison(forget="random"):
    return [
        record("nothing", 1.5, None, "nothing", forget),
        record("retrained", 0.12, None, "retrained", forget),
        record("cheap", 0.8, 0.02, None, forget),
        record("bad", 0.9, 0.3, None, forget),
        record("dear", 0.1, 0.5, None, forget),
    ]


def labels(ax):
    return ax.get_legend_handles_labels()[1]


def test_comparison():
    results = SimpleNamespace(records=comparison())
    display = ForgettingComparisonDisplay.from_results(results)
    ax = display.ax_
    assert display.figure_ is ax.figure
    assert {"nothing", "null", "retrained", "Pareto front", "bad: passes"} <= set(labels(ax))
    front = next(line for line in ax.lines if line.get_label() == "Pareto front")
    np.testing.assert_array_equal(front.get_xydata(), [[0.02, 0.8], [0.5, 0.1]])
    nothing = next(line for line in ax.lines if line.get_label() == "nothing")
    assert set(nothing.get_ydata()) == {1.5}
    low, high = ax.get_ylim()
    assert low < 0.05 < 1.5 < high < 9  # the interval of "nothing" ends at 13.5
    assert ax.get_xlim()[1] > 1  # a retrain is in view
    assert ax.get_yscale() == "log"


def test_front_where_higher_is_better():
    results = SimpleNamespace(records=comparison())
    display = ForgettingComparisonDisplay.from_results(
        results, metric="tug_of_war", cost="gradient_passes"
    )
    front = next(line for line in display.ax_.lines if line.get_label() == "Pareto front")
    np.testing.assert_array_equal(front.get_xydata(), [[0.02, 0.8], [0.3, 0.9]])


def test_one_axes_for_each_forget_set_or_those_given():
    results = SimpleNamespace(records=comparison() + comparison("hard"))
    display = ForgettingComparisonDisplay.from_results(results)
    assert [ax.get_title() for ax in display.ax_] == ["forget: random", "forget: hard"]
    _, ax = plt.subplots()
    assert ForgettingComparisonDisplay.from_results(results, forget="hard", ax=ax).ax_ is ax
    with pytest.raises(ValueError, match="ax must hold 2 axes, got 1"):
        ForgettingComparisonDisplay.from_results(results, ax=ax)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"forget": "soft"}, "forget must be among"),
        ({"metric": "kolm"}, "metric must be one of"),
        ({"cost": "money"}, "cost must be one of"),
    ],
)
def test_unknown_names_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        ForgettingComparisonDisplay.from_results(SimpleNamespace(records=comparison()), **options)


def test_records_without_cost_or_interval_are_drawn():
    records = [*comparison(), record("free", 0.5, None)]
    for one in records:
        one["metrics"]["klom_p95_forget"] |= dict.fromkeys(
            ("low", "high", "null_low", "null_high")
        )
    ax = ForgettingComparisonDisplay.from_results(SimpleNamespace(records=records)).ax_
    assert "free: passes" not in labels(ax)
    assert "cheap: passes" in labels(ax)


@pytest.fixture
def attack():
    rng = np.random.default_rng(0)
    is_forget = np.arange(120) % 3 == 0
    return rng.normal(size=(4, 120)) + is_forget, is_forget


def test_membership_from_scores(attack):
    scores, is_forget = attack
    display = MembershipDisplay.from_scores({"a": scores, "b": scores[0]}, is_forget)
    assert display.auc["b"] == roc_auc_score(is_forget, scores[0])
    assert display.auc["a"] == roc_auc_score(np.tile(is_forget, 4), scores.ravel())
    linear, low = display.ax_
    assert (linear.get_xscale(), low.get_xscale(), low.get_yscale()) == ("linear", "log", "log")
    np.testing.assert_array_equal(display.lines_["b"][1].get_ydata(), display.tpr["b"])
    assert f"b (AUC {display.auc['b']:.2f})" in labels(low)
    assert display.figure_ is linear.figure


def drawn_area(line):
    x, y = line.get_path().vertices.T
    return np.trapezoid(y, x)


@pytest.mark.parametrize("decimals", [None, 0, -1])  # no ties, some, all
def test_the_curve_drawn_has_the_area_that_it_states(attack, decimals):
    scores, is_forget = attack
    if decimals is not None:
        scores = scores.round(decimals)
    display = MembershipDisplay.from_scores({"a": scores}, is_forget)
    for line in display.lines_["a"]:
        assert line.get_drawstyle() == "default"
        assert drawn_area(line) == pytest.approx(display.auc["a"])
    if decimals == -1:
        assert display.auc["a"] == 0.5


@pytest.mark.parametrize("sizes", [(60, 60), (5, 500), (500, 5)])
def test_membership_of_twins_has_an_area_of_a_half(sizes, monkeypatch):
    monkeypatch.setattr(MembershipDisplay, "plot", lambda self, ax: self)
    aucs = []
    for seed in range(100):
        scores = np.random.default_rng(seed).normal(size=(2, sum(sizes))).round(1)
        display = MembershipDisplay.from_scores(scores, np.arange(sum(sizes)) < sizes[0])
        aucs.append(display.auc["attack"])
    assert abs(np.mean(aucs) - 0.5) < 4 * np.std(aucs) / 10


def test_membership_from_estimator():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 3)), np.repeat(["a", "b", "c"], 20)
    clf, is_forget = LogisticRegression().fit(X[:40], y[:40]), np.arange(60) >= 30
    _, axes = plt.subplots(1, 2)
    display = MembershipDisplay.from_estimator(clf, X, y, is_forget, ax=axes)
    p = np.hstack([clf.predict_proba(X), np.zeros((60, 1))])[np.arange(60), np.arange(60) // 20]
    assert display.auc["LogisticRegression"] == pytest.approx(roc_auc_score(is_forget, p))
    assert display.ax_ == list(axes)


def test_membership_from_results(attack):
    scores, is_forget = attack
    margins = {"forget": scores[:, is_forget], "held_out": scores[:, ~is_forget]}
    models = {("r", name): SimpleNamespace(margins=margins) for name in ("nothing", "x")}
    results = {"per_model": models}
    results = type("Results", (dict,), {"per_model": models})(results)
    display = MembershipDisplay.from_results(results, estimators=["x"])
    assert display.auc == {"x": roc_auc_score(np.tile(is_forget, 4), scores.ravel())}
    with pytest.raises(ValueError, match=r"forget must be one of \['r'\], got 's'"):
        MembershipDisplay.from_results(results, "s")
    with pytest.raises(ValueError, match="estimators must be among"):
        MembershipDisplay.from_results(results, estimators=["y"])
    with pytest.raises(ValueError, match="must hold per_model"):
        MembershipDisplay.from_results({})


def test_membership_refuses_what_is_no_attack(attack):
    scores, is_forget = attack
    with pytest.raises(ValueError, match="must have 120 rows"):
        MembershipDisplay.from_scores(scores[:, :-1], is_forget)
    with pytest.raises(ValueError, match="boolean mask with forgotten and held-out rows"):
        MembershipDisplay.from_scores(scores, is_forget.astype(int))
    with pytest.raises(ValueError, match="boolean mask with forgotten and held-out rows"):
        MembershipDisplay.from_scores(scores, np.ones(120, bool))
