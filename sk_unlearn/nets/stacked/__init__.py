"""Many perceptrons of one architecture, trained side by side with equal bits in any company."""

from dataclasses import replace

import numpy as np
import torch
from sklearn.base import clone

from sk_unlearn.exceptions import UnsupportedNetError
from sk_unlearn.nets._prepare import prepare
from sk_unlearn.nets._state import initial_state, load_state
from sk_unlearn.nets._target import match_target
from sk_unlearn.nets.stacked._batches import batch_options
from sk_unlearn.nets.stacked._module import padded
from sk_unlearn.nets.stacked._support import settings_reason, trial_reason
from sk_unlearn.nets.stacked._train import default_width, train_stacks
from sk_unlearn.utils._seeding import isolated_rng
from sk_unlearn.utils._threads import reproducible_threads

__all__ = [
    "batch_options",
    "can_stack",
    "default_width",
    "padded",
    "train_nets",
    "train_stacks",
    "train_states",
]


def can_stack(net, X=None, y=None, n_nets=None):
    """Why nets like this one cannot be trained side by side, or None.

    They can be if their module is a perceptron (:class:`~sk_unlearn.nets.MLP`, or a
    ``Sequential`` of linear layers and activations), trained as a whole by SGD, Adam or AdamW with
    a schedule of torch's that does not look at the loss, and nothing acts on training from
    outside: callbacks, splits, data sets, iterators or overridden methods.

    Parameters
    ----------
    net : skorch.NeuralNet
        Unfitted; left untouched.
    X, y : array-likes, default=None
        Training data. With it two rows are tried too.
    n_nets : int, default=None
        Size of the stacks that are tried on a CUDA device.

    Returns
    -------
    reason : str or None

    Examples
    --------
    >>> from torch import nn
    >>> from skorch import NeuralNetClassifier
    >>> from sk_unlearn.nets import MLP, can_stack
    >>> sizes = {"module__n_features": 4, "module__n_outputs": 3}
    >>> can_stack(NeuralNetClassifier(MLP, **sizes, criterion=nn.CrossEntropyLoss))
    'its train_split is not None'
    """
    return _checked(prepare(clone(net)), X, y, n_nets)[0]


def train_nets(net, X, y, row_sets, seeds, **options):
    """Train K nets of one architecture, each on its own rows.

    A net starts from what ``net.initialize()`` draws under its seed, and draws its batches from
    there. What it becomes depends on its rows, its seed and the settings only, bit for bit: not
    on the other nets, ``width`` or ``n_jobs``. Training it alone through skorch adds up in another
    order: the results agree to rounding. On a CUDA device that is all that holds here.

    Parameters
    ----------
    net : skorch.NeuralNet
        Unfitted; left untouched.
    X, y : array-like of n rows
        ``y`` encoded, as the net reads it.
    row_sets : sequence of K arrays of int
        Rows of each net; the order counts, as it does in ``fit``.
    seeds : sequence of K int
    **options : dict
        ``epochs``, ``n_jobs`` and ``width`` of :func:`train_states`.

    Returns
    -------
    nets : list of skorch.NeuralNet

    Raises
    ------
    UnsupportedNetError
        If :func:`can_stack` gives a reason.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_unlearn.nets import default_classifier, train_nets
    >>> X, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 2
    >>> net = default_classifier(n_features=4, n_outputs=2, n_rows=30, device="cpu")
    >>> nets = train_nets(net, X, y, [np.arange(30), np.arange(30, 60)], [0, 1], epochs=2)
    >>> [net.predict(X).shape for net in nets]
    [(60,), (60,)]
    """
    states, y = train_states(net, X, y, row_sets, seeds, **options), np.asarray(y)
    prepared = prepare(clone(net))
    return [load_state(prepared, s, y=y[r]) for s, r in zip(states, row_sets, strict=True)]


def train_states(
    net, X, y, row_sets, seeds=None, *, start=None, epochs=None, n_jobs=None, width=None
):
    """States of the nets that :func:`train_nets` makes.

    Parameters
    ----------
    net, X, y, row_sets, seeds
        As for :func:`train_nets`.
    start : sequence of K NetState, default=None
        Where to go on. With ``seeds``, only batches are drawn from these; without, the states'
        own generators go on.
    epochs : int, default=None
        None means the net's ``max_epochs``.
    n_jobs : int, default=None
        Stacks at a time, small ones in threads unless ``joblib.parallel_config`` says otherwise.
    width : int, default=None
        Most nets in a stack. None takes 50, or what fits in 64 MiB, or a stack for each job.
    """
    net = prepare(clone(net))
    reason, template, tensors = _checked(net, X, y)
    if reason is not None:
        raise UnsupportedNetError(f"{type(net).__name__} cannot be trained in a stack: {reason}.")
    if start is None:
        drawer = clone(net)
        start = [initial_state(drawer, seed) for seed in seeds]
    elif seeds is not None:
        rngs = [torch.Generator().manual_seed(seed).get_state() for seed in seeds]
        start = [replace(state, rng=rng) for state, rng in zip(start, rngs, strict=True)]
    row_sets = [np.asarray(rows, dtype=np.int64) for rows in row_sets]
    epochs = net.max_epochs if epochs is None else epochs
    options = {"n_jobs": n_jobs, "width": width}
    with isolated_rng(0):  # one call at a time draws from the global generators
        return train_stacks(template, tensors, row_sets, start, epochs, **options)


def _checked(net, X, y, n_nets=None):
    """Why a prepared net is not stacked, one that is initialised, and what it is trained on."""
    with isolated_rng(0):
        template = clone(net).initialize()
    reason, tensors = settings_reason(template), None
    if reason is None and X is not None and y is None:
        reason = "y is None"
    elif reason is None and X is not None:
        template.check_data(X, y)
        tensors = template.get_dataset(X, y).tensors
        reason = "X or y is no single array of numbers" if tensors is None else None
    if tensors is not None:
        tensors = X, y = tensors[0], match_target(template, *tensors)
        with reproducible_threads():
            reason = trial_reason(template, X[:2], y[:2], n_nets)
    return reason, template, tensors
