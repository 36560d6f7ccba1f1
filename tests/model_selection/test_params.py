"""Metadata is checked where all rows are known."""

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_unlearn import RetrainClassifier
from sk_unlearn.model_selection import forget_params

RNG = np.random.RandomState(0)
N = 60
X, y = RNG.normal(size=(N, 3)), np.arange(N) % 2
X[:, 0] += y
IDS = np.array([f"r{i}" for i in range(N)])
MASK = np.arange(N) % 7 == 0
CLF = RetrainClassifier(LogisticRegression())


def test_positions_and_masks_are_the_same_request():
    by_mask = forget_params(X, forget=MASK, sample_id=IDS, groups=np.arange(N) % 9)
    by_position = forget_params(X, forget=np.flatnonzero(MASK)[::-1].tolist(), sample_id=list(IDS))
    assert list(by_mask) == ["forget", "sample_id", "groups"]
    assert list(by_position) == ["forget", "sample_id"]
    for name, value in by_position.items():
        assert np.array_equal(value, by_mask[name])
    assert np.array_equal(by_mask["forget"], MASK)
    frame = forget_params(pd.DataFrame(X), forget=pd.Series(MASK))["forget"]
    assert np.array_equal(frame, MASK)


@pytest.mark.parametrize("routing", [False, True])
def test_a_plain_pipeline_names_its_step_where_routing_is_off(routing):
    pipe = make_pipeline(StandardScaler(), CLF)
    step = None if routing else "retrainclassifier"
    params = forget_params(X, forget=MASK, sample_id=IDS, step=step)
    with config_context(enable_metadata_routing=routing):
        found = cross_validate(pipe, X, y, cv=KFold(3), params=params, return_estimator=True)
    for (train, _), fitted in zip(KFold(3).split(X), found["estimator"], strict=True):
        covers = fitted[-1].receipts_.covers
        assert [covers(key) for key in IDS[train]] == MASK[train].tolist()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"forget": [3, N]}, rf"must lie in \[0, {N}\), the rows of X, got {N}"),
        ({"forget": [-1]}, r"must lie in .* got -1"),
        ({"forget": [0.5]}, "'forget' .* must be a boolean mask"),
        ({"forget": MASK[:48]}, r"\(n_samples,\) = \(60,\), got dtype bool and shape \(48,\)"),
        ({"forget": np.zeros(N, bool)}, "marks none of the 60 rows"),
        ({"forget": np.arange(N)}, "marks all 60 rows"),
        ({"sample_id": IDS[:48]}, r"'sample_id' .* shape \(n_samples,\) = \(60,\)"),
        ({"sample_id": np.arange(N) % 30}, "must be unique, got 0 2 times"),
        ({"groups": [0]}, r"'groups' .* got shape \(1,\)"),
    ],
)
def test_refusals(given, message):
    with pytest.raises(ValueError, match=message):
        forget_params(X, **given)


def test_what_it_refuses_would_go_unnoticed():
    """A mask as long as the training part marks other rows in each fold, without an error."""
    short = MASK[:48]
    scores = cross_validate(
        CLF, X, y, cv=KFold(5), params={"forget": short, "sample_id": IDS}, return_estimator=True
    )
    forgot = [
        {key for key in IDS if fitted.receipts_.covers(key)} for fitted in scores["estimator"]
    ]
    assert forgot[0] != forgot[-1]
    with pytest.raises(ValueError, match="boolean mask"):
        forget_params(X, forget=short, sample_id=IDS)


def test_an_integer_mask_is_not_taken_for_positions():
    with pytest.raises(ValueError, match=r"distinct, got .*astype\(bool\)"):
        forget_params(np.zeros((6, 2)), forget=np.array([0, 0, 0, 1, 0, 1]))
    with pytest.raises(ValueError, match="distinct"):
        forget_params(np.zeros((6, 2)), forget=[2, 2])
