"""What every test finds, and has to leave."""

import signal
from unittest import mock

import pytest
import sklearn
import torch
from hypothesis import HealthCheck, settings

# A slow machine is no fault, so nothing here looks at the clock: limits of time are an hour, and
# only end what would hang for ever. Every run tries the same examples; others are tried by
# pytest --hypothesis-profile=default
settings.register_profile(
    "suite", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("suite")


@pytest.fixture(scope="session", autouse=True)
def _interruptible():
    """Ctrl-C raises, also where a shell started the tests with the signal ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def pytest_runtest_setup(item):
    """Tests that need a CUDA device are skipped where there is none."""
    if item.get_closest_marker("cuda") and not torch.cuda.is_available():
        pytest.skip("no CUDA device")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Default nets are on the CPU, but in tests that need a CUDA device."""
    if item.get_closest_marker("cuda"):
        return (yield)
    with mock.patch.object(torch.cuda, "is_available", return_value=False):
        return (yield)


@pytest.fixture(autouse=True)
def _switches_stay():
    config = sklearn.get_config()
    yield
    left_off, changed = not torch.is_grad_enabled(), sklearn.get_config() != config
    torch.set_grad_enabled(True)
    sklearn.set_config(**config)
    assert not left_off, "gradients were switched off and not on again"
    assert not changed, "scikit-learn's configuration was changed and not changed back"
