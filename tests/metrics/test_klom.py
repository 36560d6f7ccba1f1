import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import entropy, norm

from sk_unlearn.metrics import klom
from sk_unlearn.metrics._klom import _Gaussian, _Histogram

# the Gaussian form at 20, 50, 100 models, the binned one at 50, 100, 200: as documented
NULL_P95 = {
    "gaussian": {20: 0.37, 50: 0.13, 100: 0.064},
    "histogram": {50: 1.7, 100: 0.67, 200: 0.275},
}


def one_row(mean, std, n):
    """A sample of n numbers with exactly this mean and standard deviation, one row."""
    x = norm.ppf((np.arange(n) + 0.5) / n)
    return (mean + std * (x - x.mean()) / x.std())[:, None]


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (2.0, 1.0), (-1.0, 0.3), (0.5, 4.0)])
def test_gaussian_is_the_integral(mean, std):
    p, q = norm(mean, std), norm(0.5, 1.5)
    expected, _ = quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), -60, 60, points=[mean])
    result = klom(one_row(mean, std, 40), one_row(0.5, 1.5, 50))
    assert result.per_row[0] == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_histogram_equals_a_loop(margins):
    a, b = margins(30, 9, 0.7), margins(45, 9)
    result = klom(a, b, estimator="histogram", n_bins=12, quantile=0.9)
    for i in range(9):
        edges = np.histogram_bin_edges(np.r_[a[:, i], b[:, i]], 12)
        p, q = (np.histogram(x[:, i], edges)[0] / len(x) for x in (a, b))
        q = np.where(p > 0, np.maximum(q, 1e-5), q)
        assert result.per_row[i] == pytest.approx(entropy(p, q))
    assert result.value == pytest.approx(np.quantile(result.per_row, 0.9))
    assert result.details["p50"].value == pytest.approx(np.median(result.per_row))
    assert result.metric == "KLoM p90"


@pytest.mark.parametrize(
    ("estimator", "n_models"), [(e, n) for e, table in NULL_P95.items() for n in table]
)
def test_null_depends_on_the_number_of_models(estimator, n_models, rng):
    draws = rng.normal(size=(3, n_models, 2500))
    result = klom(draws[0], draws[1], oracle_null=draws[2], estimator=estimator, n_resamples=20)
    expected = NULL_P95[estimator][n_models]
    assert result.null == pytest.approx(expected, rel=0.1)
    assert result.value == pytest.approx(expected, rel=0.1)


def test_halves_make_the_null_larger(margins):
    oracle, unlearned = margins(60, 300), margins(60, 300)
    halves = klom(unlearned, oracle)
    full = klom(unlearned, oracle, oracle_null=margins(60, 300))
    assert halves.details["n_null"] == [30, 30]
    assert full.details["n_null"] == [60, 60]
    assert halves.null > 1.5 * full.null
    first, second = oracle[:30], oracle[30:]
    assert halves.null == klom(first, second, oracle_null=first).value


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    slope=st.floats(0.1, 10) | st.floats(-10, -0.1),
    offset=st.floats(-20, 20),
    estimator=st.sampled_from(["gaussian", "histogram"]),
)
def test_invariant_to_affine_maps_and_to_the_order(seed, slope, offset, estimator):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(12, 5)) + 0.5, rng.normal(size=(14, 5))
    settings = {"estimator": estimator, "n_bins": 5, "n_resamples": 20}
    before = klom(a, b, **settings)
    assert (before.per_row >= 0).all()
    if estimator == "gaussian" or (slope > 0 and abs(slope) < 3 and abs(offset) < 10):
        after = klom(slope * a + offset, slope * b + offset, **settings)
        # a margin on the edge of a bin may fall on either side after rounding
        rtol = 1e-6 if estimator == "gaussian" else 0.5
        np.testing.assert_allclose(after.per_row, before.per_row, rtol=rtol, atol=1e-8)
    rows = rng.permutation(5)
    moved = klom(rng.permutation(a)[:, rows], rng.permutation(b)[:, rows], **settings)
    np.testing.assert_allclose(moved.per_row, before.per_row[rows], rtol=1e-9, atol=1e-12)
    assert moved.value == pytest.approx(before.value)


def test_constant_margins():
    same = np.full((4, 3), 2.0)
    assert klom(same, same).value == 0
    assert klom(same, same, estimator="histogram", n_bins=2).value == 0
    assert klom(same + 1, same).value > 1e6


def test_divergence_goes_from_unlearned_to_oracle(margins):
    wide, narrow = 3 * margins(200, 5), margins(200, 5)
    assert klom(wide, narrow).value > 2 * klom(narrow, wide).value


def test_interval_holds_the_value_and_needs_five_models(margins):
    result = klom(margins(30, shift=0.5), margins(60))
    assert result.interval.low <= result.value <= result.interval.high
    assert result.null_interval.low <= result.null <= result.null_interval.high
    narrow = klom(margins(30, shift=0.5), margins(60), confidence_level=0.5).interval
    assert narrow.high - narrow.low < result.interval.high - result.interval.low
    assert klom(margins(4), margins(60)).interval is None


def test_the_bootstrap_is_seeded_and_leaves_the_global_generator_alone(margins):
    a, b = margins(9), margins(30)
    state = np.random.get_state()[1].copy()
    assert klom(a, b).interval == klom(a, b).interval
    assert klom(a, b).interval != klom(a, b, random_state=1).interval
    np.testing.assert_array_equal(np.random.get_state()[1], state)


@pytest.mark.parametrize("divergence", [_Gaussian(), _Histogram(6)])
def test_a_model_drawn_twice_counts_twice(divergence, margins, rng):
    a, b = margins(8, 4), margins(9, 4)
    samples = divergence.prepare(a, b)
    weights = [rng.multinomial(n, np.full(n, 1 / n), 5) for n in (8, 9)]
    got = divergence([w / w.sum(1, keepdims=True) for w in weights], samples)
    for u, v, row in zip(*weights, got, strict=True):
        drawn = [np.repeat(x, w, axis=0) for x, w in zip(samples, (u, v), strict=True)]
        uniform = [np.full((1, len(x)), 1 / len(x)) for x in drawn]
        np.testing.assert_allclose(row, divergence(uniform, drawn)[0])


def test_rows_in_blocks_make_no_difference(margins, monkeypatch):
    a, b = margins(10, 50), margins(12, 50)
    whole = klom(a, b, n_resamples=30)
    monkeypatch.setattr("sk_unlearn.metrics._klom.ROWS_AT_A_TIME", 7)
    parts = klom(a, b, n_resamples=30)
    np.testing.assert_allclose(parts.per_row, whole.per_row)
    np.testing.assert_allclose(parts.interval, whole.interval)


@pytest.mark.slow
def test_the_interval_covers_the_mean_of_repeated_experiments(rng):
    def draw(shift):
        return shift + 0.5 * rng.normal(size=(40, 1)) + rng.normal(size=(40, 30))

    for shift in (0.0, 1.0):
        results = [klom(draw(shift), draw(0.0), n_resamples=100) for _ in range(100)]
        centre = np.mean([r.value for r in results])
        covered = np.mean([r.interval.low <= centre <= r.interval.high for r in results])
        assert covered >= 0.93
