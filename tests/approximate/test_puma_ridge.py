"""PUMA on ridge regression, where retraining and influence have closed forms."""

import numpy as np
import pytest
import torch

from sk_unlearn import PumaRegressor
from sk_unlearn.approximate import _curvature_system

from .conftest import WEIGHT_DECAY, loss, minimiser, parameters

pytestmark = pytest.mark.filterwarnings(
    "ignore:Retraining is advised:sk_unlearn.exceptions.RetrainAdvisedWarning"
)

LEAVING = np.array([3, 17, 40])


def fitted(ridge, **params):
    settings = {**ridge.settings, **params}
    return PumaRegressor(ridge.frozen, random_state=0, **settings).fit(ridge.X, ridge.y)


@pytest.mark.parametrize("curvature", ["gauss_newton", "hessian"])
@pytest.mark.parametrize("n_steps", [1, 2])
def test_plain_removal_is_exact_on_ridge(ridge, curvature, n_steps):
    reg = fitted(ridge, compensation=None, curvature=curvature, n_steps=n_steps)
    reg.forget(LEAVING)
    kept = np.setdiff1d(np.arange(60), LEAVING)
    # the objective keeps dividing by the old number of rows
    expected = minimiser(ridge.X[kept], ridge.y[kept], n_rows=60)
    np.testing.assert_allclose(parameters(reg), expected, rtol=1e-7)
    assert np.abs(expected - ridge.theta).max() > 1e-3


def test_requests_in_turn_equal_one_request(ridge):
    at_once, in_turn = (fitted(ridge, compensation=None) for _ in range(2))
    at_once.forget([3, 40])
    in_turn.forget([3]).forget([40])
    np.testing.assert_allclose(parameters(in_turn), parameters(at_once), rtol=1e-7)


def test_step_equals_the_influence_formula_up_to_the_share_removed(ridge):
    reg = fitted(ridge, compensation=None, eta=1e-3).forget(LEAVING)
    A = np.c_[ridge.X, np.ones(60)]
    H = 2 / 60 * A.T @ A + WEIGHT_DECAY * np.eye(5)
    gradient = 2 * A[LEAVING].T @ (A[LEAVING] @ ridge.theta - ridge.y[LEAVING])
    influence = 1e-3 * np.linalg.solve(H, gradient) / 60
    step = parameters(reg) - ridge.theta
    assert np.linalg.norm(step - influence) < 0.2 * np.linalg.norm(influence)
    kept = np.delete(A, LEAVING, axis=0)
    H = 2 / 60 * kept.T @ kept + WEIGHT_DECAY * np.eye(5)
    np.testing.assert_allclose(step, 1e-3 * np.linalg.solve(H, gradient) / 60, rtol=1e-6)


def test_influences_are_finite_differences_of_retraining(ridge):
    phi = fitted(ridge).influences()
    up, down = 1e-4, -1e-4
    for row in (0, 11, 59):
        changed = []
        for weight in (up, down):
            weights = np.ones(60)
            weights[row] += weight
            changed.append(loss(minimiser(ridge.X, ridge.y, weights), ridge.Xv, ridge.yv))
        assert phi[row] == pytest.approx((changed[0] - changed[1]) / (up - down), rel=1e-5)


def test_influences_on_given_rows_and_after_forgetting(ridge):
    reg = fitted(ridge)
    np.testing.assert_allclose(reg.influences(ridge.Xv, ridge.yv), reg.influences(), rtol=1e-10)
    assert reg.forget(LEAVING).influences().shape == (57,)
    with pytest.raises(ValueError, match="X and y together"):
        reg.influences(ridge.Xv)


@pytest.mark.parametrize("compensation", ["l1", "l2"])
def test_compensation_cancels_the_predicted_harm(ridge, compensation):
    phi = fitted(ridge).influences()
    harmful = np.argsort(phi)[:3]  # rows whose presence lowers the criterion the most
    plain = fitted(ridge, compensation=None).forget(harmful)
    reg = fitted(ridge, compensation=compensation).forget(harmful)
    step, plain_step = (r.receipts_[-1].solver["steps"][0] for r in (reg, plain))
    assert step["damage"] > 0
    assert plain_step["criterion_change_predicted"] == pytest.approx(step["damage"], rel=0.3)
    assert abs(step["criterion_change_predicted"]) < 1e-6 * step["damage"]
    assert step["criterion"] - step["criterion_before"] < 0.2 * (
        plain_step["criterion"] - plain_step["criterion_before"]
    )
    assert step["n_weighted"] == (57 if compensation == "l2" else pytest.approx(3, abs=3))


def test_helpful_removal_is_not_undone_unless_strict(ridge):
    phi = fitted(ridge).influences()
    noise = np.argsort(phi)[-3:]
    plain, kind, strict = (
        fitted(ridge, **params).forget(noise)
        for params in ({"compensation": None}, {}, {"strict": True})
    )
    assert kind.receipts_[-1].solver["steps"][0]["damage"] < 0
    np.testing.assert_allclose(parameters(kind), parameters(plain), rtol=1e-9)
    assert abs(strict.receipts_[-1].solver["steps"][0]["criterion_change_predicted"]) < 1e-8


def test_eta_zero_leaves_the_parameters_bit_for_bit(ridge):
    for compensation in (None, "l1", "l2"):
        reg = fitted(ridge, eta=0.0, compensation=compensation).forget(LEAVING)
        assert np.array_equal(parameters(reg), ridge.theta)


def test_unmet_budget_and_unconverged_solves_are_said(ridge, monkeypatch):
    harmful = np.argsort(fitted(ridge).influences())[:20]
    with pytest.warns(UserWarning, match="could compensate only"):
        reg = fitted(ridge, max_weight=0.05).forget(harmful)
    assert 0 < reg.receipts_[-1].solver["steps"][0]["unmet"] < 1
    monkeypatch.setattr(_curvature_system, "COLUMNS_PER_ROW", 0.05)
    few = fitted(ridge, max_products=1, compensation=None, curvature="hessian")
    with pytest.warns(UserWarning, match="did not converge"):
        few.forget(LEAVING)
    assert few.receipts_[-1].advice


def test_user_criterion_that_equals_the_loss_changes_nothing(ridge):
    def mean_square(module, X, y):
        return ((module(X) - y) ** 2).mean()

    default, own = fitted(ridge), fitted(ridge, performance=mean_square)
    np.testing.assert_allclose(own.influences(), default.influences(), rtol=1e-9)
    np.testing.assert_allclose(
        parameters(own.forget(LEAVING)), parameters(default.forget(LEAVING)), rtol=1e-9
    )


def test_user_criterion_without_gradient_is_refused_and_changes_nothing(ridge):
    reg = fitted(ridge, performance=lambda module, X, y: torch.tensor(1.0))
    with pytest.raises(ValueError, match="no gradient"):
        reg.forget(LEAVING)
    assert np.array_equal(parameters(reg), ridge.theta)
    assert len(reg.receipts_) == 0
    reg.set_params(performance=lambda module, X, y: module(X))
    with pytest.raises(ValueError, match="finite scalar tensor"):
        reg.forget(LEAVING)


def test_training_data_as_criterion_is_refused(ridge):
    from skorch.dataset import Dataset
    from skorch.helper import predefined_split

    net = ridge.frozen.estimator
    net.train_split = predefined_split(Dataset(ridge.X, ridge.y.reshape(-1, 1)))
    with pytest.raises(ValueError, match="validation rows that the train_split"):
        PumaRegressor(ridge.frozen).fit(ridge.X, ridge.y)


def test_only_matching_parameters_move(ridge):
    reg = fitted(ridge, params="linear.bias", compensation=None).forget(LEAVING)
    moved = parameters(reg)
    assert np.array_equal(moved[:-1], ridge.theta[:-1])
    assert moved[-1] != ridge.theta[-1]
    with pytest.raises(ValueError, match="matches"):
        fitted(ridge, params=["head.*"])


def test_sampled_rows_and_cache(ridge, monkeypatch):
    measured = []
    original = _curvature_system.row_sizes
    monkeypatch.setattr(
        _curvature_system, "row_sizes", lambda *a, **k: measured.append(1) or original(*a, **k)
    )
    exact = fitted(ridge).forget(LEAVING)
    reg = fitted(ridge, n_curvature_rows=40).forget(LEAVING)
    step = parameters(reg) - ridge.theta
    np.testing.assert_allclose(step, parameters(exact) - ridge.theta, rtol=0.5, atol=2e-3)
    assert len(measured) == 1
    reg.forget([5])
    assert len(measured) == 1, "the second request reuses the sizes"
    assert len(reg._curvature_cache_.position) == 56
