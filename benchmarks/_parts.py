"""Where the time of a call goes: seconds of named functions, each without those inside it."""

import time
from collections import defaultdict
from contextlib import contextmanager


class Parts:
    """Wraps functions of the package for as long as it is entered.

    Parameters
    ----------
    places : dict of str to list of (owner, name)
        For each part the modules or classes, and the attributes of theirs that belong to it.

    Attributes
    ----------
    seconds : dict of str to float
        Time in each part since :meth:`clear`, that of parts called by it excluded.

    Examples
    --------
    >>> import math, time
    >>> parts = Parts({"sleep": [(time, "sleep")]})
    >>> with parts:
    ...     time.sleep(0.01)
    >>> list(parts.seconds), parts.seconds["sleep"] >= 0.01
    (['sleep'], True)
    """

    def __init__(self, places):
        self.places, self.seconds = places, defaultdict(float)
        self._running, self._originals = [], []

    def clear(self):
        """Forget the times so far."""
        self.seconds.clear()

    def __enter__(self):
        for part, places in self.places.items():
            for owner, name in places:
                original = vars(owner)[name]
                self._originals.append((owner, name, original))
                setattr(owner, name, self._wrapped(part, original))
        return self

    def __exit__(self, *exception):
        while self._originals:
            setattr(*self._originals.pop())

    def _wrapped(self, part, original):
        bound = isinstance(original, classmethod)
        function = original.__func__ if bound else original

        def timed(*args, **kwargs):
            with self._inside(part):
                return function(*args, **kwargs)

        return classmethod(timed) if bound else timed

    @contextmanager
    def _inside(self, part):
        start = time.perf_counter()
        self._running.append(0.0)
        try:
            yield
        finally:
            taken = time.perf_counter() - start
            self.seconds[part] += taken - self._running.pop()
            if self._running:
                self._running[-1] += taken
