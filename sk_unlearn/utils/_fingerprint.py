"""Checksums of training data, to notice that the caller changed it in place."""

import zlib

import joblib
import numpy as np
from scipy import sparse

from sk_unlearn.utils._containers import is_frame

__all__ = ["fingerprint"]


def fingerprint(data):
    """Checksum of the content of an array-like.

    Depends on values only, so it survives pickling. It guards against accidents, not
    against an adversary. Cost: one read of the data.

    Parameters
    ----------
    data : ndarray, sparse matrix, DataFrame, Series, list or None

    Returns
    -------
    checksum : int or str
    """
    if data is None:
        return 0
    if isinstance(data, np.ndarray):
        return _array_checksum(data)
    if sparse.issparse(data):
        coo = data.tocoo()
        parts = (coo.data, *getattr(coo, "coords", (coo.row, coo.col)))
        return _combine(_array_checksum(part) for part in parts)
    if is_frame(data):
        columns = [np.asarray(data[name]) for name in data.columns]
        return _combine(
            [zlib.crc32(repr(list(data.columns)).encode()), *map(_array_checksum, columns)]
        )
    if hasattr(type(data), "__array__"):
        return _array_checksum(np.asarray(data))
    if isinstance(data, (list, tuple)):
        return zlib.crc32("\x1f".join(map(repr, data)).encode("utf-8", "surrogatepass"))
    return joblib.hash(data)


def _array_checksum(array):
    head = zlib.crc32(f"{array.dtype.str}{array.shape}".encode())
    if array.dtype.hasobject:
        return zlib.crc32(
            "\x1f".join(map(repr, array.ravel())).encode("utf-8", "surrogatepass"), head
        )
    if not array.flags.c_contiguous:
        # a Fortran-ordered array is contiguous once transposed: no copy
        array = array.T if array.flags.f_contiguous else np.ascontiguousarray(array)
    return zlib.crc32(array.reshape(-1).view(np.uint8).data, head)


def _combine(parts):
    return zlib.crc32(repr(list(parts)).encode())
