"""Modules of which everything is known: what they compute, and all that they keep."""

from skorch.callbacks import Callback
from torch import nn

from sk_unlearn.nets._batches import ArrayDataset, TensorBatches

__all__ = ["draws_nothing", "is_known"]

# Where modules come from whose forward pass keeps nothing, and what else may run in it.
_KNOWN = ("torch.nn.modules.", "sk_unlearn.nets.")
_HOOKS = [
    name
    for name, value in vars(nn.Module()).items()
    if isinstance(value, dict) and name not in ("_parameters", "_buffers", "_modules")
]


def is_known(module):
    """Whether all parts of a module are torch's own layers or this package's, as they were made.

    A module of somebody else may keep a tensor that was made while it ran, or write to one of its
    own; so may a hook, and a ``forward`` that was put in place of the class's.

    Parameters
    ----------
    module : torch.nn.Module

    Returns
    -------
    known : bool
    """
    return all(
        type(part).__module__.startswith(_KNOWN)
        and "forward" not in vars(part)
        and not any(getattr(part, hooks) for hooks in _HOOKS)
        for part in module.modules()
    )


def draws_nothing(net):
    """Whether no step of a net's training draws a random number, but for the order of rows.

    Known of nets that consist of skorch's, torch's and our own parts without dropout and the
    like.

    Parameters
    ----------
    net : skorch.NeuralNet
        Initialised.

    Returns
    -------
    known : bool
    """
    modules = [getattr(net, f"{name}_") for name in (*net._modules, *net._criteria)]
    optimizers = [getattr(net, f"{name}_") for name in net._optimizers]
    ours = ("skorch.", "sk_unlearn.")
    return (
        type(net).__module__.startswith(ours)
        and net.dataset is ArrayDataset
        and net.iterator_train is net.iterator_valid is TensorBatches
        and all(isinstance(part, nn.Module) and is_known(part) for part in modules)
        and not any(_draws(part) for module in modules for part in module.modules())
        and all(type(each).__module__.startswith("torch.optim.") for each in optimizers)
        and all(
            isinstance(each, Callback) and type(each).__module__.startswith(ours)
            for _, each in net.callbacks_
        )
    )


def _draws(part):
    if isinstance(part, (nn.RReLU, nn.FractionalMaxPool2d, nn.FractionalMaxPool3d)):
        return True
    if isinstance(part, nn.modules.dropout._DropoutNd):
        return part.p > 0
    return bool(getattr(part, "dropout", 0))  # of recurrent layers and attention
