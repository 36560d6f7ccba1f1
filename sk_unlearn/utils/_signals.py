"""Ctrl-C and other signals: where they may break work off, and where they have to wait.

A signal whose handler raises (SIGINT always, SIGTERM in many services) can strike between
any two instructions of the main thread, in a ``finally`` or an ``__enter__`` too. While an
estimator works, signals go through a handler of ours: it passes them on at once, unless
state is just being set or put back (:func:`hold`). Then they wait for the end of the block.
"""

import os
import signal
import threading
from contextlib import ExitStack, _GeneratorContextManager, contextmanager

__all__ = [
    "PATIENCE",
    "hold",
    "is_protected",
    "protected",
    "raise_interrupts",
    "raise_pending",
    "release",
    "shielded",
]

PATIENCE = 0.05  # seconds that a wait for another thread lasts before it looks for signals
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGBREAK")
_SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
# Where signals wait. A block that a generator leaves, or a stack of blocks, is torn off if its end
# does not begin.
_protected = {_GeneratorContextManager.__exit__.__code__, ExitStack.__exit__.__code__}
_current = None  # of the main thread, the only one that signals reach


def protected(function):
    """A function in whose first instruction no signal is passed on: it goes on to hold them."""
    _protected.add(function.__code__)
    return function


def is_protected(frame):
    """Whether signals wait in a frame's first instruction."""
    return frame is not None and frame.f_code in _protected


@protected
def hold():
    """Let signals wait from here on."""
    if _current is not None and threading.current_thread() is threading.main_thread():
        _current.held += 1


@protected
def release():
    """End what :func:`hold` began; signals that came since wait on."""
    if _current is not None and threading.current_thread() is threading.main_thread():
        _current.held -= 1


def raise_pending():
    """Hand signals that wait to their handlers, which raise or return."""
    if _current is not None and threading.current_thread() is threading.main_thread():
        _current.deliver()


class shielded:
    """Pass signals on inside the block, but where :func:`hold` says; raise the rest after it.

    Blocks inside others, and those of threads that no signal reaches, change nothing.

    Attributes
    ----------
    n_interrupts : int
        SIGINTs that arrived so far.
    """

    def __init__(self):
        self.handlers = {}
        self.pending = []
        self.held = 0
        self.n_interrupts = 0

    def __enter__(self):
        global _current
        if threading.current_thread() is not threading.main_thread():
            return self
        if _current is not None:
            return _current
        self.held = 1
        self.thread = threading.get_ident()
        try:
            _current = self
            for number in _SIGNALS:
                handler = signal.getsignal(number)
                if callable(handler):
                    self.handlers[number] = handler
                    signal.signal(number, self._handle)
        except BaseException:  # of a handler that was not yet replaced
            self.__exit__(None, None, None)
            raise
        self.held = 0
        return self

    @protected
    def __exit__(self, kind, error, traceback):
        if _current is self:
            self.uninstall()

    @protected
    def uninstall(self):
        """Put the handlers back; what waits can be raised afterwards."""
        global _current
        self.held += 1
        if _current is self:
            _current = None
        self.put_back()
        self.deliver()

    @protected
    def put_back(self):
        """Put the handlers back that were found."""
        for number, handler in self.handlers.items():
            if signal.getsignal(number) == self._handle:  # nobody set another one since
                signal.signal(number, handler)

    @protected
    def deliver(self):
        """Hand waiting signals to their handlers."""
        while self.pending:
            number = self.pending.pop(0)
            self.handlers[number](number, None)

    def _handle(self, number, frame):
        self.n_interrupts += number == signal.SIGINT
        if self.held or is_protected(frame):
            self.pending.append(number)
        else:
            self.handlers[number](number, frame)


def _after_fork():
    """In a child, the main thread is the one that forked; another's block never ends."""
    global _current
    if _current is not None and _current.thread != threading.get_ident():
        _current, block = None, _current
        block.put_back()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@contextmanager
def raise_interrupts():
    """Raise ``KeyboardInterrupt`` at the end of the block if SIGINT arrived inside.

    ``skorch.NeuralNet.fit`` swallows every ``KeyboardInterrupt`` and returns a net that
    stopped somewhere; callbacks such as ``EarlyStopping`` raise it on purpose to stop. A
    real signal is told from these by a handler (:class:`shielded`).

    Raises
    ------
    KeyboardInterrupt
        On leaving the block, after a SIGINT that something inside swallowed.

    Examples
    --------
    >>> from sk_unlearn.utils._signals import raise_interrupts
    >>> with raise_interrupts():
    ...     trained = True
    """
    with shielded() as signals:
        before = signals.n_interrupts
        yield
        if signals.n_interrupts > before:
            raise KeyboardInterrupt
