"""Closed-form models behind the steps of a pipeline, in searches and in cross-validation."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from sk_unlearn import ClosedFormClassifier, ClosedFormRegressor
from sk_unlearn.exceptions import FullRetrainWarning
from sk_unlearn.model_selection import forget_params, make_forgetting_scorer
from sk_unlearn.pipeline import make_forget_pipeline

X, Y = load_iris(return_X_y=True)
IDS = np.arange(150)
LEAVE = np.array([2, 70, 71, 149])
KEPT = np.delete(IDS, LEAVE)
MODEL = ClosedFormClassifier(n_components=60, random_state=0)


def forgot_and_fresh(pipe, data=X):
    forgot = clone(pipe).fit(data, Y, sample_id=IDS).forget(LEAVE)
    return forgot, clone(pipe).fit(data[KEPT], Y[KEPT], sample_id=KEPT)


def test_behind_steps_that_learn_nothing_it_subtracts():
    pipe = make_forget_pipeline(FunctionTransformer(np.sqrt), MODEL)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        forgot, fresh = forgot_and_fresh(pipe)
        assert forgot.forget_cost([5]).share_of_retrain < 1
    assert np.array_equal(forgot.predict_proba(X), fresh.predict_proba(X))
    receipt = forgot.receipts_[-1]
    assert receipt.solver["last_step"]["accumulated_anew"] is False
    assert receipt.cost.rows_retrained == 0


def test_behind_a_scaler_it_is_trained_anew_and_says_what_is_cheaper():
    pipe = make_forget_pipeline(StandardScaler(), MODEL)
    fitted = clone(pipe).fit(X, Y, sample_id=IDS)
    with pytest.warns(FullRetrainWarning, match="leave out the steps that scale"):
        assert fitted.forget_cost(LEAVE).share_of_retrain == 1
    with pytest.warns(FullRetrainWarning, match="leave out the steps that scale"):
        forgot, fresh = forgot_and_fresh(pipe)
    assert np.array_equal(forgot.predict_proba(X), fresh.predict_proba(X))


def test_behind_a_step_that_learns_the_same_again_it_subtracts():
    table = np.column_stack([np.rint(X[:, 0]), X[:, 1:]])
    encode = make_column_transformer((OneHotEncoder(), [0]), remainder="passthrough")
    pipe = make_forget_pipeline(encode, MODEL)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        forgot, fresh = forgot_and_fresh(pipe, table)
    assert forgot.receipts_[-1].solver["steps"]["columntransformer"] == "unchanged"
    assert forgot.receipts_[-1].solver["last_step"]["accumulated_anew"] is False
    assert np.array_equal(forgot.predict_proba(table), fresh.predict_proba(table))


def test_the_last_step_of_a_plain_pipeline_forgets():
    fixed = make_column_transformer((FunctionTransformer(np.log1p), [0, 1]), remainder="drop")
    pipe = make_pipeline(fixed, MODEL).fit(X, Y)
    pipe[-1].forget([0])
    assert pipe[-1].receipts_[-1].solver["accumulated_anew"] is False
    assert pipe.score(X, Y) > 0.7


def test_cross_validation_with_a_scorer_of_forgetting():
    rows = np.random.RandomState(0).choice(150, 10, replace=False)
    for data in (X, X.astype(np.float32)):
        params = forget_params(data, forget=rows, sample_id=IDS)
        scorer = make_forgetting_scorer("mia_auc", data, Y, sample_id=IDS)
        found = cross_validate(
            MODEL, data, Y, params=params, scoring={"forgotten": scorer}, error_score="raise"
        )
        assert np.isfinite(found["test_forgotten"]).all()


def test_searches():
    search = GridSearchCV(MODEL, {"alpha": [0.01, 1.0], "head": ["ridge", "lda"]}, cv=3)
    search.fit(X, Y, forget=np.isin(IDS, LEAVE))
    assert search.best_estimator_.receipts_[-1].n_forgotten == 4
    model = ClosedFormRegressor("passthrough").fit(X, X @ np.eye(4)[:, :2])
    assert model.forget([0]).predict(X).shape == (150, 2)
