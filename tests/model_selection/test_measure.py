"""The permutation null of KLoM, and the verdict."""

import numpy as np
import pytest

from sk_unlearn.metrics import Interval, MetricResult, klom
from sk_unlearn.model_selection import _measure
from sk_unlearn.model_selection._forget_sets import hold_out
from sk_unlearn.model_selection._measure import Models, exchange_interval, measure, passes


def test_exchange_interval_is_that_of_klom_on_random_deals(monkeypatch):
    monkeypatch.setattr(_measure, "N_EXCHANGES", 30)
    rng = np.random.default_rng(0)
    u, a, b = 3 + rng.normal(size=(3, 6, 11))
    found = exchange_interval(u, a, b, 0.1)
    pooled = np.concatenate([u, b])
    order = np.random.RandomState(0).uniform(size=(30, 12)).argsort(axis=1)
    values = [klom(pooled[row < 6], a, n_resamples=20).value for row in order]
    np.testing.assert_allclose(found, np.quantile(values, [0.1, 0.9]))


def models(rng, shift=0.0, n=6):
    margins = {name: rng.normal(size=(n, 40)) for name in _measure.SETS}
    margins["forget"] = margins["forget"] + shift
    return Models(margins, np.column_stack([(m > -1).mean(1) for m in margins.values()]))


@pytest.mark.parametrize("n", [5, 12])
def test_klom_verdict_keeps_its_level_and_sees_a_shift(n):
    rng = np.random.default_rng(n)
    failures = {0.0: 0, 1.5: 0}
    for _ in range(60):
        for shift in failures:
            sets = models(rng, shift, n), models(rng, n=n), models(rng, n=n)
            margins = [s.margins["forget"] for s in sets]
            value = klom(*margins[:2], n_resamples=20, oracle_null=margins[2]).value
            failures[shift] += value > exchange_interval(*margins, 0.05).high
    assert failures[0.0] <= 8  # 3 expected
    assert failures[1.5] >= (40 if n == 5 else 58)


def test_metrics_can_be_chosen():
    rng = np.random.default_rng(0)
    sets = models(rng), models(rng), models(rng)
    found = measure(*sets, metrics=["mia"], n_resamples=20, confidence_level=0.9)
    assert set(found) == {"mia_auc", *(f"accuracy_{name}" for name in _measure.SETS)}


@pytest.mark.parametrize(
    ("name", "low", "high", "expected"),
    [
        ("u_lira", 0.4, 0.6, True),
        ("u_lira", 0.61, 0.7, False),
        ("u_lira", 0.1, 0.3, True),
        ("tug_of_war", 0.61, 0.7, True),
        ("tug_of_war", 0.1, 0.3, False),
        ("mia_auc", 0.61, 0.7, False),
        ("mia_auc", 0.1, 0.3, False),
        ("accuracy_forget", 0.1, 0.3, None),
        ("klom_p50_forget", 0.61, 0.7, None),
        ("klom_p95_forget", 0.1, 0.3, True),
        ("klom_p95_forget", 0.59, 0.9, False),
    ],
)
def test_passes(name, low, high, expected):
    result = MetricResult(name, (low + high) / 2, Interval(low, high), 0.5, Interval(0.35, 0.6))
    assert passes(name, result) is expected


def test_no_interval_is_no_verdict():
    result = MetricResult("u_lira", 0.9)
    assert passes("u_lira", result) is None
    assert _measure.verdict({"u_lira": result}) == ("undecided", [])


def test_held_out_rows_come_from_every_class_in_proportion():
    y = np.repeat([0, 1, 2], [200, 80, 20])
    marked = np.arange(30)
    for test_size, n in ((0.25, 75), (30, 30)):
        held_out = hold_out(test_size, y, {"a": marked, "b": "random"}, 0)
        assert len(held_out) == n
        assert not np.isin(held_out, marked).any()
        counts = np.bincount(y[held_out], minlength=3)
        np.testing.assert_allclose(counts, n * np.array([170, 80, 20]) / 270, atol=1)


def test_u_lira_below_one_half_betrays_nothing():
    result = MetricResult("u_lira", 0.49, Interval(0.46, 0.55), 0.39, Interval(0.35, 0.42))
    assert passes("u_lira", result)
    result = MetricResult("u_lira", 0.55, Interval(0.51, 0.6), 0.39, Interval(0.35, 0.42))
    assert passes("u_lira", result) is False
