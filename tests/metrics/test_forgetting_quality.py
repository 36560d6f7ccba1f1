import math

import numpy as np
import pytest

from sk_unlearn.metrics import forgetting_quality
from sk_unlearn.metrics._forgetting_quality import _epsilon


def slow_epsilon(a, b, delta, per_unit):
    """The published procedure, one rule after the other."""
    if np.median(b) > np.median(a):
        a, b = b, a
    best = 0.0
    rules = []
    low, high = min(a.min(), b.min()), max(a.max(), b.max())
    for t in np.linspace(low, high, math.ceil((high - low) * per_unit)):
        rules.append((np.mean(b >= t), np.mean(a < t)))
    wide, narrow = (a, b) if np.ptp(a) >= np.ptp(b) else (b, a)
    width = np.ptp(narrow)
    first, last = narrow.min() + width - 2, narrow.max() + 2
    for right in np.linspace(first, last, math.ceil((last - first) * per_unit)):
        for left in np.linspace(right - width - 2, right - width + 2, 4 * per_unit):
            inside = [(left <= x) & (x <= right) for x in (wide, narrow)]
            rules.append((inside[0].mean(), 1 - inside[1].mean()))
    for fpr, fnr in rules:
        if fpr == 0 and fnr == 0:
            return math.inf
        if fpr > 0 and fnr > 0:
            for x, y in ((fpr, fnr), (fnr, fpr)):
                if 1 - delta - x > 0:
                    best = max(best, math.log((1 - delta - x) / y))
    return best


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (0.4, 0.3), (8.0, 8.0)])
def test_epsilon_equals_the_published_procedure(shift, scale, rng, monkeypatch):
    per_unit = 10  # of 100, for speed
    monkeypatch.setattr("sk_unlearn.metrics._forgetting_quality.THRESHOLDS_PER_UNIT", per_unit)
    found = set()
    for _ in range(5):
        a, b = scale * rng.normal(size=15) + shift, max(scale, 1.0) * rng.normal(size=15)
        found.add(_epsilon(a, b, 1e-5))
        assert _epsilon(a, b, 1e-5) == pytest.approx(slow_epsilon(a, b, 1e-5, per_unit))
    assert len(found) > 1


@pytest.mark.parametrize(
    ("n_models", "n_rows", "tolerance"),
    [(50, 60, 0.05), pytest.param(100, 120, 0.035, marks=pytest.mark.slow)],
)
def test_null_is_about_019_and_not_1(n_models, n_rows, tolerance, rng):
    draws = 2 * rng.normal(size=(3, n_models, n_rows))
    result = forgetting_quality(draws[0], draws[1], oracle_null=draws[2])
    assert result.null == pytest.approx(0.19, abs=tolerance)
    assert result.value == pytest.approx(0.19, abs=tolerance)
    assert result.null_interval.low < 0.19 < result.null_interval.high
    assert "null" in str(result)
    assert result.interval.low < result.value < result.interval.high


def test_points_for_each_half_unit(rng):
    draws = rng.normal(size=(3, 40, 30))
    result = forgetting_quality(draws[0], draws[1], oracle_null=draws[2])
    points = []
    for epsilon in result.per_row:
        lost = [2.0**-k for k in range(20) if 0.5 * k <= epsilon < 0.5 * (k + 1)]
        points.append(sum(lost))
    assert result.value == pytest.approx(np.mean(points))


def test_separated_and_peaked_rows_score_nothing(rng):
    oracle = rng.normal(size=(20, 2))
    unlearned = rng.normal(size=(20, 2))
    unlearned[:, 0] += 100
    unlearned[:, 1] *= 1e-3
    oracle[0, 1] = unlearned[:, 1].mean()  # no rule separates the two
    result = forgetting_quality(unlearned, oracle, oracle_null=oracle)
    assert result.value == 0
    assert np.isinf(result.per_row).all()


def test_constant_rows():
    same = np.ones((10, 2))
    assert forgetting_quality(same, same, oracle_null=same).value == 1
    assert forgetting_quality(same, same + 1, oracle_null=same + 1).value == 0


def test_symmetric_and_indifferent_to_the_order_of_models(rng):
    a, b = rng.normal(size=(2, 20, 3))
    before = forgetting_quality(a, b, oracle_null=a).per_row
    np.testing.assert_allclose(forgetting_quality(b, a, oracle_null=a).per_row, before)
    mixed = forgetting_quality(rng.permutation(a), rng.permutation(b), oracle_null=a)
    np.testing.assert_allclose(mixed.per_row, before)
