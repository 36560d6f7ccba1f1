"""The rule that chooses a candidate of a search by several metrics."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from sk_unlearn.model_selection import best_within_bounds

RESULTS = {
    "params": [{"eta": eta} for eta in (0.0, 0.5, 1.0, 2.0, 4.0)],
    "mean_test_accuracy": np.array([0.97, 0.96, 0.96, 0.90, np.nan]),
    "mean_test_mia": np.array([0.71, 0.58, 0.52, 0.49, 0.5]),
    "mean_test_cost": np.array([0.0, 0.3, 0.4, 0.2, 0.1]),
}


@pytest.mark.parametrize(
    ("metric", "bounds", "options", "chosen"),
    [
        ("accuracy", {"mia": (None, None)}, {}, 0),
        ("accuracy", {"mia": (None, 0.6)}, {}, 1),
        ("accuracy", {"mia": (0.45, 0.55)}, {}, 2),
        ("accuracy", {"mia": (0.45, 0.52)}, {}, 2),
        ("accuracy", {"mia": (0.45, 0.55), "cost": (None, 0.3)}, {}, 3),
        ("accuracy", {"cost": (0.4, None)}, {}, 2),
        ("cost", {"mia": (0.4, 0.6), "accuracy": (0.9, None)}, {"greater_is_better": False}, 3),
        ("cost", {"mia": (0.4, 0.6), "accuracy": (0.95, None)}, {"greater_is_better": False}, 1),
        ("cost", {"mia": (0.4, 0.6)}, {"greater_is_better": False}, 4),
        ("mia", {"accuracy": (0, 1)}, {}, 0),
    ],
)
def test_the_best_of_the_admissible(metric, bounds, options, chosen):
    rule = best_within_bounds(metric, bounds, **options)
    assert rule(RESULTS) == chosen
    assert type(rule(RESULTS)) is int


def by_brute_force(values, others, bounds):
    """Index of the best, one candidate after the other."""
    best = None
    for i, value in enumerate(values):
        if all(low <= other[i] <= high for other, (low, high) in zip(others, bounds, strict=True)):
            best = i if best is None or value > values[best] else best
    return best


@pytest.mark.parametrize("seed", range(20))
def test_random_tables(seed):
    rng = np.random.RandomState(seed)
    values, *others = rng.randint(5, size=(3, 12)) / 4
    bounds = np.sort(rng.randint(5, size=(2, 2)) / 4, axis=1).tolist()
    results = {
        "params": [{"i": i} for i in range(12)],
        **{f"mean_test_{n}": v for n, v in zip("abc", (values, *others), strict=True)},
    }
    rule = best_within_bounds("a", dict(zip("bc", map(tuple, bounds), strict=True)))
    expected = by_brute_force(values, others, bounds)
    if expected is None:
        with pytest.raises(ValueError, match="No candidate"):
            rule(results)
    else:
        assert rule(results) == expected


def test_none_admissible_names_the_nearest():
    rule = best_within_bounds("accuracy", {"mia": (0.45, 0.55), "cost": (None, 0.15)})
    with pytest.raises(ValueError, match="No candidate") as raised:
        rule(RESULTS)
    assert str(raised.value) == (
        "No candidate of the search has mia in [0.45, 0.55], cost at most 0.15. Nearest is "
        "{'eta': 2.0} with accuracy 0.9, mia 0.49, cost 0.2. Widen the bounds or search "
        "elsewhere; the attribute cv_results of this error holds what the search found."
    )
    assert raised.value.cv_results is RESULTS
    # a candidate that misses one bound is nearer than one that misses two by a little
    rule = best_within_bounds("accuracy", {"mia": (None, 0.4), "cost": (None, 0.0)})
    with pytest.raises(ValueError, match=r"Nearest is \{'eta': 0.0\}"):
        rule(RESULTS)


def test_nothing_but_failures():
    failed = {**RESULTS, "mean_test_accuracy": np.full(5, np.nan)}
    with pytest.raises(ValueError, match=r"has mia at least 0\.4\. Widen"):
        best_within_bounds("accuracy", {"mia": (0.4, None)})(failed)


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({}, "must be a dict"),
        ([("mia", 0, 1)], "must be a dict"),
        ({"mia": 0.5}, r"bounds\['mia'\] must be a pair \(low, high\), got 0.5"),
        ({"mia": (0, 1, 2)}, "must be a pair"),
        ({"mia": ("low", 1)}, "must hold numbers or None"),
        ({"mia": (True, 1)}, "must hold numbers or None"),
        ({"mia": (float("nan"), 1)}, "must hold numbers or None"),
        ({"mia": (0.6, 0.4)}, r"must have low <= high, got \(0.6, 0.4\)"),
    ],
)
def test_refusals(bounds, message):
    with pytest.raises(ValueError, match=message):
        best_within_bounds("accuracy", bounds)


@pytest.mark.parametrize("metric", ["accuracy", "f1"])
def test_unknown_metrics(metric):
    with pytest.raises(ValueError, match=r"'f1' is not .*\['accuracy', 'mia', 'cost'\]"):
        best_within_bounds(metric, {"mia": (0, 1), "f1": (0, 1)})(RESULTS)


def test_in_a_search_of_one_metric():
    X, y = np.arange(20.0)[:, None], np.arange(20) > 9
    rule = best_within_bounds("score", {"score": (None, 2.0)})
    search = GridSearchCV(LogisticRegression(), {"C": [1e-9, 1.0]}, refit=rule, cv=2)
    assert "best_within_bounds('score', {'score': (None, 2.0)})" in repr(search)
    again = pickle.loads(pickle.dumps(clone(search))).fit(X, y)
    assert again.best_index_ == search.fit(X, y).best_index_
    flipped = best_within_bounds("cost", {"mia": (0, 1)}, greater_is_better=False)
    assert repr(flipped).endswith("{'mia': (0, 1)}, greater_is_better=False)")


def test_infinite_scores_lie_within_open_bounds():
    rule = best_within_bounds("accuracy", {"loss": (1.0, None)})
    results = {
        "params": [{}, {}],
        "mean_test_accuracy": [0.9, 0.8],
        "mean_test_loss": [0.5, np.inf],
    }
    assert rule(results) == 1
