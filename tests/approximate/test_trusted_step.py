"""Steps that are taken with more damping where the net is not linear along them."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from sk_unlearn import PumaClassifier
from sk_unlearn.approximate import _trusted_step
from sk_unlearn.approximate._advice import advice
from sk_unlearn.approximate._curvature_cache import CurvatureCache
from sk_unlearn.approximate._curvature_system import (
    Objective,
    RowBatch,
    SolverSettings,
    _ParameterSpace,
    build_system,
)
from sk_unlearn.approximate._removal_step import StepSettings, removal_step
from sk_unlearn.approximate._trusted_step import MAX_NONLINEARITY, _nonlinearity, trusted_step
from sk_unlearn.exceptions import RetrainAdvisedWarning
from sk_unlearn.functional import RowSpace, RowwiseModel, measured_work

N_ROWS, DAMPING = 40, 0.01


def squared(scores, y):
    return 0.5 * (scores - y).square().sum(dim=1)


def problem(net, loss, y):
    X = torch.randn(N_ROWS, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    model = RowwiseModel(net.double().eval(), loss)
    ridge = torch.full((model.n_parameters,), DAMPING, dtype=torch.float64)
    rows, draw = RowBatch(X, y), np.random.RandomState(0).uniform(size=N_ROWS)
    return Objective(model, rows, torch.ones(N_ROWS, dtype=bool), draw, N_ROWS, ridge, 100, 100)


def net_of(*layers):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(*(layer() for layer in layers))


@pytest.fixture
def curved():
    net = net_of(lambda: nn.Linear(4, 5), nn.Tanh, lambda: nn.Linear(5, 3))
    loss = nn.CrossEntropyLoss(reduction="none")
    return problem(net, loss, torch.arange(N_ROWS) % 3)


@pytest.fixture
def linear():
    y = torch.randn(N_ROWS, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return problem(net_of(lambda: nn.Linear(4, 3)), squared, y)


def system_of(objective, tol=1e-3, more=0.0, **settings):
    objective = replace(objective, ridge=objective.ridge + more)
    settings = SolverSettings(N_ROWS, tol=tol, **settings)
    cache, later = CurvatureCache(np.arange(N_ROWS)), objective.rows.take([])
    return build_system(objective, objective.model.parameters(), cache, settings, later)[0]


@pytest.mark.parametrize("more", [1e-3, 10.0])
@pytest.mark.parametrize(
    ("tol", "space"),
    [(1e-3, RowSpace), (1e-9, _ParameterSpace)],
)
def test_more_damping_is_as_if_built_with_it(curved, tol, space, more):
    objective = curved
    system, built = system_of(objective, tol), system_of(objective, tol, more)
    assert isinstance(system.space, space)
    b = torch.linspace(-1, 1, objective.model.n_parameters).double()
    before, damped = system.solve(b, 1e-9)[0], system.damped(more)
    (found, report), (expected, needed) = damped.solve(b, 1e-9), built.solve(b, 1e-9)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
    assert report.n_products == needed.n_products  # with a preconditioner for this damping
    assert not torch.allclose(found, before, rtol=1e-4)
    torch.testing.assert_close(system.solve(b, 1e-9)[0], before)  # stays what it was


def test_nonlinearity_of_a_parabola():
    """f = w^2 x from w to w + d: the part beyond a straight line is d^2 x."""

    class Square(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.tensor(2.0))

        def forward(self, X):
            return self.w**2 * X[:, :1]

    objective = problem(Square(), squared, torch.zeros(N_ROWS, 1).double())
    start, step, part = 2.0, 0.5, _trusted_step.BEGINNING
    straight = 2 * start * step + part * step**2
    at, moved = objective.model.parameters(), {"w": torch.tensor(start + step).double()}
    found = _nonlinearity(objective, at, moved)
    assert found == pytest.approx((1 - part) * step**2 / straight, rel=1e-9)


def test_linear_nets_are_never_held_back(linear):
    """Their expansion is exact for squared loss, however long the step."""
    params, leaving = linear.model.parameters(), linear.rows.take([0, 1, 2])
    settings = StepSettings(eta=1e3, adaptive_damping=True)
    for curvature in ("gauss_newton", "hessian"):  # in closed form, and looked at
        system = system_of(linear, 1e-9, curvature=curvature)
        moved, report = trusted_step(linear, params, leaving, system, None, settings)
        expected, *_ = removal_step(linear, params, leaving, system, None, settings)
        assert report.step_ratio > 1
        assert report.damping_factor == 1
        assert (report.nonlinearity is None) == (curvature == "gauss_newton")
        assert all(torch.equal(moved[name], expected[name]) for name in moved)


@pytest.mark.parametrize("eta", [1.0, 30.0, 1e4])
def test_damping_grows_until_the_net_is_nearly_linear(curved, eta):
    params, leaving, system = (
        curved.model.parameters(),
        curved.rows.take([0, 1]),
        system_of(curved),
    )
    settings = StepSettings(eta=eta, adaptive_damping=True)
    moved, report = trusted_step(curved, params, leaving, system, None, settings)
    assert report.nonlinearity <= MAX_NONLINEARITY
    assert (report.damping_factor > 1) == (eta > 1)
    # the step is that of the same damping from the start, and less would not have done
    more = (report.damping_factor - 1) * DAMPING
    expected, *_ = removal_step(
        curved, params, leaving, system_of(curved, more=more), None, settings
    )
    for name, value in moved.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-2, atol=1e-4)
    if eta == 30:
        less = (report.damping_factor / 10 - 1) * DAMPING
        longer, *_ = removal_step(
            curved, params, leaving, system_of(curved, more=less), None, settings
        )
        assert _nonlinearity(curved, params, longer) > MAX_NONLINEARITY
        assert len(report.attempts) > 1
        assert report.attempts[-1] == report.n_products


def test_rows_that_do_not_move_do_not_hold_back():
    """Another row's own parameters: nothing else changes, which is as straight as can be."""
    net = nn.Sequential(nn.Linear(4, 5, bias=False), nn.Tanh(), nn.Linear(5, 1)).eval()
    objective = problem(net, squared, torch.ones(N_ROWS, 1).double())
    X = objective.rows.X.clone()
    X[:, 3] = 0  # only the row that leaves has this feature
    objective = replace(objective, rows=RowBatch(X, objective.rows.y))
    model = replace(objective.model, active=("0.weight",))
    objective = replace(objective, model=model, ridge=objective.ridge[: model.n_parameters])
    params = model.parameters()
    moved = {"0.weight": params["0.weight"] + torch.tensor([0, 0, 0, 5.0]).double()}
    assert _nonlinearity(objective, params, moved) == 0
    moved = {"0.weight": params["0.weight"] * torch.inf}
    assert _nonlinearity(objective, params, moved) == torch.inf


def test_short_steps_are_not_looked_at(curved, monkeypatch):
    monkeypatch.setattr(_trusted_step, "MAX_NONLINEARITY", 1e-300)
    monkeypatch.setattr(_trusted_step, "LEAST_RISE", -1)
    params, leaving, system = (
        curved.model.parameters(),
        curved.rows.take([0, 1]),
        system_of(curved),
    )
    for eta, looked in ((1e-4, False), (1.0, True)):
        settings = StepSettings(eta=eta, adaptive_damping=True)
        monkeypatch.setattr(_trusted_step, "_powers", lambda too_long: 1)
        report = trusted_step(curved, params, leaving, system, None, settings)[1]
        first = removal_step(curved, params, leaving, system, None, settings)[1]
        assert (first.step_ratio <= _trusted_step.SHORT) == (not looked)
        assert (report.nonlinearity is not None) == looked
        assert len(report.attempts) == (_trusted_step.MOST_ATTEMPTS if looked else 1)


def test_no_attempt_where_more_damping_removes_nothing(curved, monkeypatch):
    """However bent the net: the step would only get shorter. What was solved for is shortened."""
    monkeypatch.setattr(_trusted_step, "MAX_NONLINEARITY", 1e-12)
    monkeypatch.setattr(_trusted_step, "_powers", lambda too_long: 4)
    params, leaving, system = (
        curved.model.parameters(),
        curved.rows.take([0, 1]),
        system_of(curved),
    )
    settings = StepSettings(adaptive_damping=True)
    moved, report = trusted_step(curved, params, leaving, system, None, settings)
    assert report.stopped == "more of it removes nothing more"
    assert 1 < len(report.attempts) < _trusted_step.MOST_ATTEMPTS
    risen = report.forget_loss - report.forget_loss_before
    assert abs(risen) <= _trusted_step.LEAST_RISE * report.forget_loss_before
    # what was promised is the first attempt's
    first = removal_step(curved, params, leaving, system, None, settings)[1]
    assert report.forget_loss_predicted == first.forget_loss_predicted
    assert first.forget_loss_predicted > first.forget_loss_before
    losses = curved.model.row_losses(moved, leaving.X, leaving.y)
    assert report.forget_loss == pytest.approx(float(losses.mean()))


def test_what_is_promised_is_the_derivative(linear):
    params, leaving = linear.model.parameters(), linear.rows.take([0, 1, 2])
    settings = StepSettings(eta=1e-4)
    report = removal_step(linear, params, leaving, system_of(linear, 1e-9), None, settings)[1]
    rise = report.forget_loss - report.forget_loss_before
    assert report.forget_loss_predicted - report.forget_loss_before == pytest.approx(
        rise, rel=1e-2
    )


def test_advice_says_what_damping_did(curved):
    params, leaving, system = (
        curved.model.parameters(),
        curved.rows.take([0, 1]),
        system_of(curved),
    )
    settings = StepSettings(eta=1.0, adaptive_damping=True)
    report = trusted_step(curved, params, leaving, system, None, settings)[1]
    report = replace(report, step_ratio=0.05, nonlinearity=0.2)
    assert not advice([report, replace(report, damping_factor=10.0)])
    bent = replace(report, damping_factor=1e5, stopped="it was late", shortened=0.25)
    (message,) = advice([report, bent])
    assert "not nearly linear" in message
    assert "25% of it was taken, since it was late" in message


def test_all_attempts_are_on_the_bill(curved):
    params, leaving, system = (
        curved.model.parameters(),
        curved.rows.take([0, 1]),
        system_of(curved),
    )
    done = {}
    for eta in (1.0, 30.0):
        settings = StepSettings(eta=eta, adaptive_damping=True)
        with measured_work() as work:
            report = trusted_step(curved, params, leaving, system, None, settings)[1]
        done[len(report.attempts)] = work.row_passes
    (few, once), (many, often) = sorted(done.items())
    assert few < many
    # each measures the rows that leave, and looks at all rows three times forward
    assert often - once > (many - few) * (2 + N_ROWS)


def test_fixed_damping_is_what_was_asked_for(curved):
    params, leaving, system = (
        curved.model.parameters(),
        curved.rows.take([0, 1]),
        system_of(curved),
    )
    settings = StepSettings(eta=30.0)
    moved, report = trusted_step(curved, params, leaving, system, None, settings)
    expected, plain, _ = removal_step(curved, params, leaving, system, None, settings)
    assert report == replace(plain, attempts=(plain.n_products,))
    assert all(torch.equal(moved[name], expected[name]) for name in moved)


def test_rows_that_are_looked_at_follow_their_numbers(curved, monkeypatch):
    monkeypatch.setattr(_trusted_step, "N_ROWS", 7)
    params, order = curved.model.parameters(), torch.randperm(N_ROWS)
    moved = {name: value + 0.3 for name, value in params.items()}
    shuffled = replace(curved, rows=curved.rows.take(order), draw=curved.draw[order.numpy()])
    found, expected = (_nonlinearity(each, params, moved) for each in (shuffled, curved))
    assert found == pytest.approx(expected, rel=1e-9)
    everything = replace(curved, rows=curved.rows.take(order.numpy()[:7]))
    assert _nonlinearity(everything, params, moved) != pytest.approx(expected, rel=1e-3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Retraining is advised")
def test_wrong_labels_leave_without_ruining_the_net():
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X / 16, y, random_state=0, stratify=y)
    random = np.random.RandomState(0)
    rows = random.choice(len(y), len(y) // 20, replace=False)
    y[rows] = (y[rows] + random.randint(1, 10, len(rows))) % 10
    clf = PumaClassifier(random_state=0, damping=1e-3).fit(X, y)
    before, losses = clf.score(X_test, y_test), {}
    for adaptive in (False, True):
        moved = copy.deepcopy(clf).set_params(adaptive_damping=adaptive)
        with pytest.warns(RetrainAdvisedWarning):
            moved.forget(rows)
        report = moved.receipts_[-1].solver["steps"][0]
        losses[adaptive] = report["forget_loss"]
        accuracy = moved.score(X_test, y_test)
        if adaptive:
            assert report["damping_factor"] > 1
            assert report["nonlinearity"] <= MAX_NONLINEARITY
            assert accuracy > before - 0.02
        else:
            assert report["damping_factor"] == 1
            assert accuracy < before - 0.1
    assert losses[True] > report["forget_loss_before"] + 1  # it did forget
