"""Let Ctrl-C through, out of skorch's training loop and to work in other threads."""

import signal
import threading
from contextlib import contextmanager

__all__ = ["StopSign", "raise_interrupts"]

_PATIENCE = 10.0  # seconds; a step takes milliseconds


@contextmanager
def raise_interrupts():
    """Raise ``KeyboardInterrupt`` at the end of the block if SIGINT arrived inside.

    ``skorch.NeuralNet.fit`` swallows every ``KeyboardInterrupt`` and returns a net that
    stopped somewhere; callbacks such as ``EarlyStopping`` raise it on purpose to stop. A
    real signal is told from these by a handler, installed in the main thread only and
    replaced by the former one at the end.

    Raises
    ------
    KeyboardInterrupt
        On leaving the block, after a SIGINT that something inside swallowed.

    Examples
    --------
    >>> from sk_unlearn.nets import raise_interrupts
    >>> with raise_interrupts():
    ...     trained = True
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    arrived = False

    def remember(signum, frame):
        nonlocal arrived
        arrived = True
        before(signum, frame)

    signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if arrived:
        raise KeyboardInterrupt


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
