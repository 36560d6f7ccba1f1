"""Centres and scales on a grid of powers of two."""

from fractions import Fraction
from math import log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sk_unlearn.utils._grid_scale import GridScale

NUMBERS = st.one_of(
    st.floats(-1e308, 1e308, allow_subnormal=False),
    st.integers(-(2**40), 2**40).map(float),
)


def is_power_of_two(value):
    return value > 0 and np.frexp(value)[0] == 0.5


@settings(max_examples=200)
@given(st.lists(NUMBERS, min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_the_same_in_any_order_and_next_to_exact_moments(values, random):
    y = np.array(values)[:, None]
    grid = GridScale.of_targets(y)
    random.shuffle(values)
    assert GridScale.of_targets(np.array(values)[:, None]) == grid
    (scale,), (offset,) = grid.scale, grid.offset
    assert is_power_of_two(scale)
    assert offset == round(offset)
    assert np.isfinite(grid.apply(y)).all()
    exact = [Fraction(value) for value in values]
    mean = sum(exact) / len(exact)
    variance = sum((value - mean) ** 2 for value in exact) / len(exact)
    if not variance:
        assert grid.restore(np.full((1, 1), 0.4)).item() == values[0]
        return
    ratio = variance / Fraction(scale) ** 2  # a float may not hold either of them
    # half a step of the grid, and what the sums are rounded by
    assert scale <= 2**-1074 or 2**-1.02 < ratio < 2**1.02 or ratio < 2**-35
    assert (
        abs(mean / Fraction(scale) - Fraction(offset))
        < Fraction(51, 100) + abs(mean / Fraction(scale)) / 2**45
    )


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.float16, np.float32, bool])
def test_any_numbers(dtype):
    y = np.array([[0, 1], [1, 1], [1, 0], [0, 0]]).astype(dtype)
    assert GridScale.of_targets(y) == GridScale((0.5, 0.5), (1.0, 1.0))


def test_rows_rarely_change_what_is_written_down():
    """Standardised columns lie in the middle of their cell; repr, since keys are made of it."""
    y = np.random.RandomState(0).normal(size=(1000, 100))
    grid = repr(GridScale.of_targets(y))
    for row in range(0, 1000, 10):
        assert repr(GridScale.of_targets(np.delete(y, row, axis=0))) == grid


def test_more_rows_than_are_summed_at_a_time_and_far_from_zero():
    y = 1e9 + np.arange(3_000_000.0)[:, None] % 7
    grid = GridScale.of_targets(y)
    assert grid == GridScale((2.0,), (round(np.mean(y) / 2) * 1.0,))


def test_inputs_of_one_value_are_in_units_of_their_size():
    X = np.array([[0.0, 3e-5, -1000.0]])
    grid = GridScale.of_inputs(X)
    assert grid.scale == (1.0, 2.0 ** round(log2(3e-5)), 1024.0)
    assert (np.abs(grid.apply(X)) < 0.5).all()
    assert GridScale.of_inputs(np.full((3, 2, 2), 1e-300)).scale == (2.0**-126,) * 4


def test_planes_of_a_picture_are_flattened_as_a_net_does():
    X = np.random.RandomState(0).normal(size=(20, 2, 3)) * 100
    assert GridScale.of_inputs(X) == GridScale.of_inputs(X.reshape(20, 6))
