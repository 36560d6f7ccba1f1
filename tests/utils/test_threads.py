import threading

import pytest
import torch

from sk_unlearn.utils._threads import reproducible_threads


@pytest.fixture(autouse=True)
def _two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_one_thread_inside_and_as_found_after():
    with reproducible_threads():
        assert torch.get_num_threads() == 1
        with reproducible_threads():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with pytest.raises(ZeroDivisionError), reproducible_threads():
        1 / 0  # noqa: B018
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(("setting", "inside"), [("2", 2), ("0", 2), ("1", 1)])
def test_the_environment_sets_the_count(monkeypatch, setting, inside):
    monkeypatch.setenv("SK_UNLEARN_TORCH_THREADS", setting)
    with reproducible_threads():
        assert torch.get_num_threads() == inside


def test_overlapping_python_threads_share_one_count():
    entered, leave = threading.Event(), threading.Event()

    def work():
        with reproducible_threads():
            entered.set()
            leave.wait(3600)

    other = threading.Thread(target=work)
    with reproducible_threads():
        other.start()
        assert entered.wait(3600)
    # the first to enter has left, the other still computes: results must not change now
    assert torch.get_num_threads() == 1
    leave.set()
    other.join()
    with reproducible_threads():
        pass
    assert torch.get_num_threads() == 2
