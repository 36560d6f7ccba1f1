"""Seeds and draws that depend on names and ids, never on positions or global state."""

import random
import sys
import threading
from collections import defaultdict
from contextlib import ExitStack, contextmanager
from hashlib import blake2b

import numpy as np
import torch
from joblib import parallel_config
from joblib.parallel import get_active_backend
from sklearn.utils import check_random_state

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


@contextmanager
def isolated_rng(seed):
    """Seed the global generators for a block of code and restore them afterwards.

    Covers Python's ``random``, NumPy's legacy generator and torch's CPU and CUDA
    generators: the places from which third-party training code draws. They belong to the
    process, so blocks in the threads of joblib's "threading" backend take turns: the
    result is that of a serial run, and so is the time taken. A block in a task of a Dask
    cluster hands out no tasks of its own: these could wait, in other threads of the same
    worker, for the block that waits for them.

    Parameters
    ----------
    seed : int
    """
    level = getattr(get_active_backend()[0], "nesting_level", None) or 0
    with ExitStack() as stack:
        if _in_dask_task():
            level += 1  # the client that waits for the task may be a thread of this process
            stack.enter_context(parallel_config(backend="sequential"))
        # not by the stack: interrupted before it has noted the lock, it would never release it
        with _turns[level], _isolated(seed):
            yield


def _in_dask_task():
    worker = sys.modules.get("distributed.worker")
    return worker is not None and hasattr(worker.thread_state, "execution_state")


@contextmanager
def _isolated(seed):
    python, legacy = random.getstate(), np.random.get_state(legacy=False)
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        try:
            random.seed(seed)
            np.random.seed(seed)
            _seed_torch(seed)
            yield
        finally:
            random.setstate(python)
            np.random.set_state(legacy)


def _seed_torch(seed):
    """What ``torch.manual_seed`` does, without its notes for devices that are not there.

    Each note holds the stack that it was taken in, and takes a millisecond.
    """
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(seed)  # or a note to do so later
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)
