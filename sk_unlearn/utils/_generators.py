"""Random generators of its own for a thread that computes beside others.

torch and NumPy have one global generator a process, from which third-party training code
draws. Where no other thread is alive it can be seeded and set back
(:mod:`sk_unlearn.utils._seeding`). Beside other threads that would repeat their numbers, and
their draws would change the bits of the training. There, a thread's draws are sent to
generators of its own, seeded alike: the numbers are the same ones.

torch tells where a draw happens through a dispatch mode, which holds for one thread; NumPy
through the lock that its global generator takes for every draw. Generators of devices, and
Python's ``random``, have no such place.
"""

import threading
from contextlib import contextmanager
from functools import cache
from types import ModuleType

import numpy as np
import torch
from torch._C import (
    _get_dispatch_stack_at,
    _len_torch_dispatch_stack,
    _pop_torch_dispatch_stack,
    _push_on_torch_dispatch_stack,
)
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode

__all__ = [
    "own_generator",
    "own_generators",
    "pause_draws",
    "put_back_generators",
    "resume_draws",
    "thread_generators",
    "without_draws",
]


class _Own(threading.local):
    torch = None
    numpy = None  # state of a legacy generator
    n_locks = 0
    mode = None
    paused = False
    block = None  # the innermost one


_own = _Own()


def own_generator():
    """The generator that this thread's draws come from; None for the global one."""
    return _own.torch


def pause_draws():
    """Say that nothing draws until :func:`resume_draws`: looking for draws takes time.

    Draws that were handed :func:`own_generator` are found without looking.
    """
    # not where somebody's mode came since: modes leave in the order of a stack
    if _own.mode is not None and not _own.paused and _get_current_dispatch_mode() is _own.mode:
        _pop_torch_dispatch_stack(None)
        _own.paused = True


def resume_draws():
    """End what :func:`pause_draws` began; so does the end of the block of the generators."""
    if _own.paused:
        if _own.mode is not None:
            _push_on_torch_dispatch_stack(_own.mode)
        _own.paused = False


def thread_generators():
    """What :func:`put_back_generators` puts back."""
    return dict(vars(_own))


def put_back_generators(found):
    """As found: blocks that were torn off on their way out, whose end may come late, are over."""
    vars(_own).clear()
    vars(_own).update(found)


@contextmanager
def without_draws():
    """A block in which nothing draws."""
    outermost = not _own.paused
    pause_draws()
    try:
        yield
    finally:
        if outermost:
            resume_draws()


class own_generators:
    """Let this thread draw from generators of its own, freshly seeded.

    Parameters
    ----------
    seed : int
    """

    def __init__(self, seed):
        self.seed = seed
        self.before = None

    def __enter__(self):
        _install()
        self.before = _own.torch, _own.numpy, _own.mode, _own.paused, _own.block
        resume_draws()
        _own.block = self
        if _own.mode is None or not _is_on(
            _own.mode
        ):  # one mode is enough, and each takes some microseconds an operation
            mode = _Draws()
            # as a mode is entered, but in one step, and without torch's notes of it, which are
            # the process's and not this thread's
            _push_on_torch_dispatch_stack(mode)
            _own.mode = mode
        _own.torch = torch.Generator().manual_seed(self.seed)
        _own.numpy = np.random.RandomState(self.seed).get_state(legacy=False)

    def __exit__(self, *error):
        if self.before is None:
            return
        if self._is_in_force():
            resume_draws()
            _own.torch, _own.numpy, outer, paused, block = self.before
            if outer is None and _own.mode is not None:
                _take_off(_own.mode)
                _own.mode = None
            elif paused:
                pause_draws()
            _own.block = block
        self.before = None  # last: what is broken off is done again

    def _is_in_force(self):
        """Whether no block around this one has ended: a torn one ends when it is collected."""
        block = _own.block
        while block is not None and block is not self:
            block = block.before[-1] if block.before else None
        return block is self


def _modes():
    return [_get_dispatch_stack_at(i) for i in range(_len_torch_dispatch_stack())]


def _is_on(mode):
    return any(other is mode for other in _modes())


def _take_off(mode):
    """Take a mode off the stack, wherever it is."""
    above = []
    while _is_on(mode):
        above.append(_pop_torch_dispatch_stack(None))
    for other in reversed(above):
        if other is not mode:
            _push_on_torch_dispatch_stack(other)


class _Draws(TorchDispatchMode):
    """Hands this thread's generator to every operation that draws and was given none."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        how = _drawing(operation)
        if how is not None and _is_global(kwargs.get("generator")) and _on_cpu(args, kwargs):
            if how == "parts":
                with self:
                    result = operation.decompose(*args, **kwargs)
                if result is not NotImplemented:
                    return result
            else:
                return how(*args, **{**kwargs, "generator": _own.torch})
        return operation(*args, **kwargs)


@cache
def _drawing(operation):
    """The overload that takes a generator, "parts" where there is none, None without draws."""
    if torch.Tag.nondeterministic_seeded not in operation.tags:
        return None
    if _takes_generator(operation):
        return operation
    packet, name = operation.overloadpacket, operation._overloadname
    given = {argument.name for argument in operation._schema.arguments}
    for other in packet.overloads():
        overload = getattr(packet, other)
        named = {argument.name for argument in overload._schema.arguments}
        if _takes_generator(overload) and named == given | {"generator"}:
            return overload
    return "parts" if name != "out" else None


def _takes_generator(operation):
    return any(argument.name == "generator" for argument in operation._schema.arguments)


def _is_global(generator):
    # by name too, as torch.utils.data.random_split does where it is given none
    return generator is None or generator._cdata == torch.default_generator._cdata


def _on_cpu(args, kwargs):
    tensor = next((value for value in args if isinstance(value, torch.Tensor)), None)
    device = kwargs.get("device") if tensor is None else tensor.device
    return device is None or torch.device(device).type == "cpu"


class _TorchGenerator:
    """Stands for torch's global generator in ``torch.manual_seed``, ``get_rng_state`` and such."""

    def __getattr__(self, name):
        return getattr(_own.torch or torch.default_generator, name)


class _RandomModule(ModuleType):
    """``torch.random``, whose functions find the stand-in, and everybody else a generator."""

    default_generator = property(lambda self: _own.torch or torch.default_generator)


class _NumpyLock:
    """The lock of NumPy's global generator: whoever takes it finds the numbers of its thread."""

    def __init__(self):
        self._lock = threading.RLock()

    def __enter__(self):
        self._lock.acquire()
        _own.n_locks += 1
        if _own.n_locks == 1 and _own.numpy is not None:
            self._shared = _global().get_state(legacy=False)
            _global().set_state(_own.numpy)

    def __exit__(self, *error):
        if _own.n_locks == 1 and _own.numpy is not None:
            _own.numpy = _global().get_state(legacy=False)
            _global().set_state(self._shared)
        _own.n_locks -= 1
        self._lock.release()


class MT19937(np.random.MT19937):  # a state names the class that it is of
    """NumPy's global bit generator with that lock; a copy is a plain one."""

    lock = _NumpyLock()

    @property
    def state(self):
        with self.lock:
            return np.random.MT19937.state.__get__(self)

    @state.setter
    def state(self, value):
        with self.lock:
            np.random.MT19937.state.__set__(self, value)

    def __reduce__(self):
        plain = np.random.RandomState(
            0
        )._bit_generator  # without a sequence of seeds, as the global
        plain.state = self.state
        return plain.__reduce__()


def _global():
    return np.random.mtrand._rand


def _install():
    """Once a process; without effect on the numbers of any thread."""
    vars(torch.random)["default_generator"] = _torch_generator
    torch.random.__class__ = _RandomModule
    found = np.random.get_bit_generator()
    if type(found) is np.random.MT19937:
        with found.lock:
            state = _global().get_state(legacy=False)
            np.random.set_bit_generator(MT19937())
            _global().set_state(state)


_torch_generator = _TorchGenerator()
