"""Digest of a fitted object: equal exactly when two models are bit-identical."""

import inspect
from collections import OrderedDict
from hashlib import sha256

import numpy as np
import torch

__all__ = ["state_digest"]

_PLAIN_KINDS = frozenset({type(None), bool, int, float, complex, str, bytes})
_PLAIN = (*_PLAIN_KINDS, np.generic)
_MOST_MARKS = 10_000  # joined before they are hashed
_IN_NUMPY = frozenset({torch.float32, torch.float64, torch.int64})
# wall-clock times, progress logs and the copy of the training call: not part of the model
_NOT_STATE = {"history_", "_history", "callbacks_", "_sklearn_version", "_sklearn_output_config"}
# names by which a skorch net finds its parts and its parameters: they follow from the rest
_NAMES_IN_NETS = {
    *("virtual_params_", "_params_to_validate", "prefixes_", "cuda_dependent_attributes_"),
    *("_modules", "_criteria", "_optimizers"),
}


def state_digest(obj):
    """Hexadecimal SHA-256 of everything a fitted object would predict from.

    Walks estimators, nets, modules, containers, arrays and tensors by value: two objects
    get the same digest if every number in them has the same bits, whatever their
    addresses, sharing of sub-objects, order of attributes or time of training. Histories
    and callbacks of skorch nets, which hold wall-clock times, are left out, and so are their
    lists of names.

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
    if type(obj) in _PLAIN_KINDS:  # names in sets, keys
        return sha256(_encoded(_plain(obj))).hexdigest()
    stream = _Stream()
    _update(stream, obj, ())
    return stream.hexdigest()


class _Stream:
    """What goes into a hash: many short marks, joined, and the contents of arrays."""

    def __init__(self):
        self._hasher = sha256()
        self.marks = []
        self.mark = self.marks.append

    def contents(self, data):
        self.flush()
        self._hasher.update(data)

    def hexdigest(self):
        self.flush()
        return self._hasher.hexdigest()

    def flush(self):
        self._hasher.update(_encoded("".join(self.marks)))
        self.marks.clear()


def _encoded(text):
    return text.encode("utf-8", "surrogatepass")


def _plain(value):
    return f"({type(value).__name__!r}, {repr(value)!r})\0"


def _update(stream, obj, ancestors):
    kind = type(obj)
    if kind in _PLAIN_KINDS or isinstance(obj, _PLAIN):
        stream.mark(_plain(obj))
        return
    for ancestor in ancestors:
        if obj is ancestor:
            stream.mark("('cycle',)\0")
            return
    write = _WRITERS.get(kind)
    if write is None:  # nearly all are of the kinds themselves: no look at each for every object
        write = next((w for base, w in _WRITERS.items() if isinstance(obj, base)), _write_object)
    write(stream, obj, (*ancestors, obj))


def _write_dict(stream, obj, path):
    stream.mark(f"({type(obj).__name__!r}, {len(obj)})\0")
    # equal dicts can differ in order, and copies of nets do
    _update_all(stream, [part for key in _ordered(obj) for part in (key, obj[key])], path)


def _write_sequence(stream, obj, path):
    stream.mark(f"({type(obj).__name__!r}, {len(obj)})\0")
    _update_all(stream, obj, path)


def _write_tensor(stream, obj, path):
    stream.mark(f"('tensor', {obj.dtype!r}, {tuple(obj.shape)!r})\0")
    stream.contents(_memory(obj.detach()))


def _write_array(stream, obj, path):
    stream.mark(f"('array', {obj.dtype.str!r}, {obj.shape!r})\0")
    if obj.dtype.hasobject:
        _update(stream, obj.tolist(), path)
    else:
        stream.contents(np.ascontiguousarray(obj).reshape(-1).view(np.uint8).data)


def _write_set(stream, obj, path):
    stream.mark(f"({type(obj).__name__!r}, {sorted(map(state_digest, obj))!r})\0")


def _write_ufunc(stream, obj, path):
    stream.mark(f"('ufunc', {obj.__name__!r})\0")


def _write_name(stream, obj, path):
    stream.mark(f"('name', {getattr(obj, '__module__', '')!r}, {obj.__qualname__!r})\0")


def _write_object(stream, obj, path):
    if inspect.isroutine(obj):
        _write_name(stream, obj, path)
        return
    kind = type(obj)
    stream.mark(f"('object', {kind.__module__!r}, {kind.__qualname__!r})\0")
    _update(stream, _state_of(obj), path)


_WRITERS = {
    dict: _write_dict,
    OrderedDict: _write_dict,
    list: _write_sequence,
    tuple: _write_sequence,
    torch.Tensor: _write_tensor,
    torch.nn.Parameter: _write_tensor,
    np.ndarray: _write_array,
    set: _write_set,
    frozenset: _write_set,
    np.ufunc: _write_ufunc,
    type: _write_name,
}


def _memory(tensor):
    """The numbers of a tensor, as what a hash reads."""
    if tensor.dtype in _IN_NUMPY and tensor.device.type == "cpu" and tensor.is_contiguous():
        return tensor.numpy()
    return tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy()


def _update_all(stream, values, path):
    for value in values:
        if type(value) in _PLAIN_KINDS:  # nine of ten that a net holds: no call for each
            stream.mark(f"({type(value).__name__!r}, {repr(value)!r})\0")
            if len(stream.marks) > _MOST_MARKS:
                stream.flush()
        else:
            _update(stream, value, path)


def _ordered(mapping):
    if set(map(type, mapping)) <= {str}:
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
        hidden = _NOT_STATE
        if "virtual_params_" in vars(obj):
            hidden = _NOT_STATE | _NAMES_IN_NETS
        return {key: value for key, value in vars(obj).items() if key not in hidden}
    if hasattr(obj, "get_tree_stats"):  # scikit-learn's KDTree, BallTree: they count queries
        return obj.get_arrays()
    reduced = obj.__reduce_ex__(4)
    if isinstance(reduced, str):
        return reduced
    _, arguments, *rest = reduced
    state, items, pairs = (*rest, None, None, None)[:3]
    return arguments, state, list(items or ()), list(pairs or ())
