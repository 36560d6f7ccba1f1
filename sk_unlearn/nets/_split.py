"""Which rows a net's internal split holds out, asked once and then fixed."""

import numpy as np
from skorch import NeuralNet, callbacks
from skorch.dataset import Dataset
from skorch.utils import data_from_dataset, to_numpy
from torch.utils.data import Subset

from sk_unlearn.exceptions import UnsupportedNetError
from sk_unlearn.nets._validation_rows import asks_a_function, own_training, steps_by_score
from sk_unlearn.utils._seeding import isolated_rng

__all__ = ["PinnedSplit", "held_out_rows", "pin_split", "validation_readers"]


_BY_SCORE = callbacks.EarlyStopping, callbacks.LRScheduler, callbacks.Checkpoint


class PinnedSplit:
    """A ``train_split`` that repeats one split of one data set.

    Parameters
    ----------
    train : ndarray of int
        Rows to train on.
    valid : ndarray of int or None
        Rows held out.
    external : Dataset or None
        Validation data from outside, instead of ``valid``.
    n_rows : int
        Rows of the data set that was split.
    """

    def __init__(self, train, valid, external, n_rows):
        self.train = train
        self.valid = valid
        self.external = external
        self.n_rows = n_rows
        self.trains_on_all = np.array_equal(train, np.arange(n_rows))

    def __call__(self, dataset, y=None, **split_params):
        if len(dataset) != self.n_rows:
            raise ValueError(
                f"This net's split was fixed for {self.n_rows} rows, got {len(dataset)}. "
                "Set train_split again to train on other data."
            )
        train = dataset if self.trains_on_all else Subset(dataset, self.train)
        if self.external is not None:
            return train, self.external
        return train, None if self.valid is None else Subset(dataset, self.valid)


def pin_split(net, X, y, *, encode=None):
    """Ask a net's ``train_split`` once and make the net repeat the answer.

    Call it on the prepared clone, before ``fit``, inside the block that seeds the global
    generators: a random split is drawn here instead of in ``fit``.

    Parameters
    ----------
    net : skorch.NeuralNet
        Changed: its ``train_split`` becomes a :class:`PinnedSplit` (None stays None).
    X, y : array-likes
        What ``net.fit`` is about to get.
    encode : callable, default=None
        Maps the labels of external validation data (``predefined_split``) as ``y`` was.

    Returns
    -------
    net : skorch.NeuralNet
        The same object.
    train : ndarray of int
        Rows of X trained on, ascending.
    valid : ndarray of int or None
        Rows of X held out, ascending.
    external : tuple (X, y) or None
        Validation data that is not part of X.

    Raises
    ------
    UnsupportedNetError
        If the split cannot be followed back to rows of X.

    Examples
    --------
    >>> import numpy as np
    >>> from skorch import NeuralNetRegressor
    >>> from skorch.dataset import ValidSplit
    >>> from sk_unlearn.nets import MLP, pin_split
    >>> net = NeuralNetRegressor(MLP, train_split=ValidSplit(0.25))
    >>> _, train, valid, _ = pin_split(net, np.zeros((8, 2)), np.zeros(8))
    >>> len(train), len(valid)
    (6, 2)
    """
    train, valid, external, order = _ask(net, X, y)
    if net.train_split is None:
        return net, train, None, None
    dataset = None
    if external is not None:
        Xv, yv = external
        external = (Xv, encode(to_numpy(yv)) if encode is not None else yv)
        dataset = net.get_dataset(*external)
    net.set_params(train_split=PinnedSplit(*order, dataset, len(_rows_of(X))))
    return net, train, valid, external


def held_out_rows(net, X, y):
    """Rows that a trained net's split held out of ``X``.

    Parameters
    ----------
    net : skorch.NeuralNet
    X, y : array-likes
        What the net was fitted on, in the same order.

    Returns
    -------
    train : ndarray of int
    valid : ndarray of int or None
    external : tuple (X, y) or None

    Raises
    ------
    UnsupportedNetError
        If the split is random: what it drew in ``fit`` is not known any more.
    """
    with isolated_rng(0):
        first = _ask(net, X, y)
    with isolated_rng(1):
        second = _ask(net, X, y)
    if not np.array_equal(first[0], second[0]):
        raise UnsupportedNetError(
            f"The train_split of {type(net).__name__} is random, so the rows it held out in "
            "fit are not known. Fit with ValidSplit(..., random_state=0), with "
            "train_split=None, or through an estimator of this package."
        )
    return first[:3]


def validation_readers(net):
    """Where the rows that a net's split holds out decide something in its training.

    Parameters
    ----------
    net : skorch.NeuralNet
        Trained, with rows held out.

    Returns
    -------
    readers : tuple of str
        Callbacks that stop, schedule or choose by losses or scores of held-out rows, and those
        of the user's own, of which nothing is known.
    """
    named = [f"{type(net).__name__}.{name}, which may read them" for name in own_training(net)]
    parts = [callback for _, callback in getattr(net, "callbacks_", ())]
    found = [_reader(callback, parts) for callback in parts]
    return tuple(dict.fromkeys(each for each in (*found, *named) if each))


def _reader(callback, parts):
    name, monitor = type(callback).__name__, getattr(callback, "monitor", None)
    if isinstance(callback, _BY_SCORE):
        if _is_of_training(monitor, parts):
            return None
        if isinstance(callback, callbacks.EarlyStopping):
            return f"early stopping ({name} by {_said(monitor)})"
        if isinstance(callback, callbacks.Checkpoint):
            chosen = callback.load_best and monitor is not None
            return f"the choice of the epoch ({name} by {_said(monitor)})" if chosen else None
        if steps_by_score(callback):
            policy = getattr(callback, "policy_", callback.policy)
            policy = getattr(policy, "__name__", policy)
            return f"the learning-rate schedule ({policy} by {_said(monitor)})"
    if isinstance(callback, callbacks.ParamMapper) and asks_a_function(callback):
        return f"{name}, which asks a function that may read them"
    if type(callback).__module__.split(".")[0] in ("skorch", "sk_unlearn"):
        return None
    return f"{name}, a callback that may read them"


def _is_of_training(monitor, parts):
    """Whether a score is one of the rows that are trained on."""
    scores = [part for part in parts if hasattr(part, "on_train")]
    of_name = [part.on_train for part in scores if getattr(part, "name_", part.name) == monitor]
    return all(of_name) if of_name else str(monitor).startswith("train")


def _said(monitor):
    return monitor if isinstance(monitor, str) else "a function of its own"


def _ask(net, X, y):
    n_rows = len(_rows_of(X))
    everything = np.arange(n_rows)
    if not net.train_split:
        return everything, None, None, (everything, None)
    if type(net).get_split_datasets is NeuralNet.get_split_datasets:
        root = Dataset(X, y)
        train_set, valid_set = _split(net, root, y)
    else:
        root = None
        train_set, valid_set = net.get_split_datasets(X, y)
        base = train_set
        while isinstance(base, Subset):
            base = base.dataset
        root = base
    train = _indices(train_set, root, n_rows)
    if train is None:
        raise _unclear(net, "its training part is not a subset of the rows given to fit")
    if valid_set is None:
        return np.sort(train), None, None, (train, None)
    valid = _indices(valid_set, root, n_rows)
    if valid is None:
        return np.sort(train), None, _contents(net, valid_set), (train, None)
    if len(np.intersect1d(train, valid)):
        raise _unclear(net, "some rows are both trained on and held out")
    return np.sort(train), np.sort(valid), None, (train, valid)


def _split(net, root, y):
    try:
        return net.train_split(root, y)
    except ValueError as error:
        raise UnsupportedNetError(
            f"The train_split of {type(net).__name__} cannot split this target: {error} "
            "A stratified split reads class labels: for real targets use NeuralNetRegressor, "
            "or set train_split=None."
        ) from error


def _rows_of(X):
    return next(iter(X.values())) if isinstance(X, dict) else X[0] if _is_multi(X) else X


def _is_multi(X):
    return isinstance(X, (list, tuple)) and len(X) > 0 and hasattr(X[0], "shape")


def _indices(dataset, root, n_rows):
    if dataset is root:
        return np.arange(n_rows)
    if not isinstance(dataset, Subset):
        return None
    outer = _indices(dataset.dataset, root, n_rows)
    if outer is None:
        return None
    inner = np.asarray(dataset.indices)
    if inner.ndim != 1 or inner.dtype.kind not in "iu":
        return None
    return outer[inner]


def _contents(net, dataset):
    try:
        return data_from_dataset(dataset)
    except AttributeError:
        raise _unclear(net, "its validation data has no arrays X and y") from None


def _unclear(net, reason):
    return UnsupportedNetError(
        f"The train_split of {type(net).__name__} cannot be followed: {reason}. Use "
        "ValidSplit, predefined_split(skorch.dataset.Dataset(X, y)) or None."
    )
