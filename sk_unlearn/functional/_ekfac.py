"""Eigenvalue-corrected Kronecker factors as a preconditioner."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ._chunks import check_chunk_size, choose_chunk_size, row_chunks, saved_bytes
from ._layers import Layer, find_layers, record_layers
from ._linearize import Linearization, grads
from ._model import RowwiseModel
from ._score_curvature import ScoreCurvature

# A Kronecker factor larger than this is not diagonalised: an eigendecomposition grows with
# the cube. The eigenvalues in the coordinate basis still hold its diagonal.
MAX_FACTOR = 2048
# Memory of the explicit gradients of a block of rows.
BLOCK_BYTES = 2**27


class EKFACPreconditioner:
    """Inverse of damping plus the EK-FAC approximation of the Gauss-Newton matrix.

    For each linear or convolution layer the block of the matrix is taken as diagonal in the
    basis of the Kronecker factors A (x) G of layer inputs and output gradients, with the
    second moments of the row gradients in that basis as its eigenvalues. Blocks between
    layers are ignored. Output gradients come from a square root of the loss Hessian times
    random signs, one draw per row, so any loss convex in the scores will do.

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
        What the solver adds to the diagonal, positive.
    seed : int, default=0
        Seed of the signs; the global generators are left alone.
    chunk_size : int or None, default=None
        Rows per pass; None chooses by the memory that one row takes.

    Raises
    ------
    ValueError
        If `damping` is not positive or a weight is negative.

    Notes
    -----
    Cost: less than two gradient passes and one eigendecomposition per factor of at most
    2048; an application costs two small matrix products per layer. Other parameters get one
    scalar each, the estimated mean of their diagonal.

    On the trained 64-128-10 network of ``make bench ONLY=puma_quality`` CG takes more products
    with it than without: 20 against 18 at damping 1e-2, 83 against 45 at 1e-3. Use
    ``SampledPreconditioner``, which takes 3 and 5, unless the sample does not fit.

    References
    ----------
    .. [1] T. George et al., "Fast approximate natural gradient descent in a
       Kronecker-factored eigenbasis", NeurIPS 2018.

    Examples
    --------
    >>> import torch
    >>> from sk_unlearn.functional import EKFACPreconditioner, RowwiseModel
    >>> net = torch.nn.Linear(3, 1, bias=False).eval()
    >>> model = RowwiseModel(net, lambda s, y: 0.5 * (s[:, 0] - y) ** 2)
    >>> X, y = torch.eye(3), torch.zeros(3)
    >>> inverse = EKFACPreconditioner(model, model.parameters(), X, y, damping=2 / 3)
    >>> inverse(torch.ones(3))
    tensor([1., 1., 1.])
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
        seed: int = 0,
        chunk_size: int | None = None,
    ) -> None:
        check_chunk_size(chunk_size)
        if not float(damping) > 0:
            raise ValueError(f"damping must be positive, got {damping!r}.")
        if weights is not None and bool((weights < 0).any()):
            raise ValueError("weights must not be negative: the matrix would not be either.")
        self.model, self.damping, self._seed = model, float(damping), seed
        self.params = {name: params[name].detach() for name in model.active}
        self._layers, rest = find_layers(model, self.params, X)
        if chunk_size is None:
            chunk_size = 1
            if len(X) > 1:
                chunk_size = choose_chunk_size(
                    saved_bytes(
                        lambda k: Linearization(lambda p: model.forward(p, X[:k]), self.params)
                    ),
                    X.device,
                )
        self.chunk_size = chunk_size
        rows = (X, y, weights)
        self._bases = [(_basis(a), _basis(g)) for a, g in self._moments(rows)]
        self._eigenvalues = self._second_moments(rows)
        self._scalars = self._mean_diagonals(rows, rest)

    def _passes(self, rows, names=()):
        """Each layer's (inputs, output gradients) and gradients by `names`, chunk by chunk."""
        X, y, weights = rows
        signs = None
        for chunk in row_chunks(len(X), self.chunk_size):
            scores, record, calls = record_layers(
                self.model, self.params, X[chunk], [] if names else self._layers
            )
            part = None if weights is None else weights[chunk]
            root = ScoreCurvature(self.model.loss, scores, y[chunk], part).root()
            if signs is None:
                signs = _signs((len(X), root.shape[2], 1), self._seed)
            cotangent = (root @ signs[chunk].to(root)).reshape(scores.shape)
            inputs = [record[name] for name in names] or [call.output for call in calls]
            pulled = grads(scores, inputs, cotangent) if inputs else ()
            if names:
                yield dict(zip(names, pulled, strict=True))
                continue
            yield [
                (layer.inputs(call), layer.outputs(call, gradient))
                for layer, call, gradient in zip(self._layers, calls, pulled, strict=True)
            ]

    def _moments(self, rows) -> list[list[Tensor]]:
        """Kronecker factors; their scale does not matter, the basis is all that is used."""
        totals: list[list[Tensor]] = [[] for _ in self._layers]
        for pairs in self._passes(rows):
            for total, pair in zip(totals, pairs, strict=True):
                flats = [t.flatten(0, 1) for t in pair]
                products = [
                    f.T @ f if f.shape[1] <= MAX_FACTOR else f.new_zeros(f.shape[1], 0)
                    for f in flats
                ]
                total[:] = (
                    [t + p for t, p in zip(total, products, strict=True)] if total else products
                )
        return totals

    def _second_moments(self, rows) -> list[Tensor]:
        """Mean square of the row gradients in the Kronecker basis, (fan_out, fan_in) each."""
        totals: list[Tensor | float] = [0.0] * len(self._layers)
        for pairs in self._passes(rows):
            for i, ((a, g), (basis_a, basis_g)) in enumerate(zip(pairs, self._bases, strict=True)):
                a = a if basis_a is None else a @ basis_a
                g = g if basis_g is None else g @ basis_g
                totals[i] = totals[i] + _squares(g, a)
        return [total / len(rows[0]) for total in totals]

    def _mean_diagonals(self, rows, rest: list[str]) -> dict[str, float]:
        """Mean diagonal of each other parameter's block: random signs leave only squares."""
        totals = {name: torch.zeros_like(self.params[name]) for name in rest}
        if rest:
            for pulled in self._passes(rows, rest):
                totals = {name: total + pulled[name] for name, total in totals.items()}
        return {n: float(total.square().mean()) / len(rows[0]) for n, total in totals.items()}

    def __call__(self, r: Tensor) -> Tensor:
        """P^{-1} r, for r of shape (d,)."""
        pieces = self.model.unflatten(r)
        solved = {n: pieces[n] / (self._scalars[n] + self.damping) for n in self._scalars}
        for layer, bases, values in zip(self._layers, self._bases, self._eigenvalues, strict=True):
            solved.update(_solve_block(layer, pieces, bases, values + self.damping))
        return self.model.flatten(solved)


def _signs(shape: tuple[int, ...], seed: int) -> Tensor:
    """Random signs of all rows at once, so that they do not depend on the chunks."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 2, shape, generator=generator, dtype=torch.int8) * 2 - 1


def _basis(moment: Tensor) -> Tensor | None:
    """Eigenvectors of a Kronecker factor; None stands for the coordinate basis."""
    return torch.linalg.eigh(moment)[1] if moment.shape[1] else None


def _squares(g: Tensor, a: Tensor) -> Tensor:
    """Sum over rows of the squared entries of sum_t g_t a_t^T."""
    if g.shape[1] == 1:
        return g[:, 0].square().T @ a[:, 0].square()
    total = g.new_zeros(g.shape[2], a.shape[2])
    bytes_per_row = total.numel() * total.element_size()
    for block in row_chunks(len(g), max(1, BLOCK_BYTES // bytes_per_row)):
        total += torch.bmm(g[block].mT, a[block]).square().sum(dim=0)
    return total


def _solve_block(
    layer: Layer,
    pieces: Mapping[str, Tensor],
    bases: tuple[Tensor | None, Tensor | None],
    values: Tensor,
) -> dict[str, Tensor]:
    """Divide a layer's block by its eigenvalues in the Kronecker basis."""
    weight = pieces[layer.weight]
    block = weight.flatten(1)
    if layer.bias is not None:
        block = torch.cat([block, pieces[layer.bias][:, None]], dim=1)
    basis_a, basis_g = bases
    block = block if basis_a is None else block @ basis_a
    block = block if basis_g is None else basis_g.T @ block
    block = block / values
    block = block if basis_a is None else block @ basis_a.T
    block = block if basis_g is None else basis_g @ block
    if layer.bias is None:
        return {layer.weight: block.view_as(weight)}
    return {
        layer.weight: block[:, :-1].reshape(weight.shape),
        layer.bias: block[:, -1],
    }
