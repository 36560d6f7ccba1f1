import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import binomtest, norm
from sklearn.metrics import roc_auc_score, roc_curve

from sk_unlearn.metrics._resampling import Bootstrap, binomial_interval, null_pair
from sk_unlearn.metrics._roc import (
    auc_interval,
    mean_placement,
    placements,
    tpr_at_fpr,
    weighted_tpr,
)

scores = arrays(np.float64, st.integers(2, 15), elements=st.integers(-3, 3).map(float))


def highest_tpr(y, score, fpr):
    x, height, _ = roc_curve(y, score, drop_intermediate=False)
    return height[x <= fpr + 1e-9].max()


@given(positive=scores, negative=scores, fpr=st.floats(0.01, 0.99))
def test_auc_and_tpr_are_those_of_scikit_learn_with_ties(positive, negative, fpr):
    y = np.repeat([1, 0], [len(positive), len(negative)])
    score = np.r_[positive, negative]
    expected = roc_auc_score(y, score)
    for side in placements(positive, negative):
        assert side.mean() == pytest.approx(expected)
    auc, interval = auc_interval(positive[None], negative[None], 0.95)
    assert auc == pytest.approx(expected)
    assert 0 <= interval.low <= auc + 1e-12
    assert auc - 1e-12 <= interval.high <= 1
    tpr, interval = tpr_at_fpr(positive[None], negative[None], fpr, 0.95)
    assert tpr == pytest.approx(highest_tpr(y, score, fpr))
    assert interval.low <= tpr <= interval.high
    ones = np.ones((1, 1))
    weighted = weighted_tpr(positive[None], negative[None], ones, ones, fpr)
    assert weighted[0] == pytest.approx(tpr)


def test_pairs_of_models_equal_a_loop(rng):
    a, b = rng.integers(0, 5, (3, 6)), rng.integers(0, 5, (4, 6))
    share = mean_placement(a, b)
    for i in range(3):
        for j in range(4):
            assert share[i, j] == pytest.approx(placements(a[i], b[j])[0].mean())


def test_weights_are_repeats(rng, monkeypatch):
    a, b = rng.normal(0.5, 1, (4, 9)), rng.normal(size=(3, 9))
    w_a, w_b = rng.integers(0, 3, (8, 4)), rng.integers(1, 3, (8, 3))
    w_a[0] = 0
    expected = [0.0]
    for u, v in zip(w_a[1:], w_b[1:], strict=True):
        positive, negative = np.repeat(a, u, axis=0).ravel(), np.repeat(b, v, axis=0).ravel()
        y = np.repeat([1, 0], [len(positive), len(negative)])
        expected.append(highest_tpr(y, np.r_[positive, negative], 0.2))
    np.testing.assert_allclose(weighted_tpr(a, b, w_a, w_b, 0.2), expected)
    monkeypatch.setattr("sk_unlearn.metrics._roc.NUMBERS_AT_A_TIME", 100)
    np.testing.assert_allclose(weighted_tpr(a, b, w_a, w_b, 0.2), expected)


def test_delong_variance_is_the_spread_over_draws(rng):
    # width of the interval against the standard deviation of the AUC over fresh draws
    draws = [(rng.normal(0.8, 1, (1, 60)), rng.normal(0, 1, (1, 80))) for _ in range(400)]
    results = [auc_interval(p, n, 0.95) for p, n in draws]
    aucs = np.array([auc for auc, _ in results])
    widths = np.mean([i.high - i.low for _, i in results])
    assert widths == pytest.approx(2 * 1.98 * aucs.std(), rel=0.12)
    truth = norm.cdf(0.8 / np.sqrt(2))
    covered = np.mean([i.low <= truth <= i.high for _, i in results])
    assert 0.92 <= covered <= 0.985


def test_separated_and_constant_scores():
    auc, interval = auc_interval(np.ones((1, 10)), np.zeros((1, 30)), 0.95)
    assert auc == interval.high == 1
    assert interval.low == pytest.approx(0.025 ** (1 / 10))
    assert auc_interval(np.ones((2, 5)), np.ones((2, 5)), 0.95) == (0.5, (0.5, 0.5))
    assert auc_interval(np.ones((1, 1)), np.zeros((1, 5)), 0.95) == (1.0, None)


@given(n=st.integers(1, 50), data=st.data())
def test_clopper_pearson_is_that_of_scipy(n, data):
    k = data.draw(st.integers(0, n))
    expected = binomtest(k, n).proportion_ci(0.9, method="exact")
    np.testing.assert_allclose(binomial_interval(k, n, 0.9), expected, atol=1e-6)


def test_bootstrap_interval_is_centred_and_clipped():
    boot = Bootstrap(0.5, 20, 0)
    replicates = np.linspace(4.0, 6.0, 201)
    assert boot.interval(1.0, replicates) == pytest.approx((0.5, 1.5))
    assert boot.interval(1.0, replicates, 0.8, 1.2) == (0.8, 1.2)
    assert boot.interval(1.0, np.array([np.inf, np.nan])) is None
    assert boot.interval(np.inf, replicates) is None
    weights = boot.weights(7)
    assert weights.shape == (20, 7)
    np.testing.assert_array_equal(weights.sum(1), 7)


def test_halves_are_disjoint_and_an_own_set_is_used(rng):
    oracle, other = rng.normal(size=(9, 2)), rng.normal(size=(5, 2))
    first, second = null_pair(oracle, None, at_least=2, why="x")
    np.testing.assert_array_equal(np.vstack([first, second]), oracle)
    assert abs(len(first) - len(second)) <= 1
    first, second = null_pair(oracle, other, at_least=2, why="x")
    np.testing.assert_array_equal(first, other)
    assert second is oracle
