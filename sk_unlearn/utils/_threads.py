"""One torch thread for training and removal, so that results do not depend on the machine."""

import os
import threading
from contextlib import contextmanager

import torch

__all__ = ["reproducible_threads"]

_lock = threading.Lock()
_found = threading.local()  # OpenMP keeps a count for each Python thread, MKL one for all
_active = 0
_before = 1


@contextmanager
def reproducible_threads():
    """Run a block with a fixed number of torch threads.

    Sums are split differently for every thread count, which changes the last bits of a
    trained net; at the batch sizes of in-memory training one thread is as fast as many.
    The environment variable ``SK_UNLEARN_TORCH_THREADS`` sets another count (0 leaves
    torch as it is): faster for large nets on many cores, at the price of bits that
    depend on it.

    Safe to enter from several Python threads at once: the count found by the first is
    restored by the last. A thread that leaves while another still computes gets its own
    count back when it has used a block again.
    """
    global _active, _before
    wanted = int(os.environ.get("SK_UNLEARN_TORCH_THREADS", "1"))
    if wanted <= 0:
        yield
        return
    with _lock:
        now = torch.get_num_threads()
        if now != wanted or not hasattr(_found, "count"):
            _found.count = now
        if _active == 0:
            _before = _found.count
        _active += 1
        if now != wanted:
            torch.set_num_threads(wanted)
    try:
        yield
    finally:
        with _lock:
            _active -= 1
            if _active == 0:
                del _found.count
                if torch.get_num_threads() != _before:
                    torch.set_num_threads(_before)
