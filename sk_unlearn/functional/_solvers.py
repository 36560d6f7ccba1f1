"""Conjugate gradients that say how well they solved."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class SolverReport:
    """What a linear solve cost and how good it is.

    Attributes
    ----------
    converged : bool
        Whether the relative residual is at most `tol`.
    relative_residual : float
        ||b - A x|| / ||b|| of the returned x, where A includes the damping; unpreconditioned.
        NaN when a non-finite number stopped the solve.
    n_products : int
        Products with the matrix, each about one gradient pass over its rows.
    tol : float
        What was asked for.
    message : str
        Why the solve stopped, and what to do if it did not converge.
    residuals : tuple of float
        Relative residual before each iteration and at the end.
    """

    converged: bool
    relative_residual: float
    n_products: int
    tol: float
    message: str
    residuals: tuple[float, ...] = ()


def conjugate_gradient(
    matvec: Callable[[Tensor], Tensor],
    b: Tensor,
    *,
    damping: float | Tensor = 0.0,
    preconditioner: Callable[[Tensor], Tensor] | None = None,
    dot: Callable[[Tensor, Tensor], Tensor] = torch.dot,
    tol: float = 1e-2,
    max_products: int = 100,
    x0: Tensor | None = None,
    verify: bool = True,
    callback: Callable[[int, float], None] | None = None,
) -> tuple[Tensor, SolverReport]:
    """Solve (H + diag(damping)) x = b by preconditioned conjugate gradients.

    Parameters
    ----------
    matvec : callable
        v -> H v for a symmetric H, such as ``GaussNewtonOperator.matvec``.
    b : Tensor of shape (d,)
    damping : float or Tensor of shape (d,), default=0.0
        Added to the diagonal: gamma plus weight decay.
    preconditioner : callable or None, default=None
        r -> P^{-1} r for a symmetric positive definite P, damping included.
    dot : callable, default=torch.dot
        Inner product ``(v, w) -> scalar tensor`` in which H and P are symmetric; its norm is
        the norm of residuals.
    tol : float, default=1e-2
        Stop when ||b - A x|| <= tol ||b||.
    max_products : int, default=100
        Most iterations, one product each; a start and a verification add one.
    x0 : Tensor of shape (d,) or None, default=None
        Start; None means zero. A start costs one product.
    verify : bool, default=True
        Compute the final residual anew with one more product, and go on if rounding had
        flattered the recursion. False reports the recursion's.
    callback : callable or None, default=None
        Called as ``callback(iteration, relative_residual)`` after each iteration.

    Returns
    -------
    x : Tensor of shape (d,)
        The last finite iterate. Look at ``report.converged`` before using it.
    report : SolverReport

    Raises
    ------
    ValueError
        If a shape is wrong, or `tol` or `max_products` is not positive.

    Notes
    -----
    Where the recursion meets a direction of non-positive curvature, a non-finite number or
    a preconditioner that is not positive definite, it stops and the report says so. b = 0
    is answered by x = 0 without a product.

    References
    ----------
    .. [1] M. R. Hestenes and E. Stiefel, "Methods of conjugate gradients for solving linear
       systems", J. Res. Natl. Bur. Stand. 49, 1952.

    Examples
    --------
    >>> import torch
    >>> from sk_unlearn.functional import conjugate_gradient
    >>> H = torch.diag(torch.tensor([1.0, 2.0]))
    >>> x, report = conjugate_gradient(lambda v: H @ v, torch.ones(2), damping=1.0, tol=1e-5)
    >>> x, report.converged, report.n_products
    (tensor([0.5000, 0.3333]), True, 3)
    """
    if b.ndim != 1:
        raise ValueError(f"b must be of shape (d,), got {tuple(b.shape)}.")
    if x0 is not None and x0.shape != b.shape:
        raise ValueError(f"x0 must be of shape {tuple(b.shape)}, got {tuple(x0.shape)}.")
    if not tol > 0 or not max_products >= 1:
        raise ValueError(
            f"tol and max_products must be positive, got {tol!r} and {max_products!r}."
        )
    recursion = _Recursion(
        matvec, b.detach(), damping, preconditioner, dot, tol, max_products, callback
    )
    return recursion.solve(x0, verify)


class _Recursion:
    """State of one solve; a class so that each way to stop can see the counts."""

    def __init__(self, matvec, b, damping, preconditioner, dot, tol, max_products, callback):
        self.multiply, self.b, self.damping = matvec, b, damping
        self.precondition = preconditioner or (lambda r: r)
        self.dot = dot
        self.tol, self.max_products, self.callback = float(tol), max_products, callback
        self.n_products = self.n_iter = 0
        self.scale = self.norm(b)
        self.residuals: list[float] = []

    def product(self, v: Tensor) -> Tensor:
        self.n_products += 1
        return self.multiply(v) + self.damping * v

    def norm(self, v: Tensor) -> float:
        if self.dot is torch.dot:
            return float(torch.linalg.vector_norm(v))
        return math.sqrt(max(float(self.dot(v, v)), 0.0))

    def relative(self, r: Tensor) -> float:
        return self.norm(r) / self.scale

    def solve(self, x0: Tensor | None, verify: bool) -> tuple[Tensor, SolverReport]:
        x = torch.zeros_like(self.b)
        if self.scale == 0.0:
            return x, SolverReport(True, 0.0, 0, self.tol, "b is zero, so x is zero.")
        if not torch.isfinite(self.b).all():
            return x, self.report(float("nan"), "b holds non-finite values.")
        r = self.b.clone()
        if x0 is not None:
            x = x0.detach().clone()
            r = self.b - self.product(x)
        while True:
            x, r, problem = self.run(x, r)
            stalled = problem or not verify or self.n_products == 0
            if not stalled:
                claimed, r = self.relative(r), self.b - self.product(x)
                # A residual that did not drift is as good as it gets; rerunning would loop.
                stalled = self.relative(r) <= max(self.tol, claimed)
                stalled = stalled or self.n_iter >= self.max_products
            if stalled:
                return x, self.report(self.relative(r), problem)

    def run(self, x: Tensor, r: Tensor) -> tuple[Tensor, Tensor, str]:
        """Iterate from x with residual r until the tolerance, the limit or a problem."""
        self.residuals.append(self.relative(r))
        direction, rz = None, 0.0
        while self.residuals[-1] > self.tol and self.n_iter < self.max_products:
            z = self.precondition(r)
            rz_old, rz = rz, float(self.dot(r, z))
            if not rz > 0:
                return x, r, "the preconditioner is not positive definite or not finite."
            direction = z if direction is None else z + (rz / rz_old) * direction
            image = self.product(direction)
            curvature = float(self.dot(direction, image))
            # any non-finite entry makes the product non-finite too: 0 * inf is NaN
            if not math.isfinite(curvature):
                return x, r, "a product holds non-finite values; check the data and parameters."
            if curvature <= 0:
                quotient = curvature / float(self.dot(direction, direction))
                problem = (
                    f"curvature {quotient:.3g} along a direction is not positive; raise the "
                    "damping or use Gauss-Newton."
                )
                return x, r, problem
            step = rz / curvature
            x, r = x + step * direction, r - step * image
            self.n_iter += 1
            self.residuals.append(self.relative(r))
            if self.callback is not None:
                self.callback(self.n_iter, self.residuals[-1])
        return x, r, ""

    def report(self, residual: float, problem: str) -> SolverReport:
        converged = residual <= self.tol and not problem
        if converged:
            message = f"converged after {self.n_iter} iterations."
        elif problem:
            message = f"stopped after {self.n_iter} iterations: {problem}"
        else:
            message = (
                f"relative residual {residual:.3g} after {self.n_iter} iterations, asked for "
                f"{self.tol:.3g}; raise max_products or the damping, or use a preconditioner."
            )
        self.residuals.append(residual)
        return SolverReport(
            converged, residual, self.n_products, self.tol, message, tuple(self.residuals)
        )
