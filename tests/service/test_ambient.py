"""Settings that a caller has in force change neither bits nor outcome, and stay as they were."""

import sys
import threading
from contextlib import contextmanager

import numpy as np
import pytest
import sklearn
import threadpoolctl
import torch

from sk_unlearn import ArcaneEnsembleClassifier
from sk_unlearn.utils import _ambient
from sk_unlearn.utils._digest import state_digest
from tests.service.conftest import MAKERS, THREE, X, target

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sk_unlearn.exceptions.RetrainAdvisedWarning"),
    pytest.mark.filterwarnings("ignore:X has feature names:UserWarning"),  # scikit-learn's own
    pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled:UserWarning"),
]


@contextmanager
def setting(read, put, value):
    before = read()
    put(value)
    try:
        yield
        assert read() == value
    finally:
        put(before)


@contextmanager
def flushed():
    try:
        torch.set_flush_denormal(True)
        yield
        assert np.float32(1e-40) * np.float32(1) == 0
    finally:
        torch.set_flush_denormal(False)


@contextmanager
def default_device(device):
    try:
        torch.set_default_device(device)
        yield
        assert torch.get_default_device().type == device
    finally:
        torch.set_default_device(None)


@contextmanager
def inference():
    with torch.inference_mode():
        yield
        assert torch.is_inference_mode_enabled()


@contextmanager
def no_grad():
    with torch.no_grad():
        yield
        assert not torch.is_grad_enabled()


@contextmanager
def autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.nn.Linear(2, 2)(torch.ones(1, 2))  # its cache holds casts
        yield
        assert torch.is_autocast_enabled("cpu")


@contextmanager
def saved_tensor_hooks():
    def lossy(tensor):
        return tensor.half().float() if tensor.is_floating_point() else tensor

    with torch.autograd.graph.saved_tensors_hooks(lossy, lambda tensor: tensor):
        yield
        assert torch._C._autograd._top_saved_tensors_default_hooks(True)[0] is lossy


CONTEXTS = {
    "autocast": autocast,
    "inference mode": inference,
    "no_grad": no_grad,
    "default dtype": lambda: setting(
        torch.get_default_dtype, torch.set_default_dtype, torch.float64
    ),
    "default device": lambda: default_device("meta"),
    "deterministic": lambda: setting(
        torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms, True
    ),
    "anomaly": lambda: torch.autograd.set_detect_anomaly(True),
    "torch threads": lambda: setting(torch.get_num_threads, torch.set_num_threads, 3),
    "BLAS threads": lambda: threadpoolctl.threadpool_limits(2),
    "matmul precision": lambda: setting(
        torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "medium"
    ),
    "no MKL-DNN": lambda: setting(
        torch._C._get_mkldnn_enabled, torch._C._set_mkldnn_enabled, False
    ),
    "hooks of saved tensors": saved_tensor_hooks,
    "flushed denormals": flushed,
    "NumPy errors": lambda: np.errstate(all="raise"),
    "pandas output": lambda: sklearn.config_context(transform_output="pandas"),
}
_expected = {}


def expected(kind):
    """Answers and digests without any setting: of fit, and of forget."""
    if kind not in _expected:
        estimator = MAKERS[kind]().fit(X, target(kind))
        fitted = state_digest(estimator._model_state()), estimator.predict(X)
        estimator.forget([1, 5, 7])
        after = estimator.receipts_[0].digest_after, estimator.predict(X)
        _expected[kind] = fitted, after
    return _expected[kind]


@pytest.mark.parametrize("name", CONTEXTS)
def test_nothing_depends_on_settings_of_the_caller(kind, name):
    fitted, after = expected(kind)
    estimator = MAKERS[kind]().fit(X, target(kind))
    with CONTEXTS[name]():
        np.testing.assert_array_equal(estimator.predict(X), fitted[1])
        estimator.forget_cost([1])
        estimator.forget([1, 5, 7])
        np.testing.assert_array_equal(estimator.predict(X), after[1])
    assert estimator.receipts_[0].digest_after == after[0]
    if name == "pandas output":  # what fit made of it is its own affair
        return
    with CONTEXTS[name]():
        again = MAKERS[kind]().fit(X, target(kind))
    assert state_digest(again._model_state()) == fitted[0]


def test_settings_that_a_failing_request_leaves_behind_are_put_back():
    class Leaves(ArcaneEnsembleClassifier):
        def _forget_rows(self, rows, retained, hit):
            torch.set_grad_enabled(False)
            torch.set_default_dtype(torch.float64)
            torch.set_num_threads(3)
            sklearn.set_config(skip_parameter_validation=True)
            raise KeyboardInterrupt

    clf = Leaves(random_state=0).fit(X, THREE)
    found = torch.get_num_threads(), sklearn.get_config()
    with pytest.raises(KeyboardInterrupt):
        clf.forget([1])
    assert torch.is_grad_enabled()
    assert torch.get_default_dtype() is torch.float32
    assert (torch.get_num_threads(), sklearn.get_config()) == found


def test_an_interrupt_while_settings_are_put_in_force_is_made_good(monkeypatch):
    """At any call of the block's code, as signals arrive, with no shield as in a request."""
    # a trace can keep a lock from being released; a signal cannot
    monkeypatch.setattr(_ambient, "_lock", threading.RLock())

    def calls(stop):
        count = 0

        def trace(frame, event, _):
            nonlocal count
            if frame.f_code.co_filename != _ambient.__file__ or frame.f_code in passed_by:
                return None
            count += event != "line"
            if event != "line" and count == stop:
                raise KeyboardInterrupt
            return trace

        found = sys.gettrace()
        try:
            sys.settrace(trace)
            with _ambient.own_settings():
                pass
        finally:
            sys.settrace(found)
        return count

    # a trace that raises as a generator goes on ends it without its "finally"
    generators = _ambient.plain_torch, _ambient.own_settings
    passed_by = {generator.__wrapped__.__code__ for generator in generators}
    for n in range(1, calls(stop=-1) + 1):
        with setting(torch.get_default_dtype, torch.set_default_dtype, torch.float64):
            with pytest.raises(KeyboardInterrupt):
                calls(stop=n)
            assert torch.get_default_dtype() is torch.float64, n
            with setting(torch.get_default_dtype, torch.set_default_dtype, torch.float16):
                with _ambient.own_settings():
                    assert torch.get_default_dtype() is torch.float32
                assert torch.get_default_dtype() is torch.float16, n
