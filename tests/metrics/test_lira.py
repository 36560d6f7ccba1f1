import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import t as student
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from sk_unlearn.metrics import u_lira
from sk_unlearn.metrics._lira import log_likelihood_ratio

BAYES = norm.cdf(0.5)  # two unit normals, one standard deviation apart: .691


def right(scores_a, scores_b):
    return ((scores_a > 0).mean() + (scores_b < 0).mean()) / 2


def test_score_is_the_ratio_of_student_densities(rng):
    a, b, x = rng.normal(1, 2, (6, 3)), rng.normal(0, 2, (9, 3)), rng.normal(size=(4, 3))
    score = log_likelihood_ratio(x, a, b)
    for i in range(3):
        dof = 6 + 9 - 2
        s2 = (5 * a[:, i].var(ddof=1) + 8 * b[:, i].var(ddof=1)) / dof
        expected = student.logpdf(x[:, i], dof, a[:, i].mean(), np.sqrt(s2 * (1 + 1 / 6)))
        expected -= student.logpdf(x[:, i], dof, b[:, i].mean(), np.sqrt(s2 * (1 + 1 / 9)))
        np.testing.assert_allclose(score[:, i], expected, rtol=1e-6)


def test_sixteen_shadows_nearly_reach_the_bayes_optimum(rng):
    # the last 16 of 32 models score, the first 16 of each kind fit
    a, b = 1 + rng.normal(size=(32, 5_000)), rng.normal(size=(32, 5_000))
    fit = a[:16], b[:16]
    accuracy = right(log_likelihood_ratio(a[16:], *fit), log_likelihood_ratio(b[16:], *fit))
    assert BAYES - 0.006 < accuracy < BAYES
    result = u_lira(a, b, n_folds=2, n_resamples=20)
    assert result.details["n_shadows"] == 16
    assert result.value == pytest.approx(accuracy, abs=0.003)
    assert result.value == pytest.approx(0.690, abs=0.005)


@pytest.mark.parametrize("n_folds", [2, 4, None, 16])
def test_null_is_a_half_out_of_sample_and_not_in_sample(n_folds, rng):
    a, b, c = rng.normal(size=(3, 16, 2500))
    result = u_lira(a, b, oracle_null=c, n_folds=n_folds, n_resamples=20)
    for outcome in (result, result.details["auc"]):
        assert outcome.value == pytest.approx(0.5, abs=0.01)
        assert outcome.null == pytest.approx(0.5, abs=0.01)
    # the fault that cross-fitting avoids
    in_sample = right(log_likelihood_ratio(a, a, b), log_likelihood_ratio(b, a, b))
    assert in_sample > 0.55


def test_null_stays_a_half_with_unequal_numbers_of_models(rng):
    a, b, c = rng.normal(size=(7, 4000)), rng.normal(size=(25, 4000)), rng.normal(size=(9, 4000))
    result = u_lira(a, b, oracle_null=c, n_resamples=20)
    assert result.value == pytest.approx(0.5, abs=0.012)
    assert result.null == pytest.approx(0.5, abs=0.012)


def test_two_folds_equal_a_loop_with_scikit_learn(margins):
    a, b = margins(8, 15, 1.0), margins(6, 15)
    result = u_lira(a, b, oracle_null=a, n_folds=2, fpr=0.2)
    aucs, accuracies, tprs = [], [], []
    for k in (0, 1):
        train, test = ([x[np.arange(len(x)) % 2 == side] for x in (a, b)] for side in (1 - k, k))
        positive, negative = (log_likelihood_ratio(x, *train).ravel() for x in test)
        y = np.repeat([1, 0], [positive.size, negative.size])
        scores = np.r_[positive, negative]
        aucs.append(roc_auc_score(y, scores))
        accuracies.append(balanced_accuracy_score(y, scores > 0))
        threshold = np.sort(negative)[::-1][int(0.2 * negative.size)]
        tprs.append((positive > threshold).mean())
    assert result.value == pytest.approx(np.mean(accuracies))
    assert result.details["auc"].value == pytest.approx(np.mean(aucs))
    assert result.details["tpr_at_fpr"].value == pytest.approx(np.mean(tprs))
    assert result.per_row.mean() == pytest.approx(result.value)


def test_order_of_rows_and_affine_maps(margins, rng):
    a, b = margins(12, 20, 0.5), margins(24, 20)
    before, rows = u_lira(a, b), rng.permutation(20)
    after = u_lira(3 - 2 * a[:, rows], 3 - 2 * b[:, rows])
    assert after.value == pytest.approx(before.value)
    np.testing.assert_allclose(after.per_row, before.per_row[rows])
    assert after.details["auc"].value == pytest.approx(before.details["auc"].value)


def test_exchange_of_the_sets_is_symmetric(margins):
    a, b = margins(10, 20, 0.8), margins(10, 20)
    one, other = u_lira(a, b, oracle_null=a), u_lira(b, a, oracle_null=b)
    assert one.value == pytest.approx(other.value)
    assert one.details["auc"].value == pytest.approx(other.details["auc"].value)


def test_equal_constants_are_a_guess():
    result = u_lira(np.ones((5, 3)), np.ones((10, 3)))
    assert result.value == result.details["auc"].value == 0.5
    np.testing.assert_array_equal(result.per_row, 0.5)
    same = u_lira(np.ones((6, 3)), np.ones((6, 3)), oracle_null=np.ones((6, 3)))
    assert same.value == same.null == 0.5


def test_perfect_separation():
    noise = np.random.default_rng(0).normal(size=(20, 8))
    result = u_lira(noise[:10] + 100, noise)
    assert result.value == 1
    assert result.details["tpr_at_fpr"].value == 1
    assert result.interval == pytest.approx((1, 1))


def test_no_interval_for_fewer_than_five_models(margins):
    assert u_lira(margins(4), margins(10)).interval is None


@pytest.mark.slow
def test_the_interval_covers_the_mean_of_repeated_experiments(rng):
    def draw(shift):
        return shift + 0.5 * rng.normal(size=(16, 1)) + rng.normal(size=(16, 30))

    for shift in (0.0, 1.0):
        results = [
            u_lira(draw(shift), draw(0), oracle_null=draw(0), n_resamples=100) for _ in range(80)
        ]
        for outcomes in (results, [r.details["auc"] for r in results]):
            centre = np.mean([r.value for r in outcomes])
            covered = np.mean([r.interval.low <= centre <= r.interval.high for r in outcomes])
            assert covered >= 0.82
