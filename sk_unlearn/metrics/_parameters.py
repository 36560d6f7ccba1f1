"""Distance between the parameters of unlearned and of retrained models."""

import numpy as np

from sk_unlearn.metrics._pairs import pair_result
from sk_unlearn.metrics._resampling import Bootstrap
from sk_unlearn.metrics._validation import check_models, check_same

AXES = "(n_models, n_parameters)"


def parameter_distance(
    unlearned, oracle, *, confidence_level=0.95, n_resamples=500, random_state=0
):
    r"""Relative distance between the parameters of unlearned and of retrained models.

    Mean over all pairs of

    .. math::

       \frac{\lVert \theta_u - \theta_o \rVert_2}{\lVert \theta_o \rVert_2}, \qquad
       \text{and in the details} \qquad
       1 - \frac{\theta_u \cdot \theta_o}{\lVert \theta_u \rVert \lVert \theta_o \rVert} .

    Parameters
    ----------
    unlearned : array-like of shape (n_models, n_parameters)
        Flat parameter vectors of unlearned models, one or more.
    oracle : array-like of shape (n_oracles, n_parameters)
        Flat parameter vectors of retrained models. With one, there is no null.
    confidence_level : float, default=0.95
    n_resamples : int, default=500
        Bootstrap samples of models.
    random_state : int, RandomState or None, default=0
        Of the bootstrap.

    Returns
    -------
    result : MetricResult
        The null is the mean over pairs of different retrained models.
        ``details["cosine_distance"]`` is a result of its own.

    Raises
    ------
    ValueError
        If shapes differ, a number is not finite, or a vector is all zero.

    Notes
    -----
    A small distance proves little and a large one nothing: hidden units can be permuted, so two
    nets that predict alike may be far apart, and a net close to its retrained twin may still
    remember. It is of use where the loss is convex, and between models from the same initial
    weights and batches [1]_: then pass them one pair at a time.

    Cost: O((n_models + n_oracles) n_oracles n_parameters).

    References
    ----------
    .. [1] Y. Wu, E. Dobriban and S. Davidson, "DeltaGrad: Rapid retraining of machine learning
       models", ICML 2020.

    Examples
    --------
    >>> from sk_unlearn.metrics import parameter_distance
    >>> result = parameter_distance([[3.0, 5.0]], [[3.0, 4.0], [4.0, 3.0]])
    >>> round(result.value, 3), round(result.null, 3)
    (0.324, 0.283)
    """
    boot = Bootstrap(confidence_level, n_resamples, random_state)
    unlearned = check_models("unlearned", unlearned, axes=AXES)
    oracle = check_models("oracle", oracle, axes=AXES)
    check_same("unlearned", unlearned, "oracle", oracle)
    for name, array in (("unlearned", unlearned), ("oracle", oracle)):
        empty = np.flatnonzero(~array.any(1))
        if len(empty):
            raise ValueError(f"{name} must not hold an all-zero vector, got one at {empty[0]}.")
    across, angle = _distances(unlearned, oracle)
    within, angle_within = _distances(oracle, oracle)
    cosine = pair_result("cosine distance", angle, angle_within, boot)
    return pair_result(
        "parameter distance", across, within, boot, details={"cosine_distance": cosine}
    )


def _distances(a, b):
    """Relative L2 and cosine distance of each pair; differences keep the digits of close ones."""
    norms_a, norms_b = (np.linalg.norm(x, axis=1) for x in (a, b))
    relative = np.array([np.linalg.norm(one - b, axis=1) for one in a]) / norms_b
    unit_a, unit_b = a / norms_a[:, None], b / norms_b[:, None]
    cosine = np.array([((one - unit_b) ** 2).sum(1) for one in unit_a]) / 2
    return relative, cosine
