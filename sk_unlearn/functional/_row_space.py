"""The damped Gauss-Newton system of a few rows, solved in the space of the rows."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ._grams import BLOCK_BYTES, column_gain
from ._layers import Layer, find_layers, record_layers
from ._layout import ParameterLayout
from ._model import RowwiseModel
from ._pullbacks import pullbacks
from ._row_gradients import outputs_along, pulled_back
from ._row_span import RowSpan
from ._sampling import inclusion_probabilities, systematic_sample
from ._score_curvature import DENSE_SCORES, ScoreCurvature
from ._separable import layer_factors
from ._solvers import SolverReport, conjugate_gradient
from ._work import FORWARD, count_flops, count_passes

# Products with inner products of rows grow with the square of their number; beyond this
# many, running a 784-128-10 network on one thread is as fast.
MAX_ROWS = 1024
# Of a solve's tolerance, how much of the curvature at the scores may be left out. It was seen to
# move residuals by two to four times as much (a trained 784-128-10 network, 300 rows).
ROOT_SHARE = 0.1


class RowSpace:
    """Solver of (G + damping S) x = b for the Gauss-Newton matrix G of a few rows.

    S is the identity, or a positive diagonal that is an outer product in each layer: then the
    system is that of C S^-1/2, whose inner products are as cheap. G = C^T C, with one column
    of C^T for each row and score. Conjugate gradients from b never leave the vectors a b + C^T
    u, so that they can run on the coefficients (a, u). A product is then one with C C^T, which
    inner products of the rows' layer inputs and of their output gradients give without
    touching the parameters. The iterates are those of ``GaussNewtonOperator`` with a
    ``SampledPreconditioner``, up to rounding and the sample.

    Made by :meth:`build`, for networks whose active parameters are all weights and biases of
    linear layers, or of convolutions with a single position.

    Attributes
    ----------
    layers : list of Layer
        They cover the active parameters.
    n_columns : int
        Columns that the preconditioner inverts exactly.

    Notes
    -----
    Cost, for n rows, r scores, F outputs of all layers and d parameters: r gradient passes
    from the layers' outputs and a Cholesky factor of order `n_columns` once, n d for each
    solve, and 2 n^2 F + 4 n r F for each iteration, where the space of the parameters takes
    4 n d.

    A solution is a difference of b and C^T u that nearly cancel where curvature is much
    larger than damping: in float32, good for relative residuals down to 1e-3.

    Examples
    --------
    >>> import torch
    >>> from sk_unlearn.functional import RowSpace, RowwiseModel
    >>> net = torch.nn.Linear(1, 1, bias=False).eval()
    >>> model = RowwiseModel(net, lambda s, y: 0.5 * (s[:, 0] - y) ** 2)
    >>> X, y = torch.tensor([[1.0], [3.0]]), torch.zeros(2)
    >>> space = RowSpace.build(model, model.parameters(), X, y, damping=1.0, n_columns=2)
    >>> space.solve(torch.tensor([12.0]), tol=1e-3)[0]
    tensor([2.])
    """

    def __init__(
        self,
        layout: ParameterLayout,
        layers: list[Layer],
        inputs: list[Tensor],
        slopes: list[Tensor],
        *,
        damping: float,
        n_columns: int,
        seed: int,
        scale: Tensor | None = None,
        factors: list[tuple[Tensor, Tensor]] | None = None,
    ) -> None:
        self._layout, self.layers, self._inputs = layout, layers, inputs
        self._damping = float(damping)
        self._widths = [slope.shape[2] for slope in slopes]
        self._slopes = torch.cat(slopes, dim=2)
        self._slopes_t = self._slopes.mT.contiguous()
        # of what is multiplied by 1 / S: the root for vectors, and by layers for inner products
        self._root = None if scale is None else scale.rsqrt()
        self._weights = None
        if factors is not None:
            self._weights = torch.cat([1 / of_outputs for of_outputs, _ in factors])
            scaled = zip(inputs, factors, strict=True)
            inputs = [a * of_inputs.rsqrt() for a, (_, of_inputs) in scaled]
        self._grams = [a @ a.T for a in inputs]
        self._count(2 * len(inputs[0]) ** 2 * sum(a.shape[1] for a in inputs))
        self._known: list[tuple[Tensor, int, Tensor]] = []
        self._sample = n_columns, seed
        self._factorise()

    @classmethod
    def build(
        cls,
        model: RowwiseModel,
        params: Mapping[str, Tensor],
        X: Tensor,
        y: Tensor,
        weights: Tensor | None = None,
        *,
        damping: float,
        n_columns: int,
        tol: float | None = None,
        seed: int = 0,
        scale: Tensor | None = None,
    ) -> RowSpace | None:
        """The solver, or None for networks and numbers of rows that it is not for.

        Parameters
        ----------
        model : RowwiseModel
        params : mapping of str to Tensor
            The active parameters.
        X : Tensor of shape (n, ...)
        y : Tensor of shape (n, ...)
        weights : Tensor of shape (n,) or None, default=None
            Row weights, not negative.
        damping : float
            Positive.
        n_columns : int
            Columns for the preconditioner. More means fewer iterations.
        tol : float or None, default=None
            Smallest tolerance of the solves. G may leave out what moves their residuals by a
            fraction of it. None leaves out nothing.
        seed : int, default=0
            Of the sample of columns.
        scale : Tensor of shape (d,) or None, default=None
            The diagonal S, positive; None where it is the identity.

        Returns
        -------
        space : RowSpace or None
            None too if S is no outer product in some layer.
        """
        if not 0 < len(X) <= MAX_ROWS:
            return None
        layers, rest = find_layers(model, params, X)
        if rest:
            return None
        factors = None
        if scale is not None:
            of_parameters = model.layout.unflatten(scale)
            found = [layer_factors(layer, of_parameters) for layer in layers]
            if not all(exact for *_, exact in found):
                return None
            factors = [pair for *pair, _ in found]
        scores, _, calls = record_layers(model, params, X, layers)
        inputs = [layer.inputs(call) for layer, call in zip(layers, calls, strict=True)]
        n_outputs = sum(call.output[:1].numel() for call in calls)
        n_scores = scores[:1].numel()
        if (
            any(a.shape[1] > 1 for a in inputs)
            or n_scores > DENSE_SCORES
            or len(X) * n_scores * n_outputs * scores.element_size() > BLOCK_BYTES
        ):
            return None
        curvature = ScoreCurvature(model.loss, scores, y, weights)
        curvature.refuse_linear()
        root = curvature.root() if tol is None else curvature.narrow_root(tol * ROOT_SHARE)
        root = root / len(X) ** 0.5
        outputs = tuple(call.output for call in calls)
        cotangents = root.permute(2, 0, 1).reshape(root.shape[2], *scores.shape)
        count_passes(len(X) * root.shape[2], FORWARD)
        pulled = pullbacks(scores, outputs, cotangents)
        # one position each, so that the rest of the shape is the layer's outputs
        slopes = [part.flatten(2).transpose(0, 1) for part in pulled]
        inputs = [a[:, 0] for a in inputs]
        known = {"damping": damping, "n_columns": n_columns, "seed": seed}
        known.update(scale=scale, factors=factors)
        return cls(model.layout, layers, inputs, slopes, **known)

    @property
    def nbytes(self) -> int:
        """Memory that it holds."""
        held = [*self._inputs, *self._grams, self._slopes, self._slopes_t]
        return sum(each.nbytes for each in [*held, self._sampled, self._factor])

    def solve(
        self,
        b: Tensor,
        *,
        tol: float,
        max_products: int = 100,
        callback: Callable[[int, float], None] | None = None,
    ) -> tuple[Tensor, SolverReport]:
        """Solve by preconditioned conjugate gradients.

        Parameters
        ----------
        b : Tensor of shape (d,)
        tol, max_products, callback
            See :func:`conjugate_gradient`.

        Returns
        -------
        x : Tensor of shape (d,)
        report : SolverReport
            ``relative_residual`` is the recursion's.
        """
        span = RowSpan(self, *self._seen(b))
        found, report = conjugate_gradient(
            span.product,
            span.origin,
            damping=self._damping,
            preconditioner=span.precondition,
            dot=span.dot,
            tol=tol,
            max_products=max_products,
            verify=False,
            callback=callback,
        )
        return self._scaled(span.vector(found)), report

    def damped(self, more: float) -> RowSpace:
        """The solver with more damping."""
        rest = copy.copy(self)
        rest._damping = self._damping + more
        rest._factorise()
        return rest

    def guess_dot(self, a: Tensor, b: Tensor) -> Tensor:
        """Inner product of a with P^{-1} b, a first approximation to the solution."""
        seen = [self._seen(v) for v in (a, b)]
        self._known = [(v, v._version, pair) for v, pair in zip((a, b), seen, strict=True)]
        (a, over_a), (b, over_b) = seen
        return (torch.dot(a, b) - torch.dot(over_a, self._covered(over_b))) / self._damping

    def _seen(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """S^-1/2 v and its image by C S^-1/2; known for those of the last guess, solved next."""
        for known, version, pair in self._known:
            if known is v and version == v._version:
                return pair
        v = self._scaled(v)
        return v, self._columns_times(self._scaled(v))

    def _scaled(self, v: Tensor) -> Tensor:
        return v if self._root is None else v * self._root

    def _columns_times(self, v: Tensor) -> Tensor:
        """C v, of shape (n * r,)."""
        moved = outputs_along(self._layout, self.layers, self._inputs, v)
        return (moved[:, None] @ self._slopes_t).reshape(-1)

    def _combine(self, u: Tensor) -> Tensor:
        """S^-1/2 C^T u, of shape (d,)."""
        pulled = pulled_back(self._layout, self.layers, self._inputs, self._pull(u))
        return self._scaled(pulled)

    def _inner(self, u: Tensor) -> Tensor:
        """C S^-1 C^T u."""
        n_rows, n_columns, width = self._slopes.shape
        self._count(2 * n_rows**2 * width + 4 * n_rows * n_columns * width)
        pulled = zip(self._grams, self._pull(u), strict=True)
        # transposed: few columns on the right would take several times as long
        spread = torch.cat([g.T @ gram for gram, g in pulled]).T
        if self._weights is not None:
            spread = spread * self._weights
        return (spread.contiguous()[:, None] @ self._slopes_t).reshape(-1)

    def _covered(self, t: Tensor) -> Tensor:
        """Coefficients u of damping P^{-1} v = v - C^T u for t = C v, by Woodbury's identity."""
        gained = (self._gain * t[self._picked])[:, None]
        u = torch.zeros_like(t)
        u[self._picked] = self._gain * torch.cholesky_solve(gained, self._factor)[:, 0]
        return u

    def _pull(self, u: Tensor) -> tuple[Tensor, ...]:
        """Sum of the columns by the layers' outputs of each row, one tensor a layer."""
        u = u.view(len(self._slopes), 1, -1)
        return (u @ self._slopes)[:, 0].split(self._widths, dim=1)

    def _factorise(self) -> None:
        """Sample columns by their size and factor damping I + their inner products."""
        slopes = self._slopes
        if self._weights is not None:
            slopes = slopes * self._weights.sqrt()
        slopes = slopes.split(self._widths, dim=2)
        pairs = list(zip(self._grams, slopes, strict=True))
        sizes = sum(s.square().sum(2) * gram.diagonal()[:, None] for gram, s in pairs)
        n_columns, seed = self._sample
        probabilities = inclusion_probabilities(sizes.double().cpu().flatten(), n_columns)
        picked = systematic_sample(probabilities, seed)
        self.n_columns = len(picked)
        probabilities = probabilities[picked]
        self._picked = picked = picked.to(sizes.device)
        rows = picked // sizes.shape[1]
        inner = torch.zeros(len(picked), len(picked)).to(sizes)
        for gram, s in pairs:
            part = s.flatten(0, 1)[picked]
            inner.addcmul_(part @ part.T, gram[rows].index_select(1, rows))
        self._gain = column_gain(inner.diagonal(), probabilities, self._damping)
        inner.mul_(self._gain).mul_(self._gain[:, None]).diagonal().add_(self._damping)
        self._sampled, self._factor = inner, torch.linalg.cholesky(inner)
        self._count(2 * len(inner) ** 2 * self._slopes.shape[2] + len(inner) ** 3 / 3)

    def _count(self, flops: float) -> None:
        count_flops(flops, self._layout.size)

    def drop(self, rows: Tensor) -> RowSpace:
        """The solver without some rows; the divisor n stays.

        Parameters
        ----------
        rows : Tensor of int
            Their places among the rows that the solver was built on.

        Returns
        -------
        rest : RowSpace
            Holds nothing of them.
        """
        n_rows, width = self._slopes.shape[:2]
        left = torch.ones(n_rows, dtype=torch.bool, device=self._slopes.device)
        left[rows] = False
        kept = left.nonzero()[:, 0]
        columns = left[self._picked // width].nonzero()[:, 0]
        rest = copy.copy(self)
        rest._known = []
        rest._inputs = [a[kept] for a in self._inputs]
        rest._slopes, rest._slopes_t = self._slopes[kept], self._slopes_t[kept]
        rest._grams = [gram[kept].index_select(1, kept) for gram in self._grams]
        place = left.cumsum(0) - 1
        picked = self._picked[columns]
        rest._picked = place[picked // width] * width + picked % width
        rest._gain = self._gain[columns]
        rest._sampled = self._sampled[columns].index_select(1, columns)
        rest._factor = torch.linalg.cholesky(rest._sampled)
        rest._count(len(columns) ** 3 / 3)
        rest.n_columns = len(columns)
        return rest
