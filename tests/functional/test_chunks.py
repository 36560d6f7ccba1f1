import pytest
import torch
from torch import nn

from sk_unlearn.functional import RowwiseModel, rows_per_chunk
from sk_unlearn.functional._chunks import choose_chunk_size


@pytest.mark.parametrize(
    ("device", "bytes_per_row", "n_rows"),
    [
        ("cpu", 2**10, 2**15),  # 32 MiB of them
        ("cpu", 2**22, 32),  # less would be too few
        ("cpu", 2**25, 8),  # but 256 MiB are the most
        ("cpu", 2**30, 1),
        ("cuda", 2**10, 2**18),
        ("cuda", 2**30, 1),
    ],
)
def test_a_chunk_is_small_on_a_cpu_and_at_least_one_row(device, bytes_per_row, n_rows):
    assert choose_chunk_size(bytes_per_row, torch.device(device)) == n_rows


def test_more_rows_may_be_kept_than_go_through_at_once():
    with torch.random.fork_rng(devices=[]):  # 256 KiB a row
        net = nn.Sequential(nn.Linear(2, 2**16), nn.Tanh(), nn.Linear(2**16, 2))
    model = RowwiseModel(net.eval(), nn.CrossEntropyLoss(reduction="none"))
    at_once, kept = (
        rows_per_chunk(model, model.parameters(), torch.zeros(2, 2), kept=kept)
        for kept in (False, True)
    )
    assert 32 <= at_once <= 130
    assert 500 <= kept <= 1030
