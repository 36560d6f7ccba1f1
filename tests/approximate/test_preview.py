"""What a request would do, told before it is made."""

import copy
import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from sk_unlearn import PumaClassifier, PumaRegressor
from sk_unlearn.exceptions import ForgetRequestError
from sk_unlearn.utils._digest import state_digest

X, y = load_digits(return_X_y=True)
X, y = X[:600] / 16, y[:600]


@pytest.fixture(scope="module")
def clf():
    return PumaClassifier(random_state=0).fit(X, y)


def losses(model, rows):
    return -np.log(model.predict_proba(X[rows])[np.arange(len(rows)), y[rows]])


@pytest.mark.parametrize("on_advice", ["warn", "retrain", "raise"])
def test_it_says_what_forget_then_does_and_changes_nothing(clf, on_advice):
    rows = np.setdiff1d(np.arange(60, 90), clf.validation_indices_)
    clf = copy.deepcopy(clf).set_params(on_advice=on_advice)
    before, state = state_digest(clf._model_state()), torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        preview = clf.forget_preview(rows)
    assert state_digest(clf._model_state()) == before
    assert torch.equal(torch.get_rng_state(), state)
    assert len(clf.receipts_) == 0
    np.testing.assert_array_equal(preview.position, rows)
    np.testing.assert_allclose(preview.loss, losses(clf, rows), rtol=1e-3, atol=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        moved = copy.deepcopy(clf).set_params(on_advice="warn").forget(rows)
    receipt = moved.receipts_[-1]
    np.testing.assert_allclose(preview.loss_after, losses(moved, rows), rtol=1e-3, atol=1e-6)
    assert preview.cost == receipt.cost
    assert preview.expected_gap == receipt.solver["expected_gap"]
    assert preview.advice == receipt.advice
    assert preview.may_retrain == (preview.expected_gap >= 1)


def test_rows_with_wrong_labels_come_first():
    wrong = np.random.RandomState(0).choice(len(y), 12, replace=False)
    labels = y.copy()
    labels[wrong] = (labels[wrong] + 5) % 10
    clf = PumaClassifier(random_state=0).fit(X, labels)
    asked = np.union1d(wrong, np.arange(0, 600, 12))
    asked = np.setdiff1d(asked, clf.validation_indices_)
    wrong = np.intersect1d(wrong, asked)
    preview = clf.forget_preview(asked)
    first = preview.ranked()[: len(wrong)]
    assert np.isin(first, wrong).mean() > 0.8
    assert preview.may_retrain


def test_rows_that_were_held_out_or_have_gone_are_left_out(clf):
    out = clf.validation_indices_[:2]
    preview = clf.forget_preview(out)
    assert len(preview.position) == len(preview.memorisation) == 0
    assert preview.expected_gap == 0
    assert len(clf.forget_preview([]).ranked()) == 0
    with pytest.raises(ForgetRequestError):
        clf.forget_preview(np.arange(len(y)))


def test_regressors_have_one():
    reg = PumaRegressor(random_state=0).fit(X[:200], y[:200] * 10.0)
    rows = np.setdiff1d(np.arange(20), reg.validation_indices_)
    preview = reg.forget_preview(rows)
    assert preview.loss.shape == rows.shape
    assert np.isfinite(preview.loss_after).all()
