"""An interrupt at any point of a request leaves the old state or the new one, and nothing else."""

import copy
import threading

import pytest
import torch

from sk_unlearn.utils import _generators, _signals
from sk_unlearn.utils._ambient import torch_modes
from sk_unlearn.utils._checks._isolation import _count_calls, _interrupt
from sk_unlearn.utils._digest import state_digest
from tests.service.conftest import MAKERS, X, target

N_POINTS = 150


def left_over():
    """What a thread or torch was set to, where a request should have put it back."""
    return {
        "signals": _signals._current,
        "modes": torch_modes(),
        "gradients": torch.is_grad_enabled(),
        "dtype": torch.get_default_dtype(),
        "generators": (_generators._own.torch, _generators._own.mode, _generators._own.paused),
        "forward mode": torch._C._is_fwd_grad_enabled(),
        "levels": torch._C._functorch.peek_interpreter_stack(),
    }


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside a thread"])
@pytest.mark.parametrize("kind", ["puma", "pipeline, puma", "sisa, own net"])
def test_an_interrupt_anywhere_leaves_the_old_state_or_the_new_one(kind, beside):
    done = threading.Event()
    if beside:
        threading.Thread(target=done.wait, daemon=True).start()
    fitted = MAKERS[kind]().fit(X, target(kind))
    new = copy.deepcopy(fitted)
    n_calls = _count_calls(lambda: new.forget([3]))
    states = [
        (state_digest(model._model_state()), len(model._rows_), len(model.receipts_))
        for model in (fitted, new)
    ]
    before = left_over()
    try:
        for stop in range(1, n_calls + 1, max(1, n_calls // N_POINTS)):
            model = copy.deepcopy(fitted)
            _interrupt(lambda model=model: model.forget([3]), stop)
            state = state_digest(model._model_state()), len(model._rows_), len(model.receipts_)
            assert state in states, f"call {stop} of {n_calls}"
            assert left_over() == before, f"call {stop} of {n_calls}"
    finally:
        done.set()
