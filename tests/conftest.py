"""What every test finds, and has to leave."""

import signal

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _interruptible():
    """Ctrl-C raises, also where a shell started the tests with the signal ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def _gradients_stay_on():
    yield
    left_off = not torch.is_grad_enabled()
    torch.set_grad_enabled(True)
    assert not left_off, "gradients were switched off and not on again"
