import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import logit, logsumexp, softmax

from sk_unlearn.metrics import logit_margin

logits = arrays(np.float64, (3, 4), elements=st.floats(-30, 30))


@given(z=logits)
def test_equals_a_loop_and_the_logit_of_the_probability(z):
    y = [0, 3, 1]
    phi = logit_margin(z, y)
    for i, label in enumerate(y):
        others = [z[i, c] for c in range(4) if c != label]
        assert phi[i] == pytest.approx(z[i, label] - logsumexp(others), abs=1e-9)
    from_proba = logit_margin(softmax(z, -1), y, kind="proba")
    np.testing.assert_allclose(from_proba, phi, atol=1e-6)


@given(z=logits, shift=st.floats(-100, 100))
def test_a_common_shift_of_the_logits_changes_nothing(z, shift):
    moved = logit_margin(z + shift, [0, 1, 2])
    np.testing.assert_allclose(moved, logit_margin(z, [0, 1, 2]), atol=1e-11)


def test_loss_is_softplus_of_minus_the_margin(rng):
    z, y = rng.normal(size=(5, 7, 3)), rng.integers(0, 3, 7)
    loss = -np.log(softmax(z, -1))[:, np.arange(7), y]
    np.testing.assert_allclose(np.logaddexp(0, -logit_margin(z, y)), loss)


def test_two_classes_and_named_labels():
    p = np.array([[0.9, 0.1], [0.2, 0.8]])
    phi = logit_margin(p, ["yes", "no"], kind="proba", labels=["yes", "no"])
    np.testing.assert_allclose(phi, logit([0.9, 0.8]))
    turned = logit_margin(p[:, ::-1], ["yes", "no"], kind="proba", labels=["no", "yes"])
    np.testing.assert_allclose(turned, phi)


def test_extremes_stay_finite_and_precise():
    assert logit_margin([[1e4, -1e4, 0.0]], [0])[0] == pytest.approx(1e4)
    p = np.array([[1.0, 1e-30], [0.0, 1.0]])
    phi = logit_margin(p, [0, 0], kind="proba")
    assert phi[0] == pytest.approx(30 * np.log(10))
    assert phi[1] == pytest.approx(np.log(np.finfo(float).tiny))
    single = logit_margin(np.array([[1.0, 0.0]], np.float32), [0], kind="proba")
    assert single[0] == pytest.approx(-np.log(np.finfo(np.float32).tiny), rel=1e-6)


def test_the_input_is_not_changed():
    z = np.array([[1.0, 2.0], [3.0, 4.0]])
    logit_margin(z, [0, 1])
    np.testing.assert_array_equal(z, [[1.0, 2.0], [3.0, 4.0]])
