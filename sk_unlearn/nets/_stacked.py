"""Train many nets of one architecture: side by side where that is exact, else one by one."""

from dataclasses import dataclass, replace

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone

from sk_unlearn.exceptions import UnsupportedNetError
from sk_unlearn.nets._prepare import prepare
from sk_unlearn.nets._stacked_arguments import checked
from sk_unlearn.nets._stacked_jobs import train_stacks
from sk_unlearn.nets._stacked_single import train_alone
from sk_unlearn.nets._stacked_state import load_state
from sk_unlearn.nets._stacked_support import settings_reason
from sk_unlearn.nets._stacked_trial import trial_reason
from sk_unlearn.nets._target import match_target
from sk_unlearn.utils._seeding import isolated_rng
from sk_unlearn.utils._threads import reproducible_threads

__all__ = ["TrainedNets", "can_stack", "train_nets", "train_states"]


@dataclass(frozen=True)
class TrainedNets:
    """Outcome of :func:`train_nets`.

    Attributes
    ----------
    nets : list of skorch.NeuralNet
        Trained, in the order of the row sets; None from :func:`train_states`.
    states : list of NetState or None
        From which training can go on; None for a net of several modules.
    stacked : bool
        Whether the nets were trained side by side.
    reason : str or None
        Why not.
    """

    nets: list | None
    states: list
    stacked: bool
    reason: str | None


def can_stack(net, X=None, y=None):
    """Why nets like this one cannot be trained side by side.

    Refused are settings that make a net's result depend on anything but its own rows,
    seed and settings, or that have no stacked form: layers that normalise over a batch,
    convolutions, recurrent layers, dropout, several modules or optimisers, optimisers but
    SGD, Adam and AdamW, callbacks that may act on training, schedules that look at the
    loss, overridden methods of training, a dataset or an iterator of the user's own, an
    internal split, and devices other than CPU and CUDA.

    Parameters
    ----------
    net : skorch.NeuralNet
        Unfitted; left untouched.
    X, y : array-likes, default=None
        Training data. With it two rows are tried too, which finds control flow that
        depends on data, random numbers, rows that see each other and the like.

    Returns
    -------
    reason : str or None
        None if they can.

    Examples
    --------
    >>> from torch import nn
    >>> from skorch import NeuralNetClassifier
    >>> from sk_unlearn.nets import MLP, can_stack
    >>> sizes = {"module__n_features": 4, "module__n_outputs": 3}
    >>> can_stack(NeuralNetClassifier(MLP, **sizes, criterion=nn.CrossEntropyLoss))
    'its train_split is not None'
    """
    return stack_reason(net, X, y)


def stack_reason(net, X, y, n_nets=None):
    """What :func:`can_stack` says, of stacks of so many nets on a CUDA device."""
    template = _template(prepare(clone(net)))
    reason = settings_reason(template)
    if reason is None and X is not None:
        reason = _tensors(template, X, y, n_nets)[0]
    return reason


def train_nets(
    net,
    X,
    y,
    row_sets,
    seeds,
    *,
    epochs=None,
    start=None,
    stacked="auto",
    n_jobs=None,
    width=None,
):
    """Train K nets of one architecture, each on its own rows.

    In a stack every net has its initial weights, its order of batches and its optimiser
    state as it would have alone, and one tensor operation does the same step of all nets.
    The result of a net depends on its rows, its seed and the settings only, bit for bit:
    not on the other nets, their number and order, ``width`` or ``n_jobs``. To this end
    all batches have the same number of rows (a multiple of 32, places without a row have
    weight zero), a net without a batch left is not updated, and a stack runs on one
    thread. Training the same net alone through skorch adds up in another order: the
    results agree to rounding error, not bit for bit. On a CUDA device that is all that holds
    of the company of other nets too: libraries choose kernels by the size of a stack.

    Parameters
    ----------
    net : skorch.NeuralNet
        Unfitted; left untouched. A copy is prepared (see :func:`~sk_unlearn.nets.prepare`).
    X : array-like of shape (n, ...), or list of K such arrays if ``row_sets`` is None
    y : array-like of shape (n,) or (n, n_outputs), or list of K
        Encoded, as the net reads it.
    row_sets : sequence of K arrays of int, or None
        Rows of each net, of any sizes from one; the order counts, as it does in ``fit``.
    seeds : sequence of K int, or None
        A net starts from what ``net.initialize()`` draws after seeding the global
        generators with its seed, and draws its batches from there. With ``start``, only
        the batches are drawn from the seeds; None then goes on with the generators.
    epochs : int, default=None
        None means the net's ``max_epochs``.
    start : sequence of K NetState, default=None
        Where to go on, instead of initial weights.
    stacked : {"auto", True, False}, default="auto"
        Whether to train side by side: where possible, or else an error, or not at all.
    n_jobs : int, default=None
        Stacks (or nets) trained at a time, as joblib understands it. Small stacks run in
        threads unless ``joblib.parallel_config`` names a backend.
    width : int, default=None
        Most nets in a stack; None takes 50, or fewer where that would leave jobs idle or
        the parameters of a stack would fill more than 64 MiB.

    Returns
    -------
    trained : TrainedNets

    Raises
    ------
    ValueError
        If the number or the content of ``row_sets``, ``seeds`` or ``start`` is not right.
    UnsupportedNetError
        If the net cannot be trained, or cannot be stacked and ``stacked=True``.

    Notes
    -----
    Cost: a stack holds K times parameters, gradients and optimiser state. Batches below 32
    rows are padded to 32, so that stacking gains less there.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_unlearn.nets import default_classifier, train_nets
    >>> X, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 2
    >>> net = default_classifier(n_features=4, n_outputs=2, n_rows=30, device="cpu")
    >>> halves = [np.arange(30), np.arange(30, 60)]
    >>> trained = train_nets(net, X, y, halves, [0, 1], epochs=2)
    >>> trained.stacked, trained.nets[0].predict(X).shape
    (True, (60,))
    """
    prepared, X, y, row_sets, seeds, start, epochs = checked(
        net, X, y, row_sets, seeds, start, epochs, stacked, width
    )
    with isolated_rng(0):  # one call at a time draws from the global generators
        result = _train(prepared, X, y, row_sets, seeds, start, epochs, stacked, n_jobs, width)
    if result.stacked:
        labels = np.asarray(y)
        nets = [
            load_state(prepared, state, y=labels[rows])
            for state, rows in zip(result.states, row_sets, strict=True)
        ]
        result = replace(result, nets=nets)
    return result


def train_states(
    net,
    X,
    y,
    row_sets,
    seeds,
    *,
    epochs=None,
    start=None,
    stacked="auto",
    n_jobs=None,
    width=None,
):
    """Train as :func:`train_nets` does, without building the nets.

    For chains of checkpoints, where each part of the training goes on from the last one:
    :func:`~sk_unlearn.nets.load_state` makes a net of a state.

    Parameters
    ----------
    net, X, y, row_sets, seeds, epochs, start, stacked, n_jobs, width
        As for :func:`train_nets`.

    Returns
    -------
    trained : TrainedNets
        With ``nets=None``.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_unlearn.nets import default_classifier, train_states
    >>> X, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 2
    >>> net = default_classifier(n_features=4, n_outputs=2, n_rows=30, device="cpu")
    >>> rows = [np.arange(30), np.arange(30, 60)]
    >>> first = train_states(net, X, y, rows, [0, 1], epochs=2).states
    >>> on = train_states(net, X, y, rows, None, start=first, epochs=1).states
    >>> on[0].epochs, on[0].batches
    (3, 3)
    """
    prepared, *rest = checked(net, X, y, row_sets, seeds, start, epochs, stacked, width)
    with isolated_rng(0):
        return replace(_train(prepared, *rest, stacked, n_jobs, width), nets=None)


def _train(net, X, y, row_sets, seeds, start, epochs, stacked, n_jobs, width):
    reason, tensors = "stacked=False", None
    if stacked:
        template = _template(net)
        reason = settings_reason(template)
        if reason is None:
            reason, tensors = _tensors(template, X, y)
        if reason is not None and stacked is True:
            raise UnsupportedNetError(
                f"{type(net).__name__} cannot be trained in a stack: {reason}. Use "
                "stacked='auto' to train such nets one by one."
            )
    if reason is None:
        states = train_stacks(net, tensors, row_sets, seeds, start, epochs, n_jobs, width)
        return TrainedNets(None, states, True, None)
    jobs = (
        delayed(train_alone)(net, X, y, rows, seed, state, epochs)
        for rows, seed, state in zip(row_sets, seeds, start, strict=True)
    )
    nets, states = zip(*Parallel(n_jobs=n_jobs)(jobs), strict=True)
    return TrainedNets(list(nets), list(states), False, reason)


def _template(net):
    with isolated_rng(0):
        return clone(net).initialize()


def _tensors(template, X, y, n_nets=None):
    """The reason why data rules out stacking, and the tensors that are trained on."""
    if y is None:
        return "y is None", None
    template.check_data(X, y)
    tensors = template.get_dataset(X, y).tensors
    if tensors is None:
        return "X or y is no single array of numbers", None
    X, y = tensors
    y = match_target(template, X, y)
    with reproducible_threads():
        reason = trial_reason(template, X[:2], y[:2], n_nets)
    return reason, (X, y)
