"""A function of tensors on a CUDA device, as one launch."""

import threading
from functools import cache

import torch

__all__ = ["CapturedCall"]

_capturing, _keepers = threading.Lock(), []


class CapturedCall:
    """A function that is captured as a CUDA graph the second time it is called.

    The first call runs it as it is: kernels are loaded when they are first used, which may not
    happen while a graph is captured. Where it cannot be captured, it goes on running as it is.

    All graphs are captured on one stream and share the memory of what lives within a call, so
    calls belong on one stream too.

    Parameters
    ----------
    function : callable
        Without arguments and result. It does the same to the same memory every time, waits for
        nothing, and makes no tensor that outlives the call.
    device : torch.device
    """

    def __init__(self, function, device):
        self._function, self._device = function, device
        self._n_calls, self._graph = 0, None

    def __call__(self):
        self._n_calls += 1
        if self._n_calls == 2:
            self._graph = self._captured()
        if self._graph is None:
            self._function()
        else:
            self._graph.replay()

    def release(self):
        """Let go of the graph."""
        self._n_calls, self._graph = 0, None

    def _captured(self):
        try:
            with _capturing:
                return _capture(self._function, *_place(self._device))
        except RuntimeError:
            return None


def _capture(function, stream, pool):
    # torch.cuda.graph() would empty the cache of memory first, which all would fill again
    graph = torch.cuda.CUDAGraph()
    stream.wait_stream(torch.cuda.current_stream(stream.device))
    with torch.cuda.stream(stream):
        torch.cuda.current_blas_handle()  # a thread's own is made when it first multiplies
        # other threads go on allocating
        graph.capture_begin(pool, capture_error_mode="thread_local")
        try:
            function()
        finally:
            graph.capture_end()
    return graph


@cache
def _place(device):
    """Stream and pool of all graphs: each would have memory of its own, which stays reserved.

    A pool lives as long as a graph of it: this keeps one.
    """
    stream, number = torch.cuda.Stream(device), torch.zeros(1, device=device)
    graph = _capture(number.zero_, stream, None)
    _keepers.append((graph, number))
    return stream, graph.pool()
