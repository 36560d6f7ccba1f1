"""Planted classifiers: what they remember is known, and they train in no time."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin


class Planted(ClassifierMixin, BaseEstimator):
    """Finds a row easier by `memory` if it was trained on it; the first column names the row."""

    _removal_params = frozenset({"forgets"})
    fits = 0

    def __init__(self, memory=3.0, forgets=1.0, random_state=None):
        self.memory = memory
        self.forgets = forgets
        self.random_state = random_state

    def fit(self, X, y, sample_id=None):
        Planted.fits += 1
        self.classes_ = np.unique(y)
        self.rows_ = X[:, 0].astype(int)
        self.sample_id_ = sample_id
        self.bonus_ = dict.fromkeys(self.rows_.tolist(), self.memory)
        self.labels_ = dict(zip(self.rows_.tolist(), y.tolist(), strict=True))
        return self

    def forget(self, positions):
        for row in self.rows_[positions].tolist():
            self.bonus_[row] *= 1 - self.forgets
        return self

    def predict_proba(self, X):
        rows = X[:, 0].astype(int)
        rng = np.random.RandomState(self.random_state)
        noise = rng.normal(size=10_000)[rows] + 0.2 * rng.normal()
        own = 1 + noise + [self.bonus_.get(row, 0.0) for row in rows.tolist()]
        label = X[:, 1].astype(int)
        p = expit(np.where(label == self.classes_[1], own, -own))
        return np.column_stack([1 - p, p])

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(1)]


@pytest.fixture
def planted():
    return Planted


@pytest.fixture
def rows():
    """Two columns, the row's number and its label; labels."""
    y = np.arange(240) % 2
    return np.column_stack([np.arange(240.0), y]), y
