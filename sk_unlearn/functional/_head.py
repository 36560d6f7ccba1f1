"""The Gauss-Newton matrix of a linear head, inverted in closed form and updated by rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ._layers import Layer, find_layers, record_layers
from ._model import RowwiseModel
from ._score_curvature import DENSE_SCORES, ScoreCurvature
from ._solvers import SolverReport
from ._work import count_flops

# An inverse of this order takes 8 MiB and about as long as a request on a small network.
MAX_PARAMETERS = 1024
# Rows leave by a low-rank update while their columns are few and leave the matrix far from
# singular; else the inverse is computed anew.
MAX_SHARE = 0.25
LEAST_PIVOT = 1e-3
# A solution is refined where its residual, in roundings of what is returned, exceeds this.
REFINE_ABOVE = 1e-2


@dataclass(frozen=True, eq=False)
class HeadCurvature:
    """Solver of (G + diag(ridge)) x = b where the scores are linear in the parameters.

    G = (1/n) sum_i w_i S_i S_i^T (x) a_i a_i^T, S_i S_i^T the Hessian of the loss of row i at
    its scores and a_i the input of the layer, with a one for the bias. It is formed and
    inverted once, in float64. For squared loss it does not depend on the parameters; for
    others it is that of the point where it was built.

    Made by :meth:`build`, for models whose active parameters are one linear layer, the last.

    Attributes
    ----------
    roots : Tensor of shape (n, K, r), float64
        S_i sqrt(w_i / n) of each row.
    matrix, inverse : Tensor of shape (d, d), float64
        G + diag(ridge), and its inverse.

    Notes
    -----
    Cost, for n rows, K scores and d = K q parameters: n q^2 K (K + 1) flops and a Cholesky
    factor and inverse of order d, about d^3; then 4 d^2 for a solve, 8 d^2 where it has to be
    refined, and 4 d^2 r for a row that leaves.

    References
    ----------
    .. [1] M. A. Woodbury, "Inverting modified matrices", Memorandum Report 42, Princeton,
       1950.

    Examples
    --------
    >>> import torch
    >>> from sk_unlearn.functional import HeadCurvature, RowwiseModel
    >>> net = torch.nn.Linear(1, 1, bias=False).eval()
    >>> model = RowwiseModel(net, lambda s, y: 0.5 * (s[:, 0] - y) ** 2)
    >>> X, y = torch.tensor([[1.0], [3.0]]), torch.zeros(2)
    >>> head = HeadCurvature.build(model, model.parameters(), X, y, ridge=torch.ones(1))
    >>> head.solve(torch.tensor([12.0]), tol=1e-3)[0]
    tensor([2.])
    >>> left = head.drop(model, model.parameters(), X[1:], torch.tensor([1]))
    >>> left.solve(torch.tensor([12.0]), tol=1e-3)[0]
    tensor([8.])
    """

    layer: Layer
    order: Tensor
    roots: Tensor
    matrix: Tensor
    inverse: Tensor

    @property
    def nbytes(self) -> int:
        """Memory that it holds."""
        return sum(each.nbytes for each in (self.roots, self.matrix, self.inverse))

    @classmethod
    def build(
        cls,
        model: RowwiseModel,
        params: Mapping[str, Tensor],
        X: Tensor,
        y: Tensor,
        weights: Tensor | None = None,
        *,
        ridge: Tensor,
    ) -> HeadCurvature | None:
        """The solver, or None for models that it is not for.

        Parameters
        ----------
        model : RowwiseModel
        params : mapping of str to Tensor
            The active parameters.
        X : Tensor of shape (n, ...)
        y : Tensor of shape (n, ...)
        weights : Tensor of shape (n,) or None, default=None
            Row weights, not negative.
        ridge : Tensor of shape (d,)
            Added to the diagonal, positive.

        Returns
        -------
        head : HeadCurvature or None
            None if more than one layer is active or something follows it, if there are more
            than 1024 parameters or 32 scores, or if there are no rows.
        """
        if not len(X) or len(ridge) > MAX_PARAMETERS:
            return None
        layers, rest = find_layers(model, params, X)
        if rest or len(layers) != 1:
            return None
        scores, inputs = _scores_and_inputs(model, params, X, layers)
        if inputs is None or scores[:1].numel() > DENSE_SCORES:
            return None
        curvature = ScoreCurvature(model.loss, scores, y, weights)
        curvature.refuse_linear()
        roots = curvature.root().double() / len(X) ** 0.5
        order = _order(model, layers[0], inputs.shape[1]).to(X.device)
        matrix = _gauss_newton(roots, inputs)[order][:, order]
        n_scores, width = roots.shape[1], inputs.shape[1]
        _count(len(X) * width**2 * n_scores * (n_scores + 1), len(order))
        matrix.diagonal().add_(ridge.double())
        return cls(layers[0], order, roots, matrix, _inverse(matrix))

    @property
    def layers(self) -> list[Layer]:
        """The layer, which has all active parameters."""
        return [self.layer]

    def solve(
        self, b: Tensor, *, tol: float, max_products: int = 0
    ) -> tuple[Tensor, SolverReport]:
        """Solve, with a step of refinement where rounding would show.

        Parameters
        ----------
        b : Tensor of shape (d,)
        tol : float
            For the report; the solution is as exact as float64 makes it.
        max_products : int
            Not used: no product with rows is needed.

        Returns
        -------
        x : Tensor of shape (d,)
        report : SolverReport
        """
        _count(4 * len(b) ** 2, len(b))
        exact = b.double()
        scale = float(exact.norm()) or 1.0
        x = self.inverse @ exact
        left = exact - self.matrix @ x
        residual = float(left.norm()) / scale
        if not residual <= REFINE_ABOVE * torch.finfo(b.dtype).eps:
            x = x + self.inverse @ left
            residual = float((exact - self.matrix @ x).norm()) / scale
        message = "solved in closed form."
        if not residual <= tol:
            message = f"relative residual {residual:.3g} of the closed form: raise the damping."
        return x.to(b), SolverReport(residual <= tol, residual, 0, tol, message, (residual,))

    def guess_dot(self, a: Tensor, b: Tensor) -> Tensor:
        """Inner product of a with the solution for b."""
        return torch.dot(a, (self.inverse @ b.double()).to(a))

    def drop(
        self, model: RowwiseModel, params: Mapping[str, Tensor], X: Tensor, rows: Tensor
    ) -> HeadCurvature:
        """The solver without some rows; the divisor n stays.

        Parameters
        ----------
        model : RowwiseModel
        params : mapping of str to Tensor
            Of these, only frozen ones matter: they lead to the layer's inputs.
        X : Tensor of shape (k, ...)
            The rows that leave.
        rows : Tensor of shape (k,), int64
            Their places among the rows that the solver was built on.

        Returns
        -------
        rest : HeadCurvature
        """
        _, inputs = _scores_and_inputs(model, params, X, [self.layer])
        roots = self.roots[rows]
        columns = torch.einsum("nkr,nq->kqnr", roots, inputs.double())
        columns = columns.reshape(len(self.order), -1)[self.order]
        kept = torch.ones(len(self.roots), dtype=torch.bool, device=X.device)
        kept[rows] = False
        matrix = self.matrix - columns @ columns.T
        rest = replace(self, roots=self.roots[kept], matrix=matrix)
        if columns.shape[1] <= MAX_SHARE * len(self.order):
            _count(4 * len(self.order) ** 2 * columns.shape[1], len(self.order))
            image = self.inverse @ columns
            core = torch.eye(columns.shape[1]).to(image) - columns.T @ image
            factor, failed = torch.linalg.cholesky_ex(core)
            if not failed and factor.diagonal().min() >= LEAST_PIVOT**0.5:
                added = image @ torch.cholesky_solve(image.T, factor)
                return replace(rest, inverse=self.inverse + added)
        return replace(rest, inverse=_inverse(matrix))


def _scores_and_inputs(model, params, X, layers):
    """Scores, and the layer's inputs of shape (n, q); None if it is not a head."""
    scores, _, (call,) = record_layers(model, params, X, layers)
    inputs = layers[0].inputs(call)
    same = scores.data_ptr() == call.output.data_ptr() and scores.numel() == call.output.numel()
    same = same and scores.is_contiguous()  # in the order of the layer's outputs
    return scores, inputs[:, 0] if same and inputs.shape[1] == 1 else None


def _order(model, layer, n_inputs):
    """Place of each parameter in a matrix of shape (scores, inputs), the bias last."""
    shapes = model.shapes
    places = torch.arange(shapes[layer.weight][0] * n_inputs).view(-1, n_inputs)
    parts = {layer.weight: places}
    if layer.bias is not None:
        parts = {layer.weight: places[:, :-1], layer.bias: places[:, -1]}
    return model.flatten(parts)


def _gauss_newton(roots, inputs):
    """Sum over rows of S S^T (x) a a^T, of shape (K q, K q)."""
    inputs = inputs.double()
    hessians = roots @ roots.mT
    n_scores, width = hessians.shape[1], inputs.shape[1]
    total = inputs.new_empty(n_scores, width, n_scores, width)
    for k in range(n_scores):
        for j in range(k + 1):
            block = (inputs * hessians[:, k, j, None]).T @ inputs
            total[k, :, j] = total[j, :, k] = block  # symmetric in the inputs
    return total.view(n_scores * width, n_scores * width)


def _count(flops, n_parameters):
    count_flops(2 * flops, n_parameters)  # in double precision, of half the speed


def _inverse(matrix):
    _count(len(matrix) ** 3, len(matrix))
    return torch.cholesky_inverse(torch.linalg.cholesky(matrix))
