import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.metrics import roc_auc_score

from sk_unlearn.metrics import membership_attack, rmia

N_FORGET, N_ROWS = 30, 100
IS_FORGET = np.arange(N_ROWS) < N_FORGET


@pytest.fixture
def proba(rng):
    return softmax(2 * rng.normal(size=(3, N_ROWS, 4)), -1)


@pytest.fixture
def y(rng):
    return rng.integers(0, 4, N_ROWS)


def by_hand(score, p, label):
    own, rest = p[label], np.delete(p, label)
    return {
        "loss": np.log(own),
        "confidence": p.max(),
        "entropy": sum(v * np.log(v) for v in p),
        "modified_entropy": (1 - own) * np.log(own) + sum(v * np.log(1 - v) for v in rest),
    }[score]


@pytest.mark.parametrize("score", ["loss", "confidence", "entropy", "modified_entropy"])
def test_scores_and_auc_equal_a_loop(score, proba, y):
    expected = np.array(
        [[by_hand(score, *pair) for pair in zip(p, y, strict=True)] for p in proba]
    )
    result = membership_attack(proba, y, IS_FORGET, score=score, oracle=proba[0])
    np.testing.assert_allclose(result.per_row, expected.mean(0))
    aucs = [roc_auc_score(IS_FORGET, row) for row in expected]
    assert result.value == pytest.approx(np.mean(aucs))
    assert result.null == pytest.approx(aucs[0])
    single = membership_attack(proba[0], y, IS_FORGET, score=score)
    assert single.value == pytest.approx(aucs[0])
    assert single.null is None
    assert single.details["tpr_at_fpr"].null is None


def test_certain_predictions_are_finite_and_ranked(y):
    p = np.zeros((N_ROWS, 4))
    p[np.arange(N_ROWS), y] = 1
    for score in ("loss", "confidence", "entropy", "modified_entropy"):
        result = membership_attack(p, y, IS_FORGET, score=score)
        assert result.value == 0.5
        assert np.isfinite(result.per_row).all()
    wrong = p.copy()
    wrong[IS_FORGET] = np.roll(p[IS_FORGET], 1, axis=1)
    for score in ("loss", "modified_entropy"):
        assert membership_attack(wrong, y, IS_FORGET, score=score).value == 0


def test_losses_below_rounding_still_rank():
    margin = np.where(IS_FORGET, 60.0, 50.0)  # both have probability 1 in float64
    p = np.column_stack([expit(-margin), expit(margin)])
    assert (p[:, 1] == 1).all()
    assert membership_attack(p, np.ones(N_ROWS, int), IS_FORGET).value == 1


def test_rows_in_any_order(proba, y, rng):
    rows = rng.permutation(N_ROWS)
    before = membership_attack(proba, y, IS_FORGET)
    after = membership_attack(proba[:, rows], y[rows], IS_FORGET[rows])
    assert after.value == pytest.approx(before.value)
    assert after.interval == pytest.approx(before.interval)


def ratios(target, others, a):
    p, out = expit(target), expit(others).mean(0)
    return p / (((1 + a) * out + 1 - a) / 2)


def slow_score(ratio, x, population, gamma):
    return np.mean([ratio[x] / ratio[z] >= gamma for z in population])


def slow_rmia(ratio, is_forget, is_population, gamma):
    """AUC and share of ties: each pair of rows before the population without the held-out one."""
    wins, ties, forgotten = [], [], np.flatnonzero(is_forget)
    for h in np.flatnonzero(~is_forget):
        population = np.setdiff1d(np.flatnonzero(is_population), [h])
        against = slow_score(ratio, h, population, gamma)
        own = np.array([slow_score(ratio, f, population, gamma) for f in forgotten])
        wins.append(np.mean((own > against) + 0.5 * (own == against)))
        ties.append(np.mean(own == against))
    return np.mean(wins), np.mean(ties)


@pytest.mark.parametrize(("gamma", "a"), [(1.0, 0.0), (2.0, 0.3), (1.2, 1.0)])
@pytest.mark.parametrize("all_rows", [True, False])
@pytest.mark.parametrize("decimals", [8, 0])
def test_rmia_equals_a_loop(gamma, a, all_rows, decimals, rng):
    n, is_forget = 40, np.arange(40) < 12
    target, oracle = rng.normal(size=(2, n)), rng.normal(size=(4, n)).round(decimals)
    target[0] = oracle[0]  # with ties as soon as margins are rounded
    is_population = ~is_forget if all_rows else np.arange(n) > 25
    mask = None if all_rows else is_population
    result = rmia(target, oracle, is_forget, is_population=mask, gamma=gamma, a=a)
    found = [ratios(row, oracle, a) for row in target]
    population = np.flatnonzero(is_population)
    scores = [[slow_score(row, x, population, gamma) for x in range(n)] for row in found]
    np.testing.assert_allclose(result.per_row, np.mean(scores, 0), atol=1e-12)
    slow = np.mean([slow_rmia(row, is_forget, is_population, gamma) for row in found], axis=0)
    np.testing.assert_allclose((result.value, result.details["tied"]), slow, atol=1e-12)
    null = [ratios(oracle[k], np.delete(oracle, k, 0), a) for k in range(4)]
    null = np.mean([slow_rmia(row, is_forget, is_population, gamma)[0] for row in null])
    assert result.null == pytest.approx(null)


def test_rmia_calibrates_for_difficulty_where_the_loss_does_not(rng):
    # forgotten rows are easier for everybody, and nothing of them is left
    difficulty = rng.normal(size=400)
    is_forget = np.arange(400) < 100

    def draw(n):
        return difficulty + 2.0 * is_forget + 0.5 * rng.normal(size=(n, 400))

    target, oracle = draw(5), draw(10)
    p = np.stack([expit(-target), expit(target)], -1)
    assert membership_attack(p, np.ones(400, int), is_forget).value > 0.8
    result = rmia(target, oracle, is_forget, gamma=1.0, a=1.0)
    assert result.value == pytest.approx(result.null, abs=0.03)


def test_rmia_survives_saturated_margins():
    oracle = np.full((3, N_ROWS), -1e4)
    result = rmia(np.full((1, N_ROWS), 1e4), oracle, IS_FORGET, a=1.0)
    assert np.isfinite(result.value)
    assert np.isfinite(result.null)
    assert result.details["tied"] == 1  # all rows rose alike: none of them stands out
