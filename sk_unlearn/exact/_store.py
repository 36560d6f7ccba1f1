"""Where the states of checkpoint chains are kept: in memory, or as files."""

import json
import os
import secrets
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import fsspec
import safetensors.torch

from sk_unlearn.utils._state_tree import map_tensors, pack, unpack

__all__ = ["FolderStore", "MemoryStore", "Saved", "check_checkpoints", "open_store"]

_SUFFIX = ".safetensors"


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
        Of the file, where it is one.
    """

    key: str
    state: Any = None
    name: str | None = None
    sha256: str | None = None
    n_bytes: int = 0


class MemoryStore:
    """States stay in the estimator, and in its pickle."""

    def save(self, key, state):
        """Keep a copy of a state; return its :class:`Saved`."""
        # off the device: many states would fill it
        return Saved(key, state=map_tensors(lambda t: t.detach().to("cpu", copy=True), state))

    def load(self, saved):
        """Return a saved state, or None if it is lost."""
        return saved.state

    def sweep(self, kept):
        """Remove everything but ``kept``: nothing to do, the estimator drops it."""

    def remove(self):
        """Remove everything: nothing to do."""


class FolderStore:
    """States are safetensors files in a folder of their own, named after their SHA-256.

    The digests that decide whether a file is believed are those in the estimator; the
    file ``manifest.json`` beside the states repeats them for auditors.

    Parameters
    ----------
    url : str
        Local path or fsspec URL; created if missing.
    """

    def __init__(self, url):
        url = str(url)
        if "://" not in url:
            # absolute: the working directory may change before a removal
            url = os.path.abspath(os.path.expanduser(url))
        self.folder = f"{url.rstrip('/')}/sk_unlearn-{secrets.token_hex(8)}"
        self._closed = False

    def save(self, key, state):
        """Write a state; return its :class:`Saved`."""
        tensors, skeleton = pack(state)
        content = safetensors.torch.save(tensors, metadata={"skeleton": skeleton})
        digest = sha256(content).hexdigest()
        # the key is in the name: two chains may reach the same bits, and lose them apart
        name = f"{key[:16]}-{digest[:16]}{_SUFFIX}"
        if self._closed:
            raise RuntimeError(f"{self.folder} was removed: another training of this fit failed.")
        fs, folder = self._open()
        fs.makedirs(folder, exist_ok=True)
        fs.pipe_file(f"{folder}/{name}", content)
        return Saved(key, name=name, sha256=digest, n_bytes=len(content))

    def load(self, saved):
        """Return a saved state, or None if its file is lost or altered."""
        fs, folder = self._open()
        try:
            content = fs.cat_file(f"{folder}/{saved.name}")
        except OSError:
            return None
        if sha256(content).hexdigest() != saved.sha256:
            return None
        length = int.from_bytes(content[:8], "little")
        skeleton = json.loads(content[8 : 8 + length])["__metadata__"]["skeleton"]
        return unpack(safetensors.torch.load(content), skeleton)

    def sweep(self, kept):
        """Remove every file but those of ``kept``, and write the manifest.

        Parameters
        ----------
        kept : iterable of Saved
        """
        fs, folder = self._open()
        files = {saved.name: saved for saved in kept}
        if not files:
            self._remove_folder()
            return
        errors = []
        for path in fs.ls(folder, detail=False) if fs.exists(folder) else ():
            name = path.rsplit("/", 1)[-1]
            if name.endswith(_SUFFIX) and name not in files:
                try:
                    fs.rm_file(path)
                except OSError as error:  # the others go all the same
                    errors.append(error)
        manifest = {
            name: {"sha256": saved.sha256, "bytes": saved.n_bytes}
            for name, saved in sorted(files.items())
        }
        fs.makedirs(folder, exist_ok=True)
        fs.pipe_file(f"{folder}/manifest.json", json.dumps(manifest, indent=1).encode())
        if errors:
            raise errors[0]

    def remove(self):
        """Remove the folder and everything in it; nothing can be saved any more."""
        self._closed = True  # threads that go on after another failed must not fill it again
        self._remove_folder()

    def _remove_folder(self):
        fs, folder = self._open()
        if fs.exists(folder):
            fs.rm(folder, recursive=True)

    def _open(self):
        fs, folder = fsspec.core.url_to_fs(self.folder)
        # others write to the same folder: a listing from before would hide their files
        fs.invalidate_cache(folder)
        return fs, folder


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
    ValueError
    """
    if checkpoints is None:
        return
    try:
        fs, folder = fsspec.core.url_to_fs(os.path.dirname(FolderStore(checkpoints).folder))
        fs.makedirs(folder, exist_ok=True)
    except Exception as error:  # whatever the file system raises
        raise ValueError(
            f"checkpoints must be a folder or fsspec URL that can be written to, got "
            f"{str(checkpoints)!r}: {error}"
        ) from error
