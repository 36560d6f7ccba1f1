"""Let Ctrl-C through: skorch takes it as a wish to stop training early and keep the net."""

import signal
import threading
from contextlib import contextmanager

__all__ = ["raise_interrupts"]


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
