"""Nested training state as named tensors and a JSON skeleton, and back."""

import json

import numpy as np
import torch

__all__ = ["map_tensors", "pack", "unpack"]

_PLAIN = (type(None), bool, int, float, str)


def map_tensors(function, tree):
    """Nested dicts, lists and tuples with ``function`` applied to every tensor.

    Parameters
    ----------
    function : callable
        Takes and returns a tensor.
    tree : object
        Anything else than containers and tensors is returned as it is.

    Returns
    -------
    mapped : object
    """
    if isinstance(tree, torch.Tensor):
        return function(tree)
    if isinstance(tree, dict):
        return {key: map_tensors(function, value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)([map_tensors(function, value) for value in tree])
    return tree


def pack(tree):
    """Split a state into tensors and text.

    Parameters
    ----------
    tree : nested dict, list, tuple of Tensor, ndarray, bytes and plain values

    Returns
    -------
    tensors : dict of str to Tensor
        Contiguous, on the CPU.
    skeleton : str
        JSON.

    Raises
    ------
    TypeError
        If the state holds anything else.

    Examples
    --------
    >>> import torch
    >>> from sk_unlearn.utils._state_tree import pack, unpack
    >>> tensors, skeleton = pack({"step": 3, 0: [torch.zeros(2), b"ab"]})
    >>> unpack(tensors, skeleton)
    {'step': 3, 0: [tensor([0., 0.]), b'ab']}
    """
    tensors = {}

    def store(kind, tensor):
        name = f"t{len(tensors)}"
        tensors[name] = tensor.detach().cpu().contiguous().clone()
        return {kind: name}

    def walk(value):
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, _PLAIN):
            return value
        if isinstance(value, torch.Tensor):
            return store("tensor", value)
        if isinstance(value, np.ndarray):
            return store("array", torch.from_numpy(np.array(value)))
        if isinstance(value, bytes):
            return store("bytes", torch.from_numpy(np.frombuffer(value, np.uint8).copy()))
        if isinstance(value, dict):
            return {"dict": [[walk(key), walk(item)] for key, item in value.items()]}
        if isinstance(value, (list, tuple)):
            kind = "tuple" if isinstance(value, tuple) else "list"
            return {kind: [walk(item) for item in value]}
        raise TypeError(
            f"A state to be saved holds {type(value).__name__}: tensors, arrays, bytes, numbers, "
            "strings, and dicts, lists and tuples of these can be saved."
        )

    return tensors, json.dumps(walk(tree))


def unpack(tensors, skeleton):
    """Undo :func:`pack`.

    Parameters
    ----------
    tensors : dict of str to Tensor
    skeleton : str

    Returns
    -------
    tree : object
    """

    def build(node):
        if not isinstance(node, dict):
            return node
        ((kind, content),) = node.items()
        if kind == "tensor":
            return tensors[content]
        if kind == "array":
            return tensors[content].numpy()
        if kind == "bytes":
            return tensors[content].numpy().tobytes()
        if kind == "dict":
            return {build(key): build(value) for key, value in content}
        items = [build(item) for item in content]
        return tuple(items) if kind == "tuple" else items

    return build(json.loads(skeleton))
