"""Where the states of checkpoint chains are kept: in memory, or as files."""

import json
import os
import secrets
import stat
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import fsspec
import safetensors.torch
from fsspec.implementations.local import LocalFileSystem

from sk_unlearn.exact._draft_mark import DraftMark, remove_dead_drafts
from sk_unlearn.exceptions import CheckpointError
from sk_unlearn.utils._state_tree import map_tensors, pack, unpack

__all__ = ["FolderStore", "MemoryStore", "Saved", "absolute", "check_checkpoints", "open_store"]

_SUFFIX = ".safetensors"
_PREFIX = "sk_unlearn-"
_GONE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


@dataclass(frozen=True)
class Saved:
    """One saved state of a chain.

    Attributes
    ----------
    key : str
        Of the step after which it was saved: names all that it was computed from.
    state : dict or None
        Itself, where it is kept in memory.
    name, sha256, n_bytes : str, str, int
        Of the file, where it is one: its folder and its own name.
    """

    key: str
    state: Any = None
    name: str | None = None
    sha256: str | None = None
    n_bytes: int = 0


class _Store:
    """What becomes of files that the state before held, whatever this one's are kept in."""

    def __init__(self):
        self._mark, self._before, self._dropped = None, (), ()
        self._in_place = False

    def succeed(self, before, dropped):
        """Take over from another store; :meth:`settle` removes what is dropped.

        Parameters
        ----------
        before : store or None
            Of the state that this one's replaces.
        dropped : iterable of Saved
            What that state holds and this one's does not.
        """
        self._in_place = True
        if before is not None:
            files = [before.path(saved) for saved in dropped if saved.name is not None]
            self._dropped = (*before._dropped, *self._dropped, *files)
            # files of its folder may be kept: a mark that is still there must go as well
            self._before = (*self._before, before)

    def settle(self):
        """Remove what was dropped, then the mark: whoever reads the estimator needs its files.

        Raises
        ------
        OSError
            If a file could not be removed; the next call tries again.
        """
        if not self._in_place:  # a draft, which may still be given up
            return
        left, first = [], None
        for path in self._dropped:
            try:
                _remove_file(path)
            except Exception as error:  # the others go all the same
                left, first = [*left, path], first or error
        self._dropped = tuple(left)
        marked = [
            (store, store._mark) for store in (*self._before, self) if store._mark is not None
        ]
        for store, _ in marked:
            _remove_if_empty(f"{store.url}/{store._name}")
        for store, mark in marked:  # the last thing: what is killed before was never published
            mark.remove()
            store._mark = None  # not before: without a reference to it, the folder would be dead
        self._before = ()
        if first is not None:
            raise first

    def sweep(self):
        """Settle, and remove folders of dead drafts beside this one's.

        Returns
        -------
        removed : list of str
        """
        removed, dropped = self._remove_dead(), list(self._dropped)
        self.settle()
        return removed + dropped

    def _remove_dead(self):
        return []


class MemoryStore(_Store):
    """States stay in the estimator, and in its pickle."""

    def draft(self):
        """Return the store of a draft."""
        return self

    def begin(self):
        """Prepare for states to be saved: nothing to do."""

    def save(self, key, state):
        """Keep a copy of a state; return its :class:`Saved`."""
        # off the device: many states would fill it
        return Saved(key, state=map_tensors(lambda t: t.detach().to("cpu", copy=True), state))

    def load(self, saved):
        """Return a saved state, or None if it is lost."""
        return saved.state

    def discard(self):
        """Remove everything: nothing to do."""


class FolderStore(_Store):
    """States are safetensors files, named after their SHA-256.

    Each draft of an estimator, in ``fit`` or ``forget``, writes into a new folder of its own. A
    mark beside it says so until the draft is published and the files that it replaces are
    removed; a :class:`DraftMark` that outlives its process is of a draft that was never published.
    An estimator only ever removes files that it held itself, and folders of dead drafts: those of
    copies and of other processes stay.

    The digests that decide whether a file is believed are those in the estimator.

    Parameters
    ----------
    url : str
        Local path or fsspec URL; created if missing.
    """

    def __init__(self, url):
        super().__init__()
        # the working directory may change before a removal
        self.url = absolute(url).rstrip("/")
        self._name = f"{_PREFIX}{secrets.token_hex(8)}"
        self._begun = self._closed = False

    def draft(self):
        """Return the store of a draft: it reads what this one has, and writes elsewhere."""
        return FolderStore(self.url)

    def begin(self):
        """Make the folder that states will be saved in.

        Raises
        ------
        CheckpointError
            If it cannot be made.
        """
        try:
            fs, root = self._open()
            folder = f"{root}/{self._name}"
            if _is_local(fs):
                remove_dead_drafts(root, _PREFIX)
                os.makedirs(root, exist_ok=True)
                self._mark = DraftMark(folder)
                self._begun = True
                os.mkdir(folder)
            else:
                self._begun = True
                fs.makedirs(folder, exist_ok=True)
        except Exception as error:  # whatever the file system raises
            raise CheckpointError(
                f"checkpoints must be a folder or fsspec URL that can be written to, got "
                f"{self.url!r} ({_text(error)}). Make it one again, or fit with other checkpoints."
            ) from error

    def save(self, key, state):
        """Write a state; return its :class:`Saved`."""
        tensors, skeleton = pack(state)
        content = safetensors.torch.save(tensors, metadata={"skeleton": skeleton})
        digest = sha256(content).hexdigest()
        # the key is in the name: two chains may reach the same bits, and lose them apart
        name = f"{self._name}/{key[:16]}-{digest[:16]}{_SUFFIX}"
        try:
            if self._closed:
                raise FileNotFoundError("removed, since another training of this draft failed")
            fs, root = self._open()
            # the folder is not made again: it is gone where the draft was given up
            fs.pipe_file(f"{root}/{name}", content)
        except Exception as error:
            raise CheckpointError(
                f"A state could not be written to {self.url}/{name}: {_text(error)}."
            ) from error
        return Saved(key, name=name, sha256=digest, n_bytes=len(content))

    def load(self, saved):
        """Return a saved state, or None if its file is lost, altered or no file."""
        try:
            fs, root = self._open()
            path = f"{root}/{saved.name}"
            content = _read_file(path, saved.n_bytes) if _is_local(fs) else fs.cat_file(path)
        except Exception:  # whatever is in its place; the digest would not be the state's
            return None
        if sha256(content).hexdigest() != saved.sha256:
            return None
        length = int.from_bytes(content[:8], "little")
        skeleton = json.loads(content[8 : 8 + length])["__metadata__"]["skeleton"]
        return unpack(safetensors.torch.load(content), skeleton)

    def path(self, saved):
        """Path or URL of a saved state."""
        return f"{self.url}/{saved.name}"

    def _remove_dead(self):
        fs, root = self._open()
        return remove_dead_drafts(root, _PREFIX) if _is_local(fs) else []

    def discard(self):
        """Remove the folder of a draft that will not be published, or was taken back."""
        self._in_place = False
        self._closed = True  # threads that go on after another failed must not fill it again
        if not self._begun:
            return
        try:
            fs, root = self._open()
            folder = f"{root}/{self._name}"
            if fs.exists(folder):
                fs.rm(folder, recursive=True)
        except Exception:
            return  # what led here is raised; the mark stays, so that a later sweep tries again
        if self._mark is not None:
            self._mark.remove()
            self._mark = None

    def __getstate__(self):
        # who reads it in another process saves into the folder; the draft stays its owner's
        return {**vars(self), "_mark": None, "_before": ()}

    def _open(self):
        fs, root = fsspec.core.url_to_fs(self.url)
        # others write to the same folder: a listing from before would hide their files
        fs.invalidate_cache(root)
        return fs, root


def _is_local(fs):
    return isinstance(fs, LocalFileSystem)


def _text(error):
    return f"{type(error).__name__}: {error}"


def _read_file(path, n_bytes):
    """Content of a regular file of the size that is expected."""
    with open(path, "rb", opener=_open_at_once) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_size != n_bytes:
            raise FileNotFoundError(path)
        return file.read(n_bytes + 1)


def _open_at_once(path, flags):
    # a pipe in place of the file would wait for somebody to write
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _remove_file(url):
    """Remove a file, and its folder if it was the last one; nothing if something else is there."""
    fs, path = fsspec.core.url_to_fs(url)
    try:
        if not _is_local(fs):
            fs.rm_file(path)
        elif not os.path.isdir(path) or os.path.islink(path):
            os.unlink(path)
    except _GONE:
        pass
    _remove_if_empty(url.rpartition("/")[0])


def _remove_if_empty(url):
    fs, folder = fsspec.core.url_to_fs(url)
    if not _is_local(fs):
        return  # object stores have no folders, and may take this for a whole container
    with suppress(OSError):  # not empty, or not there
        os.rmdir(folder)


def absolute(checkpoints):
    """A ``checkpoints`` parameter that means the same in every working directory.

    Parameters
    ----------
    checkpoints : None, str or path-like

    Returns
    -------
    url : str or None
    """
    if checkpoints is None:
        return None
    url = str(checkpoints)
    return url if "://" in url else os.path.abspath(os.path.expanduser(url))


def open_store(checkpoints):
    """Store for a ``checkpoints`` parameter: None keeps states in memory.

    Parameters
    ----------
    checkpoints : None, str or path-like

    Returns
    -------
    store : MemoryStore or FolderStore
    """
    return MemoryStore() if checkpoints is None else FolderStore(checkpoints)


def check_checkpoints(checkpoints):
    """Refuse a ``checkpoints`` parameter that cannot be written to, before any training.

    Parameters
    ----------
    checkpoints : None, str or path-like

    Raises
    ------
    CheckpointError
    """
    if checkpoints is None:
        return
    try:
        fs, root = fsspec.core.url_to_fs(FolderStore(checkpoints).url)
        fs.makedirs(root, exist_ok=True)
    except Exception as error:  # whatever the file system raises
        raise CheckpointError(
            f"checkpoints must be a folder or fsspec URL that can be written to, got "
            f"{str(checkpoints)!r} ({_text(error)})."
        ) from error
