"""Settings of a net that go by the number of a class, such as the weights of classes."""

import dis
import inspect
from functools import partial

import numpy as np
import torch
from torch import nn

from sk_unlearn.nets._code import globals_of, inner_code, is_installed
from sk_unlearn.nets._inspect import bare_module, find_nets, throwaway_module
from sk_unlearn.utils._seeding import isolated_rng

__all__ = ["class_settings", "n_outputs_inside"]

_OURS = ("skorch", "sk_unlearn", "torch")
_DEPTH = 4


def class_settings(estimator, sizes):
    """Names of settings that go by the number of a class in the nets of an estimator.

    Those are a class to ignore, and what has one entry a class where losses and callbacks of
    users keep it, in objects, in their classes or in what methods read: the criterion as it is
    built, a class of net, callbacks that are not skorch's, ``predict_nonlinearity``, and vectors
    and square matrices of real numbers that the module is given or keeps without learning them.
    What is learned is none: it is learned anew.

    Parameters
    ----------
    estimator : estimator
        Anything that holds nets. Left untouched, and so are all random generators.
    sizes : collection of int
        Numbers of classes, or of outputs.

    Returns
    -------
    names : list of str
        As ``criterion__weight``; empty where nothing has so many entries.

    Examples
    --------
    >>> import torch
    >>> from skorch import NeuralNetClassifier
    >>> from sk_unlearn.nets import MLP
    >>> from sk_unlearn.nets._class_numbers import class_settings
    >>> net = NeuralNetClassifier(MLP, module__n_features=4, module__n_outputs=3)
    >>> net = net.set_params(criterion=torch.nn.CrossEntropyLoss)
    >>> class_settings(net.set_params(criterion__weight=torch.ones(3)), {3})
    ['criterion__weight']
    """
    sizes = {size for size in sizes if size and size > 1}
    found = {}
    for net in find_nets(estimator) if sizes else ():
        if getattr(_criterion(net, net.get_params_for("criterion")), "ignore_index", -1) >= 0:
            found["criterion__ignore_index"] = None
        for name, value in _candidates(net):
            if _has_entries(value, sizes, _DEPTH):
                found[name] = None
    return list(found)


def n_outputs_inside(estimator):
    """Outputs of the net in an estimator, by its last layer; None if nothing is known of it.

    Parameters
    ----------
    estimator : estimator
        Anything that holds nets. Left untouched, and so are all random generators.

    Returns
    -------
    n_outputs : int or None
    """
    n_outputs = None
    for net in find_nets(estimator):
        for layer in throwaway_module(net).modules():
            n_outputs = getattr(layer, "out_features", n_outputs)
    return n_outputs


def _candidates(net):
    given = net.get_params_for("criterion")
    yield from ((f"criterion__{name}", value) for name, value in given.items())
    for name, value in _held(_criterion(net, given)):
        yield f"criterion__{name}", value
    for name, value in (*net.get_params_for("module").items(), *_kept(throwaway_module(net))):
        values = value.detach().cpu().numpy() if torch.is_tensor(value) else value
        if not isinstance(values, np.ndarray) or values.dtype.kind != "f":
            continue
        if values.ndim in (1, 2) and len(set(values.shape)) == 1:
            yield f"module__{name}", value
    yield from _of_classes(net).items()
    for function in _methods(net):
        names = set(function.__code__.co_names) & vars(net).keys()
        yield from ((name, vars(net)[name]) for name in names)
    callbacks = [] if net.callbacks in (None, "disable") else net.callbacks
    for item in callbacks:
        name, callback = item if isinstance(item, tuple) else (None, item)
        if not isinstance(callback, type) and not _is_ours(callback):
            for key, value in _held(callback):
                yield f"callbacks__{name or type(callback).__name__}__{key}", value
    if callable(net.predict_nonlinearity):
        yield "predict_nonlinearity", net.predict_nonlinearity


def _criterion(net, given):
    """The criterion as skorch builds it."""
    if isinstance(net.criterion, nn.Module) and not given:
        return bare_module(net.criterion)
    kind = net.criterion if callable(net.criterion) else None
    if isinstance(net.criterion, nn.Module):
        kind = type(net.criterion)
    try:
        with isolated_rng(0):
            return kind(**given)
    except Exception:  # training will say so
        return None


def _kept(module):
    """Tensors that a module of the user's keeps and does not learn, but for those of one value."""
    for part in module.modules():
        for name, value in [] if _is_ours(part) else _held(part):
            if torch.is_tensor(value) and len(value.unique()) > 1:
                yield name, value


def _is_ours(value):
    home = value if inspect.isfunction(value) else type(value)
    return home.__module__.partition(".")[0] in _OURS


def _read(function):
    """What a function reads and is not told: defaults, other scopes, vectors written into it."""
    if not inspect.isfunction(function):
        return {}
    codes = inner_code(function.__code__)
    steps = [step for code in codes for step in dis.get_instructions(code)]
    loaded = {str(step.argval) for step in steps if step.opname in _LOADS}
    seen = globals_of(function.__code__, function.__globals__)
    seen = {name: value for name, value in seen.items() if name.partition(".")[0] in loaded}
    options = inspect.signature(function).parameters.values()
    defaults = {each.name: each.default for each in options if each.default is not each.empty}
    written = (c for code in codes for c in code.co_consts if isinstance(c, tuple))
    numbers = {f"{c} in {function.__qualname__}": c for c in written if _are_real(c)}
    return {**inspect.getclosurevars(function).nonlocals, **seen, **defaults, **numbers}


# names of other scopes, not of attributes
_LOADS = ("LOAD_GLOBAL", "LOAD_NAME", "IMPORT_NAME")


def _are_real(values):
    return all(map(_is_entry, values)) and any(isinstance(each, float) for each in values)


def _own(value):
    """What classes of the user's define, by name."""
    kinds = [kind for kind in type(value).__mro__ if not is_installed(kind.__module__)]
    named = {name: held for kind in reversed(kinds) for name, held in vars(kind).items()}
    return {name: held for name, held in named.items() if not name.startswith("__")}


def _methods(value):
    held = [getattr(each, "__func__", each) for each in _own(value).values()]
    held = [each.fget if isinstance(each, property) else each for each in held]
    return [each for each in held if inspect.isfunction(each)]


def _of_classes(value):
    """What classes of the user's hold for all their objects, and what their methods read."""
    kept = {name: held for name, held in _own(value).items() if not inspect.isfunction(held)}
    for function in _methods(value):
        kept |= _read(function)
    return kept


def _held(value):
    """What an object keeps, by name."""
    if isinstance(value, nn.Module):
        kept = {**value._buffers, **value._modules}
        kept |= {k: v for k, v in value._parameters.items() if v is None or not v.requires_grad}
        kept |= {k: v for k, v in vars(value).items() if k not in _MODULE_NAMES}
    elif isinstance(value, partial):
        kept = {**dict(enumerate(value.args)), **value.keywords, "func": value.func}
    elif inspect.isfunction(value):
        kept = _read(value)
    else:
        kept = vars(value) if hasattr(value, "__dict__") else {}
    return [*kept.items(), *_of_classes(value).items()]


_MODULE_NAMES = frozenset(vars(nn.Module()))


def _has_entries(value, sizes, depth):
    """Whether a value, or something it keeps, has an entry for each of so many classes."""
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):  # an array, a tensor or a Series
        return not sizes.isdisjoint(shape)
    if isinstance(value, (list, tuple, dict)):
        value = list(value.values()) if isinstance(value, dict) else value
        if len(value) in sizes and all(map(_is_entry, value)):
            return True
    if depth == 0 or value is None or isinstance(value, (type, str, bytes, int, float)):
        return False
    if isinstance(value, (list, tuple)):
        return any(_has_entries(each, sizes, depth - 1) for each in value)
    if inspect.ismodule(value) or inspect.isbuiltin(value):
        return False
    return any(_has_entries(kept, sizes, depth - 1) for _, kept in _held(value))


def _is_entry(value):
    if isinstance(value, (list, tuple)):  # a row of a matrix
        return len(value) > 0 and all(map(_is_entry, value))
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    return number or torch.is_tensor(value) or isinstance(value, np.ndarray)
