"""One change of an estimator at a time, all of it or nothing; readers see before or after."""

import os
import threading
from contextlib import ExitStack
from functools import wraps
from weakref import WeakKeyDictionary

from sklearn import get_config, set_config

from sk_unlearn.exceptions import ConcurrentChangeError
from sk_unlearn.utils._ambient import own_settings
from sk_unlearn.utils._generators import put_back_generators, thread_generators
from sk_unlearn.utils._signals import PATIENCE, hold, protected, raise_pending, release, shielded
from sk_unlearn.utils._threads import reproducible_threads

__all__ = ["on_snapshot", "transaction"]

# Beside the estimators, not in them: a copy or a pickle has none, a child process new ones.
_locks = WeakKeyDictionary()
_guard = threading.Lock()


class transaction:
    """Around ``fit`` and ``forget``: the place that everything is put back in.

    - Requests to one object, and to what it consists of, wait for each other.
    - Signals break the work off, but not the publication of its result, nor putting back
      what the work has set.
    - The caller's settings of torch, NumPy and threads are out of reach of the work.
    - An exception that arrives after the publication takes it back.

    Parameters
    ----------
    estimator : BaseForgetEstimator
    """

    def __init__(self, estimator):
        self.estimator = estimator
        self.shield = self.signals = shielded()
        self.settings = ExitStack()
        self.locks = ExitStack()
        self.holds = 0
        self.published = False

    def __enter__(self):
        try:
            self.signals = self.shield.__enter__()
            self._hold()
            self.parts = self.estimator._parts()
            for part in self.parts:
                self._acquire(_lock_of(part))
            self.before = [vars(part) for part in self.parts]
            self.found = [dict(state) for state in self.before]
            self.settings.callback(put_back_generators, thread_generators())
            self.settings.callback(_restore_config, get_config())
            self.settings.enter_context(own_settings())
            self.settings.enter_context(reproducible_threads())
            self._release()  # inside: from here on signals pass
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def publish(self, draft):
        """Make the state of ``draft`` that of the estimator; what the caller set meanwhile stays.

        Raises
        ------
        ConcurrentChangeError
            If the estimator is no longer what the draft was made from.
        """
        self._hold()  # until the end of the block
        raise_pending()
        for part, before, found in zip(self.parts, self.before, self.found, strict=True):
            if vars(part) is not before or before.get("_rows_") is not found.get("_rows_"):
                raise ConcurrentChangeError(
                    f"{type(part).__name__} was changed by other means than fit and forget while "
                    "a request was worked on: the result would not follow from its state. The "
                    "request changed nothing; repeat it."
                )
        before, found = self.before[0], self.found[0]
        for name, value in list(before.items()):
            mine = not name.endswith("_") and vars(draft).get(name) is found.get(name)
            if mine and value is not found.get(name):
                vars(draft)[name] = value
        self.published = True
        self.estimator._publish(draft)

    @protected
    def __exit__(self, kind, error, traceback):
        try:
            try:
                self._hold()
                self.settings.close()
                interrupted = self.signals is self.shield and self.signals.pending
                if kind is not None or interrupted:
                    self._take_back()
                self.shield.__exit__(kind, error, traceback)  # raises what waited
            finally:
                self.locks.close()
                self._release()
        except BaseException:
            self.settings.close()  # again: what an exception in its midst has left out
            self.shield.uninstall()
            self._take_back()
            self.locks.close()
            raise

    def _take_back(self):
        if self.published:
            for part, before in zip(self.parts, self.before, strict=True):
                part.__dict__ = before

    def _acquire(self, lock):
        while not lock.acquire(timeout=PATIENCE):
            raise_pending()
        self.locks.callback(lock.release)

    def _hold(self):
        hold()
        self.holds += 1

    def _release(self):
        while self.holds:
            self.holds -= 1
            release()


def _restore_config(found):
    """A ``config_context`` that was interrupted on its way out has not done so."""
    if get_config() != found:
        set_config(**found)


def _lock_of(estimator):
    with _guard:
        return _locks.setdefault(estimator, threading.RLock())


def on_snapshot(method):
    """A method that reads: one state, before or after a request, with settings of its own."""

    @wraps(method)
    def read(self, *args, **kwargs):
        with own_settings():
            return method(self._snapshot(), *args, **kwargs)

    return read


def _after_fork():
    """In a child, threads that held locks are gone."""
    global _locks, _guard
    _locks, _guard = WeakKeyDictionary(), threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
