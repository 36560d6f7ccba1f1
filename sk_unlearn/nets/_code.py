"""Digest of the code that training a net runs, wherever the user has written it."""

import functools
import os
import site
import sys
import sysconfig
import types
from hashlib import sha256

import numpy as np
import torch

from sk_unlearn.nets._inspect import throwaway_module
from sk_unlearn.utils._digest import state_digest

__all__ = ["code_digest", "globals_of", "inner_code", "is_installed"]

_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis))
# of classes: what Python adds, or changes as the class is used
_ADDED = {
    *("__dict__", "__weakref__", "__doc__", "__module__", "__annotations__", "__annotate__"),
    *("__annotate_func__", "__annotations_cache__", "__firstlineno__", "__static_attributes__"),
    *("__abstractmethods__", "_abc_impl", "__qualname__"),
}
_FOLDERS = tuple(
    os.path.realpath(path) + os.sep
    for path in {
        *(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        *site.getsitepackages(),
        site.getusersitepackages(),
    }
)


def code_digest(net):
    """Digest of all code outside of installed packages that training a net may run.

    Starts from the net, its parameters and the parts of its module, and follows classes with
    their bases and attributes, functions with their defaults and closures, and whatever these
    read by a global name, by compiled code and not by source: comments change nothing, and a
    notebook's code counts too. Of installed packages it notes the version. It does not see what
    is found by a string at run time, compiled extensions, files, or the environment.

    Parameters
    ----------
    net : skorch.NeuralNet
        Unfitted; left untouched.

    Returns
    -------
    digest : str of 64 hexadecimal digits
    """
    roots = {name: value for name, value in vars(net).items() if name != "history_"}
    # those that the module makes of names that only it knows
    parts = sorted({type(m) for m in throwaway_module(net).modules()}, key=_name)
    return _Graph([type(net), roots, parts]).digest()


class _Graph:
    """Objects in the order in which they are met, each written down once."""

    def __init__(self, root):
        self._index, self._queue = {}, []
        self.root = self._ref(root)

    def digest(self):
        hasher, done = sha256(), 0
        while done < len(self._queue):
            line = repr([done, *self._describe(self._queue[done])])
            hasher.update(line.encode("utf-8", "surrogatepass"))
            done += 1
        return hasher.hexdigest()

    def _ref(self, obj):
        """What stands for an object: its value, or the place at which it is written down."""
        kind = type(obj)
        if kind in _PLAIN:
            return f"{kind.__name__} {obj!r}"
        if kind is tuple or kind is types.CodeType:  # may be shared or not, which says nothing
            return [kind.__name__, *self._describe(obj)]
        if id(obj) not in self._index:
            self._index[id(obj)] = len(self._queue)
            self._queue.append(obj)  # which also keeps it alive, and its id its own
        return self._index[id(obj)]

    def _describe(self, obj):
        if isinstance(obj, type):
            return self._of_class(obj)
        if isinstance(obj, types.FunctionType):
            return self._of_function(obj)
        if isinstance(obj, types.CodeType):
            names = (obj.co_names, obj.co_varnames, obj.co_freevars, obj.co_cellvars)
            return [obj.co_name, obj.co_code, obj.co_flags, names, *map(self._ref, obj.co_consts)]
        if isinstance(obj, types.ModuleType):
            return [obj.__name__, _version(obj.__name__)]
        if isinstance(obj, (list, tuple)):
            return [_name(type(obj)), *map(self._ref, obj)]
        if isinstance(obj, (set, frozenset)):
            return [_name(type(obj)), *sorted(map(state_digest, obj))]
        if isinstance(obj, dict):
            return [_name(type(obj)), *((self._ref(key), self._ref(obj[key])) for key in obj)]
        if isinstance(obj, (np.ndarray, np.generic, torch.Tensor, torch.Generator)):
            return [state_digest(obj)]
        return self._of_instance(obj)

    def _of_class(self, kind):
        if is_installed(kind.__module__):
            return [_name(kind), _version(kind.__module__)]
        own = {name: value for name, value in vars(kind).items() if name not in _ADDED}
        return [_name(kind), *map(self._ref, (type(kind), kind.__bases__, own))]

    def _of_function(self, function):
        home = function.__globals__
        if is_installed(home.get("__name__")):
            return [_name(function), _version(home["__name__"])]
        cells = [_content(cell) for cell in function.__closure__ or ()]
        read = globals_of(function.__code__, home)
        parts = (function.__code__, function.__defaults__, function.__kwdefaults__, cells, read)
        return [_name(function), *map(self._ref, parts)]

    def _of_instance(self, obj):
        kind = type(obj)
        if kind in (staticmethod, classmethod, types.MethodType):
            return [
                _name(kind),
                self._ref(obj.__func__),
                self._ref(getattr(obj, "__self__", None)),
            ]
        if kind is property:
            return [_name(kind), *map(self._ref, (obj.fget, obj.fset, obj.fdel))]
        if isinstance(obj, functools.cached_property):
            return [_name(kind), self._ref(obj.func)]
        if kind.__module__ == "functools" and hasattr(obj, "__wrapped__"):  # lru_cache
            return [_name(kind), self._ref(obj.__wrapped__)]
        if not is_installed(kind.__module__) and hasattr(obj, "__dict__"):
            return [self._ref(kind), self._ref(dict(vars(obj)))]
        try:
            reduced = obj.__reduce_ex__(4)
            if isinstance(reduced, str):
                return [_name(kind), reduced]
            # from the fourth on iterators over the items of lists and dicts
            parts = [
                *reduced[:3],
                *(None if part is None else list(part) for part in reduced[3:5]),
            ]
        except Exception:  # locks, files, compiled functions: nothing but their type is known
            return [_name(kind)]
        return [self._ref(kind), *map(self._ref, parts)]


def globals_of(code, home):
    """What a function reads by global names, and by attributes of modules of the user's."""
    found, names = {}, set().union(*(each.co_names for each in inner_code(code)))
    package = home.get("__package__") or ""
    for name in sorted(names):
        if name in home:
            found[name] = home[name]
        else:  # imported inside of the function
            for full in (name, f"{package}.{name}"):
                if full in sys.modules:
                    found[full] = sys.modules[full]
    for name in list(found):
        _open_module(name, found, names, set())
    return found


def _open_module(name, found, names, seen):
    module = found[name]
    if not isinstance(module, types.ModuleType) or is_installed(module.__name__):
        return
    if module.__name__ in seen:
        return
    seen.add(module.__name__)
    for attribute in sorted(names & vars(module).keys()):
        found[f"{name}.{attribute}"] = vars(module)[attribute]
        _open_module(f"{name}.{attribute}", found, names, seen)


def inner_code(code):
    """Code of a function and of the functions within it."""
    inner = (const for const in code.co_consts if isinstance(const, types.CodeType))
    return [code, *(each for const in inner for each in inner_code(const))]


def _content(cell):
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _name(obj):
    return f"{getattr(obj, '__module__', None)}.{getattr(obj, '__qualname__', type(obj).__name__)}"


@functools.cache
def _installed_file(file):
    return os.path.realpath(file).startswith(_FOLDERS)


def is_installed(module):
    """Whether a module belongs to Python, to an installed package or to this one."""
    if module in sys.builtin_module_names or (module or "").partition(".")[0] == "sk_unlearn":
        return True
    loaded = sys.modules.get(module)
    file = getattr(loaded, "__file__", None)
    if file is not None:
        return _installed_file(file)
    return getattr(getattr(loaded, "__spec__", None), "origin", None) in ("built-in", "frozen")


def _version(module):
    top = sys.modules.get((module or "").partition(".")[0])
    return str(getattr(top, "__version__", None))
