"""``copy.deepcopy`` of a module, without its way through pickling for each layer."""

import copy
import copyreg
from collections import OrderedDict

from torch import nn

__all__ = ["deepcopy_module"]

_PLAIN = frozenset({type(None), bool, int, float, str})
# Dicts of hooks and parts that every module has, each of its own.
_DICTS = frozenset(
    name for name, value in vars(nn.Module()).items() if isinstance(value, (dict, set))
)
_EMPTIES = frozenset({dict, OrderedDict, set})
_LEFT_OUT = frozenset({"_compiled_call_impl"})  # it runs the weights of the original
# How a class says that it is copied in a way of its own.
_PROTOCOL = (
    "__deepcopy__",
    "__reduce__",
    "__reduce_ex__",
    "__getstate__",
    "__setstate__",
    "__new__",
)


def deepcopy_module(module, memo):
    """What ``copy.deepcopy(module, memo)`` makes.

    A layer has a dozen dicts of hooks, nearly always empty, and numbers; copying these one by
    one takes most of the time of a small net.

    Parameters
    ----------
    module : torch.nn.Module
    memo : dict
        As ``copy.deepcopy`` uses it; empty for a copy of its own.

    Returns
    -------
    twin : torch.nn.Module

    Examples
    --------
    >>> from torch import nn
    >>> from sk_unlearn.nets._module_copy import deepcopy_module
    >>> deepcopy_module(nn.Sequential(nn.Linear(2, 3)), {})
    Sequential(
      (0): Linear(in_features=2, out_features=3, bias=True)
    )
    """
    if id(module) in memo:
        return memo[id(module)]
    kind = type(module)
    if (
        any(getattr(kind, name, None) is not getattr(nn.Module, name, None) for name in _PROTOCOL)
        or "__deepcopy__" in vars(module)
        or kind in copyreg.dispatch_table
    ):
        return copy.deepcopy(module, memo)
    memo[id(module)] = twin = kind.__new__(kind)
    for key, value in vars(module).items():
        if type(value) in _PLAIN:
            twin.__dict__[key] = value
        elif key in _LEFT_OUT:
            continue
        elif key == "_modules" and type(value) in _EMPTIES:
            children = ((k, _copied(v, memo)) for k, v in value.items())
            twin.__dict__[key] = type(value)(children)
        elif key in _DICTS and type(value) in _EMPTIES and not value:
            twin.__dict__[key] = type(value)()
        else:
            twin.__dict__[key] = copy.deepcopy(value, memo)
    return twin


def _copied(child, memo):
    # a container without layers is false too
    return None if child is None else deepcopy_module(child, memo)
