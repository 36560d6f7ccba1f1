"""Rows that a net validates on: whether anything acts on them, and whose they are."""

import numpy as np
from skorch.callbacks import Callback, Checkpoint, EarlyStopping, LRScheduler
from skorch.utils import data_from_dataset, to_numpy

from sk_unlearn.exceptions import UnsupportedNetError
from sk_unlearn.nets._inspect import find_nets

__all__ = ["check_brought_data", "check_disjoint", "drop_idle_splits"]

# Methods of a net in which a user may do more with held-out rows than skorch does.
_TRAINING = ("fit_loop", "get_split_datasets", "run_single_epoch", "validation_step")


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


def _acts_on_held_out(net):
    if any(_is_own(getattr(type(net), name)) for name in _TRAINING):
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
    if issubclass(kind, LRScheduler):
        policy = getattr(callback, "policy", None)
        return getattr(policy, "__name__", policy) == "ReduceLROnPlateau"
    if issubclass(kind, (EarlyStopping, Checkpoint)):
        return True
    return _is_own(kind)


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
