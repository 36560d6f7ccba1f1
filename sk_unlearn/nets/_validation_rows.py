"""Rows that a net validates on: whether anything acts on them, and whose they are."""

import numpy as np
from skorch import NeuralNet
from skorch.callbacks import Callback, Checkpoint, EarlyStopping, LRScheduler, ParamMapper
from skorch.utils import data_from_dataset, to_numpy
from torch.optim.lr_scheduler import ReduceLROnPlateau

from sk_unlearn.exceptions import UnsupportedNetError
from sk_unlearn.nets._inspect import find_nets

__all__ = [
    "asks_a_function",
    "check_brought_data",
    "check_disjoint",
    "drop_idle_splits",
    "own_training",
    "steps_by_score",
]

# Methods of a net in which a user may do more with held-out rows than skorch does.
_TRAINING = ("fit_loop", "run_single_epoch", "validation_step", "notify")
_TRAINING += tuple(name for name in vars(NeuralNet) if name.startswith("on_"))


def drop_idle_splits(estimator):
    """Train nets on all their rows where nothing acts on those that a split would hold out.

    Their scores are only noted, unless a callback such as ``EarlyStopping`` or a schedule by
    the validation loss reads them. ``predefined_split`` holds out no row and stays.

    Parameters
    ----------
    estimator : estimator
        Unfitted, a clone. The ``train_split`` of nets inside becomes None.

    Returns
    -------
    dropped : bool
        Whether there was one.
    """
    dropped = False
    for net in find_nets(estimator, frozen=False):
        if net.train_split and brought_data(net) is None and not _acts_on_held_out(net):
            dropped, net.train_split = True, None
    return dropped


def brought_data(net):
    """Validation data set that a net's split brings along, as ``predefined_split`` does."""
    given = getattr(net.train_split, "keywords", None) or {}
    return getattr(net.train_split, "external", None) or given.get("valid_ds")


def own_training(net):
    """Methods of a net, not skorch's own, that may read what held-out rows say in training.

    Parameters
    ----------
    net : skorch.NeuralNet

    Returns
    -------
    names : list of str
    """
    return [name for name in _TRAINING if _is_own(getattr(type(net), name))]


def steps_by_score(callback):
    """Whether a ``LRScheduler``, or its class, follows a score.

    Parameters
    ----------
    callback : LRScheduler or type

    Returns
    -------
    by_score : bool
    """
    policy = getattr(callback, "policy_", getattr(callback, "policy", None))
    if isinstance(policy, type):
        return issubclass(policy, ReduceLROnPlateau)
    return policy == "ReduceLROnPlateau"


def asks_a_function(callback):
    """Whether a ``ParamMapper`` (``Freezer``, ``Unfreezer``) asks a user's function when to act.

    Parameters
    ----------
    callback : ParamMapper or type

    Returns
    -------
    asks : bool
    """
    asked = (getattr(callback, name, None) for name in ("at", "schedule"))
    asked = (getattr(function, "func", function) for function in asked)
    return any(callable(function) and _is_own(function) for function in asked)


def _acts_on_held_out(net):
    if _is_own(type(net).get_split_datasets) or own_training(net):
        return True
    callbacks = [] if net.callbacks in (None, "disable") else net.callbacks
    own = [value for key, value in vars(net).items() if key.startswith("callbacks__")]
    given = [item[1] if isinstance(item, tuple) else item for item in (*callbacks, *own)]
    return any(map(_acts, given))


def _acts(callback):
    """Whether a callback may read what held-out rows say; one of a user's own may."""
    if not isinstance(callback, (Callback, type)):
        return False  # None, or an option of a default one
    kind = callback if isinstance(callback, type) else type(callback)
    if _is_own(kind) or issubclass(kind, (EarlyStopping, Checkpoint)):
        return True
    if issubclass(kind, LRScheduler):
        return steps_by_score(callback)
    return issubclass(kind, ParamMapper) and asks_a_function(callback)


def _is_own(part):
    return part.__module__.partition(".")[0] not in ("skorch", "sk_unlearn")


def check_brought_data(net, X, y, data=None):
    """:func:`check_disjoint` for the data that the split of a net brings along, if any.

    Parameters
    ----------
    net : skorch.NeuralNet
    X, y : array-like of shape (n_rows, ...)
        As the net reads them.
    data : Dataset, default=None
        What is brought; None looks at the net's ``train_split``.
    """
    data = brought_data(net) if data is None else data
    if data is None:
        return
    try:
        brought = data_from_dataset(data)
    except AttributeError:  # data that is read lazily
        return
    check_disjoint(net, X, y, *brought)


def check_disjoint(net, X, y, Xv, yv):
    """Refuse validation data from elsewhere that repeats rows given to ``fit``.

    They would act on the training, by early stopping or a schedule, after the rows were
    forgotten.

    Parameters
    ----------
    net : skorch.NeuralNet
        For the message.
    X, y, Xv, yv : array-like of shape (n_rows, ...)
        As the net reads them.

    Raises
    ------
    UnsupportedNetError
    """
    try:
        rows, held_out = (_as_numbers(*each) for each in ((X, y), (Xv, yv)))
    except (TypeError, ValueError):  # no numbers: several inputs, or labels that are text
        return
    if rows.shape[1:] != held_out.shape[1:]:
        return
    known = {row.tobytes() for row in rows}
    repeated = [i for i, row in enumerate(held_out) if row.tobytes() in known]
    if repeated:
        raise UnsupportedNetError(
            f"{len(repeated)} of the {len(held_out)} validation rows that the train_split of "
            f"{type(net).__name__} brings along are rows given to fit, the first at position "
            f"{repeated[0]}: they would still act on the training, through early stopping or a "
            "schedule, when they are forgotten. Leave them out of the validation data, or let "
            "ValidSplit hold rows of X out."
        )


def _as_numbers(X, y):
    """Rows and their targets side by side, in one type."""
    X = np.asarray(to_numpy(X), dtype=np.float32)
    y = np.asarray(to_numpy(y), dtype=np.float32)
    both = np.concatenate([X.reshape(len(X), -1), y.reshape(len(X), -1)], axis=1)
    return np.ascontiguousarray(both + 0.0)  # one zero, not two of different signs
