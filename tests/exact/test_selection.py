import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from sk_unlearn.exact._selection import EntropySelector, KCenterSelector, RandomSelector
from sk_unlearn.utils._seeding import keyed_uniform

SELECTORS = [EntropySelector(), EntropySelector(max_rows=7), KCenterSelector(), RandomSelector()]
each_selector = pytest.mark.parametrize("selector", SELECTORS, ids=str)


def rows(n, shape=(3,), seed=0):
    return np.random.default_rng(seed).normal(size=(n, *shape)).astype(np.float32)


@each_selector
@settings(max_examples=25)
@given(data=st.data())
def test_row_order_does_not_matter(selector, data):
    n_rows = data.draw(st.integers(1, 30))
    n_select = data.draw(st.integers(1, n_rows))
    X = rows(n_rows)[data.draw(st.lists(st.integers(0, n_rows - 1), min_size=n_rows))[:n_rows]]
    ids = np.array([f"r{i}" for i in range(n_rows)], dtype=object)
    order = np.array(data.draw(st.permutations(range(n_rows))))
    chosen = selector.select(X, n_select=n_select, ids=ids, seed=5)
    again = selector.select(X[order], n_select=n_select, ids=ids[order], seed=5)
    assert ids[chosen].tolist() == ids[order][again].tolist()
    assert len(set(chosen.tolist())) == n_select


@each_selector
def test_images_many_features_and_all_rows(selector):
    X = rows(12, (1, 9, 9))
    ids = np.arange(100, 112)
    chosen = selector.select(X, n_select=5, ids=ids, seed=1)
    flat = clone(selector).select(X.reshape(12, -1), n_select=5, ids=ids, seed=1)
    assert chosen.tolist() == flat.tolist()
    assert sorted(selector.select(X, n_select=12, ids=ids, seed=1)) == list(range(12))


@each_selector
def test_equal_rows_are_told_apart_by_their_ids(selector):
    ids = np.arange(10)
    chosen = selector.select(np.ones((10, 2)), n_select=4, ids=ids, seed=3)
    assert (
        chosen.tolist() != selector.select(np.ones((10, 2)), n_select=4, ids=ids, seed=4).tolist()
    )
    moved = selector.select(np.ones((10, 2)), n_select=4, ids=ids[::-1], seed=3)
    assert ids[chosen].tolist() == ids[::-1][moved].tolist()


def test_random_rows_are_those_of_the_smallest_keys():
    ids = np.arange(40)
    chosen = RandomSelector().select(rows(40), n_select=6, ids=ids, seed=2)
    assert chosen.tolist() == np.argsort(keyed_uniform(2, "selection", ids))[:6].tolist()


@pytest.mark.parametrize(("bandwidth", "noise"), [(1.0, 0.1), (0.4, 0.5)])
def test_entropy_is_greedy_on_the_joint_entropy(bandwidth, noise):
    X = rows(14)
    u = np.arcsinh(X.astype(float))
    squared = ((u[:, None] - u) ** 2).sum(-1)
    kernel = np.exp(-squared / (bandwidth**2 * u.var(axis=0).sum())) + noise * np.eye(14)
    ids = np.arange(14)
    selector = EntropySelector(bandwidth=bandwidth, noise=noise)
    chosen = selector.select(X, n_select=9, ids=ids, seed=0).tolist()
    expected = chosen[:1]  # all single rows are equal
    while len(expected) < 9:
        gains = {
            i: np.linalg.slogdet(kernel[np.ix_([*expected, i], [*expected, i])])[1]
            for i in range(14)
            if i not in expected
        }
        expected.append(max(gains, key=gains.get))
    assert chosen == expected


def test_k_center_is_greedy_on_the_largest_distance():
    X = rows(20)
    u = np.arcsinh(X.astype(float))
    chosen = KCenterSelector().select(X, n_select=8, ids=np.arange(20), seed=0).tolist()
    assert chosen[0] == np.argmin(((u - u.mean(0)) ** 2).sum(1))
    for step in range(1, 8):
        nearest = ((u[:, None] - u[chosen[:step]]) ** 2).sum(-1).min(axis=1)
        assert chosen[step] == np.argmax(nearest)


@pytest.mark.parametrize("selector", [EntropySelector(), KCenterSelector()], ids=str)
def test_every_cluster_is_represented_before_any_twice(selector):
    centres = np.array([[4.0, 0], [0, 4], [-4, 0], [0, -4], [0, 0]])
    X = np.repeat(centres, [30, 3, 2, 4, 1], axis=0) + 0.01 * rows(40, (2,))
    chosen = selector.select(X, n_select=5, ids=np.arange(40), seed=0)
    cluster = ((X[:, None] - centres) ** 2).sum(-1).argmin(1)
    assert sorted(cluster[chosen]) == [0, 1, 2, 3, 4]


def test_large_classes_are_cut_into_parts_of_equal_shares():
    X, ids = rows(50), np.arange(50)
    chosen = EntropySelector(max_rows=20).select(X, n_select=11, ids=ids, seed=0)
    order = np.argsort(keyed_uniform(0, "selection", ids))
    place = np.argsort(order)[chosen]
    assert len(set(chosen.tolist())) == 11
    assert np.bincount(np.searchsorted([16, 33], place, side="right")).tolist() == [3, 4, 4]


@each_selector
@pytest.mark.parametrize("n_select", [0, 5, 2.0])
def test_number_of_rows_is_checked(selector, n_select):
    with pytest.raises(ValueError, match="n_select must be an int between 1 and n_rows=4"):
        selector.select(rows(4), n_select=n_select, ids=np.arange(4), seed=0)


@pytest.mark.parametrize("name", ["bandwidth", "noise", "max_rows"])
def test_parameters_are_checked(name):
    with pytest.raises(ValueError, match=f"'{name}' parameter of EntropySelector"):
        EntropySelector(**{name: 0}).select(rows(4), n_select=2, ids=np.arange(4), seed=0)


def test_other_refusals():
    with pytest.raises(ValueError, match="ids must have shape"):
        RandomSelector().select(rows(4), n_select=2, ids=np.arange(3), seed=0)
    with pytest.raises(ValueError, match="finite"):
        KCenterSelector().select(np.array([[np.nan], [1.0]]), n_select=1, ids=np.arange(2), seed=0)
