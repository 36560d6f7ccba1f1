import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skorch.dataset import Dataset
from torch.utils.data import DataLoader, Subset

from sk_unlearn.nets import ArrayDataset, TensorBatches, as_tensor


def _rows(n, width=3):
    X = np.arange(n * width, dtype=np.float32).reshape(n, width)
    return X, np.arange(n)


def _same(ours, theirs):
    ours, theirs = list(ours), list(theirs)
    assert len(ours) == len(theirs)
    for (X, y), (Xr, yr) in zip(ours, theirs, strict=True):
        assert torch.equal(X, Xr)
        assert torch.equal(y, yr)
        assert (X.dtype, y.dtype) == (Xr.dtype, yr.dtype)


@settings(max_examples=60)
@given(
    n=st.integers(1, 40),
    width=st.sampled_from([1, 3, 16, 64]),
    batch_size=st.integers(1, 17),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
    seed=st.integers(0, 5),
    subset=st.booleans(),
    own_generator=st.booleans(),
    with_y=st.booleans(),
)
def test_draws_the_batches_of_dataloader(
    n, width, batch_size, shuffle, drop_last, seed, subset, own_generator, with_y
):
    X, y = _rows(n, width)
    y = y if with_y else None
    ours, theirs = ArrayDataset(X, y), Dataset(X, y)
    if subset:
        rows = np.random.RandomState(seed).permutation(n)[: max(1, n // 2)]
        ours, theirs = (Subset(Subset(d, rows), rows.argsort()) for d in (ours, theirs))
    epochs, states = [], []
    for kind, data in ((TensorBatches, ours), (DataLoader, theirs)):
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed) if own_generator else None
        options = {"batch_size": batch_size, "shuffle": shuffle, "drop_last": drop_last}
        loader = kind(data, generator=generator, **options)
        epochs.append([batch for _ in range(2) for batch in loader])
        states.append(
            [torch.get_rng_state(), None if generator is None else generator.get_state()]
        )
        assert len(loader) * 2 == len(epochs[-1])
    _same(*epochs)
    assert torch.equal(states[0][0], states[1][0])
    if own_generator:
        assert torch.equal(states[0][1], states[1][1])


def test_blocks_of_a_long_epoch_cover_every_row_once(monkeypatch):
    monkeypatch.setattr("sk_unlearn.nets._batches._BLOCK_BYTES", 1024)
    X, y = _rows(500, 16)
    torch.manual_seed(0)
    seen = torch.cat([y for _, y in TensorBatches(ArrayDataset(X, y), 32, shuffle=True)])
    assert not torch.equal(seen, torch.arange(500))
    assert torch.equal(seen.sort().values, torch.arange(500))


@pytest.mark.parametrize("X", [{"a": np.ones((5, 2))}, [np.ones((5, 2)), np.ones((5, 1))]])
def test_containers_take_skorchs_own_path(X):
    data = ArrayDataset(X, np.arange(5))
    assert data.tensors is None
    batches = list(TensorBatches(data, 2))
    assert len(batches) == 3
    assert type(batches[0][0]) is type(X)


def test_foreign_datasets_are_left_to_dataloader():
    data = torch.utils.data.TensorDataset(torch.arange(5.0), torch.arange(5))
    _same(TensorBatches(data, 2), DataLoader(data, 2))


@pytest.mark.parametrize(
    "dtype", ["float16", "float64", "int8", "uint16", "uint64", "bool", ">f8"]
)
def test_casts_inputs_to_the_nets_dtype_and_labels_to_int64(dtype):
    X, y = np.ones((3, 2), dtype), np.ones(3, dtype)
    Xt, yt = ArrayDataset(X, y, dtype=torch.float64).tensors
    assert Xt.dtype == torch.float64
    assert yt.dtype == (torch.float64 if "f" in dtype else torch.int64)
    assert ArrayDataset(X, y, float_target=True).tensors[1].dtype == torch.float32


def test_keeps_integers_for_embeddings():
    X, _ = ArrayDataset(np.ones((3, 2), "int32"), keep_integers=True).tensors
    assert X.dtype == torch.int64


def test_dataframe_becomes_one_tensor_and_text_does_not():
    frame = pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5]})
    assert torch.equal(
        ArrayDataset(frame, pd.Series([0, 1])).tensors[0], torch.tensor([[1, 0.5], [2, 1.5]])
    )
    assert ArrayDataset(frame.assign(b=["x", "y"])).tensors is None


def test_read_only_and_reversed_arrays_are_copied():
    X = np.ones((4, 2), np.float32)
    X.setflags(write=False)
    as_tensor(X)[0, 0] = 5
    assert X[0, 0] == 1
    assert as_tensor(np.arange(3)[::-1]).tolist() == [2, 1, 0]


def test_text_is_refused_by_name():
    with pytest.raises(TypeError, match="dtype <U1"):
        as_tensor(np.array(["a"]))


def test_a_module_that_writes_to_its_batch_leaves_the_data_alone():
    X, _ = _rows(6)
    for batch, _ in TensorBatches(ArrayDataset(X), 2):
        batch.zero_()
    assert X[-1, -1] == 17


def test_length_mismatch_is_reported_as_by_skorch():
    with pytest.raises(ValueError, match="inconsistent lengths"):
        ArrayDataset(np.ones((3, 2)), np.ones(2))


def test_rows_are_still_readable_one_by_one():
    X, y = _rows(4)
    row, target = ArrayDataset(X, y)[2]
    assert row.tolist() == X[2].tolist()
    assert target == 2
