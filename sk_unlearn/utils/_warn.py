"""Warnings that point at the line of the user, and are given once a search."""

import concurrent.futures
import multiprocessing
import os
import re
import sys
import threading
import warnings
import weakref

import joblib
import sklearn
import skorch

__all__ = ["warn_user"]

_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_WORKERS = tuple(
    os.path.dirname(os.path.abspath(module.__file__))
    for module in (multiprocessing, concurrent.futures)
)
_JOBLIB, _SKLEARN = (os.path.dirname(package.__file__) for package in (joblib, sklearn))
_OURS = tuple(
    os.path.join(folder, "")
    for folder in (_HERE, _JOBLIB, _SKLEARN, os.path.dirname(skorch.__file__))
)

# Kinds of warnings that were given, by the joblib.Parallel that runs the search, or by the
# thread of a worker process, which does not see it. They are held for as long as these live.
_given = weakref.WeakKeyDictionary()


def warn_user(message, category):
    """Warn about the line outside of this package, scikit-learn, skorch and joblib.

    Inside a search (or anything else that joblib runs) a category is given once, with its first
    text, however many fits ask for it and whatever filters there are. Python's own default would
    tell texts of different numbers apart, and scikit-learn resets its memory for each task. A
    worker process cannot see the search, and gives it once in its life.

    Parameters
    ----------
    message : str
    category : type of Warning
    """
    frame, search = _place(sys._getframe(1))
    given = set() if search is None else _given.setdefault(search, set())
    kind = category, re.split(r"[:\d]", message, maxsplit=1)[0]
    if kind in given:
        return
    if search is not None:
        message += " (Said once for all fits of a search, or of one of its workers.)"
    warnings.warn_explicit(
        message,
        category,
        frame.f_code.co_filename,
        frame.f_lineno,
        module=frame.f_globals.get("__name__", "__main__"),
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
    )
    given.add(kind)  # after it: a warning that is an error is one in every fit


def _place(frame):
    """The user's frame, and what stands for the search that runs below it: None without one."""
    frame, search, by_joblib = _outside(frame)
    if not by_joblib or not os.path.dirname(frame.f_code.co_filename).startswith(_WORKERS):
        return frame, search
    for other in sys._current_frames().values():  # of a pool of threads the search is another
        while other is not None and not other.f_code.co_filename.startswith(_OURS):
            other = other.f_back  # what it waits in
        outside, search, _ = (None, None, None) if other is None else _outside(other)
        if search is not None:
            return outside, search
    return frame, threading.current_thread()


def _outside(frame):
    """The first frame that is not ours, the outermost Parallel below it, whether joblib is."""
    search, by_joblib = None, False
    while frame.f_code.co_filename.startswith(_OURS):
        name = frame.f_code.co_filename
        if name.startswith((_JOBLIB, _SKLEARN)):
            by_joblib = by_joblib or name.startswith(_JOBLIB)
            # also while the best candidate is refitted, after the loop over all
            held = (v for v in frame.f_locals.values() if isinstance(v, joblib.Parallel))
            search = next(held, search)
        if frame.f_back is None:
            break
        frame = frame.f_back
    return frame, search, by_joblib
