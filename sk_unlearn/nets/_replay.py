"""Repeat tensor operations on the same memory, without what chose them the first time."""

from functools import cache, partial

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sk_unlearn.nets._cuda_graph import CapturedCall
from sk_unlearn.utils._state_tree import map_tensors

__all__ = ["Recording", "record"]

# Same kernel and arguments, called with less ado than by name of the overload.
_DIRECT = {
    name: getattr(torch, name)
    for name in (
        *("add", "addmm", "baddbmm", "bmm", "clamp_min", "div", "exp", "log", "mean", "mm"),
        *("mul", "neg", "sigmoid", "sub", "sum", "tanh"),
    )
}
# Memory that another operation fills.
_WITHOUT_CONTENTS = {
    torch.ops.aten.empty.memory_format,
    torch.ops.aten.empty_like.default,
    torch.ops.aten.empty_strided.default,
    torch.ops.aten.new_empty.default,
    torch.ops.aten.new_empty_strided.default,
}


# Operations that a host waits for, to know the shape of what they make.
_WAITING = {torch.Tag.dynamic_output_shape, torch.Tag.data_dependent_output}


class Recording:
    """Operations of one call of a function, to be run again.

    Modules, ``vmap`` and automatic differentiation decide which operations run on which
    tensors; deciding takes longer than running them where tensors are small. Run again,
    every operation reads and writes the memory that it had the first time, with the same
    kernels and so the same bits. What varies must come through the contents of tensors
    that were there before the call. On a CUDA device all of them are one launch.

    Parameters
    ----------
    steps : list of (callable, tuple, dict)
    result : nested list or dict of Tensor
        What the function returned; overwritten by each :meth:`repeat`.
    written : list of Tensor
        All that the operations write to.
    device : torch.device
        Where all of it happens, if that is a CUDA device.
    """

    def __init__(self, steps, result, written, device):
        self._run = partial(_run, steps)
        self.result = result
        self.written = written
        if device is not None:
            self._run = CapturedCall(self._run, device)

    def repeat(self):
        """Run the operations again, gradients being off; return ``result``."""
        self._run()
        return self.result

    def release(self):
        """Let go of memory that only a repetition uses."""
        if isinstance(self._run, CapturedCall):
            self._run.release()


def _run(steps):
    for function, args, kwargs in steps:
        function(*args, **kwargs)


def record(function, *args):
    """Call a function and keep the tensor operations that it ran.

    Parameters
    ----------
    function : callable
        Of tensors. Which operations it runs must not depend on their values, nor on
        anything that changes from call to call.
    *args : object

    Returns
    -------
    recording : Recording

    Raises
    ------
    ValueError
        If an operation gives a number to Python or draws random numbers: neither could
        be repeated.
    """
    with _Recorder() as recorder:
        result = function(*args)
    steps = [_step(*call) for call in recorder.calls]
    written = [tensor for call in recorder.calls for tensor in _tensors(call[-1])]
    return Recording(steps, _detached(result), written, _cuda_device(recorder.calls))


def _cuda_device(calls):
    """The CUDA device of all tensors; None where it is none, or where the host has to wait."""
    devices = {tensor.device for tensor in _tensors(calls)}
    if len(devices) != 1 or any(_WAITING & set(func.tags) for func, *_ in calls):
        return None
    (device,) = devices
    return device if device.type == "cuda" else None


class _Recorder(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.ops.aten._local_scalar_dense.default:
            raise ValueError("a tensor is read as a number")
        if torch.Tag.nondeterministic_seeded in func.tags:
            raise ValueError(f"{func} draws random numbers")
        result = func(*args, **kwargs)
        if func in _WITHOUT_CONTENTS:
            return result
        if func._schema.is_mutable or not _is_view(result, (args, kwargs)):
            # without their history, which would keep every step's graph
            self.calls.append((func, *_detached((args, kwargs, result))))
        return result


def _is_view(result, inputs):
    memory = {_memory(t) for t in _tensors(inputs)}
    return all(_memory(t) in memory for t in _tensors(result))


def _tensors(tree):
    # torch's own pytree takes as long as the operations
    if isinstance(tree, torch.Tensor):
        yield tree
    elif isinstance(tree, (list, tuple)):
        for value in tree:
            yield from _tensors(value)
    elif isinstance(tree, dict):
        yield from _tensors(list(tree.values()))


def _memory(tensor):
    return tensor.untyped_storage().data_ptr()


def _detached(tree):
    return map_tensors(torch.Tensor.detach, tree)


def _step(func, args, kwargs, result):
    """Function and arguments that compute a recorded operation into its own result."""
    name = func._schema.name.removeprefix("aten::")
    if func._schema.is_mutable:
        direct = name in _DIRECT and func._overloadname == "out"
        return _DIRECT[name] if direct else func, args, kwargs
    if func is torch.ops.aten.relu.default:  # which is this, and has no out= of its own
        return torch.clamp_min, (*args, 0), {"out": result}
    results = [result] if torch.is_tensor(result) else list(result)
    variant = _out_variant(func)
    if variant is None or not all(map(torch.is_tensor, results)):
        return _recompute, (func, args, kwargs, results), {}
    # torch.sum writes to memory of the caller's only where it is told the dimensions
    if name in _DIRECT and func is not torch.ops.aten.sum.default:
        return _DIRECT[name], args, {**kwargs, "out": result}
    overload, names = variant
    return overload, args, {**kwargs, **dict(zip(names, results, strict=True))}


@cache
def _out_variant(func):
    """The overload that takes the same arguments and where to write, if there is one."""
    expected = [(argument.name, str(argument.type)) for argument in func._schema.arguments]
    for name in func._overloadpacket.overloads():
        overload = getattr(func._overloadpacket, name)
        arguments = overload._schema.arguments
        outs = [argument.name for argument in arguments if argument.is_out]
        if outs and [(a.name, str(a.type)) for a in arguments if not a.is_out] == expected:
            return overload, outs
    return None


def _recompute(func, args, kwargs, results):
    found = func(*args, **kwargs)
    for result, value in zip(results, [found] if torch.is_tensor(found) else found, strict=True):
        if torch.is_tensor(result):  # None for a gradient that nobody asked for
            result.copy_(value)
