"""The preconditioner that inverts the Gauss-Newton matrix of a few sampled columns."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ._chunks import check_chunk_size, choose_chunk_size, row_chunks, saved_bytes
from ._grams import add_gram, column_gain, gram_flops
from ._layers import find_layers, record_layers
from ._linearize import Linearization, grads
from ._model import RowwiseModel
from ._sampling import inclusion_probabilities, systematic_sample
from ._score_curvature import ScoreCurvature
from ._separable import layer_factors
from ._work import BACKWARD, FORWARD, count_flops, count_passes

# Memory of the explicit gradients of rows by all parameters outside linear and convolution layers.
REST_BYTES = 2**29


class SampledPreconditioner:
    """Exact inverse of damping plus the leading columns of the Gauss-Newton matrix.

    The Gauss-Newton matrix is a sum of outer products of columns J_i^T S_ik / sqrt(n), S_i a
    square root of the loss Hessian of row i. In a trained net few rows carry curvature, those
    it is unsure of. Columns are sampled with probability proportional to their size (the
    largest ones surely), and Woodbury's identity inverts P = damping I + C^T C, C the sampled
    columns, by one Cholesky factor of order `n_columns`. C itself is never formed: products
    with it run the network on the sampled rows.

    Parameters
    ----------
    model : RowwiseModel
    params : mapping of str to Tensor
        The active parameters; must not be written to while this object lives.
    X : Tensor of shape (n, ...)
    y : Tensor of shape (n, ...)
    weights : Tensor of shape (n,) or None, default=None
        Row weights, not negative.
    damping : float
        What the solver adds to the diagonal, positive.
    n_columns : int or None, default=None
        Columns to sample. More means fewer iterations; the set-up grows with its square.
        None takes a third of the rows, at least 64 and at most 768. Many parameters outside
        linear and plain convolution layers (a large embedding) lower either.
    seed : int, default=0
        Seed of the sample; the global generators are left alone.
    chunk_size : int or None, default=None
        Rows per pass; None chooses by the memory that one row takes.
    scale : Tensor of shape (d,) or None, default=None
        Positive diagonal S: the matrix is then S^-1/2 G S^-1/2, in each layer by the outer
        product that is closest to S. None means the identity.

    Attributes
    ----------
    n_columns : int
        Columns in use, at most about what was asked for.
    exact : bool
        Whether no column was left out, so that CG needs one or two products.

    Raises
    ------
    ValueError
        If `damping` or `n_columns` is not positive, or a weight is negative.

    Notes
    -----
    Cost: one forward pass over the rows, then passes over the at most `n_columns` rows of the
    sample, as many as a row has scores (at most 32), about two gradient passes over 9,000 rows
    of a 784-128-10 network in all (``make bench ONLY=influences``); each application costs about
    one gradient pass over the sample. Parameters outside linear and plain convolution layers add
    one gradient per sampled column.

    The choice of columns and the limit on their weight are ours. ``make bench
    ONLY=puma_quality`` counts products on a trained 64-128-10 network, 1,287 rows, to a
    relative residual of 1e-2: 3 and 5 at damping 1e-2 and 1e-3 with the default number of
    columns, against 18 and 45 without.

    References
    ----------
    .. [1] M. A. Woodbury, "Inverting modified matrices", Memorandum Report 42, Princeton,
       1950.
    .. [2] F. Roosta-Khorasani and M. W. Mahoney, "Sub-sampled Newton methods", Mathematical
       Programming 174, 2019.

    Examples
    --------
    >>> import torch
    >>> from sk_unlearn.functional import GaussNewtonOperator, RowwiseModel
    >>> from sk_unlearn.functional import SampledPreconditioner, conjugate_gradient
    >>> net = torch.nn.Linear(3, 1).eval()
    >>> model = RowwiseModel(net, lambda s, y: 0.5 * (s[:, 0] - y) ** 2)
    >>> X, y = torch.eye(3), torch.zeros(3)
    >>> rows = (model, model.parameters(), X, y)
    >>> inverse = SampledPreconditioner(*rows, damping=0.1)
    >>> matvec = GaussNewtonOperator(*rows).matvec
    >>> x, report = conjugate_gradient(
    ...     matvec, torch.ones(4), damping=0.1, preconditioner=inverse, verify=False
    ... )
    >>> report.n_products
    1
    """

    def __init__(
        self,
        model: RowwiseModel,
        params: Mapping[str, Tensor],
        X: Tensor,
        y: Tensor,
        weights: Tensor | None = None,
        *,
        damping: float,
        n_columns: int | None = None,
        seed: int = 0,
        chunk_size: int | None = None,
        scale: Tensor | None = None,
    ) -> None:
        check_chunk_size(chunk_size)
        if n_columns is None:
            n_columns = min(768, max(64, len(X) // 3))
        if not float(damping) > 0 or n_columns < 1:
            raise ValueError(
                f"damping and n_columns must be positive, got {damping!r} and {n_columns!r}."
            )
        if weights is not None and bool((weights < 0).any()):
            raise ValueError("weights must not be negative: the matrix would not be either.")
        self.model, self.damping = model, float(damping)
        self._root_scale = None if scale is None else scale.rsqrt()
        self._scale = None if scale is None else model.layout.unflatten(scale)
        self.params = {name: params[name].detach() for name in model.active}
        self._batch = (X, y, weights)
        if chunk_size is None:
            chunk_size = 1
            if len(X) > 1:
                chunk_size = choose_chunk_size(
                    saved_bytes(lambda k: Linearization(self._scores_of(X[:k]), self.params)),
                    X.device,
                )
        self.chunk_size = chunk_size
        self._layers, self._rest = find_layers(model, self.params, X)
        n_rest = sum(self.params[name].nbytes for name in self._rest)
        n_columns = min(n_columns, max(1, REST_BYTES // max(1, n_rest)))
        rows, columns, probabilities = self._sample(n_columns, seed)
        self.n_columns = len(columns)
        self.exact = bool((probabilities == 1).all()) and self._all_kept
        self._prepare(rows, columns, probabilities)
        del self._batch, self._known_roots, self._candidates

    def _scores_of(self, X: Tensor):
        return lambda params: self.model.forward(params, X)

    def _roots(self, rows: Tensor | slice, scores: Tensor) -> Tensor:
        """Square roots of the loss Hessians of some rows, divided by sqrt(n)."""
        X, y, weights = self._batch
        weights = None if weights is None else weights[rows]
        return ScoreCurvature(self.model.loss, scores, y[rows], weights).root() / len(X) ** 0.5

    def _sample(self, n_columns: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """Pick columns by the size of their score part times that of the row's input."""
        # roots of the Hessians of all rows would take longer than the rest of the set-up
        candidates, complete = self._leading_rows(n_columns)
        X, sizes, roots = self._batch[0], [], []
        for chunk in row_chunks(len(candidates), self.chunk_size):
            rows = candidates[chunk]
            with torch.no_grad():
                scores = self.model.forward(self.params, X[rows])
            root = self._roots(rows, scores)
            roots.append(root)
            size = root.square().sum(dim=1)
            if X.is_floating_point():
                size = size * _reach(X[rows])[:, None]
            sizes.append(size.double().cpu())
        self._known_roots = torch.cat(roots)
        sizes = torch.cat(sizes)
        probabilities = inclusion_probabilities(sizes.flatten(), n_columns)
        picked = systematic_sample(probabilities, seed)
        self._all_kept = complete and len(picked) == int((sizes > 0).sum())
        width = sizes.shape[1]
        # rows as places among the candidates, whose roots are known
        self._candidates = candidates
        return picked // width, picked % width, probabilities[picked]

    def _leading_rows(self, n_rows: int) -> tuple[Tensor, bool]:
        """Rows of the largest curvature, ascending, and whether these are all that have any."""
        X, y, weights = self._batch
        if n_rows >= len(X):
            return torch.arange(len(X), device=X.device), True
        sizes = []
        for chunk in row_chunks(len(X), self.chunk_size):
            with torch.no_grad():
                scores = self.model.forward(self.params, X[chunk])
            part = None if weights is None else weights[chunk]
            size = ScoreCurvature(self.model.loss, scores, y[chunk], part).probed_size()
            sizes.append(size * _reach(X[chunk]) if X.is_floating_point() else size)
        sizes = torch.cat(sizes)
        largest = sizes.topk(n_rows).indices.sort().values
        return largest, int((sizes > 0).sum()) <= n_rows

    def _prepare(self, rows: Tensor, columns: Tensor, probabilities: Tensor) -> None:
        """Factor damping I + C C^T and linearise the network on the sampled rows."""
        rows, self._row_of = rows.unique(return_inverse=True)
        known = self._known_roots
        self._root = known[rows.to(known.device)]
        X = self._batch[0]
        X = X[self._candidates[rows.to(X.device)]]
        self._row_of, self._column_of = self._row_of.to(X.device), columns.to(X.device)
        self._linear = [
            Linearization(self._scores_of(X[c]), self.params)
            for c in row_chunks(len(rows), self.chunk_size)
        ]
        if not len(rows):
            return
        gram = self._gram(X)
        gain = column_gain(gram.diagonal(), probabilities, self.damping)
        gram = gram * gain * gain[:, None]
        gram.diagonal().add_(self.damping)
        self._gain, self._factor = gain, torch.linalg.cholesky(gram)

    def _gram(self, X: Tensor) -> Tensor:
        """C C^T of the unweighted sampled columns, layer by layer."""
        gram = self._root.new_zeros(self.n_columns, self.n_columns)
        multiplied, flops = 0, self.n_columns**3 / 3  # the factor of the gram
        scores, record, calls = record_layers(self.model, self.params, X, self._layers)
        outputs = tuple(call.output for call in calls)
        if outputs:
            parts = self._output_gradients(scores, outputs)
            for layer, call, part in zip(self._layers, calls, parts, strict=True):
                a, g = layer.inputs(call)[self._row_of], layer.outputs(call, part)
                if self._scale is not None:
                    of_outputs, of_inputs, _ = layer_factors(layer, self._scale)
                    a, g = a * of_inputs.rsqrt(), g * of_outputs.rsqrt()
                add_gram(gram, g, a)
                in_rows, in_gram = gram_flops(g, a)
                multiplied, flops = multiplied + in_rows, flops + in_gram
        if self._rest:
            pulled = self._row_gradients(X, [record[name] for name in self._rest], record)
            if self._scale is not None:
                rest = torch.cat([self._scale[name].reshape(-1) for name in self._rest])
                pulled = pulled * rest.rsqrt()
            gram.addmm_(pulled, pulled.T)
            multiplied += pulled.shape[1]
            flops += 2 * self.n_columns * pulled.numel()
        count_flops(flops, multiplied)
        return gram

    def _output_gradients(self, scores: Tensor, outputs: tuple[Tensor, ...]) -> list[Tensor]:
        """Gradient of each sampled column's score by the layer outputs of its row."""
        parts = [o.new_zeros(self.n_columns, *o.shape[1:]) for o in outputs]
        for k in self._column_of.unique():
            mine = (self._column_of == k).nonzero()[:, 0]
            cotangent = self._root[:, :, k].reshape(scores.shape)
            count_passes(len(scores), FORWARD)
            pulled = grads(scores, outputs, cotangent, retain_graph=True)
            for part, gradient in zip(parts, pulled, strict=True):
                part[mine] = gradient[self._row_of[mine]]
        return parts

    def _row_gradients(self, X: Tensor, inputs: list[Tensor], record: dict) -> Tensor:
        """Sampled columns restricted to some parameters, of shape (n_columns, size)."""
        pulled = self._root.new_empty(self.n_columns, sum(p.numel() for p in inputs))
        for row in range(len(X)):
            with torch.enable_grad():
                scores = self.model.forward(record, X[row : row + 1])
            for column in (self._row_of == row).nonzero()[:, 0]:
                cotangent = self._root[row, :, self._column_of[column]].reshape(scores.shape)
                count_passes(1, BACKWARD)
                parts = grads(scores, inputs, cotangent, retain_graph=True)
                pulled[column] = torch.cat([part.reshape(-1) for part in parts])
        return pulled

    def __call__(self, r: Tensor) -> Tensor:
        """P^{-1} r, for r of shape (d,)."""
        if self.n_columns == 0:
            return r / self.damping
        tangents = self.model.unflatten(self._scaled(r))
        image = torch.cat([linear.jvp(tangents) for linear in self._linear])
        image = image.reshape(len(image), -1)
        picked = (self._root.mT @ image.unsqueeze(2))[self._row_of, self._column_of, 0]
        solved = torch.cholesky_solve((self._gain * picked)[:, None], self._factor)[:, 0]
        spread = self._root.new_zeros(len(image), self._root.shape[2])
        spread[self._row_of, self._column_of] = self._gain * solved
        cotangent = (self._root @ spread.unsqueeze(2))[:, :, 0]
        total, start = torch.zeros_like(r), 0
        for linear in self._linear:
            part = cotangent[start : start + len(linear.value)]
            total += self.model.flatten(linear.vjp(part.reshape(linear.value.shape)))
            start += len(linear.value)
        return (r - self._scaled(total)) / self.damping

    def _scaled(self, v: Tensor) -> Tensor:
        return v if self._root_scale is None else v * self._root_scale


def _reach(X: Tensor) -> Tensor:
    """One plus the squared norm of each row."""
    return 1 + torch.linalg.vector_norm(X.flatten(1), dim=1).square()
