"""Find the skorch nets inside an estimator and look at what they would train."""

import copy
import inspect
from functools import partial

import numpy as np
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNet
from skorch.callbacks import Checkpoint, LoadInitState
from torch import nn
from torch.nn.parameter import is_lazy

from sk_unlearn.exceptions import UnsupportedNetError
from sk_unlearn.utils._digest import state_digest
from sk_unlearn.utils._seeding import isolated_rng

__all__ = [
    "carries_training",
    "check_trainable",
    "check_untrained",
    "contains_net",
    "find_nets",
    "net_dtype",
]

EMBEDDINGS = nn.Embedding, nn.EmbeddingBag  # which look rows of integers up in a table


def find_nets(estimator, *, frozen=True):
    """Yield every skorch net in an estimator: itself, a pipeline step, a nested parameter.

    Parameters
    ----------
    estimator : estimator
    frozen : bool, default=True
        Whether to look inside ``FrozenEstimator`` too, whose nets are the user's own
        objects even in a clone.

    Yields
    ------
    net : skorch.NeuralNet
    """
    candidates = {"": estimator}
    if hasattr(estimator, "get_params"):
        candidates.update(estimator.get_params(deep=True))
    hidden = [name for name, value in candidates.items() if isinstance(value, FrozenEstimator)]
    seen = set()
    for name, value in candidates.items():
        if not isinstance(value, NeuralNet) or id(value) in seen:
            continue
        if not frozen and any(name.startswith(f"{h}__" if h else "") for h in hidden):
            continue
        seen.add(id(value))
        yield value


def contains_net(estimator):
    """Whether a skorch net is anywhere inside an estimator.

    Parameters
    ----------
    estimator : estimator
        A net, a Pipeline, a FrozenEstimator, or any nesting by parameters.

    Returns
    -------
    found : bool

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sk_unlearn.nets import contains_net
    >>> contains_net(LogisticRegression())
    False
    """
    return next(find_nets(estimator), None) is not None


def is_net(estimator):
    """Whether an estimator is a skorch net itself, not something around one."""
    return isinstance(estimator, NeuralNet)


def carries_training(estimator):
    """Whether cloning an estimator would carry learned weights into a fresh fit.

    skorch trains a module *instance* in place, and ``clone`` copies it with its weights.
    A net given as ``module=instance`` that was fitted before therefore starts its next
    fit from what it learned, from rows that may have to be forgotten too. So does one with an
    instance or a tensor in its parameters that became part of the module or criterion, as
    ``module__backbone=instance`` does.

    Parameters
    ----------
    estimator : estimator
        As the user passed it, before ``clone`` drops the evidence.

    Returns
    -------
    carries : bool
    """
    return any(
        net.initialized_
        and bool(net.history)
        and (trains_instance(net) or _was_given_learned(net))
        for net in find_nets(estimator, frozen=False)
    )


def _was_given_learned(net):
    """Whether tensors that training moved are in the parameters of a trained net.

    They are told by their values: a pickle does not keep that memory is shared.
    """
    parts = [bare_module(getattr(net, f"{name}_")) for name in (*net._modules, *net._criteria)]
    learned = {state_digest(tensor) for tensor in _tensors_to_learn(parts)}
    given = _tensors_to_learn(net.get_params(deep=False))
    return any(state_digest(tensor) in learned for tensor in given)


def _tensors_to_learn(value):
    """Tensors in a value that training moves if they become part of a module."""
    if isinstance(value, nn.Module):
        tensors = [each for each in value.parameters() if each.requires_grad and not is_lazy(each)]
        for part in value.modules():
            if isinstance(part, nn.modules.batchnorm._NormBase):
                tensors += [each for each in part.buffers(recurse=False) if not is_lazy(each)]
    elif isinstance(value, torch.Tensor):
        tensors = [value]
    elif isinstance(value, np.ndarray):
        tensors = [torch.tensor(value)] if value.dtype in (np.float32, np.float64) else []
    elif isinstance(value, partial):
        return _tensors_to_learn([value.args, value.keywords])
    else:
        held = value.values() if isinstance(value, dict) else value
        held = held if isinstance(value, (dict, list, tuple)) else ()
        return [tensor for each in held for tensor in _tensors_to_learn(each)]
    # of one value, as many are before training, none can be told from another
    return [
        tensor.detach().cpu()
        for tensor in tensors
        if tensor.is_floating_point() and (tensor != tensor.flatten()[:1]).any()
    ]


def trains_instance(net):
    """Whether a net trains the very module object it was given.

    With ``module__`` parameters skorch builds a new module of the object's class instead.
    """
    return isinstance(net.module, nn.Module) and not net.get_params_for("module")


def state_loader(estimator):
    """Name of a callback that would load weights from a file into a net, or None.

    ``LoadInitState`` starts training from what an earlier one stored.
    ``Checkpoint(load_best=True)`` ends it with the file of an earlier one where no epoch was
    the best (a loss that is not a number never is).

    Parameters
    ----------
    estimator : estimator
        Anything that holds nets; see :func:`find_nets`.

    Returns
    -------
    name : str or None
    """
    for net in find_nets(estimator):
        given = [] if net.callbacks in (None, "disable") else net.callbacks
        own = [value for key, value in vars(net).items() if key.startswith("callbacks__")]
        for item in [*given, *net.get_default_callbacks(), *own]:
            callback = item[1] if isinstance(item, tuple) else item
            kind = callback if isinstance(callback, type) else type(callback)
            if issubclass(kind, LoadInitState):
                return kind.__name__
            if issubclass(kind, Checkpoint) and getattr(callback, "load_best", False):
                return f"{kind.__name__}(load_best=True)"
    return None


def refused_fit_params(estimator, fit_params):
    """Names among ``fit_params`` that a net would pass to a ``forward`` that does not take them.

    Parameters
    ----------
    estimator : estimator
        A net, or a Pipeline whose steps are asked for names with their prefix; nothing is
        said about nets elsewhere.
    fit_params : dict

    Returns
    -------
    names : list of str
    """
    steps = dict(getattr(estimator, "steps", [])) or {"": estimator}
    refused = []
    for name, net in steps.items():
        prefix = f"{name}__" if name else ""
        given = [key for key in fit_params if key.startswith(prefix)]
        if not given or not isinstance(net, NeuralNet) or _treats_fit_params(net):
            continue
        takes = inspect.signature(throwaway_module(net).forward).parameters
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes.values()):
            refused += [key for key in given if key.removeprefix(prefix) not in takes]
    return refused


def _treats_fit_params(net):
    methods = ("fit", "partial_fit", "fit_loop", "train_step", "train_step_single", "infer")
    own = (getattr(type(net), name).__module__ for name in methods)
    return any(module.partition(".")[0] != "skorch" for module in own)


def throwaway_module(net):
    """The module that ``net`` would train, initialised on a copy and without touching RNGs."""
    trial = clone(net).set_params(device="cpu", compile=False)
    with isolated_rng(0):
        # not initialize(): its optimizer refuses odd modules without saying which net is meant
        trial._initialize_module()
    module = getattr(trial, "module_", None)
    if not isinstance(module, nn.Module):
        raise UnsupportedNetError(
            f"{type(net).__name__} has no torch module in its attribute 'module_' after "
            "initialize_module. Name the module that predicts 'module_'."
        )
    return module


def check_trainable(net):
    """Refuse a net whose parameters no removal method could move.

    Parameters
    ----------
    net : skorch.NeuralNet
        Not initialised; it is left untouched, and so are all random generators.

    Returns
    -------
    module : torch.nn.Module
        A throw-away instance of the module, for further questions.

    Raises
    ------
    UnsupportedNetError
        If the module has no trainable parameter, has lazy ones, or mixes
        floating-point types.
    """
    module = throwaway_module(net)
    name = f"module {type(module).__name__} of {type(net).__name__}"
    parameters = dict(module.named_parameters())
    lazy = [key for key, value in parameters.items() if is_lazy(value)]
    if lazy:
        raise UnsupportedNetError(
            f"The {name} has lazy parameters ({', '.join(lazy[:3])}): their shapes are unknown "
            "before training. Give the sizes, for example "
            "module__n_features=X.shape[1], in place of Lazy layers."
        )
    trainable = {key: value for key, value in parameters.items() if value.requires_grad}
    if not trainable:
        raise UnsupportedNetError(
            f"The {name} has no parameter that requires a gradient: there is nothing to train "
            "and nothing to unlearn. Unfreeze a layer (requires_grad_(True))."
        )
    dtypes = {value.dtype for value in trainable.values()}
    if len(dtypes) > 1 or not next(iter(dtypes)).is_floating_point:
        raise UnsupportedNetError(
            f"The trainable parameters of {name} have types {sorted(map(str, dtypes))}. "
            "Use one real floating-point type, for example module.float()."
        )
    return module


def check_untrained(estimator, *, owner, adopted=False):
    """Refuse nets that would start from weights which saw rows that can be forgotten.

    Parameters
    ----------
    estimator : estimator
        That is to be trained; nets may be inside.
    owner : str
        Who trains it, for the message.
    adopted : bool, default=False
        Whether it came in a ``FrozenEstimator``.

    Raises
    ------
    UnsupportedNetError
    """
    loader = state_loader(estimator)
    if loader is not None:
        raise UnsupportedNetError(
            f"The callback {loader} of the net in {owner}(estimator=...) loads "
            "weights from a file that an earlier training may have written, from rows that "
            "are forgotten since. Remove it. To keep the best epoch, use "
            "EarlyStopping(load_best=True), which holds it in memory."
        )
    instances = [net for net in find_nets(estimator) if isinstance(net.module, torch.nn.Module)]
    if carries_training(estimator) or (adopted and instances):
        raise UnsupportedNetError(
            f"The net in {owner}(estimator=...) was given a module instance "
            "that has been trained, itself or in a parameter: a clone would start from what "
            "it learned. Pass classes, with their parameters, or fresh instances and tensors."
        )


def net_dtype(module):
    """Floating-point type of a module's trainable parameters (or, failing these, of any)."""
    for only_trainable in (True, False):
        for parameter in module.parameters():
            if parameter.is_floating_point() and (parameter.requires_grad or not only_trainable):
                return parameter.dtype
    return torch.get_default_dtype()


def embeds(module):
    """Whether a module looks rows of integers up in a table, so that they must stay integers."""
    return any(isinstance(part, EMBEDDINGS) for part in module.modules())


def keeps_integers(estimator, X):
    """Whether integers in X stay integers, because a net in an estimator looks them up.

    Parameters
    ----------
    estimator : estimator or None
        Left untouched, and so are all random generators.
    X : array-like

    Returns
    -------
    keeps : bool
    """
    if isinstance(X, np.ndarray) and X.dtype.kind == "f":
        return False  # nothing to keep: do not build modules for it
    return any(
        embeds(bare_module(net.module_) if net.initialized_ else throwaway_module(net))
        for net in find_nets(estimator)
    )


def bare_module(module):
    """The module behind ``torch.compile``, which functional transforms cannot enter."""
    return getattr(module, "_orig_mod", module)


class ModuleCopies:
    """Callable that hands out copies of a module instance, as a module class would.

    skorch trains an instance in place, so a second ``fit`` would go on from the first
    and the user's object would change; from copies every fit starts at the same weights.

    Parameters
    ----------
    module : torch.nn.Module
    """

    def __init__(self, module):
        self.module = module

    def __call__(self):
        return copy.deepcopy(self.module)

    def __repr__(self):
        return f"ModuleCopies({type(self.module).__name__})"
