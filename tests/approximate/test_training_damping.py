"""Damping that comes from how the net was trained."""

import numpy as np
import pytest
import torch
from skorch import NeuralNetClassifier
from torch import nn, optim

from sk_unlearn import PumaClassifier, PumaRegressor
from sk_unlearn.nets import MLP
from sk_unlearn.nets._proximal import UNKNOWN, proximal_term

RNG = np.random.RandomState(0)
Y = np.arange(90) % 3
X = (RNG.normal(size=(90, 4)) + 2 * Y[:, None]).astype(np.float32)

pytestmark = pytest.mark.filterwarnings("ignore::sk_unlearn.exceptions.RetrainAdvisedWarning")


def net(**params):
    settings = {"module__n_features": 4, "module__n_outputs": 3, "module__hidden": (5,)}
    settings |= {"max_epochs": 4, "batch_size": 30, "train_split": None, "verbose": 0}
    return NeuralNetClassifier(MLP, criterion=nn.CrossEntropyLoss, **(settings | params))


def ridge(net, decay=0.0):
    params = dict(net.module_.named_parameters())
    term = proximal_term(net, 90)
    return term.ridge(params, dict.fromkeys(params, decay)), term


def test_of_sgd_it_is_one_over_the_sum_of_rates():
    plain = net(lr=0.1).fit(X, Y)  # 4 epochs of 3 batches
    found, term = ridge(plain)
    for value in found.values():
        np.testing.assert_allclose(value, 1 / (0.1 * 12), rtol=1e-5)
    assert term.source == "SGD"
    with_momentum, _ = ridge(net(lr=0.1, optimizer__momentum=0.8).fit(X, Y))
    for value in with_momentum.values():
        np.testing.assert_allclose(value, (1 - 0.8) / (0.1 * 12), rtol=1e-5)


def test_of_adam_it_is_the_root_of_the_second_moments_of_rank_one():
    trained = net(optimizer=optim.Adam, lr=0.01).fit(X, Y)
    found, _ = ridge(trained)
    for name, p in trained.module_.named_parameters():
        state = trained.optimizer_.state[p]
        exact = (state["exp_avg_sq"] / (1 - 0.999**12)).sqrt() + 1e-8
        exact = exact / (0.01 * 12)
        if exact.ndim == 1:
            continue
        bias = name.replace("weight", "bias")
        moment = trained.optimizer_.state[dict(trained.module_.named_parameters())[bias]]
        beside = ((moment["exp_avg_sq"] / (1 - 0.999**12)).sqrt() + 1e-8) / (0.01 * 12)
        whole = torch.cat([exact, beside[:, None]], 1)
        rank_one = torch.outer(whole.mean(1), whole.mean(0)) / whole.mean()
        np.testing.assert_allclose(found[name], rank_one[:, :-1], rtol=1e-3)
        np.testing.assert_allclose(found[bias], rank_one[:, -1], rtol=1e-3)


def test_a_net_without_a_known_optimiser_gets_a_constant():
    trained = net(optimizer=optim.Rprop, lr=0.01).fit(X, Y)
    found, _ = ridge(trained)
    assert all((value == UNKNOWN).all() for value in found.values())


@pytest.mark.parametrize("optimizer", [optim.SGD, optim.Adam])
def test_the_step_is_the_dense_solution(optimizer):
    """H_R + Gamma, dense, against the solver in rows and columns."""
    exact = {"tol": 1e-6, "n_curvature_rows": None, "adaptive_damping": False, "max_products": 900}
    clf = PumaClassifier(
        net(optimizer=optimizer, lr=0.02),
        damping="training",
        compensation=None,
        validation_fraction=None,
        random_state=0,
        **exact,
    ).fit(X, Y)
    gone = [3, 10, 17, 40]
    module, kept = clf.estimator_.module_, np.setdiff1d(np.arange(90), gone)
    params = {name: p.detach().clone() for name, p in module.named_parameters()}
    names, sizes = list(params), [p.numel() for p in params.values()]
    gamma, _ = ridge(clf.estimator_)
    gamma = torch.cat([gamma[name].flatten() for name in names]).double()

    def scores(flat, rows):
        parts = flat.split(sizes)
        given = {n: p.view_as(params[n]) for n, p in zip(names, parts, strict=True)}
        return torch.func.functional_call(module, given, (torch.from_numpy(X[rows]),))

    flat = torch.cat([p.flatten() for p in params.values()])
    jacobian = torch.func.jacrev(scores)(flat, kept).detach().double()
    p = scores(flat, kept).softmax(1).detach().double()
    hessian = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    H = torch.einsum("nki,nkl,nlj->ij", jacobian, hessian, jacobian) / 90
    loss = nn.functional.cross_entropy(
        scores(flat.requires_grad_(), gone), torch.from_numpy(Y[gone]), reduction="sum"
    )
    (g,) = torch.autograd.grad(loss, flat)
    expected = torch.linalg.solve(H + torch.diag(gamma), g.double() / 90)
    clf.forget(gone)
    moved = torch.cat([p.detach().flatten() for p in clf.estimator_.module_.parameters()])
    np.testing.assert_allclose(moved - flat.detach(), expected, atol=2e-4 * expected.abs().max())


def test_it_may_be_set_after_fit_and_for_regressors():
    clf = PumaClassifier(net(optimizer=optim.Adam), random_state=0).fit(X, Y)
    assert np.isfinite(clf.set_params(damping="training").forget([1]).predict_proba(X)).all()
    assert clf.receipts_[-1].parameters["damping"] == "training"
    reg = PumaRegressor(damping="training", random_state=0).fit(X, X[:, 0])
    assert np.isfinite(reg.forget([1, 2]).predict(X)).all()
