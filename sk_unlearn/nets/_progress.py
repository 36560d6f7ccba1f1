"""A progress bar over the epochs of a net."""

from skorch.callbacks import Callback
from tqdm.auto import tqdm

from sk_unlearn.nets._inspect import find_nets

__all__ = ["show_progress"]


class EpochProgress(Callback):
    """One tick an epoch; holds the bar while the net trains only."""

    bar_ = None

    def on_train_begin(self, net, **kwargs):
        self.bar_ = tqdm(total=net.max_epochs, desc="training", unit="epoch", leave=False)

    def on_epoch_end(self, net, **kwargs):
        self.bar_.update()

    def on_train_end(self, net, **kwargs):
        self.bar_.close()
        self.bar_ = None


def show_progress(estimator):
    """Give every net inside an unfitted clone a progress bar.

    Parameters
    ----------
    estimator : estimator
        Changed.

    Returns
    -------
    estimator : estimator
        The same object.
    """
    for net in find_nets(estimator, frozen=False):
        if net.callbacks != "disable":
            net.callbacks = [*(net.callbacks or []), ("epoch_progress", EpochProgress())]
    return estimator
