"""Second derivatives of the row losses with respect to the scores."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..exceptions import UnsupportedNetError
from ._linearize import grads
from ._pullbacks import pullbacks

# Up to this many scores the square root of a row's Hessian is exact.
DENSE_SCORES = 32
# Columns of the approximate root beyond that.
ROOT_COLUMNS = 8
# Products by which the size of a Hessian is judged.
SIZE_PROBES = 3
# Products that the trace of a Hessian is estimated from beyond ``DENSE_SCORES``.
TRACE_PROBES = 16
# A product may differ by this share from that of the softmax's Hessian and still be one.
SAME_PRODUCT = 1e-3


class ScoreCurvature:
    """Hessian of each row loss at fixed scores, times a row weight.

    Parameters
    ----------
    loss : callable
        ``loss(scores, y)`` of shape (n,).
    scores : Tensor of shape (n, ...)
        Where to differentiate; without graph.
    y : Tensor of shape (n, ...)
    weights : Tensor of shape (n,) or None, default=None

    Notes
    -----
    Row i of the loss depends on row i of the scores only, so one derivative of the sum over
    rows gives one column of every row's Hessian. Storing the Hessians was measured not to
    pay: a product by a second derivative of the kept slope takes as long.
    """

    def __init__(
        self,
        loss: Callable[[Tensor, Tensor], Tensor],
        scores: Tensor,
        y: Tensor,
        weights: Tensor | None = None,
    ) -> None:
        self._loss, self._y = loss, y
        self._scores = scores.detach().requires_grad_()
        with torch.enable_grad():
            losses = loss(self._scores, y)
            cotangent = torch.ones_like(losses) if weights is None else weights.to(losses)
            self._slope = grads(losses, (self._scores,), cotangent, create_graph=True)[0]
        self.n_scores = self._scores[:1].numel()

    @property
    def slope(self) -> Tensor:
        """Gradients of the (weighted) row losses in the scores, of the shape of the scores."""
        return self._slope.detach()

    def dense(self) -> Tensor:
        """Hessians of shape (n, K, K), by K derivatives of the slope in one pass."""
        n_rows, n_scores = len(self._scores), self.n_scores
        if not n_rows:
            return self._scores.new_zeros(0, 0, 0)
        if not self._slope.requires_grad:
            return self._scores.new_zeros(n_rows, n_scores, n_scores)
        units = torch.eye(n_scores).to(self._scores).view(n_scores, 1, *self._scores.shape[1:])
        units = units.expand(n_scores, *self._scores.shape)
        columns = pullbacks(self._slope, (self._scores,), units)[0].detach()
        return columns.reshape(n_scores, n_rows, n_scores).permute(1, 2, 0).contiguous()

    def product(self, direction: Tensor) -> Tensor:
        """Each row's Hessian times its row of `direction`, of the shape of the scores."""
        if not self._slope.requires_grad:
            return torch.zeros_like(direction)
        return grads(self._slope, (self._scores,), direction, retain_graph=True)[0].detach()

    def trace(self) -> Tensor:
        """Trace of each row's Hessian, of shape (n,), at least zero.

        Exact for up to ``DENSE_SCORES`` scores, and for any number where the Hessian is that of
        a softmax, c (diag(p) - p p^T), as of cross entropy with or without label smoothing and
        class weights. Else estimated from products with ``TRACE_PROBES`` random directions (half
        of it is the standard deviation for a Hessian of rank one, less for others).

        Notes
        -----
        Cost: a number of products that does not grow with the scores, each linear in them.
        """
        if self.n_scores <= DENSE_SCORES:
            return self.dense().diagonal(dim1=1, dim2=2).sum(dim=1).clamp_min(0)
        probes = self._random_directions(TRACE_PROBES)
        first = self.product(probes[0].expand_as(self._scores)).flatten(1)
        scale = self._softmax_scale(probes[0].flatten(), first)
        if scale is not None:
            p = self._probabilities()
            return scale.clamp_min(0) * (p * (1 - p)).sum(dim=1)
        total = first @ probes[0].flatten()
        for probe in probes[1:]:
            total += self.product(probe.expand_as(self._scores)).flatten(1) @ probe.flatten()
        return (total / TRACE_PROBES).clamp_min(0)

    def _softmax_scale(self, probe: Tensor, image: Tensor) -> Tensor | None:
        """Factor c of each row if the Hessian is c (diag(p) - p p^T), told by one random product.

        Two matrices that agree on a random direction are the same, but for chance zero.
        """
        if self._scores.ndim != 2:
            return None
        p = self._probabilities()
        expected = p * (probe - (p @ probe)[:, None])
        scale = (image * expected).sum(dim=1) / expected.square().sum(dim=1).clamp_min(
            torch.finfo(p.dtype).tiny
        )
        # what is left of a row whose scores are saturated is rounding
        rounding = 16 * torch.finfo(p.dtype).eps * float(probe.abs().max())
        rounding = rounding * (1 + self._scores.detach().abs().amax(dim=1))
        rounding = rounding * scale.abs().clamp_min(1)
        missed = (image - scale[:, None] * expected).norm(dim=1)
        same = missed <= SAME_PRODUCT * image.norm(dim=1) + rounding
        return scale if bool(same.all()) else None

    def _probabilities(self) -> Tensor:
        return torch.softmax(self._scores.detach(), dim=1)

    def _random_directions(self, n_directions: int) -> Tensor:
        # fixed, so that a row is judged alike in whatever batch it comes
        generator = torch.Generator().manual_seed(0)
        shape = (n_directions, *self._scores.shape[1:])
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(self._scores)

    def probed_size(self) -> Tensor:
        """Norm of each row's Hessian, roughly: of its products with a few random directions."""
        total = 0
        for probe in self._random_directions(SIZE_PROBES):
            image = self.product(probe.expand_as(self._scores)).reshape(len(self._scores), -1)
            total = total + image.square().sum(dim=1)
        return total.sqrt()

    def root(self) -> Tensor:
        """Factors S of shape (n, K, r) whose S S^T is the Hessian, or at most the Hessian.

        Up to ``DENSE_SCORES`` scores S is exact, r = K, largest column last; negative
        eigenvalues count as zero. Beyond, r = ``ROOT_COLUMNS`` and S S^T is the Nyström
        approximation of the Hessian, which never exceeds it.
        """
        if self.n_scores <= DENSE_SCORES:
            values, vectors = _eigh(self.dense())
            return vectors * values.clamp_min(0).sqrt().unsqueeze(1)
        # Fixed probes, so that a row has the same factor in whatever batch it comes.
        generator = torch.Generator().manual_seed(0)
        shape = (self.n_scores, ROOT_COLUMNS)
        probes = torch.randint(0, 2, shape, generator=generator).to(self._scores) * 2 - 1
        expand = self._scores.shape
        images = [self.product(p.view(expand[1:]).expand(expand)).flatten(1) for p in probes.T]
        image = torch.stack(images, dim=2)
        values, vectors = _eigh(probes.T @ image)
        floor = values.amax(dim=1, keepdim=True).clamp_min(0) * 1e-4
        inverse_root = torch.where(values > floor, values.clamp_min(floor).rsqrt(), 0.0)
        return image @ (vectors * inverse_root.unsqueeze(1))

    def narrow_root(self, tol: float) -> Tensor:
        """Factors S of shape (n, K, r) whose S S^T is the Hessian up to a relative error.

        A Cholesky factor with pivots in each row, cut off at the first r that leaves at most
        `tol` of the Frobenius norm of all rows' Hessians; never more than the Hessian. The
        scores of a confident classifier need few columns. For at most ``DENSE_SCORES`` scores.
        Where Hessians have negative eigenvalues, :meth:`root`.
        """
        rest, columns = self.dense(), []
        limit = tol * float(rest.norm())
        # what is left of a row below it is rounding
        floor = torch.finfo(rest.dtype).eps * self.n_scores * rest.abs().amax(dim=(1, 2))
        floor = floor.view(-1, 1, 1)
        for _ in range(self.n_scores):
            pivot, at = rest.diagonal(dim1=1, dim2=2).max(dim=1)
            column = rest.gather(2, at.view(-1, 1, 1).expand(-1, self.n_scores, 1))
            pivot = pivot.view(-1, 1, 1)
            columns.append(torch.where(pivot > floor, column * pivot.rsqrt(), 0.0))
            rest = rest - columns[-1] * columns[-1].mT
            if float(rest.norm()) <= limit:
                return torch.cat(columns, dim=2)
        return self.root()

    def _is_curved(self) -> bool:
        probe = torch.arange(1.0, self.n_scores + 1).to(self._scores)
        return bool(self.product(probe.view_as(self._scores[:1]).expand_as(self._scores)).any())

    def refuse_linear(self) -> None:
        """Raise if the loss has no curvature in the scores: here, at zero, and at no residual."""
        if len(self._scores) == 0 or self._is_curved():
            return
        # Saturated scores have none either, nor large residuals of Huber's loss, without being
        # at fault.
        points = [torch.zeros_like(self._scores)]
        if self._y.is_floating_point() and self._y.numel() == self._scores.numel():
            points.append(self._y.reshape(self._scores.shape).to(self._scores))
        others = [ScoreCurvature(self._loss, point, self._y) for point in points]
        # A constant loss (cross entropy of a single class) has no slope that could be lost.
        sloped = any(other._slope.any() for other in others)
        if sloped and not any(other._is_curved() for other in others):
            raise UnsupportedNetError(
                "the loss is linear in the scores, so the Gauss-Newton matrix is zero. Put the "
                "last non-linearity into the loss: cross entropy in place of NLLLoss "
                "(log-probabilities may stay its scores), squared in place of absolute error."
            )


def _eigh(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues and vectors whose signs do not depend on the library that computed them."""
    values, vectors = torch.linalg.eigh(matrices)
    probe = torch.arange(1, vectors.shape[1] + 1).to(vectors)
    return values, torch.where((probe @ vectors).unsqueeze(1) < 0, -vectors, vectors)
