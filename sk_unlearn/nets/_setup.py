"""What a prepared net does when its training starts."""

import copy

import torch
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback
from skorch.dataset import unpack_data
from torch import nn
from torch.utils.data import Subset

from sk_unlearn.exceptions import UnsupportedNetError
from sk_unlearn.nets._batches import ArrayDataset
from sk_unlearn.nets._inspect import bare_module
from sk_unlearn.nets._known_parts import draws_nothing
from sk_unlearn.nets._lean import lean_modes, restore_modes
from sk_unlearn.nets._target import match_target
from sk_unlearn.nets._validation_rows import check_brought_data
from sk_unlearn.utils._generators import pause_draws, resume_draws
from sk_unlearn.utils._seeding import isolated_rng
from sk_unlearn.utils._warn import warn_user

__all__ = ["TrainingSetup"]

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class TrainingSetup(Callback):
    """Check target and batches against the module, then make the switch of modes cheap.

    A callback, because inside a pipeline the data is known no earlier than here.

    Raises
    ------
    UnsupportedNetError
        From ``net.fit``, before the first step; also where validation data from elsewhere
        repeats rows to train on.

    Warns
    -----
    ConvergenceWarning
        After training, if a weight is infinite or not a number.
    """

    def initialize(self):
        self.checked_ = False
        return self

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.checked_ = False

    def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        if not self.checked_:
            self.checked_ = True
            _match_datasets(net, dataset_train, dataset_valid)
            _check_batch_of_one(net, dataset_train)
            if draws_nothing(net):
                pause_draws()
        for module in _switched(net):
            lean_modes(module)

    def on_train_end(self, net, X=None, y=None, **kwargs):
        resume_draws()
        for module in _switched(net):
            restore_modes(module)
        _warn_diverged(net)


def _match_datasets(net, *datasets):
    roots = list(map(_root, datasets))
    train, valid = roots
    if valid is not None and valid is not train and hasattr(train, "X"):
        check_brought_data(net, train.X, train.y, datasets[1])
    for dataset in roots:
        if isinstance(dataset, ArrayDataset) and dataset.tensors is not None:
            X, y = dataset.tensors
            if y is not None and len(y):
                dataset.tensors = (X, match_target(net, X, y))


def _root(dataset):
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return dataset


def _check_batch_of_one(net, dataset):
    """Refuse a batch of one row where batch normalisation has nothing to average over."""
    module = bare_module(net.module_)
    if not any(isinstance(part, _BATCH_NORMS) for part in module.modules()):
        return
    batches = net.get_iterator(dataset, training=True)
    size, rows = getattr(batches, "batch_size", None), getattr(batches, "sampler", dataset)
    if not size or not hasattr(rows, "__len__"):
        return
    n_rows = len(rows)
    if n_rows % size != 1 % size or (batches.drop_last and size > 1):
        return
    if not _fails_on_one_row(net, module, dataset):
        return
    if n_rows == 1:
        remedy = "Train on more than one row."
    elif size == 1:
        remedy = "Set a larger batch_size."
    else:
        remedy = "Set iterator_train__drop_last=True, or another batch_size."
    raise UnsupportedNetError(
        f"The batch normalisation in {type(module).__name__} of {type(net).__name__} cannot train "
        f"on a batch of one row, got n_rows={n_rows} and batch_size={size}. {remedy}"
    )


def _fails_on_one_row(net, module, dataset):
    """Try it: over the pixels of one image there is something to average."""
    with isolated_rng(0):
        # the iterator of validation: that of training may draw from a generator of its own
        ((X, _),) = map(unpack_data, net.get_iterator(Subset(dataset, [0]), training=False))
        try:
            trial = copy.deepcopy(module).train()
        except RuntimeError:  # a module that cannot be copied is left to torch's own message
            return False
        vars(net)["module_"], kept = trial, net.module_
        try:
            with torch.no_grad():
                net.infer(X)
        except ValueError as error:
            return "more than 1 value per channel" in str(error)
        finally:
            vars(net)["module_"] = kept
    return False


def _warn_diverged(net):
    module = bare_module(net.module_)
    bad = [
        name
        for name, value in (*module.named_parameters(), *module.named_buffers())
        if value.is_floating_point() and not torch.isfinite(value).all()
    ]
    if bad:
        warn_user(
            f"The training of {type(net).__name__} diverged: {bad[0]} of its "
            f"{type(module).__name__} is not finite, and predictions will not be either. Scale "
            "the data (StandardScaler) or lower the learning rate (lr).",
            ConvergenceWarning,
        )


def _switched(net):
    modules = (getattr(net, f"{name}_") for name in net._modules + net._criteria)
    # a compiled module asks its original, whose layers it shares
    return [module for module in map(bare_module, modules) if isinstance(module, nn.Module)]
