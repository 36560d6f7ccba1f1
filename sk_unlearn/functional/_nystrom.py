"""A preconditioner from random products with the matrix, for any matrix."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class NystromPreconditioner:
    """Randomised Nyström preconditioner of a positive semidefinite matrix.

    Parameters
    ----------
    matvec : callable
        v -> H v for a symmetric positive semidefinite H.
    like : Tensor of shape (d,)
        Gives length, dtype and device; its values are not used.
    damping : float
        What the solver adds to the diagonal, positive.
    rank : int, default=50
        Random directions, one product each.
    seed : int, default=0
        Seed of the directions; the global generators are left alone.

    Attributes
    ----------
    eigenvalues : Tensor of shape (rank,)
        Approximate leading eigenvalues of H, descending.

    Raises
    ------
    ValueError
        If `damping` or `rank` is not positive, or H is far from positive semidefinite.

    Notes
    -----
    Cost: `rank` products, usually more than the solve itself: worth it where the same matrix
    is used for many right-hand sides and ``SampledPreconditioner`` does not apply.

    References
    ----------
    .. [1] Z. Frangella, J. A. Tropp and M. Udell, "Randomized Nyström preconditioning",
       SIAM J. Matrix Anal. Appl. 44, 2023.

    Examples
    --------
    >>> import torch
    >>> from sk_unlearn.functional import NystromPreconditioner
    >>> h = torch.tensor([4.0, 2.0, 1.0])
    >>> inverse = NystromPreconditioner(lambda v: h * v, h, damping=1.0, rank=3)
    >>> inverse.eigenvalues
    tensor([4., 2., 1.])
    """

    def __init__(
        self,
        matvec: Callable[[Tensor], Tensor],
        like: Tensor,
        *,
        damping: float,
        rank: int = 50,
        seed: int = 0,
    ) -> None:
        if not float(damping) > 0 or rank < 1:
            raise ValueError(f"damping and rank must be positive, got {damping!r} and {rank!r}.")
        self.damping = float(damping)
        generator = torch.Generator().manual_seed(seed)
        shape = (len(like), min(rank, len(like)))
        probes = torch.randn(shape, generator=generator, dtype=torch.float64).to(like)
        probes = torch.linalg.qr(probes)[0]
        images = torch.stack([matvec(probe) for probe in probes.T], dim=1)
        # The shift keeps the Cholesky factor real in spite of rounding; it is taken off below.
        shift = torch.finfo(like.dtype).eps * len(like) ** 0.5 * float(torch.linalg.norm(images))
        images = images + shift * probes
        core = probes.T @ images
        factor, failed = torch.linalg.cholesky_ex((core + core.T) / 2)
        if bool(failed):
            if not bool(images.any()):
                self._basis = probes
                self.eigenvalues = torch.zeros_like(probes[0])
                return
            raise ValueError(
                "the matrix is not positive semidefinite, or its products hold non-finite "
                "values; use Gauss-Newton curvature."
            )
        half = torch.linalg.solve_triangular(factor, images.T, upper=False).T
        self._basis, singular, _ = torch.linalg.svd(half, full_matrices=False)
        self.eigenvalues = (singular.square() - shift).clamp_min(0)

    def __call__(self, r: Tensor) -> Tensor:
        """P^{-1} r, for r of shape (d,), scaled so that P is damping + H on the basis."""
        inside = self._basis.T @ r
        least = self.eigenvalues[-1] + self.damping
        scaled = inside * (least / (self.eigenvalues + self.damping) - 1)
        return (r + self._basis @ scaled) / least
