"""The margin of a row's label, which most metrics compare between models."""

import numpy as np
from scipy.special import logsumexp

from sk_unlearn.metrics._validation import (
    check_array,
    check_labels,
    check_option,
    check_probabilities,
)


def logit_margin(scores, y, *, kind="logits", labels=None):
    r"""Score of the label against all others together, on the logit scale.

    .. math::

       \varphi(x, y) = z_y - \log \sum_{c \neq y} e^{z_c} = \log \frac{p_y}{1 - p_y}

    Unlike a probability, it does not saturate at 1, and over repeated trainings it is roughly
    normal for each row [1]_. The logistic loss of the row is ``log(1 + exp(-phi))``.

    Parameters
    ----------
    scores : array-like of shape (n_rows, n_classes) or (n_models, n_rows, n_classes)
        Logits or probabilities, at least two columns.
    y : array-like of shape (n_rows,)
        Label of each row: its column number, or a value of `labels`.
    kind : {"logits", "proba"}, default="logits"
        What `scores` holds. From probabilities the others are summed, not taken as one minus
        the label's, so that a label with probability 1 after rounding still has a finite
        margin; where all others are exactly 0 they count as the smallest number of the dtype.
        Prefer logits: a float32 probability has no digits left above a margin of about 100.
    labels : array-like of shape (n_classes,) or None, default=None
        Label of each column, such as ``clf.classes_``. None: 0 to n_classes - 1.

    Returns
    -------
    phi : ndarray of float64, shape (n_rows,) or (n_models, n_rows)

    Raises
    ------
    ValueError
        If a shape is wrong, a number is not finite, a probability outside [0, 1], or a label
        outside the columns.

    Notes
    -----
    Cost: one pass over `scores`, O(n_models n_rows n_classes).

    References
    ----------
    .. [1] N. Carlini et al., "Membership inference attacks from first principles", IEEE S&P
       2022.

    Examples
    --------
    >>> from sk_unlearn.metrics import logit_margin
    >>> logit_margin([[2.0, 0.0], [0.0, 1000.0]], [0, 1])
    array([   2., 1000.])
    >>> logit_margin([[0.8, 0.1, 0.1]], ["cat"], kind="proba", labels=["cat", "cow", "dog"])
    array([1.38629436])
    """
    check_option("kind", kind, ("logits", "proba"))
    dtype = np.asarray(scores).dtype
    axes = "(n_rows, n_classes) or (n_models, n_rows, n_classes)"
    scores = check_array("scores", scores, ndim=(2, 3), axes=axes)
    n_rows, n_classes = scores.shape[-2:]
    if n_classes < 2:
        raise ValueError(f"scores must have at least 2 columns, got {n_classes}.")
    column = check_labels("y", y, n_rows, n_classes, labels)
    index = np.broadcast_to(column[:, None], (*scores.shape[:-1], 1))
    own = np.take_along_axis(scores, index, -1)[..., 0]
    if kind == "logits":
        np.put_along_axis(scores, index, -np.inf, -1)
        return own - logsumexp(scores, axis=-1)
    check_probabilities("scores", scores)
    np.put_along_axis(scores, index, 0.0, -1)
    smallest = np.finfo(dtype if dtype.kind == "f" else np.float64).tiny
    return np.log(np.maximum(own, smallest)) - np.log(np.maximum(scores.sum(-1), smallest))
