"""A function of tensors on a CUDA device, as one launch."""

import threading
from functools import cache

import torch

__all__ = ["CapturedCall"]


_capturing = threading.Lock()


class CapturedCall:
    """A function that is captured as a CUDA graph the second time it is called.

    The first call runs it as it is: kernels are loaded when they are first used, which may not
    happen while a graph is captured. Where it cannot be captured, because it waits for the
    device, say, it goes on running as it is.

    Parameters
    ----------
    function : callable
        Without arguments and result. It does the same to the same memory every time, and makes
        no tensor that outlives the call.
    device : torch.device
    """

    def __init__(self, function, device):
        self._function, self._device = function, device
        self._call = self._first

    def __call__(self):
        self._call()

    def release(self):
        """Let go of the graph and of the memory that only the graph writes to."""
        self._call = self._first

    def _first(self):
        self._function()
        self._call = self._second

    def _second(self):
        try:
            self._call = self._captured().replay
        except RuntimeError:
            self._call = self._function
        self._call()

    def _captured(self):
        # torch.cuda.graph() would empty the cache of memory first, which all would fill again
        graph, stream = torch.cuda.CUDAGraph(), _side_stream(self._device)
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with _capturing, torch.cuda.stream(stream):
            # stacks in other threads go on allocating
            graph.capture_begin(capture_error_mode="thread_local")
            try:
                self._function()
            finally:
                graph.capture_end()
        return graph


@cache
def _side_stream(device):
    """The one stream that everything is captured on: each would have a workspace of its own."""
    return torch.cuda.Stream(device)
