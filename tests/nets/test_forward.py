"""Chunks of a prediction: where they end, what is read, what is checked, who writes to what."""

import numpy as np
import pandas as pd
import pytest
import torch
from skorch import NeuralNetClassifier
from torch import nn

from sk_unlearn.nets import (
    MLP,
    _spared,
    predict_columns,
    predict_proba,
    predict_proba_each,
    predict_scores,
    prepare,
)
from sk_unlearn.nets._forward import ForwardPass, Reader, _chunk_rows, in_chunks

D, K = 6, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, D)).astype(np.float32)


class Doubling(MLP):
    """Writes to its input, and says what it makes of it."""

    def forward(self, X):
        return super().forward(X.mul_(2))


class Counting(MLP):
    rows = ()

    def forward(self, X):
        self.rows = (*self.rows, len(X))
        return super().forward(X)


def net(module=MLP, seed=0, dtype=torch.float32, **settings):
    torch.manual_seed(seed)
    sizes = {"module__n_features": D, "module__n_outputs": K, "module__hidden": (4,)}
    made = NeuralNetClassifier(
        module, criterion=nn.CrossEntropyLoss, train_split=None, **(sizes | settings)
    )
    made = prepare(made).initialize()
    _spared._LEAVE_ALONE.add(made.module_)  # else the first prediction is that of a copy
    made.module_.to(dtype)
    return made


def plain(trained, rows):
    """One pass over everything, on a copy, as the oracle."""
    tensor = torch.from_numpy(np.array(rows, dtype=np.float32, order="C"))
    with torch.no_grad():
        return trained.module_.eval()(tensor).numpy()


FORMS = {
    "float32": X,
    "float64": X.astype(np.float64),
    "columns first": np.asfortranarray(X),
    "backwards": X[::-1].copy()[::-1],
    "every other": np.repeat(X, 2, axis=0)[::2],
    "other byte order": X.astype(">f4"),
    "frame": pd.DataFrame(X),
    "tensor": torch.from_numpy(X),
}


@pytest.mark.parametrize("form", [*FORMS, "read-only"])
@pytest.mark.parametrize("chunk_size", [None, 1, 7, 50, 60])
def test_every_form_of_rows_and_size_of_chunks_gives_the_same(form, chunk_size):
    rows = FORMS.get(form, X)
    if form == "read-only":
        rows = X.copy()
        rows.flags.writeable = False
    trained = net()
    found = predict_scores(trained, rows, chunk_size=chunk_size)
    np.testing.assert_allclose(found, plain(trained, X), rtol=1e-5, atol=1e-6)


def reader(dtype=torch.float32, device="cpu"):
    return Reader(dtype, False, torch.device(device))


@pytest.mark.parametrize(
    ("readers", "shape", "size"),
    [
        ([reader()], (9999, 16), 4096),
        ([reader()], (9999, 784), 2006),
        ([reader()], (9999, 20_000), 128),
        ([reader()], (9999, 1, 28, 28), 501),
        ([reader()], (99, 3, 224, 224), 27),
        ([reader()], (9, 10**7), 1),
        ([reader(), reader(torch.float64)], (9999, 784), 1003),
        ([reader(device="meta")], (9999, 784), 5349),
        ([reader()], (5, 0), 4096),
    ],
)
def test_chunks_depend_on_shape_type_and_device_alone(readers, shape, size):
    assert _chunk_rows(readers, np.broadcast_to(np.float32(0), shape)) == size


def test_chunks_start_at_multiples_whatever_the_number_of_rows():
    trained = net(Counting)
    rows = np.zeros((9000, D), np.float32)
    predict_scores(trained, rows)
    # 9000 rows of 24 bytes: the first chunk is a copy
    assert trained.module_.rows == (4096, 4096, 808)


# few bytes are copied, of many one row is tried; in one chunk and in two
@pytest.mark.parametrize("shape", [(3, 6), (5000, 6), (300, 2000), (1000, 2000)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_net_that_writes_to_its_input_spoils_nothing(shape, dtype):
    rows = np.resize(X, shape).astype(dtype)
    before, kinds = rows.copy(), [Doubling, MLP, Doubling]
    nets = [net(kind, i, module__n_features=shape[1]) for i, kind in enumerate(kinds)]
    found = predict_proba_each(nets, rows, lambda probas: np.stack(probas, axis=1))
    assert np.array_equal(rows, before)
    for i, each in enumerate(nets):
        expected = torch.softmax(torch.from_numpy(plain(each, before)), 1)
        np.testing.assert_allclose(found[:, i], expected, rtol=1e-4, atol=1e-6)


def test_of_many_bytes_one_row_is_tried():
    trained = net(Counting, module__n_features=2000)
    predict_scores(trained, np.zeros((1000, 2000), np.float32))
    assert trained.module_.rows == (1, 786, 214)


def test_nets_of_two_types_read_the_same_rows():
    nets = [net(seed=0), net(seed=1), net(seed=2, dtype=torch.float64)]
    passes = [ForwardPass(each, lambda output: output.double()) for each in nets]
    found = in_chunks(passes, X, sum, chunk_size=20)
    alone = [predict_scores(each, X).astype(np.float64) for each in nets]
    np.testing.assert_allclose(found, sum(alone), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n_rows", [0, 1])
def test_hardly_any_rows(n_rows):
    nets = [net(seed=0), net(seed=1)]
    assert predict_proba(nets[0], X[:n_rows]).shape == (n_rows, K)
    assert predict_proba_each(nets, X[:n_rows], sum).shape == (n_rows, K)
    assert predict_columns(nets[0], X[:n_rows], np.arange(K)).shape == (n_rows,)


def test_modules_see_contiguous_rows():
    class Viewing(MLP):
        def forward(self, X):
            return super().forward(X.view(-1).view(-1, D))

    trained = net(Viewing)
    for rows in (torch.from_numpy(X.T.copy()).T, np.asfortranarray(X)):
        found = predict_scores(trained, rows)
        np.testing.assert_allclose(found, plain(trained, X), rtol=1e-5, atol=1e-6)


def test_training_mode_ends_and_own_infer_is_asked():
    class Asked(NeuralNetClassifier):
        def infer(self, x, **fit_params):
            return super().infer(x + 1, **fit_params)

    trained = net()
    own = Asked(**trained.get_params(deep=False)).initialize()
    own.module_.load_state_dict(trained.module_.state_dict())
    own.module_.train()
    found = predict_scores(own, X)
    assert not own.module_.training
    np.testing.assert_allclose(found, plain(trained, X + 1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("columns", [[0, 1, 2], [0, 2], [1]])
@pytest.mark.parametrize("nonlinearity", ["auto", None, torch.sigmoid])
def test_labels_are_those_of_the_likeliest_column(columns, nonlinearity):
    trained = net(predict_nonlinearity=nonlinearity)
    proba = predict_proba(trained, X)[:, columns]
    found = predict_columns(trained, X, np.array(columns), chunk_size=7)
    assert found.dtype == np.int64
    assert np.array_equal(found, proba.argmax(axis=1))


def test_labels_follow_a_nonlinearity_that_turns_the_order():
    trained = net(predict_nonlinearity=torch.neg)
    assert np.array_equal(
        predict_columns(trained, X, np.arange(K)), predict_scores(trained, X).argmin(axis=1)
    )


def test_labels_of_saturated_scores_follow_the_logits():
    class Far(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, X):
            return self.scale * X[:, :K] + 1000 * torch.tensor([1.0, 0.0, 0.0])

    trained = prepare(NeuralNetClassifier(Far, criterion=nn.CrossEntropyLoss)).initialize()
    # softmax leaves the columns of both other classes empty: nothing to choose by
    assert np.array_equal(predict_columns(trained, X, np.array([1, 2])), X[:, 1:3].argmax(axis=1))


@pytest.mark.parametrize(("n_rows", "chunk_size"), [(1, None), (15, None), (17, 16), (3, 2)])
def test_few_rows_are_computed_as_many_are(n_rows, chunk_size):
    """A product of one row takes other code, with other last bits."""
    trained = net(Counting)
    trained.module_.rows = ()
    found = predict_scores(trained, X[:n_rows], chunk_size=chunk_size)
    assert set(trained.module_.rows) == {min(16, chunk_size or 16)}
    assert found.shape == (n_rows, K)
    np.testing.assert_allclose(found, plain(trained, X)[:n_rows], rtol=1e-5, atol=1e-6)


def test_a_row_alone_gives_what_it_gives_in_company():
    trained = net(module__n_features=8, module__hidden=(64,))
    rows = RNG.normal(size=(50, 8)).astype(np.float32)
    alone = [predict_scores(trained, row[None]) for row in rows]
    np.testing.assert_array_equal(np.concatenate(alone), predict_scores(trained, rows))


class Channels(nn.Module):
    """Gives its input another axis in place, as users of Conv1d do."""

    def __init__(self, n_features, n_outputs, hidden):
        super().__init__()
        self.slide, self.out = nn.Conv1d(1, 2, 3), nn.Linear(2 * (n_features - 2), n_outputs)

    def forward(self, X):
        return self.out(torch.relu(self.slide(X.unsqueeze_(1))).flatten(1))


@pytest.mark.parametrize("n_rows", [1, 2, 50, 5000])
def test_an_input_that_changes_its_shape(n_rows):
    trained, rows = net(Channels), np.resize(X, (n_rows, D))
    before = rows.copy()
    np.testing.assert_allclose(predict_scores(trained, rows), plain(trained, rows), atol=1e-6)
    assert rows.shape == before.shape
    assert np.array_equal(rows, before)
