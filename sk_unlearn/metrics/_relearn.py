"""How soon forgotten rows are learned again."""

import numpy as np

from sk_unlearn.metrics._resampling import Bootstrap, enough_for_interval
from sk_unlearn.metrics._result import MetricResult
from sk_unlearn.metrics._validation import check_array, check_models, check_real, check_same

AXES = "(n_models, n_epochs + 1)"


def relearn_time(
    unlearned,
    oracle,
    original_loss,
    *,
    margin=0.0,
    confidence_level=0.95,
    n_resamples=500,
    random_state=0,
):
    r"""Epochs of training on the forgotten rows until they are known as well as before.

    A model that still holds traces of the rows learns them again sooner than one that never saw
    them [1]_. With the loss :math:`L(t)` on the forgotten rows after :math:`t` epochs and the
    loss :math:`L^*` of the original model,

    .. math::

       T = \min \{ t : L(t) \le (1 + \text{margin})\, L^* \},

    or the length of the curve if it stays above (the mean is then a restricted mean, too small).

    Parameters
    ----------
    unlearned : array-like of shape (n_models, n_epochs + 1)
        Mean loss on the forgotten rows before and after each epoch of relearning, of unlearned
        models. One is enough.
    oracle : array-like of shape (n_oracles, n_epochs + 1)
        The same of models retrained without the rows, relearning with the same settings.
    original_loss : float or array-like of shape (n_models,)
        Loss of the original model, or of each one; at least 0. Retrained models are held against
        its mean.
    margin : float, default=0.0
        Relative tolerance, at least 0: a few per cent [2]_ keep a noisy curve from missing it.
    confidence_level : float, default=0.95
    n_resamples : int, default=500
        Bootstrap samples of models.
    random_state : int, RandomState or None, default=0
        Of the bootstrap.

    Returns
    -------
    result : MetricResult
        Mean number of epochs; the null is that of retrained models. *Smaller* than the null means
        traces, larger means rows that were made hard to learn, which is a trace too. ``details``:
        "ratio" to the null (NaN if that is 0), "not_reached", the number of unlearned and of
        retrained curves that stay above, "n_epochs", and "times" of each unlearned model.

    Raises
    ------
    ValueError
        If curves differ in length, have no epoch, or a number is not finite.

    Notes
    -----
    It sees losses of forgotten rows only: see :ref:`blind_spots`.

    Cost: O(n_models n_epochs); the curves are yours to compute.

    References
    ----------
    .. [1] A. Golatkar, A. Achille and S. Soatto, "Eternal sunshine of the spotless net: Selective
       forgetting in deep networks", CVPR 2020.
    .. [2] V. S. Chundawat, A. K. Tarun, M. Mandal and M. Kankanhalli, "Zero-shot machine
       unlearning", IEEE Transactions on Information Forensics and Security 18, 2023.

    Examples
    --------
    >>> from sk_unlearn.metrics import relearn_time
    >>> untouched = [[0.2, 0.1, 0.1, 0.1]]
    >>> retrained = [[2.0, 0.9, 0.3, 0.1], [2.0, 0.8, 0.1, 0.1]]
    >>> result = relearn_time(untouched, retrained, 0.1)
    >>> result.value, result.null, result.details["ratio"]
    (1.0, 2.5, 0.4)
    """
    boot = Bootstrap(confidence_level, n_resamples, random_state)
    margin = check_real("margin", margin, 0, np.finfo(float).max, inclusive=True)
    unlearned = check_models("unlearned", unlearned, axes=AXES)
    oracle = check_models("oracle", oracle, axes=AXES)
    check_same("unlearned", unlearned, "oracle", oracle)
    if unlearned.shape[1] < 2:
        raise ValueError(f"unlearned must cover at least 1 epoch, got shape {unlearned.shape}.")
    loss = check_array("original_loss", original_loss, ndim=(0, 1), axes="() or (n_models,)")
    if loss.ndim and len(loss) != len(unlearned):
        raise ValueError(
            f"original_loss must be one number or one for each of the {len(unlearned)} unlearned "
            f"models, got {len(loss)}."
        )
    if loss.min() < 0:
        raise ValueError(f"original_loss must be at least 0, got {loss.min():g}.")

    goal = (1 + margin) * np.broadcast_to(loss, len(unlearned))
    times, missed = _times(unlearned, goal)
    null_times, null_missed = _times(oracle, np.full(len(oracle), goal.mean()))
    value, interval = _mean(times, boot)
    null, null_interval = _mean(null_times, boot)
    details = {
        "ratio": value / null if null else float("nan"),
        "not_reached": [missed, null_missed],
        "n_epochs": unlearned.shape[1] - 1,
        "times": times,
    }
    return MetricResult(
        "relearn time (epochs)",
        value,
        interval,
        null,
        null_interval,
        boot.level,
        details=details,
    )


def _times(curves, goal):
    """First epoch at or below the goal, else the last one; how many never get there."""
    reached = curves <= goal[:, None]
    ever = reached.any(1)
    times = np.where(ever, reached.argmax(1), curves.shape[1] - 1).astype(float)
    return times, int((~ever).sum())


def _mean(times, boot):
    value = float(times.mean())
    if not enough_for_interval(times):
        return value, None
    return value, boot.interval(value, boot.weights(len(times)) @ times / len(times), 0.0)
