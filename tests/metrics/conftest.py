"""Simulated margins with a known answer."""

import numpy as np
import pytest


@pytest.fixture
def rng():
    return np.random.default_rng(20240607)


@pytest.fixture
def margins(rng):
    """Draw margins of models: rows differ in difficulty, models in a common and a row's part."""
    difficulty = rng.normal(1.0, 1.0, 400)

    def draw(n_models, n_rows=60, shift=0.0):
        common = 0.3 * rng.normal(size=(n_models, 1))
        return difficulty[:n_rows] + shift + common + rng.normal(size=(n_models, n_rows))

    return draw
