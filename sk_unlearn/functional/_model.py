"""A network and its loss as a function of a parameter dictionary."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from ._layout import ParameterLayout
from ._work import FORWARD, count_passes


def identity(output: Tensor) -> Tensor:
    """Return the module output as the scores; the default of ``RowwiseModel.scores``."""
    return output


@dataclass(frozen=True, eq=False)
class RowwiseModel:
    """A module in eval mode, the loss of each row, and the parameters that may move.

    Nothing here writes to the module: parameters come in as a dictionary, and those that
    are not active, like all buffers, are used as they are in the module.

    Parameters
    ----------
    module : torch.nn.Module
        In eval mode: dropout is off and BatchNorm uses its running statistics.
    loss : callable
        ``loss(scores, y)`` gives the loss of each row, of shape (n,), without regulariser.
        It must be twice differentiable in the scores, and row i of the loss may depend on
        row i of the scores only. For Gauss-Newton products it has to be convex and *not
        linear* in the scores: negative log-likelihood on log-probabilities is linear, so
        write it as cross entropy of the log-probabilities, which has the same value, the
        same gradient and the usual curvature.
    active : tuple of str or None, default=None
        Names, as in ``module.named_parameters()``, of the parameters that may move. None
        means every parameter with ``requires_grad``.
    scores : callable, default=identity
        Takes the raw output of the module to the scores that ``loss`` expects, of shape
        (n,) or (n, ...).

    Raises
    ------
    ValueError
        If a name in `active` is unknown, repeated or of a non-floating parameter, if the
        active parameters differ in dtype or device, or if there are none.

    Examples
    --------
    >>> import torch
    >>> from sk_unlearn.functional import RowwiseModel
    >>> net = torch.nn.Linear(2, 3).eval()
    >>> loss = torch.nn.CrossEntropyLoss(reduction="none")
    >>> model = RowwiseModel(net, loss, active=("bias",))
    >>> params = model.parameters()
    >>> model.forward(params, torch.ones(5, 2)).shape
    torch.Size([5, 3])
    >>> model.n_parameters
    3
    """

    module: nn.Module
    loss: Callable[[Tensor, Tensor], Tensor]
    active: tuple[str, ...] | None = None
    scores: Callable[[Tensor], Tensor] = identity

    def __post_init__(self) -> None:
        named = dict(self.module.named_parameters())
        if self.active is None:
            names = tuple(name for name, param in named.items() if param.requires_grad)
        else:
            names = tuple(self.active)
        unknown = [name for name in names if name not in named]
        if unknown:
            raise ValueError(
                f"active names {unknown} are not parameters of the module; it has {list(named)}."
            )
        if not names:
            raise ValueError("no parameter is active: the module has nothing to differentiate.")
        if len(set(names)) != len(names):
            raise ValueError(f"active names repeat: {list(names)}.")
        kinds = {(named[name].dtype, named[name].device) for name in names}
        if len(kinds) > 1:
            raise ValueError(
                "the active parameters differ in dtype or device: "
                f"{sorted(str(kind) for kind in kinds)}; make them equal or narrow `active`."
            )
        if not named[names[0]].is_floating_point():
            raise ValueError(f"parameter {names[0]!r} is not of a real floating dtype.")
        object.__setattr__(self, "active", names)

    @cached_property
    def shapes(self) -> dict[str, torch.Size]:
        """Shape of each active parameter, in the order of the flat vector."""
        return {name: self.module.get_parameter(name).shape for name in self.active}

    @cached_property
    def n_parameters(self) -> int:
        """Length of the flat vector of the active parameters."""
        return self.layout.size

    def parameters(self) -> dict[str, Tensor]:
        """Copy the active parameters out of the module.

        Returns
        -------
        params : dict of str to Tensor
            Detached copies, on the module's device: a later write to the module changes
            nothing that was computed from them.
        """
        return {n: self.module.get_parameter(n).detach().clone() for n in self.active}

    def forward(self, params: Mapping[str, Tensor], X: Tensor) -> Tensor:
        """Scores of the rows of X under `params`.

        Parameters
        ----------
        params : mapping of str to Tensor
            The active parameters.
        X : Tensor of shape (n, ...)
            Rows, in whatever trailing shape the module takes.

        Returns
        -------
        scores : Tensor of shape (n, ...)

        Raises
        ------
        ValueError
            If the module is in training mode.
        """
        if self.module.training:
            raise ValueError(
                "the module is in training mode, where dropout and BatchNorm make the loss of a "
                "row random or dependent on other rows; call module.eval() first."
            )
        # As torch.func.functional_call does it, which looks every name up at every call and
        # takes as long as a small net.
        held = [store[key] for store, key, _ in self._places]
        try:
            for (store, key, name), own in zip(self._places, held, strict=True):
                given = params.get(name)
                # Frozen parameters are detached, or autograd would record their graph for nothing.
                store[key] = own.detach() if given is None else given
            scores = self.scores(self.module(X))
            count_passes(len(X), FORWARD)
            return scores
        finally:
            for (store, key, _), own in zip(self._places, held, strict=True):
                store[key] = own

    @cached_property
    def _places(self) -> list[tuple[dict[str, Tensor | None], str, str]]:
        """Where modules keep parameters, tied ones in every place, and the parameters' names."""
        name_of = {id(param): name for name, param in self.module.named_parameters()}
        return [
            (store, key, name_of[id(tensor)])
            for part in self.module.modules()
            for store in (part._parameters, part._buffers)
            for key, tensor in store.items()
            if id(tensor) in name_of
        ]

    def row_losses(self, params: Mapping[str, Tensor], X: Tensor, y: Tensor) -> Tensor:
        """Loss of each row, of shape (n,), in one forward pass without chunks.

        Raises
        ------
        ValueError
            If the loss is not of shape (n,): usually its ``reduction`` is not "none".
        """
        losses = self.loss(self.forward(params, X), y)
        if losses.shape != (len(X),):
            raise ValueError(
                f"the loss has shape {tuple(losses.shape)} on {len(X)} rows, expected "
                f"({len(X)},): build it with reduction='none' and sum over outputs."
            )
        return losses

    @cached_property
    def layout(self) -> ParameterLayout:
        """Where each active parameter lies in the flat vector."""
        return ParameterLayout(self.shapes)

    def flatten(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Concatenate a dictionary of the active parameters into a vector of shape (d,)."""
        return self.layout.flatten(tensors)

    def unflatten(self, vector: Tensor) -> dict[str, Tensor]:
        """Cut a vector of shape (d,) into a dictionary of views, one per active parameter.

        Raises
        ------
        ValueError
            If the vector is not of shape (n_parameters,).
        """
        return self.layout.unflatten(vector)
