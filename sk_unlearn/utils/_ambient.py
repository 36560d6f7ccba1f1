"""The caller's settings of torch and NumPy, kept out of what an estimator computes."""

import os
import threading
from contextlib import ExitStack, contextmanager
from copy import deepcopy

import numpy as np
import torch

__all__ = ["own_settings", "plain_torch", "restore_modes", "torch_modes", "trainable"]

_lock = threading.Lock()
_inside = {}  # blocks, and the threads that they are of
_found = {}


def _set_anomaly(value):
    torch.set_anomaly_enabled(*value)


_NUMPY_ERRORS = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}
# Settings of the whole process: how to read one, how to set it, what is computed with.
_PROCESS = (
    (torch.get_default_dtype, torch.set_default_dtype, torch.float32),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest"),
    (
        lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        _set_anomaly,
        (False, True),
    ),
    (torch._C._get_mkldnn_enabled, torch._C._set_mkldnn_enabled, True),
    (torch._C._get_cudnn_benchmark, torch._C._set_cudnn_benchmark, False),
)


@contextmanager
def plain_torch():
    """Without what the caller's thread has set around the block.

    Autocast, inference mode, grad mode, the default device, hooks of saved tensors, flushed
    denormals and NumPy's error state belong to a thread: they are as in a new one inside, and as
    found after it, whatever the block leaves behind.
    """
    grad, modes = torch.is_grad_enabled(), torch_modes()
    try:
        if _is_plain():  # as nearly always: the rest takes as long as a small prediction
            yield
            return
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
            for device in _autocast_devices():
                stack.callback(torch.set_autocast_enabled, device, True)
                stack.enter_context(torch.autocast(device, enabled=False))
            if torch.get_default_device().type != "cpu":
                stack.enter_context(torch.device("cpu"))
            while (hooks := _saved_tensors_hooks()) is not None:
                stack.callback(torch._C._autograd._push_saved_tensors_default_hooks, *hooks)
                torch._C._autograd._pop_saved_tensors_default_hooks()
            if _flushes_denormals():
                stack.callback(torch.set_flush_denormal, True)
                torch.set_flush_denormal(False)
            stack.enter_context(np.errstate(**_NUMPY_ERRORS))
            yield
    finally:
        torch.set_grad_enabled(grad)
        restore_modes(*modes)


def trainable(state):
    """A state that was just unpickled, or a copy: tensors made in inference mode never train."""
    if not torch.is_inference_mode_enabled():
        return state
    with torch.inference_mode(False):
        return deepcopy(state)


def torch_modes():
    """Modes of functions and of operations of the thread, the innermost last."""
    functions = range(torch._C._len_torch_function_stack())
    operations = range(torch._C._len_torch_dispatch_stack())
    return (
        [torch._C._get_function_stack_at(i) for i in functions],
        [torch._C._get_dispatch_stack_at(i) for i in operations],
    )


def restore_modes(functions, operations):
    """As found: torch enters and leaves a mode in several steps, between which signals come."""
    while torch._C._len_torch_function_stack() > len(functions):
        torch._C._pop_torch_function_stack()
    for mode in functions[torch._C._len_torch_function_stack() :]:
        torch._C._push_on_torch_function_stack(mode)
    while torch._C._len_torch_dispatch_stack() > len(operations):
        torch._C._pop_torch_dispatch_stack(None)
    for mode in operations[torch._C._len_torch_dispatch_stack() :]:
        torch._C._push_on_torch_dispatch_stack(mode)


def _is_plain():
    return (
        torch.is_grad_enabled()
        and not torch.is_inference_mode_enabled()
        and not _autocast_devices()
        and torch.get_default_device().type == "cpu"
        and _saved_tensors_hooks() is None
        and not _flushes_denormals()
        and np.geterr() == _NUMPY_ERRORS
    )


def _autocast_devices():
    kinds = ("cpu", "cuda") if torch.cuda.is_initialized() else ("cpu",)
    return [kind for kind in kinds if torch.is_autocast_enabled(kind)]


def _saved_tensors_hooks():
    return torch._C._autograd._top_saved_tensors_default_hooks(True)


def _flushes_denormals():
    return np.float32(1e-40) * np.float32(1) == 0


@contextmanager
def own_settings():
    """:func:`plain_torch`, and settings of the process too.

    Default dtype float32, float32 products in full precision, no anomaly detection, MKL-DNN
    on, no search for the fastest CUDA kernel. Other threads of the process see them
    meanwhile; the last block that ends puts back what the first one found.
    """
    with plain_torch():
        block = object()
        try:
            _enter(block)
            yield
        finally:
            try:
                _leave(block)
            except BaseException:
                _leave(block)  # an interrupt in its midst
                raise


def _enter(block):
    with _lock:
        if not _inside:
            _found.update({put: read() for read, put, _ in _PROCESS})
        _inside[block] = threading.get_ident()
        for read, put, value in _PROCESS:
            if read() != value:
                put(value)


def _leave(block):
    with _lock:
        if _inside.keys() == {block}:
            _restore()
        _inside.pop(block, None)


def _restore():
    for read, put, _ in _PROCESS:
        if read() != _found[put]:  # the work may have set it as well
            put(_found[put])


def _after_fork():
    """In a child, other threads that would have put settings back are gone."""
    global _lock
    _lock = threading.Lock()
    # the thread that forked may be inside, and goes on
    gone = [block for block, thread in _inside.items() if thread != threading.get_ident()]
    for block in gone:
        _leave(block)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
