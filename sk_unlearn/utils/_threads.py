"""One thread for the arithmetic of training and removal, whatever the machine and the caller."""

import os
import sys
import threading
from contextlib import contextmanager

import torch
from threadpoolctl import ThreadpoolController

__all__ = ["reproducible_threads"]

_lock = threading.Lock()
_thread = threading.local()  # OpenMP has a count for each Python thread; BLAS and MKL have one
_inside = {}  # blocks, and the threads that they are of
_found = {}  # counts of the process, before the first thread set them
_libraries = (None, [], [])


@contextmanager
def reproducible_threads():
    """Run a block with a fixed number of threads in torch, MKL, OpenMP and every BLAS.

    Sums are split differently for every thread count, which changes the last bits of a
    trained model; at the batch sizes of in-memory training one thread is as fast as many.
    The environment variable ``SK_UNLEARN_TORCH_THREADS`` sets another count (0 leaves all
    as it is): faster for large nets on many cores, at the price of bits that depend on it.

    Safe to enter from several Python threads at once. What belongs to a thread is put back
    when it leaves, what belongs to the process when the last one does.
    """
    wanted = int(os.environ.get("SK_UNLEARN_TORCH_THREADS", "1"))
    if wanted <= 0 or getattr(_thread, "inside", False):
        yield
        return
    openmp, blas = _loaded_libraries()
    counts = [(library, library.num_threads) for library in openmp]
    block = object()
    try:
        _thread.inside = True
        _enter(block, wanted, blas)
        _set(openmp, wanted)
        yield
    finally:
        try:
            _leave(block, counts)
        except BaseException:
            _leave(block, counts)  # an interrupt in its midst
            raise


def _enter(block, wanted, blas):
    with _lock:
        if not _inside:
            _found.update(torch=torch.get_num_threads(), blas=[(x, x.num_threads) for x in blas])
        _inside[block] = threading.get_ident()
        torch.set_num_threads(wanted)  # always: MKL's own count may be another one than it says
        _set(blas, wanted)


def _leave(block, counts=()):
    with _lock:
        if _inside.keys() == {block}:
            _restore_process()
        _inside.pop(block, None)
    for library, count in counts:
        _set([library], count)
    _thread.inside = False


def _restore_process():
    torch.set_num_threads(_found["torch"])
    for library, count in _found["blas"]:
        _set([library], count)


def _set(libraries, count):
    for library in libraries:
        if library.num_threads != count:
            library.set_num_threads(count)


def _loaded_libraries():
    """OpenMP and BLAS libraries of this process; looked up again after imports."""
    global _libraries
    known, openmp, blas = _libraries
    if known != len(sys.modules):
        found = ThreadpoolController().lib_controllers
        openmp = [library for library in found if library.user_api == "openmp"]
        blas = [library for library in found if library.user_api == "blas"]
        _libraries = len(sys.modules), openmp, blas
    return openmp, blas


def _after_fork():
    """In a child, other threads that would have put counts back are gone."""
    global _lock
    _lock = threading.Lock()
    # the thread that forked may be inside, and goes on
    inside = getattr(_thread, "inside", False)
    for block in [block for block, thread in _inside.items() if thread != threading.get_ident()]:
        _leave(block)
    _thread.inside = inside


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
