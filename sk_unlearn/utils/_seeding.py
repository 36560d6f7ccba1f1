"""Seeds and draws that depend on names and ids, never on positions or global state."""

import os
import random
import sys
import threading
from collections import defaultdict
from contextlib import ExitStack
from hashlib import blake2b

import numpy as np
import torch
from joblib import parallel_config
from joblib.parallel import get_active_backend
from sklearn.utils import check_random_state

from sk_unlearn.utils._generators import own_generator, own_generators
from sk_unlearn.utils._signals import PATIENCE, hold, protected, raise_pending, release

__all__ = ["derive_seed", "isolated_rng", "keyed_uniform", "root_seed"]

# One for each level of nested joblib calls: tasks beside each other take turns, and a task
# never waits for the block that started it and is waiting for its result.
_turns = defaultdict(threading.RLock)
_SEED_BITS = 31  # scikit-learn's random_state accepts [0, 2**32); torch any; stay positive


def root_seed(random_state):
    """Seed from which every draw of a fit is derived.

    Parameters
    ----------
    random_state : None, int or RandomState
        None draws fresh entropy from the operating system, so that the global NumPy
        generator is left as found.

    Returns
    -------
    seed : int
    """
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0]) >> (32 - _SEED_BITS)
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**_SEED_BITS))
    check_random_state(random_state)
    return int(random_state)


def derive_seed(seed, *components):
    """Seed of a named component: a pure function of ``seed`` and the names.

    Parameters
    ----------
    seed : int
    *components : int or str

    Returns
    -------
    derived : int in [0, 2**31)

    Examples
    --------
    >>> from sk_unlearn.utils._seeding import derive_seed
    >>> derive_seed(0, "init") == derive_seed(0, "init") != derive_seed(1, "init")
    True
    """
    text = repr((int(seed), *components)).encode()
    digest = blake2b(text, digest_size=8, person=b"sk_unlearn seed").digest()
    return int.from_bytes(digest, "little") >> (64 - _SEED_BITS)


def keyed_uniform(seed, component, ids):
    """One number in [0, 1) a row that depends on the row's id alone.

    Placement by these numbers survives any reordering or removal of other rows.

    Parameters
    ----------
    seed : int
    component : str
        What the draw is for; two components draw independently.
    ids : ndarray of shape (n,), int or str

    Returns
    -------
    u : ndarray of shape (n,), float64
    """
    ids = np.asarray(ids)
    key = derive_seed(seed, component)
    if ids.dtype.kind in "iu":
        return _splitmix64(ids.astype(np.uint64), key) * 2.0**-64
    salt = key.to_bytes(8, "little")
    words = b"".join(
        blake2b(str(i).encode("utf-8", "surrogatepass"), digest_size=8, key=salt).digest()
        for i in ids
    )
    return np.frombuffer(words, dtype="<u8") * 2.0**-64


def _splitmix64(words, key):
    with np.errstate(over="ignore"):
        z = words + np.uint64(key) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
        return z ^ (z >> np.uint64(31))


class isolated_rng:
    """Seed the generators that third-party code draws from, for a block of code.

    These are Python's ``random``, NumPy's legacy generator and torch's CPU and CUDA
    generators. Where no other thread is alive they are seeded and restored afterwards.
    Beside other threads, NumPy and torch on the CPU draw from generators of this thread
    (:mod:`sk_unlearn.utils._generators`): the numbers are the same, and those of other
    threads do not change. Python's ``random`` and the generators of CUDA devices belong to
    the process in any case, so blocks in several threads take turns: the result is that of
    a serial run, and so is the time taken. A block in a task of a Dask cluster hands out no
    tasks of its own: these could wait, in other threads of the same worker, for the block
    that waits for them.

    A block inside another one of the same thread only draws other numbers.

    Parameters
    ----------
    seed : int
    """

    def __init__(self, seed):
        self.seed = seed
        self.python = self.shared = self.own = None
        self.has_turn = False
        self.settings = ExitStack()

    def __enter__(self):
        self.outer = _blocks.depth
        try:
            hold()
            try:
                if not self.outer:
                    self._take_turn()
                _blocks.depth = self.outer + 1
                self._seed()
            finally:
                release()
        except BaseException:
            self._leave()
            raise

    @protected
    def __exit__(self, *error):
        try:
            hold()
            self._leave()
        except BaseException:
            self._leave()  # what was left out by an exception in its midst
            raise
        finally:
            release()

    def _take_turn(self):
        level = getattr(get_active_backend()[0], "nesting_level", None) or 0
        if _in_dask_task():
            level += 1  # the client that waits for the task may be a thread of this process
            self.settings.enter_context(parallel_config(backend="sequential"))
        self.turn = _turns[level]
        while not self.has_turn:
            self.has_turn = self.turn.acquire(timeout=PATIENCE)
            if not self.has_turn:
                raise_pending()

    def _seed(self):
        self.python = random.getstate()
        random.seed(self.seed)
        if torch.cuda.is_initialized():
            devices = list(range(torch.cuda.device_count()))
            self.settings.enter_context(torch.random.fork_rng(devices=devices))
        _seed_devices(self.seed)
        if threading.active_count() == 1 and own_generator() is None:
            # no other thread can start meanwhile, but from the block itself
            self.shared = np.random.get_state(legacy=False), torch.default_generator.get_state()
            np.random.seed(self.seed)
            torch.default_generator.manual_seed(self.seed)
        else:
            self.own = own_generators(self.seed)
            self.own.__enter__()

    def _leave(self):
        """Put back what was found, as far as it was changed; an inner block may be torn off."""
        try:
            if self.own is not None:
                self.own.__exit__(None, None, None)
                self.own = None
            if self.shared is not None:
                np.random.set_state(self.shared[0])
                torch.default_generator.set_state(self.shared[1])
            if self.python is not None:
                random.setstate(self.python)
            self.settings.close()
        finally:
            _blocks.depth = self.outer
            if self.has_turn:
                self.has_turn = False
                self.turn.release()


class _Blocks(threading.local):
    depth = 0


_blocks = _Blocks()


def _in_dask_task():
    worker = sys.modules.get("distributed.worker")
    return worker is not None and hasattr(worker.thread_state, "execution_state")


def _seed_devices(seed):
    """What ``torch.manual_seed`` does, without its notes for devices that are not there.

    Each note holds the stack that it was taken in, and takes a millisecond.
    """
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(seed)  # or a note to do so later
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)


def _after_fork():
    """In a child, the threads whose turn it was are gone."""
    global _turns
    _turns = defaultdict(threading.RLock)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
