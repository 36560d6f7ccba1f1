"""Swap skorch's row-by-row data path for tensors, on clones and where nothing is lost."""

import torch
from skorch import NeuralNet
from skorch.callbacks import PrintLog
from skorch.dataset import Dataset
from torch.utils.data import DataLoader

from sk_unlearn.nets._batches import ArrayDataset, TensorBatches
from sk_unlearn.nets._criteria import reads_labels
from sk_unlearn.nets._inspect import (
    ModuleCopies,
    check_trainable,
    embeds,
    find_nets,
    net_dtype,
    trains_instance,
)
from sk_unlearn.nets._lean import LeanHistory
from sk_unlearn.nets._setup import TrainingSetup

__all__ = ["prepare"]

_BATCH_OPTIONS = {"batch_size", "shuffle", "drop_last", "generator"}
_DATASET_OPTIONS = {"length", "dtype", "device", "float_target", "keep_integers"}
_SETUP = "sk_unlearn_setup"


def prepare(estimator):
    """Make the nets inside an unfitted clone train from tensors.

    For every skorch net outside of a ``FrozenEstimator``:

    - the module is checked (see :func:`~sk_unlearn.nets.check_trainable`);
    - ``dataset`` and the iterators, where the user left skorch's defaults and uses no
      option but ``batch_size``, ``shuffle``, ``drop_last`` and ``generator``, become
      :class:`~sk_unlearn.nets.ArrayDataset` and :class:`~sk_unlearn.nets.TensorBatches`.
      The weights after training are bit for bit those of skorch's own path; data of
      another floating-point type is cast to the net's. A user's dataset or iterator is
      kept, and then the data reaches it as given;
    - a module *instance* is trained on copies, so that every fit starts from the same
      weights and the user's object never changes;
    - a callback is added that checks output against target shape when training starts
      (see :class:`~sk_unlearn.nets.TrainingSetup`);
    - default callbacks that do nothing (validation scores without a validation set,
      printing at ``verbose=0``) are switched off.

    Parameters
    ----------
    estimator : estimator
        A clone: it is changed. ``clone`` deep-copies a module instance with its weights,
        whatever they learned before (see :func:`~sk_unlearn.nets.carries_training`).

    Returns
    -------
    estimator : estimator
        The same object.

    Raises
    ------
    UnsupportedNetError
        If a net cannot be trained or unlearned; the message gives the remedy.

    Examples
    --------
    >>> from skorch import NeuralNetClassifier
    >>> from sk_unlearn.nets import MLP, prepare
    >>> net = NeuralNetClassifier(MLP, module__n_features=4, module__n_outputs=3)
    >>> prepare(net).iterator_train.__name__
    'TensorBatches'
    """
    for net in find_nets(estimator, frozen=False):
        module = check_trainable(net)
        _swap_data_path(net, module)
        _copy_instance(net)
        _tidy_callbacks(net)
        if net.history_ is None:
            net.history_ = LeanHistory()
    return estimator


def _swap_data_path(net, module):
    own = vars(net)
    loader_options = [
        {key.split("__", 1)[1] for key in own if key.startswith(f"{prefix}__")}
        for prefix in ("iterator_train", "iterator_valid")
    ]
    dataset_options = {key.split("__", 1)[1] for key in own if key.startswith("dataset__")}
    if (
        type(net).get_dataset is not NeuralNet.get_dataset
        or type(net).get_iterator is not NeuralNet.get_iterator
        or net.dataset not in (Dataset, ArrayDataset)
        or net.iterator_train not in (DataLoader, TensorBatches)
        or net.iterator_valid not in (DataLoader, TensorBatches)
        or not dataset_options <= _DATASET_OPTIONS
        or any(not options <= _BATCH_OPTIONS for options in loader_options)
    ):
        return
    options = {
        "dtype": net_dtype(module),
        "device": net.device if _on_accelerator(net) else None,
        "float_target": not reads_labels(net),
        "keep_integers": embeds(module),
    }
    net.set_params(
        dataset=ArrayDataset,
        iterator_train=TensorBatches,
        iterator_valid=TensorBatches,
        **{f"dataset__{k}": v for k, v in options.items() if k not in dataset_options},
    )


def _on_accelerator(net):
    return net.device is not None and torch.device(net.device).type != "cpu"


def _copy_instance(net):
    if trains_instance(net):
        net.set_params(module=ModuleCopies(net.module))


def _tidy_callbacks(net):
    idle = {}
    if net.callbacks != "disable":
        for name, callback in net.get_default_callbacks():
            touched = any(key.startswith(f"callbacks__{name}") for key in vars(net))
            if touched or _is_overridden(net, name):
                continue
            validates = name in ("valid_loss", "valid_acc")
            silent = type(callback) is PrintLog and not net.verbose
            if (validates and net.train_split is None) or silent:
                idle[f"callbacks__{name}"] = None
    # set as attributes: set_params would initialise the callbacks of an unfitted net
    for key, value in idle.items():
        setattr(net, key, value)
        net._params_to_validate.add(key)
    _add_setup(net)


def _is_overridden(net, name):
    given = net.callbacks or []
    return any(isinstance(item, tuple) and item[0] == name for item in given)


def _add_setup(net):
    setup = (_SETUP, TrainingSetup())
    if net.callbacks == "disable":
        silenced = {f"callbacks__{name}": None for name, _ in net.get_default_callbacks()}
        for key in silenced:
            setattr(net, key, None)
            net._params_to_validate.add(key)
        net.callbacks = [setup]
    elif not _is_overridden(net, _SETUP):
        net.callbacks = [*(net.callbacks or []), setup]
