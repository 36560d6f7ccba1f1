"""A net whose layer makes the features, trained on the rows that are public."""

import numpy as np
from sklearn.frozen import FrozenEstimator

from sk_unlearn.exact._wrapped import seeded
from sk_unlearn.exceptions import FullRetrainWarning
from sk_unlearn.nets import fit_net, prepare
from sk_unlearn.utils._warn import warn_user

__all__ = ["asks_for_public", "cost_of_training", "train_on_public", "warn_of_training"]


def train_on_public(net, seed, rows, encode):
    """Train a clone of a net on the public rows alone.

    Parameters
    ----------
    net : skorch.NeuralNet
    seed : int
    rows : BlockedRows
    encode : callable
        From targets to what the net learns.

    Returns
    -------
    features : FrozenEstimator
    """
    public = np.flatnonzero(rows.fit_params["public"])
    net = fit_net(prepare(seeded(net, seed)), rows.X[public], encode(rows.y[public]))
    return FrozenEstimator(net)


def asks_for_public(rows, hit):
    """Whether some of the rows asked for are public."""
    public = rows.fit_params.get("public")
    return public is not None and bool(public[hit].any())


def warn_of_training(owner, rows, hit):
    """Say that public rows cost all of the training."""
    n_public = int(rows.fit_params["public"][hit].sum())
    warn_user(
        f"All of {owner} is trained anew: {n_public} of the rows asked for are "
        "public, and the net that makes its features was trained on them.",
        FullRetrainWarning,
    )


def cost_of_training(net, rows, hit):
    """Passes over all rows of a training without some."""
    n_public = int(np.delete(rows.fit_params["public"], hit).sum())
    return net.max_epochs * n_public / len(rows)
