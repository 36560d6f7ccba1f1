"""Softmax regression by Newton's method with the dense Hessian: the closed form's rival.

What one writes in NumPy for a linear net without a library: minimise the mean cross-entropy
plus ``decay / 2`` times the squared norm of all parameters, the bias included, as the default
net's weight decay does.
"""

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import log_softmax, softmax


def newton(X, y, n_classes, decay, start=None, steps=50, tol=1e-8):
    """Minimise from ``start``, in float64.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    y : ndarray of shape (n,), int
    n_classes : int
    decay : float
    start : ndarray of shape (n_classes, d + 1), default=None
        Weights and, last, biases; None means zero.
    steps : int, default=50
        At most; 1 is the Newton removal of the rows that ``X`` lacks.
    tol : float, default=1e-8
        Largest entry of the gradient to stop at.

    Returns
    -------
    weights : ndarray of shape (n_classes, d + 1)
    n_steps : int
    """
    Z = np.hstack([np.asarray(X, dtype=np.float64), np.ones((len(X), 1))])
    weights = np.zeros((n_classes, Z.shape[1])) if start is None else start.copy()
    for step in range(steps):
        p = softmax(Z @ weights.T, axis=1)
        errors = p - (y[:, None] == np.arange(n_classes))
        gradient = errors.T @ Z / len(Z) + decay * weights
        if np.abs(gradient).max() <= tol:
            return weights, step
        move = cho_solve(cho_factor(_hessian(Z, p, decay)), gradient.ravel())
        weights = _shortened(Z, y, decay, weights, move.reshape(weights.shape), gradient)
    return weights, steps


def _hessian(Z, p, decay):
    outer = (p[:, :, None] * Z[:, None, :]).reshape(len(Z), -1)
    H, d = outer.T @ outer / -len(Z), Z.shape[1]
    for c in range(p.shape[1]):
        block = slice(c * d, (c + 1) * d)
        H[block, block] += (p[:, c, None] * Z).T @ Z / len(Z)
    H[np.diag_indices_from(H)] += decay
    return H


def _shortened(Z, y, decay, weights, move, gradient):
    """Half the step until the objective falls; near the minimum the first one does."""

    def objective(w):
        log_p = log_softmax(Z @ w.T, axis=1)
        return -log_p[np.arange(len(y)), y].mean() + decay / 2 * (w**2).sum()

    before, slope, length = objective(weights), (gradient * move).sum(), 1.0
    while objective(weights - length * move) > before - 1e-4 * length * slope and length > 1e-3:
        length /= 2
    return weights - length * move


def log_proba(weights, X):
    """Of shape (n, n_classes)."""
    return log_softmax(X @ weights[:, :-1].T + weights[:, -1], axis=1)
