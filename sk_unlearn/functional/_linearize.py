"""Jacobian products of a function of a parameter dictionary, both ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ..exceptions import UnsupportedNetError
from ._forward_mode import jvp_forward
from ._work import BACKWARD, FORWARD, count_passes

# What PyTorch raises where an operation lacks a derivative; NotImplementedError is a subclass.
_NO_DERIVATIVE = RuntimeError


def _unsupported(first: Exception, second: Exception) -> UnsupportedNetError:
    return UnsupportedNetError(
        "directional derivatives of the network are available neither in forward mode "
        f"({str(first).splitlines()[0]}) nor by a double backward pass "
        f"({str(second).splitlines()[0]}). Attention layers work inside "
        "torch.nn.attention.sdpa_kernel(SDPBackend.MATH), cuDNN recurrent layers inside "
        "torch.backends.cudnn.flags(enabled=False); else restrict the active parameters to the "
        "layers after the operation."
    )


def leaves(params: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Detached tensors that share memory with `params` and record a graph."""
    return {name: param.detach().requires_grad_() for name, param in params.items()}


def grads(
    outputs: Sequence[Tensor] | Tensor,
    inputs: Sequence[Tensor],
    cotangents: Sequence[Tensor] | Tensor | None = None,
    **options,
) -> tuple[Tensor, ...]:
    """``torch.autograd.grad`` that gives zeros for inputs the outputs do not depend on."""
    return torch.autograd.grad(
        outputs, inputs, cotangents, allow_unused=True, materialize_grads=True, **options
    )


def check_twice_differentiable(slopes: Sequence[Tensor]) -> None:
    """Raise if the graph of first derivatives holds an operation without a second one.

    PyTorch marks these by an error node with no edge to the inputs. Derivatives that are
    asked for by input never visit it and would be silently incomplete.

    Raises
    ------
    RuntimeError
        Which names the operation as far as PyTorch knows it.
    """
    stack, seen = [slope.grad_fn for slope in slopes], set()
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if "Error" in node.name() or "NotImplemented" in node.name():
            raise RuntimeError(f"an operation is differentiable only once ({node.name()}).")
        stack.extend(parent for parent, _ in node.next_functions)


class Linearization:
    """Tangent map of a function at one point, kept for repeated products.

    The graph of the forward pass and of one backward pass is held, so a product in either
    direction touches each layer once and recomputes nothing: Jv is the derivative of
    u -> J^T u, which is linear, in the direction of v (the double-backward trick).
    Operations without a double backward fall back to forward mode.

    Parameters
    ----------
    function : callable
        Takes the parameter dictionary to one tensor.
    params : mapping of str to Tensor
        Where to linearise. They must not be written to while this object lives.

    Attributes
    ----------
    value : Tensor
        ``function(params)``, with its graph.

    Notes
    -----
    Cost: one forward and one backward pass to build; a pair of products
    ``vjp(jvp(v))`` then costs about one forward and backward pass.
    """

    def __init__(
        self,
        function: Callable[[dict[str, Tensor]], Tensor],
        params: Mapping[str, Tensor],
    ) -> None:
        self._function = function
        self._params = leaves(params)
        self._inputs = tuple(self._params.values())
        with torch.enable_grad():
            self.value = function(self._params)
        self._probe: Tensor | None = None
        self._pullback: tuple[Tensor, ...] = ()
        self._no_double_backward: Exception | None = None
        if self.value.requires_grad:
            count_passes(_n_rows(self.value), BACKWARD)
            self._record_pullback()

    def _record_pullback(self) -> None:
        with torch.enable_grad():
            probe = torch.zeros_like(self.value, requires_grad=True)
            try:
                pullback = grads(self.value, self._inputs, probe, create_graph=True)
                check_twice_differentiable(pullback)
            except _NO_DERIVATIVE as error:
                if isinstance(error, torch.OutOfMemoryError):
                    raise
                self._no_double_backward = error
            else:
                self._probe, self._pullback = probe, pullback

    def jvp(self, tangents: Mapping[str, Tensor]) -> Tensor:
        """J v, of the shape of ``value``."""
        if not self.value.requires_grad:
            return torch.zeros_like(self.value)
        if self._no_double_backward is None:
            try:
                return self._jvp_double_backward(tangents)
            except _NO_DERIVATIVE as error:
                if isinstance(error, torch.OutOfMemoryError):
                    raise
                self._no_double_backward = error
        try:
            return _jvp_forward(self._function, self._params, tangents)
        except _NO_DERIVATIVE as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise _unsupported(error, self._no_double_backward) from error

    def _jvp_double_backward(self, tangents: Mapping[str, Tensor]) -> Tensor:
        pairs = [
            (pulled, tangents[name])
            for name, pulled in zip(self._params, self._pullback, strict=True)
            if pulled.requires_grad
        ]
        if not pairs:
            return torch.zeros_like(self.value)
        outputs, cotangents = zip(*pairs, strict=True)
        count_passes(_n_rows(self.value), FORWARD)
        return grads(outputs, (self._probe,), cotangents, retain_graph=True)[0]

    def vjp(self, cotangent: Tensor) -> dict[str, Tensor]:
        """J^T u, as a dictionary like ``params``."""
        if not self.value.requires_grad:
            return {name: torch.zeros_like(param) for name, param in self._params.items()}
        count_passes(_n_rows(self.value), BACKWARD)
        pulled = grads(self.value, self._inputs, cotangent, retain_graph=True)
        return dict(zip(self._params, pulled, strict=True))


def _jvp_forward(function, params, tangents) -> Tensor:
    """Forward mode; the function counts its own pass, and tangents take up to two more."""
    derivative = jvp_forward(function, params, tangents)
    count_passes(_n_rows(derivative), 2 * FORWARD)
    return derivative


def _n_rows(value: Tensor) -> int:
    return len(value) if value.ndim else 1


def directional_derivative(
    function: Callable[[dict[str, Tensor]], Tensor],
    params: Mapping[str, Tensor],
    tangents: Mapping[str, Tensor],
) -> Tensor:
    """J v once: in forward mode, else by a double backward pass.

    Raises
    ------
    UnsupportedNetError
        If an operation of the function supports neither.
    """
    try:
        return _jvp_forward(function, params, tangents)
    except _NO_DERIVATIVE as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        forward_error = error
    linear = Linearization(function, params)
    try:
        if linear._no_double_backward is not None:
            raise linear._no_double_backward
        return linear._jvp_double_backward(tangents)
    except _NO_DERIVATIVE as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise _unsupported(forward_error, error) from error
