"""Products with the Gauss-Newton matrix and the Hessian of a mean row loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from ..exceptions import UnsupportedNetError
from ._chunks import check_chunk_size, choose_chunk_size, row_chunks, saved_bytes
from ._linearize import Linearization, check_twice_differentiable, grads, leaves
from ._model import RowwiseModel
from ._score_curvature import ScoreCurvature
from ._work import BACKWARD, count_passes

# Graphs are kept between products while they are smaller than this.
KEEP_BYTES = 2**30


class _RowsOperator(ABC):
    """Chunks, weights and kept graphs of a symmetric operator that is a mean over rows."""

    # gradient passes of a product with a kept graph that nothing else counts
    _uncounted = 0.0

    def __init__(
        self,
        model: RowwiseModel,
        params: Mapping[str, Tensor],
        X: Tensor,
        y: Tensor,
        weights: Tensor | None = None,
        *,
        chunk_size: int | None = None,
        keep_graph: bool | None = None,
    ) -> None:
        check_chunk_size(chunk_size)
        if len(X) == 0 or len(X) != len(y):
            raise ValueError(f"need rows, as many in X as in y; got {len(X)} and {len(y)}.")
        if weights is not None and weights.shape != (len(X),):
            raise ValueError(f"weights must be of shape ({len(X)},), got {tuple(weights.shape)}.")
        self.model = model
        self.params = {name: params[name].detach() for name in model.active}
        self.X, self.y, self.weights = X, y, weights
        self.n_rows, self.n_products = len(X), 0
        if chunk_size is None or keep_graph is None:
            bytes_per_row = 1
            if len(X) > 1:
                bytes_per_row = saved_bytes(lambda k: self._record(slice(0, k)))
            chunk_size = chunk_size or choose_chunk_size(bytes_per_row, X.device)
            if keep_graph is None:
                keep_graph = bytes_per_row * len(X) <= KEEP_BYTES
        self.chunk_size, self.keep_graph = chunk_size, bool(keep_graph)
        self._kept: dict[int, object] = {}

    @property
    def shape(self) -> tuple[int, int]:
        """(d, d), d the number of active parameters."""
        return (self.model.n_parameters,) * 2

    @abstractmethod
    def _record(self, chunk: slice) -> object:
        """Linearise on one chunk of rows."""

    @abstractmethod
    def _multiply(self, recorded: object, tangents: dict[str, Tensor]) -> dict[str, Tensor]:
        """Sum over the chunk of the rows' matrices times the tangents."""

    def matvec(self, v: Tensor) -> Tensor:
        """Product with a vector.

        Parameters
        ----------
        v : Tensor of shape (d,)

        Returns
        -------
        product : Tensor of shape (d,)
        """
        tangents = self.model.unflatten(v.detach())
        total = torch.zeros_like(v)
        for chunk in row_chunks(self.n_rows, self.chunk_size):
            recorded = self._kept.get(chunk.start)
            if recorded is None:
                recorded = self._record(chunk)
                if self.keep_graph:
                    self._kept[chunk.start] = recorded
            total += self.model.flatten(self._multiply(recorded, tangents))
            count_passes(chunk.stop - chunk.start, self._uncounted)
        self.n_products += 1
        return total / self.n_rows

    def release(self) -> None:
        """Drop the kept graphs; the next product records them again."""
        self._kept.clear()

    def _row_weights(self, chunk: slice) -> Tensor | None:
        return None if self.weights is None else self.weights[chunk]


class GaussNewtonOperator(_RowsOperator):
    """Products with the generalised Gauss-Newton matrix of the mean row loss.

    The matrix is (1/n) sum_i w_i J_i^T (d2 l_i / ds2) J_i, J_i the Jacobian of the scores of
    row i. It is positive semidefinite when the loss is convex in the scores and no weight is
    negative. Weight decay and damping are not in it: the solver adds them.

    Parameters
    ----------
    model : RowwiseModel
    params : mapping of str to Tensor
        The active parameters; must not be written to while this object lives.
    X : Tensor of shape (n, ...)
    y : Tensor of shape (n, ...)
    weights : Tensor of shape (n,) or None, default=None
        Row weights w_i; the sum is divided by n whatever they are.
    chunk_size : int or None, default=None
        Rows per pass; None chooses by the memory that one row takes.
    keep_graph : bool or None, default=None
        Keep the linearisation between products; it is recomputed in each where not. None
        keeps it while it takes less than 1 GiB.

    Attributes
    ----------
    n_products : int
        Products done so far.

    Raises
    ------
    ValueError
        If the numbers of rows disagree or there are none.
    UnsupportedNetError
        In the first product: if the loss is linear in the scores, or an operation of the
        module can be differentiated neither forwards nor twice backwards.

    Notes
    -----
    Cost of a product: about one gradient pass with the graph kept, two without; the first
    product costs one more. Floating-point sums depend on the chunk size in the last bits.

    References
    ----------
    .. [1] N. N. Schraudolph, "Fast curvature matrix-vector products for second-order
       gradient descent", Neural Computation 14, 2002.

    Examples
    --------
    >>> import torch
    >>> from sk_unlearn.functional import GaussNewtonOperator, RowwiseModel
    >>> net = torch.nn.Linear(1, 1, bias=False).eval()
    >>> model = RowwiseModel(net, lambda s, y: 0.5 * (s[:, 0] - y) ** 2)
    >>> X, y = torch.tensor([[1.0], [3.0]]), torch.zeros(2)
    >>> GaussNewtonOperator(model, model.parameters(), X, y).matvec(torch.ones(1))
    tensor([5.])
    """

    def _record(self, chunk: slice) -> tuple[Linearization, ScoreCurvature]:
        X, y = self.X[chunk], self.y[chunk]
        linear = Linearization(lambda params: self.model.forward(params, X), self.params)
        curvature = ScoreCurvature(self.model.loss, linear.value, y, self._row_weights(chunk))
        if chunk.start == 0:
            curvature.refuse_linear()
        return linear, curvature

    def _multiply(self, recorded, tangents):
        linear, curvature = recorded
        return linear.vjp(curvature.product(linear.jvp(tangents)))


class HessianOperator(_RowsOperator):
    """Products with the exact Hessian of the mean row loss.

    It may be indefinite away from a minimum of a convex loss; ``conjugate_gradient`` stops
    and says so where it meets negative curvature. Parameters as in ``GaussNewtonOperator``.

    Notes
    -----
    Cost of a product: about one gradient pass with the graph kept, three without; the first
    product costs two more.

    References
    ----------
    .. [1] B. A. Pearlmutter, "Fast exact multiplication by the Hessian", Neural
       Computation 6, 1994.

    Examples
    --------
    >>> import torch
    >>> from sk_unlearn.functional import HessianOperator, RowwiseModel
    >>> net = torch.nn.Linear(1, 1, bias=False).eval()
    >>> model = RowwiseModel(net, lambda s, y: s[:, 0] ** 4)
    >>> X, y = torch.ones(2, 1), torch.zeros(2)
    >>> HessianOperator(model, {"weight": torch.tensor([[2.0]])}, X, y).matvec(torch.ones(1))
    tensor([48.])
    """

    _uncounted = 1.0

    def _record(self, chunk: slice) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        inputs = leaves(self.params)
        with torch.enable_grad():
            losses = self.model.row_losses(inputs, self.X[chunk], self.y[chunk])
            weights = self._row_weights(chunk)
            cotangent = torch.ones_like(losses) if weights is None else weights.to(losses)
            if not losses.requires_grad:
                return (), tuple(inputs.values())
            count_passes(len(losses), BACKWARD)
            slope = grads(losses, tuple(inputs.values()), cotangent, create_graph=True)
        return slope, tuple(inputs.values())

    def _multiply(self, recorded, tangents):
        slope, inputs = recorded
        pairs = [
            (s, tangents[n]) for s, n in zip(slope, self.params, strict=True) if s.requires_grad
        ]
        if not pairs:
            return {name: torch.zeros_like(param) for name, param in self.params.items()}
        outputs, cotangents = zip(*pairs, strict=True)
        try:
            if not self.n_products:
                check_twice_differentiable(slope)
            image = grads(outputs, inputs, cotangents, retain_graph=True)
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise UnsupportedNetError(
                "the network cannot be differentiated twice: "
                f"{str(error).splitlines()[0]} Use Gauss-Newton curvature."
            ) from error
        return dict(zip(self.params, image, strict=True))
