"""Accuracies, curves, confusions, predictions and parameters."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import cosine, jensenshannon
from scipy.special import softmax
from scipy.stats import binomtest, entropy
from sklearn.metrics import confusion_matrix

from sk_unlearn.metrics import (
    interclass_confusion,
    parameter_distance,
    prediction_divergence,
    relearn_time,
    tug_of_war,
)

accuracies = arrays(np.float64, (3, 3), elements=st.floats(0, 1))


@given(u=accuracies, o=accuracies)
def test_tug_of_war_is_the_product(u, o):
    expected = 1.0
    for k in range(3):
        expected *= 1 - abs(u[:, k].mean() - o[:, k].mean())
    result = tug_of_war(u, o)
    assert result.value == pytest.approx(expected)
    assert 0 <= result.value <= 1 + 1e-12
    assert tug_of_war(o, u).value == pytest.approx(result.value)
    order = [2, 0, 1]
    assert tug_of_war(u[order][:, order], o[:, order]).value == pytest.approx(result.value)
    assert tug_of_war(u, u).value == 1
    np.testing.assert_allclose(result.details["gaps"], u.mean(0) - o.mean(0))


def test_tug_of_war_null_and_interval(rng):
    oracle = np.clip(0.8 + 0.02 * rng.normal(size=(20, 3)), 0, 1)
    unlearned = np.clip(0.9 + 0.02 * rng.normal(size=(20, 3)), 0, 1)
    result = tug_of_war(unlearned, oracle)
    assert result.null == tug_of_war(oracle[:10], oracle[10:]).value
    assert result.null == tug_of_war(unlearned, oracle[10:], oracle_null=oracle[:10]).null
    assert result.interval.low < 0.9**3 < result.interval.high < result.null_interval.low
    single = tug_of_war(unlearned[:1], oracle[:1])
    assert single.null is None
    assert single.interval is None


def test_relearn_time_equals_a_loop(rng):
    curves = rng.uniform(size=(6, 9)).cumsum(1)[:, ::-1].copy()
    losses = np.array([0.1, 1.0, 2.0, 3.0, 4.0, 5.0])
    result = relearn_time(curves, curves[:5], losses, margin=0.1)
    expected, missed = [], 0
    for curve, loss in zip(curves, losses, strict=True):
        below = [t for t in range(9) if curve[t] <= 1.1 * loss]
        expected.append(below[0] if below else 8)
        missed += not below
    np.testing.assert_array_equal(result.details["times"], expected)
    assert result.value == np.mean(expected)
    assert result.details["not_reached"][0] == missed
    assert result.details["n_epochs"] == 8
    shared = relearn_time(curves[:5], curves[:5], losses.mean(), margin=0.1)
    assert result.null == shared.value == shared.null
    assert shared.details["ratio"] == 1
    assert shared.interval.low <= shared.value <= shared.interval.high


def test_relearn_time_at_once_and_never():
    result = relearn_time([[0.5, 0.5]], [[1.0, 0.9]], 0.5)
    assert (result.value, result.null) == (0, 1)
    assert result.details["not_reached"] == [0, 1]
    assert np.isnan(relearn_time([[0.5, 0.5]], [[0.5, 0.5]], 0.5).details["ratio"])
    assert relearn_time([[2.0, 1.0]], [[2.0, 0.0]], 0.5, margin=1.0).value == 1


@given(seed=st.integers(0, 10**6))
def test_confusion_is_that_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    y_true = np.array(["a", "b", "c"])[np.r_[0, 1, rng.integers(0, 3, 20)]]
    y_pred = np.array(["a", "b", "c"])[rng.integers(0, 3, (2, 22))]
    result = interclass_confusion(y_true, y_pred, ("b", "a"))
    tables = [confusion_matrix(y_true, row, labels=["b", "a"]) for row in y_pred]
    totals = [np.sum(y_true == label) for label in ("b", "a")]
    table = np.mean(tables, 0)
    assert result.value == pytest.approx((table[0, 1] + table[1, 0]) / sum(totals))
    assert result.details["first_as_second"] == pytest.approx(table[0, 1] / totals[0])
    assert result.details["second_as_first"] == pytest.approx(table[1, 0] / totals[1])
    assert result.per_row.sum() == pytest.approx(result.value * sum(totals))
    turned = interclass_confusion(y_true, y_pred, ["a", "b"])
    assert turned.value == pytest.approx(result.value)
    assert result.null is None


def test_confusion_intervals():
    y_true = np.repeat([0, 1], 10)
    y_pred = np.r_[np.repeat([0, 1], [6, 4]), np.ones(10, int)]
    result = interclass_confusion(y_true, y_pred, (0, 1), oracle_pred=y_true)
    expected = binomtest(4, 20).proportion_ci(0.95, method="exact")
    np.testing.assert_allclose(result.interval, expected, atol=1e-6)
    assert result.null == 0
    many = interclass_confusion(y_true, np.tile(y_pred, (6, 1)), (0, 1))
    # six equal models do not vary
    assert many.interval == pytest.approx((0.2, 0.2))


@pytest.fixture
def predictions(rng):
    return softmax(rng.normal(size=(7, 5, 4)), -1)


def pairwise(kind, p, q):
    return {
        "js": lambda: jensenshannon(p, q) ** 2,
        "kl": lambda: entropy(p, q),
        "disagreement": lambda: float(p.argmax() != q.argmax()),
    }[kind]()


@pytest.mark.parametrize("kind", ["js", "kl", "disagreement"])
def test_divergence_equals_a_loop_over_pairs(kind, predictions):
    u, o = predictions[:3], predictions[3:]
    result = prediction_divergence(u, o, kind=kind)
    pairs = [[pairwise(kind, a, b) for a, b in zip(p, q, strict=True)] for p in u for q in o]
    np.testing.assert_allclose(result.per_row, np.mean(pairs, 0))
    assert result.value == pytest.approx(np.mean(pairs))
    null = [
        pairwise(kind, o[i, r], o[j, r])
        for i in range(4)
        for j in range(4)
        for r in range(5)
        if i != j
    ]
    assert result.null == pytest.approx(np.mean(null))
    if kind != "kl":
        assert prediction_divergence(o, u, kind=kind).value == pytest.approx(result.value)


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), sharp=st.floats(0.1, 300))
@example(seed=1000000, sharp=289.5)  # a probability of 5e-324
def test_divergence_ranges_and_orders(seed, sharp):
    rng = np.random.default_rng(seed)
    p = softmax(sharp * rng.normal(size=(6, 4, 3)), -1)
    u, o, rows, classes = p[:3], p[3:], rng.permutation(4), rng.permutation(3)
    for kind, top in (("js", np.log(2)), ("kl", 30.0), ("disagreement", 1.0)):
        result = prediction_divergence(u, o, kind=kind)
        assert -1e-12 <= result.value <= top + 1e-12
        moved = prediction_divergence(
            u[::-1][:, rows][..., classes], o[:, rows][..., classes], kind=kind
        )
        assert moved.value == pytest.approx(result.value, abs=1e-12)
        assert moved.null == pytest.approx(result.null, abs=1e-12)
        assert prediction_divergence(u[:1], u[:1], kind=kind).value == pytest.approx(0, abs=1e-12)


def test_parameter_distance_equals_a_loop(rng):
    u, o = rng.normal(size=(3, 8)), rng.normal(size=(4, 8)) + 1
    result = parameter_distance(u, o)
    pairs = [(a, b) for a in u for b in o]
    distance = np.mean([np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in pairs])
    assert result.value == pytest.approx(distance)
    angle = result.details["cosine_distance"]
    assert angle.value == pytest.approx(np.mean([cosine(a, b) for a, b in pairs]))
    others = [(o[i], o[j]) for i in range(4) for j in range(4) if i != j]
    distance = np.mean([np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in others])
    assert result.null == pytest.approx(distance)
    assert angle.null == pytest.approx(np.mean([cosine(a, b) for a, b in others]))
    scaled = parameter_distance(5 * u, 5 * o)
    assert scaled.value == pytest.approx(result.value)


def test_close_parameters_keep_their_digits():
    theta = np.ones((1, 1000))
    moved = theta.copy()
    moved[0, 0] += 1e-9
    result = parameter_distance(moved, theta)
    assert result.value == pytest.approx(1e-9 / np.sqrt(1000), rel=1e-6)
    assert 0 < result.details["cosine_distance"].value < 1e-18
    assert result.null is None


def test_intervals_of_pairs_cover_the_expectation(rng):
    # squared normal differences have known means; models are the unit of resampling
    hits, nulls = 0, 0
    for _ in range(60):
        u, o = rng.normal(size=(12, 1, 1)), rng.normal(size=(12, 1, 1))
        p, q = (np.concatenate([x, -x], -1) for x in (u + 0.5, o))
        result = prediction_divergence(softmax(p, -1), softmax(q, -1), kind="disagreement")
        # P(sign differs) for N(.5, 1) against N(0, 1) is a half; so it is for two N(0, 1)
        hits += result.interval.low <= 0.5 <= result.interval.high
        nulls += result.null_interval.low <= 0.5 <= result.null_interval.high
    assert hits >= 51
    assert nulls >= 51
