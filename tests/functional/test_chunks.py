import pytest
import torch

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
