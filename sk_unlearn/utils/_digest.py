"""Digest of a fitted object: equal exactly when two models are bit-identical."""

import inspect
from hashlib import sha256

import numpy as np
import torch

__all__ = ["state_digest"]

_PLAIN = (type(None), bool, int, float, complex, str, bytes, np.generic)
# wall-clock times, progress logs and the copy of the training call: not part of the model
_NOT_STATE = {"history_", "_history", "callbacks_", "_sklearn_version", "_sklearn_output_config"}


def state_digest(obj):
    """Hexadecimal SHA-256 of everything a fitted object would predict from.

    Walks estimators, nets, modules, containers, arrays and tensors by value: two objects
    get the same digest if every number in them has the same bits, whatever their
    addresses, sharing of sub-objects, order of attributes or time of training. Histories
    and callbacks of skorch nets, which hold wall-clock times, are left out.

    Parameters
    ----------
    obj : object

    Returns
    -------
    digest : str of 64 hexadecimal digits

    Examples
    --------
    >>> import numpy as np
    >>> from sk_unlearn.utils._digest import state_digest
    >>> state_digest({"w": np.zeros(2)}) == state_digest({"w": np.array([0.0, 0.0])})
    True
    >>> state_digest({"w": np.zeros(2)}) == state_digest({"w": np.array([0.0, -0.0])})
    False
    """
    hasher = sha256()
    _update(hasher, obj, [])
    return hasher.hexdigest()


def _update(hasher, obj, ancestors):
    kind = type(obj)
    if isinstance(obj, _PLAIN):
        _mark(hasher, kind.__name__, repr(obj))
        return
    for ancestor in ancestors:
        if obj is ancestor:
            _mark(hasher, "cycle")
            return
    path = [*ancestors, obj]
    if isinstance(obj, dict):
        _mark(hasher, kind.__name__, len(obj))
        # equal dicts can differ in order, and copies of nets do
        for key in _ordered(obj):
            if type(key) is str:  # half of all that a net holds
                _mark(hasher, "str", repr(key))
            else:
                _update(hasher, key, path)
            _update(hasher, obj[key], path)
    elif isinstance(obj, (list, tuple)):
        _mark(hasher, kind.__name__, len(obj))
        for value in obj:
            _update(hasher, value, path)
    elif isinstance(obj, torch.Tensor):
        _mark(hasher, "tensor", obj.dtype, tuple(obj.shape))
        flat = obj.detach().cpu().contiguous().reshape(-1)
        hasher.update(flat.view(torch.uint8).numpy().data)
    elif isinstance(obj, np.ndarray):
        _mark(hasher, "array", obj.dtype.str, obj.shape)
        if obj.dtype.hasobject:
            _update(hasher, obj.tolist(), path)
        else:
            hasher.update(np.ascontiguousarray(obj).reshape(-1).view(np.uint8).data)
    elif isinstance(obj, (set, frozenset)):
        _mark(hasher, kind.__name__, sorted(map(state_digest, obj)))
    elif isinstance(obj, np.ufunc):
        _mark(hasher, "ufunc", obj.__name__)
    elif isinstance(obj, type) or inspect.isroutine(obj):
        _mark(hasher, "name", getattr(obj, "__module__", ""), obj.__qualname__)
    else:
        _mark(hasher, "object", kind.__module__, kind.__qualname__)
        _update(hasher, _state_of(obj), path)


def _ordered(mapping):
    if all(type(key) is str for key in mapping):
        return sorted(mapping)
    return sorted(mapping, key=_order)


def _order(key):
    return (type(key).__name__, key if isinstance(key, str) else state_digest(key))


def _state_of(obj):
    if isinstance(obj, (torch.nn.Module, torch.optim.Optimizer)):
        return dict(obj.state_dict())
    if isinstance(obj, torch.Generator):
        return obj.get_state()
    if hasattr(obj, "get_params"):
        return {key: value for key, value in vars(obj).items() if key not in _NOT_STATE}
    if hasattr(obj, "get_tree_stats"):  # scikit-learn's KDTree, BallTree: they count queries
        return obj.get_arrays()
    reduced = obj.__reduce_ex__(4)
    if isinstance(reduced, str):
        return reduced
    _, arguments, *rest = reduced
    state, items, pairs = (*rest, None, None, None)[:3]
    return arguments, state, list(items or ()), list(pairs or ())


def _mark(hasher, *parts):
    hasher.update(repr(parts).encode("utf-8", "surrogatepass") + b"\0")
