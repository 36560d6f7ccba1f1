import pickle
from copy import deepcopy

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier
from skorch import NeuralNetClassifier
from torch import nn

from sk_unlearn.nets import MLP
from sk_unlearn.utils._digest import state_digest

X, y = np.random.RandomState(0).normal(size=(20, 3)), np.arange(20) % 2
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
)


def test_digests_of_earlier_versions_still_hold():
    value = {"b": [1, -0.0, None], "a": {2: (True, b"x"), np.str_("c"): np.arange(3.0)}}
    expected = "405841a9c7153e1dba4e7023aef126fdbddd7afeeea69940111b56cb91c1ac5c"
    assert state_digest(value) == expected


@given(plain)
def test_copies_have_the_same_digest(value):
    assert state_digest(value) == state_digest(deepcopy(value))


@given(st.dictionaries(st.text() | st.integers(), st.integers()))
def test_the_order_of_a_dict_does_not_count(value):
    assert state_digest(value) == state_digest(dict(reversed(value.items())))


DIFFERENT = [
    1,
    1.0,
    True,
    "1",
    b"1",
    None,
    [1],
    (1,),
    {1},
    {1: 1},
    {"1": 1},
    [1, 2],
    [2, 1],
    [[1], 2],
    [1, [2]],
    0.0,
    -0.0,
    5e-324,
    np.float32(1),
    np.zeros(2),
    np.zeros((2, 1)),
    np.zeros(2, np.float32),
    np.array(["a", "b"]),
    np.array(["a", "b"], dtype=object),
    np.array(["a", 1], dtype=object),
    torch.zeros(2),
    torch.zeros(2, dtype=torch.float64),
    -torch.zeros(2),
    torch.zeros(2).bfloat16(),
    range(3),
    range(4),
    np.sum,
    np.prod,
    MLP,
    slice(1),
    slice(2),
    np.random.RandomState(0),
    np.random.RandomState(1),
    torch.Generator().manual_seed(1),
    torch.Generator().manual_seed(2),
    pd.Series([1.0]),
    pd.Series([2.0]),
]


def test_different_values_have_different_digests():
    digests = [state_digest(value) for value in DIFFERENT]
    repeated = [v for v, d in zip(DIFFERENT, digests, strict=True) if digests.count(d) > 1]
    assert not repeated


@pytest.mark.parametrize(
    ("kind", "attribute"), [(LogisticRegression, "coef_"), (KNeighborsClassifier, "_fit_X")]
)
def test_one_bit_of_an_estimator_counts(kind, attribute):
    one, other = kind().fit(X, y), kind().fit(X, y)
    assert state_digest(one) == state_digest(other)
    values = getattr(other, attribute).copy()
    values.flat[0] = np.nextafter(values.flat[0], np.inf)
    setattr(other, attribute, values)
    assert state_digest(one) != state_digest(other)


def test_objects_behind_c_extensions_are_read():
    trees = [DecisionTreeClassifier(random_state=0, max_depth=d).fit(X, y) for d in (1, 1, 2)]
    digests = [state_digest(tree.tree_) for tree in trees]
    assert digests[0] == digests[1] != digests[2]


def test_the_time_and_place_of_training_a_net_do_not_count():
    def trained(epochs):
        net = NeuralNetClassifier(
            MLP,
            module__n_features=3,
            module__n_outputs=2,
            criterion=nn.CrossEntropyLoss,
            max_epochs=epochs,
            verbose=0,
        )
        torch.manual_seed(0)
        return net.fit(X.astype(np.float32), y)

    net, again = trained(2), trained(2)
    assert net.history[0]["dur"] != again.history[0]["dur"]
    for same in (again, deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert state_digest(net) == state_digest(same)
    longer = trained(3).set_params(max_epochs=2)
    assert state_digest(net) != state_digest(longer)
    with torch.no_grad():
        again.module_.layers[1].bias[0].nextafter_(torch.tensor(9.0))
    assert state_digest(net) != state_digest(again)


def test_cycles_end():
    loop = [1]
    loop.append(loop)
    other = [2]
    other.append(other)
    assert state_digest(loop) != state_digest(other)
    shared = np.ones(2)
    assert state_digest([shared, shared]) == state_digest([np.ones(2), np.ones(2)])


def test_layout_in_memory_does_not_count():
    square = np.arange(9.0).reshape(3, 3)
    assert state_digest(square) == state_digest(np.asfortranarray(square))
    assert state_digest(square.T) != state_digest(square)
    tensor = torch.arange(9.0).reshape(3, 3)
    assert state_digest(tensor.T) == state_digest(tensor.T.contiguous())
    assert state_digest(tensor) == state_digest(tensor.clone().requires_grad_())


def test_universal_functions_have_a_digest():
    assert state_digest(np.log1p) == state_digest(np.log1p) != state_digest(np.log)


def test_names_that_skorch_uses_count_in_others():
    one, other = (LogisticRegression().fit([[0], [1]], [0, 1]) for _ in range(2))
    one._modules, other._modules = [1.0], [2.0]
    assert state_digest(one) != state_digest(other)
