"""One-class nets: what belongs to a class, as the log-density of its rows."""

import numpy as np
import torch
from skorch import NeuralNet
from torch import nn

from sk_unlearn.nets._batches import as_tensor
from sk_unlearn.nets._forward import ForwardPass, in_chunks
from sk_unlearn.nets._inspect import bare_module, net_dtype
from sk_unlearn.nets._mixture import MixtureDensity
from sk_unlearn.nets._mixture_scores import CompressedReader, MixtureScores

__all__ = ["DensityNet", "NegativeLogDensity", "default_density", "score_samples_each"]

_CHUNK = 1024  # rows scored at a time, so that what follows from them stays in the caches
_MANY_FEATURES = 256


class NegativeLogDensity(nn.Module):
    """Minus the mean of what the module returns; the target is not read."""

    def forward(self, log_density, y=None):
        return -log_density.mean()


class DensityNet(NeuralNet):
    """skorch net for the rows of one class, without targets.

    The module maps rows to their log-density, shape (n,) or (n, 1). It is trained by
    the optimizer, as every skorch net; a module with a method ``start_block(X)`` that
    returns a function for one pass is trained by ``max_epochs`` of these passes instead,
    over all rows of a call at once. ``fit`` starts anew, ``partial_fit`` goes on.

    Scores of nets of several classes can be compared if each is a normalised density of the
    same features: argmax over c of ``score_samples`` + log prior of c is the Bayes
    classifier.

    Parameters
    ----------
    module : type of torch.nn.Module
    *args, **kwargs
        As for ``skorch.NeuralNet``; the defaults that differ are
        ``criterion=NegativeLogDensity`` and ``train_split=None``.

    See Also
    --------
    default_density : The net used when the user gives none.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_unlearn.nets._density import default_density
    >>> X = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    >>> net = default_density(n_features=3, device="cpu").fit(X)
    >>> net.score_samples(X[:2]).dtype
    dtype('float64')
    """

    def __init__(self, module, *args, criterion=NegativeLogDensity, train_split=None, **kwargs):
        super().__init__(module, *args, criterion=criterion, train_split=train_split, **kwargs)

    def check_data(self, X, y=None):
        """Nothing is asked of the target."""

    def fit_loop(self, X, y=None, epochs=None, **fit_params):
        """Train for ``epochs`` passes; see ``skorch.NeuralNet.fit_loop``."""
        module = bare_module(self.module_)
        if not hasattr(module, "start_block"):
            return super().fit_loop(X, y, epochs=epochs, **fit_params)
        self.check_training_readiness()
        dataset = {"dataset_train": self.get_dataset(X, y), "dataset_valid": None}
        rows = as_tensor(X, dtype=net_dtype(module)).to(self.device)
        step = module.start_block(rows)
        for _ in range(self.max_epochs if epochs is None else epochs):
            self.notify("on_epoch_begin", **dataset)
            self.history.record("train_loss", -step())
            self.notify("on_epoch_end", **dataset)
        return self

    def score_samples(self, X):
        """Log-density of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)

        Returns
        -------
        log_density : ndarray of shape (n_samples,), float64
            In nats; the features' units are those of ``X``.
        """
        self.check_is_fitted(["module_"])
        return score_samples_each([self], X, lambda scores: scores[0])


def score_samples_each(nets, X, combine):
    """Combine the log-densities of several nets.

    Parameters
    ----------
    nets : sequence of DensityNet
        Trained. Mixtures of one compression share the compressed rows.
    X : array-like of shape (n_samples, ...)
    combine : callable
        Maps the list of the nets' log-densities for some of the rows, ndarrays of shape
        (n_chunk,), float64, to one array of as many rows.

    Returns
    -------
    combined : ndarray of shape (n_samples, ...)
    """
    if not len(X):
        return combine([np.empty(0) for _ in nets])
    passes = [_scoring(net) for net in nets]
    return in_chunks(passes, X, combine, chunk_size=_CHUNK)


def _scoring(net):
    if type(net.module_) is MixtureDensity:
        return _MixturePass(net)
    return ForwardPass(net, lambda scores: scores.reshape(-1).double())


class _MixturePass:
    """What :class:`ForwardPass` is to other modules."""

    def __init__(self, net):
        self.read = CompressedReader.of(net)
        net.module_.eval()
        with torch.no_grad():
            self._scores = MixtureScores(net.module_)

    def __call__(self, compressed):
        return self._scores(compressed).cpu()


def default_density(*, n_features, device=None):
    """Unfitted one-class net: a :class:`MixtureDensity` of eight components, 15 passes.

    On six data sets its accuracy is above that of a multilayer perceptron that sees all
    classes, or less than a point below (``benchmarks/bench_arcane_accuracy.py``). Above 256
    features, which then are mostly pixels, the Gaussian has 64 directions, and compression
    and noise are stronger; both settings were chosen on these data sets.

    Parameters
    ----------
    n_features : int
        Numbers in one row, all axes multiplied.
    device : str, default=None
        None takes "cuda" where available. Needs float64.

    Returns
    -------
    net : DensityNet

    Notes
    -----
    Features should have about unit scale; put a StandardScaler, or any map that does not
    depend on the training rows, in front. Nothing depends on the number of rows except
    through the rows themselves, so that a chain of blocks has one recipe.

    Examples
    --------
    >>> from sk_unlearn.nets._density import default_density
    >>> default_density(n_features=16).max_epochs
    15
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    many = n_features > _MANY_FEATURES
    return DensityNet(
        MixtureDensity,
        module__n_features=n_features,
        module__compression=3.0 if many else 1.0,
        module__noise=0.1 if many else 0.01,
        module__rank=64 if many else _MANY_FEATURES,
        max_epochs=15,
        callbacks="disable",
        verbose=0,
        device=device,
    )
