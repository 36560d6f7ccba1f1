"""Nets that may predict without being changed, whatever their modules do to their own tensors.

``Embedding(max_norm=...)`` rescales the rows it looks up, a module of somebody else may count
its calls in a buffer: the second prediction would come from another model than the first, and no
receipt's digest would be that of the model.
"""

import copy
from contextlib import contextmanager
from weakref import WeakSet

import torch

from sk_unlearn.nets._inspect import find_nets
from sk_unlearn.nets._known_parts import is_known

__all__ = ["spared_estimator", "spared_net"]

# modules that have been seen to leave their parameters and buffers alone
_LEAVE_ALONE = WeakSet()


def spared_net(net):
    """A net that may predict in place of another, and what judges it afterwards.

    Parameters
    ----------
    net : skorch.NeuralNet
        Trained, in evaluation mode.

    Returns
    -------
    net : skorch.NeuralNet
        The same object where its module is known to leave its tensors alone, else one with a
        copy of the module.
    judge : callable or None
        To be called after a prediction. A module that has left its copy as it was is trusted from
        then on.
    """
    module = net.module_
    if _is_trusted(module):
        return net, None
    try:
        own = copy.deepcopy(module)
    except Exception:  # compiled or locked: it can only be run itself
        return net, None
    twin = object.__new__(type(net))
    vars(twin).update(vars(net))
    vars(twin)["module_"] = own
    return twin, _judge(module, own)


@contextmanager
def spared_estimator(estimator):
    """Predict with an estimator that may have nets inside.

    Parameters
    ----------
    estimator : estimator
        Fitted.

    Yields
    ------
    estimator : estimator
        The same object, or a copy where a net in it may write to its own tensors.
    """
    modules = _modules(estimator)
    if all(map(_is_trusted, modules)):
        yield estimator
        return
    own = copy.deepcopy(estimator)
    judges = list(map(_judge, modules, _modules(own)))
    yield own
    for judge in judges:
        judge()


def _modules(estimator):
    return [net.module_ for net in find_nets(estimator) if net.initialized_]


def _judge(module, own):
    """What trusts a module whose copy has been run, if that has left its tensors alone."""
    versions = [tensor._version for tensor in _tensors(own)]

    def judge():
        before, after = _tensors(module), _tensors(own)
        written = versions != [tensor._version for tensor in after]
        if not written and all(map(torch.equal, before, after)):
            _LEAVE_ALONE.add(module)

    return judge


def _is_trusted(module):
    if module in _LEAVE_ALONE:
        return True
    if any(getattr(part, "max_norm", None) is not None for part in module.modules()):
        return False
    if is_known(module):
        _LEAVE_ALONE.add(module)
        return True
    return False


def _tensors(module):
    return [*module.parameters(), *module.buffers()]
