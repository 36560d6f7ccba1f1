import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.model_selection import KFold
from skorch import NeuralNetClassifier
from skorch.dataset import Dataset, ValidSplit
from skorch.helper import predefined_split
from torch import nn
from torch.utils.data import Subset, random_split

from sk_unlearn.exceptions import UnsupportedNetError
from sk_unlearn.nets import MLP, ArrayDataset, held_out_rows, pin_split, prepare

N = 50
RNG = np.random.RandomState(0)
X, Y = RNG.normal(size=(N, 4)).astype(np.float32), RNG.randint(0, 3, N)


def make(**settings):
    return NeuralNetClassifier(
        MLP,
        module__n_features=4,
        module__n_outputs=3,
        criterion=nn.CrossEntropyLoss,
        verbose=0,
        max_epochs=2,
        batch_size=8,
        **settings,
    )


def train(net):
    torch.manual_seed(0)
    np.random.seed(0)
    net.fit(X, Y)
    return torch.cat([v.reshape(-1) for v in net.module_.state_dict().values()])


SPLITS = [
    ValidSplit(5),
    ValidSplit(0.3),
    ValidSplit(0.3, stratified=True, random_state=1),
    ValidSplit(KFold(3, shuffle=True)),
    ValidSplit([(np.array([3, 1, 2]), np.array([7, 9]))]),
]


@pytest.mark.parametrize("split", SPLITS)
def test_a_pinned_split_trains_as_the_split_would(split):
    expected = train(make(train_split=split))
    net = prepare(make(train_split=split))
    np.random.seed(0)
    same, rows, valid, external = pin_split(net, X, Y)
    assert same is net
    assert external is None
    assert not set(rows) & set(valid)
    assert torch.equal(train(net), expected)
    again = held_out_rows(net, X, Y)
    np.testing.assert_array_equal(again[0], rows)
    np.testing.assert_array_equal(again[1], valid)


def test_rows_that_are_held_out_do_not_train():
    net = prepare(make(train_split=ValidSplit(0.3)))
    _, rows, valid, _ = pin_split(net, X, Y)
    changed, other = X.copy(), prepare(make(train_split=net.train_split))
    changed[valid] = 0
    first = train(net)
    torch.manual_seed(0)
    other.fit(changed, Y)
    assert torch.equal(
        first, torch.cat([v.reshape(-1) for v in other.module_.state_dict().values()])
    )
    assert len(rows) + len(valid) == N


def test_without_a_split_every_row_trains():
    net, rows, valid, external = pin_split(make(train_split=None), X, Y)
    assert net.train_split is None
    np.testing.assert_array_equal(rows, np.arange(N))
    assert valid is None
    assert external is None


@pytest.mark.parametrize(
    "dataset",
    [
        Dataset(X[:9].astype(np.float64) + 1, np.array(["a", "b", "c"] * 3)),
        Subset(Dataset(X[:12] + 1, np.array(["a", "b", "c"] * 4)), np.arange(9)),
    ],
)
def test_external_rows_are_returned_and_encoded(dataset):
    net = prepare(make(train_split=predefined_split(dataset)))

    def encode(labels):
        return np.searchsorted(["a", "b", "c"], labels)

    _, rows, valid, (Xv, yv) = pin_split(net, X, Y, encode=encode)
    np.testing.assert_array_equal(rows, np.arange(N))
    assert valid is None
    np.testing.assert_allclose(Xv, X[:9] + 1)
    np.testing.assert_array_equal(yv, [0, 1, 2] * 3)
    assert isinstance(net.train_split.external, ArrayDataset)
    train(net)
    assert "valid_acc" in net.history[-1]


def test_random_splits_of_trained_nets_are_refused_and_fixed_ones_recomputed():
    with pytest.raises(UnsupportedNetError, match=r"random.*random_state=0"):
        held_out_rows(make(train_split=ValidSplit(0.3)), X, Y)
    state = np.random.get_state()[1].copy()
    rows, valid, _ = held_out_rows(make(train_split=ValidSplit(5)), X, Y)
    assert np.array_equal(state, np.random.get_state()[1])
    assert len(rows) + len(valid) == N


def torch_split(dataset, y=None):
    return random_split(dataset, [40, 10], generator=torch.Generator().manual_seed(0))


def overlapping(dataset, y=None):
    return dataset, Subset(dataset, [0])


def rebuilt(dataset, y=None):
    return Dataset(X[:10], Y[:10]), None


def opaque(dataset, y=None):
    return dataset, torch.utils.data.ConcatDataset([Dataset(X, Y)])


def test_torchs_random_split_is_followed():
    rows, valid, _ = held_out_rows(make(train_split=torch_split), X, Y)
    assert (len(rows), len(valid)) == (40, 10)


@pytest.mark.parametrize(
    ("split", "reason"),
    [
        (overlapping, "both trained on and held out"),
        (rebuilt, "not a subset of the rows"),
        (opaque, "no arrays X and y"),
    ],
)
def test_splits_that_cannot_be_followed_are_refused(split, reason):
    with pytest.raises(UnsupportedNetError, match=reason):
        pin_split(make(train_split=split), X, Y)


def test_a_pinned_split_refuses_other_data():
    net, *_ = pin_split(prepare(make(train_split=ValidSplit(5))), X, Y)
    with pytest.raises(ValueError, match="fixed for 50 rows, got 49"):
        net.fit(X[1:], Y[1:])


def test_frames_are_counted_by_rows():
    _, rows, _, _ = pin_split(make(train_split=ValidSplit(5)), pd.DataFrame(X), pd.Series(Y))
    assert len(rows) == 40
