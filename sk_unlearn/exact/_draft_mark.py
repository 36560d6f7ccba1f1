"""Marks beside folders whose content nobody can need yet, and how long they are alive."""

import os
import shutil
import stat
import weakref
from contextlib import suppress

try:
    import fcntl
except ImportError:  # Windows: what is open cannot be deleted there, which says the same
    fcntl = None

__all__ = ["DraftMark", "remove_dead_drafts"]

_SUFFIX = ".draft"
_FLAGS = os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)


class DraftMark:
    """Says that a folder belongs to a draft, for as long as the draft may be published.

    A file beside the folder, locked by whoever writes the folder. The operating system releases
    the lock when the process ends, however it ends, and Python when nothing refers to the draft
    any more. A mark without a lock is thus of a draft that can never be published: no estimator,
    copy or pickle can need its folder.

    Parameters
    ----------
    folder : str
        Local path that does not exist yet; its parent does.
    """

    def __init__(self, folder):
        self._path = folder + _SUFFIX
        descriptor = os.open(self._path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
        self._close = weakref.finalize(self, os.close, descriptor)  # with its last reference
        _lock(descriptor)
        if not _is_at(descriptor, self._path):
            raise FileNotFoundError(f"{self._path} was removed as soon as it was made")

    def remove(self):
        """The folder is needed from now on, or gone; again where it was interrupted."""
        if fcntl is None:  # what is open cannot be deleted
            self._close()
        with suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(self._path)
        self._close()


def remove_dead_drafts(parent, prefix):
    """Remove folders of drafts that can never be published.

    What cannot be removed, or may be alive, stays.

    Parameters
    ----------
    parent : str
        Local path.
    prefix : str
        Of the folders' names.

    Returns
    -------
    removed : list of str
        Paths of the folders.
    """
    try:
        with os.scandir(parent) as entries:
            marks = [
                entry.path
                for entry in entries
                if entry.name.startswith(prefix) and entry.name.endswith(_SUFFIX)
            ]
    except OSError:
        return []
    return [mark[: -len(_SUFFIX)] for mark in sorted(marks) if _remove_if_dead(mark)]


def _remove_if_dead(mark):
    folder = mark[: -len(_SUFFIX)]
    try:
        if not stat.S_ISREG(os.lstat(mark).st_mode):
            return False
        descriptor = os.open(mark, _FLAGS)
    except OSError:  # published in the meantime, or not ours to read
        return False
    try:
        # published between the look and the lock: the folder is needed
        if not _lock(descriptor) or not _is_at(descriptor, mark):
            return False
        if fcntl is None:  # a mark that is alive cannot be deleted, and is looked at first
            os.close(descriptor)
            descriptor = None
            os.unlink(mark)
        existed = os.path.lexists(folder)
        if existed:
            shutil.rmtree(folder)
        if fcntl is not None:  # last: what is interrupted here is done again
            os.unlink(mark)
        return existed
    except OSError:
        return False
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _lock(descriptor):
    """Whether the lock could be had; where none can be told, it counts as taken."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_at(descriptor, path):
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except OSError:
        return False
