"""Keep trained nets on disk for experiments that train the same net many times."""

import os

from sklearn.utils.validation import check_memory

from sk_unlearn.nets._code import code_digest
from sk_unlearn.nets._train import fit_net
from sk_unlearn.receipts import library_versions
from sk_unlearn.utils._digest import state_digest

__all__ = ["fit_net_once", "forget_trained_nets"]


def fit_net_once(memory, net, X, y, *, seed):
    """Train a net, or return the one that was trained alike before.

    Alike means: the same settings, the same code outside of installed packages (see
    :func:`~sk_unlearn.nets._code.code_digest`), the same data, seed, number of torch threads and
    versions of the libraries.

    Parameters
    ----------
    memory : None, str, path-like or joblib.Memory
        None trains.
    net : skorch.NeuralNet
        Unfitted, prepared.
    X, y : ndarray of n_rows rows
    seed : int
        That the global generators were seeded from.

    Returns
    -------
    net : skorch.NeuralNet
        Trained.
    """
    if memory is None:
        return fit_net(net, X, y)
    key = state_digest(
        [
            net,
            code_digest(net),
            X,
            y,
            seed,
            os.environ.get("SK_UNLEARN_TORCH_THREADS", "1"),
            library_versions(),
        ]
    )
    return _store(memory)(key, lambda: fit_net(net, X, y))


def forget_trained_nets(memory):
    """Remove every net that :func:`fit_net_once` keeps.

    Parameters
    ----------
    memory : None, str, path-like or joblib.Memory
    """
    if memory is not None:
        _store(memory).clear(warn=False)


def _store(memory):
    memory = os.fspath(memory) if isinstance(memory, os.PathLike) else memory
    return check_memory(memory).cache(_trained_net, ignore=["train"], verbose=0)


def _trained_net(key, train):
    return train()
