"""Let Ctrl-C through to work in other threads."""

import threading
from contextlib import contextmanager

__all__ = ["StopSign"]

_PATIENCE = 10.0  # seconds; a step takes milliseconds


class StopSign:
    """Breaks off work in other threads when the caller that waits for it is interrupted.

    Ctrl-C reaches the main thread only. Threads that go on waste the machine, and make the
    interpreter abort if it ends before them. A copy in another process never shows: joblib
    ends such processes itself.
    """

    def __init__(self):
        self._shown = False
        self._working = 0
        self._changed = threading.Condition()

    def __reduce__(self):
        return StopSign, ()

    @contextmanager
    def shown_on_error(self):
        """Around the caller's wait: on any exception, stop the threads and wait for them."""
        try:
            yield
        except BaseException:
            self._shown = True
            with self._changed:
                self._changed.wait_for(lambda: self._working == 0, timeout=_PATIENCE)
            raise

    @contextmanager
    def working(self):
        """Around the work of one thread; raises as :meth:`check` does before it begins."""
        with self._changed:
            self.check()
            self._working += 1
        try:
            yield
        finally:
            with self._changed:
                self._working -= 1
                self._changed.notify_all()

    def check(self):
        """Raise ``KeyboardInterrupt`` if the work is to be broken off."""
        if self._shown:
            raise KeyboardInterrupt
