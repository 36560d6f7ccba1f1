"""What a prepared net does when its training starts."""

from skorch.callbacks import Callback
from torch import nn
from torch.utils.data import Subset

from sk_unlearn.nets._batches import ArrayDataset
from sk_unlearn.nets._inspect import bare_module
from sk_unlearn.nets._lean import lean_modes, restore_modes
from sk_unlearn.nets._target import match_target

__all__ = ["TrainingSetup"]


class TrainingSetup(Callback):
    """Check the target against the output, then make the switch of modes cheap.

    A callback, because inside a pipeline the data is known no earlier than here.

    Raises
    ------
    UnsupportedNetError
        From ``net.fit``, before the first step.
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
        for module in _switched(net):
            lean_modes(module)

    def on_train_end(self, net, X=None, y=None, **kwargs):
        for module in _switched(net):
            restore_modes(module)


def _match_datasets(net, *datasets):
    for dataset in datasets:
        while isinstance(dataset, Subset):
            dataset = dataset.dataset
        if isinstance(dataset, ArrayDataset) and dataset.tensors is not None:
            X, y = dataset.tensors
            if y is not None and len(y):
                dataset.tensors = (X, match_target(net, X, y))


def _switched(net):
    modules = (getattr(net, f"{name}_") for name in net._modules + net._criteria)
    # a compiled module asks its original, whose layers it shares
    return [module for module in map(bare_module, modules) if isinstance(module, nn.Module)]
