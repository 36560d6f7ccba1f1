"""Compensation weights against linear and quadratic programming."""

from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize

from sk_unlearn.approximate import _compensation
from sk_unlearn.approximate._compensation import compensate

influences = st.lists(
    st.floats(-3, 3, allow_nan=False, width=32).filter(lambda v: v == 0 or abs(v) > 1e-3),
    min_size=1,
    max_size=12,
)


@given(phi=influences, damage=st.floats(1e-2, 5), bound=st.floats(0.1, 2))
def test_l1_is_the_optimum_of_the_linear_programme(phi, damage, bound):
    phi = np.array(phi)
    weights, unmet = compensate(torch.tensor(phi), damage, kind="l1", bound=bound)
    weights = weights.numpy()
    assert np.abs(weights).max() <= bound * (1 + 1e-12)
    assert weights @ phi == pytest.approx(-(damage - unmet), abs=1e-9)
    capacity = bound * np.abs(phi).sum()
    assert unmet == pytest.approx(max(damage - capacity, 0), abs=1e-7)
    if damage < capacity * (1 - 1e-9):
        n = len(phi)
        best = linprog(
            np.ones(2 * n), A_eq=[np.r_[phi, -phi]], b_eq=[-damage], bounds=[(0, bound)] * 2 * n
        )
        assert np.abs(weights).sum() == pytest.approx(best.fun, rel=1e-6, abs=1e-8)


@given(
    phi=influences,
    damage=st.floats(1e-2, 5),
    bound=st.floats(0.1, 2),
    sign=st.sampled_from([1, -1]),
)
def test_one_row_that_is_enough_is_no_case_of_its_own(phi, damage, bound, sign):
    arguments = torch.tensor(phi, dtype=torch.float32), sign * damage
    found = compensate(*arguments, kind="l1", bound=bound, strict=True)
    with mock.patch.object(_compensation, "_fill_one", return_value=False):
        expected = compensate(*arguments, kind="l1", bound=bound, strict=True)
    assert torch.equal(found[0], expected[0])
    assert found[1] == expected[1]


@pytest.mark.parametrize("phi", [[], [float("nan"), 1.0], [0.0, 0.0]])
def test_odd_influences_do_not_raise(phi):
    weights, _ = compensate(torch.tensor(phi), 0.5, kind="l1")
    assert weights.shape == (len(phi),)


@given(phi=influences, damage=st.floats(1e-2, 5))
def test_l2_without_clipping_is_the_projection(phi, damage):
    phi = np.array(phi)
    if not phi.any():
        return
    expected = -damage * phi / (phi @ phi)
    weights, unmet = compensate(torch.tensor(phi), damage, kind="l2", bound=1e9)
    np.testing.assert_allclose(weights.numpy(), expected, rtol=1e-9)
    assert unmet == 0


def test_l2_with_clipping_is_the_optimum_of_the_quadratic_programme():
    phi, damage, bound = np.array([3.0, -2.0, 1.0, 0.5]), 4.0, 0.8
    best = minimize(
        lambda w: w @ w,
        np.zeros(4),
        jac=lambda w: 2 * w,
        bounds=[(-bound, bound)] * 4,
        constraints={"type": "eq", "fun": lambda w: w @ phi + damage},
        tol=1e-12,
    )
    weights, unmet = compensate(torch.tensor(phi), damage, kind="l2", bound=bound)
    assert np.abs(best.x).max() == pytest.approx(bound), "the case must clip"
    np.testing.assert_allclose(weights.numpy(), best.x, atol=1e-6)
    assert unmet == 0


def test_improvement_is_kept_unless_strict():
    phi = torch.tensor([1.0, -2.0])
    for kind in ("l1", "l2"):
        assert not compensate(phi, -1.0, kind=kind)[0].any()
        weights, _ = compensate(phi, -1.0, kind=kind, strict=True)
        assert float(weights @ phi) == pytest.approx(1.0)


def test_none_and_no_damage_give_zero():
    phi = torch.tensor([1.0, -2.0])
    assert not compensate(phi, 1.0, kind=None)[0].any()
    assert not compensate(phi, 0.0, kind="l1", strict=True)[0].any()


def test_l1_is_sparse_and_float32_meets_the_budget():
    phi = torch.randn(10_000, generator=torch.Generator().manual_seed(0)) * 1e-6
    weights, unmet = compensate(phi, 1e-5, kind="l1")
    assert unmet == 0
    assert int((weights != 0).sum()) < 10
    assert float(weights.double() @ phi.double()) == pytest.approx(-1e-5, rel=1e-5)
