"""A net as skorch would make it anew, with copies of a trained one's modules."""

import inspect
from functools import cache

import torch
from sklearn.base import clone
from skorch import (
    NeuralNet,
    NeuralNetBinaryClassifier,
    NeuralNetClassifier,
    NeuralNetRegressor,
)
from torch import nn

from sk_unlearn.nets._known_parts import is_known
from sk_unlearn.nets._module_copy import deepcopy_module
from sk_unlearn.nets._stacked_state import has_single_parts

__all__ = ["blank_copy"]

_NETS = frozenset((NeuralNet, NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor))
# What skorch's nets have beside their parameters: lists of names, and what is made anew.
_LISTS = ("prefixes_", "cuda_dependent_attributes_", "_modules", "_criteria", "_optimizers")
_PARTS = ("module_", "criterion_", "optimizer_", "callbacks_", "history_")
_STATE = ("virtual_params_", "classes_inferred_", "initialized_", "init_context_")
_PARAMETERS = [name for kind in _NETS for name in inspect.signature(kind).parameters]
_KNOWN_NAMES = frozenset((*_LISTS, *_PARTS, *_STATE, *_PARAMETERS, "_params_to_validate"))
_MODULE_NAMES = frozenset(vars(nn.Module()))
_ATOMS = (type(None), bool, int, float, str, type, torch.dtype, torch.device)


def blank_copy(net):
    """What ``clone(net).initialize()`` makes, but for the values of its modules.

    To build modules only to overwrite them takes most of the time of a request to a small net.

    Parameters
    ----------
    net : skorch.NeuralNet
        Initialised; left untouched.

    Returns
    -------
    fresh : skorch.NeuralNet or None
        With a copy of the net's module; without optimiser state, history, state of callbacks and
        gradients. None where more may come along than is known: a net or a module of another
        class, with hooks or attributes of somebody else's.
    """
    params = net.get_params(deep=False)
    if not _is_plain(net, params):
        return None
    fresh = object.__new__(type(net))
    state = {name: _own(value) for name, value in params.items()}
    state |= {name: list(getattr(net, name)) for name in _LISTS}
    fresh.__dict__ = {**state, "history_": None, "initialized_": False}
    # the steps of initialize(), but for the module
    fresh._initialize_virtual_params()
    fresh._initialize_callbacks()
    fresh.__dict__["module_"] = deepcopy_module(net.module_, {})
    fresh._initialize_criterion()
    fresh._initialize_optimizer()
    fresh._initialize_history()
    fresh.initialized_ = True
    return fresh


def _is_plain(net, params):
    return (
        type(net) in _NETS
        and isinstance(net.module, type)
        and isinstance(net.criterion, type)
        and not net.compile
        and has_single_parts(net)
        and type(net.optimizer_).__module__.startswith("torch.optim.")
        and vars(net).keys() <= _KNOWN_NAMES | net._params_to_validate
        and is_known(net.module_)
        and all(map(_is_as_made, net.module_.modules()))
    )


def _is_as_made(part):
    """Whether a layer has what its class gives it, and nothing that somebody noted there."""
    return (
        not part._non_persistent_buffers_set
        and vars(part).keys() <= _MODULE_NAMES | _names_of(type(part))
        and all(map(_is_plain_buffer, part._buffers.values()))
    )


@cache
def _names_of(kind):
    """Attributes of layers of a class: what they are built from, and what it declares."""
    names = set()
    for base in kind.__mro__:
        names.update(inspect.get_annotations(base), vars(base).get("__constants__", ()))
        if "__init__" in vars(base):
            names.update(inspect.signature(base.__init__).parameters)
    return frozenset(names)


def _is_plain_buffer(buffer):
    return buffer is None or (
        buffer.grad is None
        and not vars(buffer)
        and buffer.untyped_storage().nbytes() == buffer.nbytes
    )


def _own(value):
    return value if isinstance(value, _ATOMS) else clone(value, safe=False)
