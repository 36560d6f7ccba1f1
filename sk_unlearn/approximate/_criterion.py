"""What a removal should not harm: a performance criterion as a function of parameters."""

import torch

from sk_unlearn.functional import (
    BACKWARD,
    FORWARD,
    count_passes,
    losses_and_gradient,
    row_losses,
)

__all__ = ["HeldOutLoss", "UserCriterion"]


class HeldOutLoss:
    """Mean row loss on rows that were held out of training.

    Parameters
    ----------
    model : RowwiseModel
    X, y : Tensor
        At least one row.
    chunk_size : int
    """

    def __init__(self, model, X, y, chunk_size):
        self.model, self.X, self.y, self.chunk_size = model, X, y, chunk_size

    def value(self, params):
        """Criterion, a float."""
        return float(self._run(row_losses, params).double().mean())

    def value_and_gradient(self, params):
        """Criterion, and its gradient of shape (n_parameters,)."""
        losses, gradient = self._run(losses_and_gradient, params)
        return float(losses.double().mean()), gradient / len(self.y)

    def loss(self, params, value):
        """Mean row loss, where the criterion has a value."""
        return value

    def _run(self, function, params):
        return function(self.model, params, self.X, self.y, chunk_size=self.chunk_size)


class UserCriterion:
    """A callable ``(module, X, y) -> scalar tensor``, smaller is better.

    Parameters
    ----------
    function : callable
    model : RowwiseModel
    X, y : Tensor
        The held-out rows, handed to the callable.
    """

    def __init__(self, function, model, X, y):
        self.function, self.model, self.X, self.y = function, model, X, y

    def value(self, params):
        """Criterion, a float."""
        with torch.no_grad(), self._loaded(params):
            return float(self._call())

    def value_and_gradient(self, params):
        """Criterion, and its gradient of shape (n_parameters,)."""
        with self._loaded(params) as active, torch.enable_grad():
            value = self._call()
            if not value.requires_grad:
                raise ValueError(
                    "The 'performance' callable must return a tensor that depends on the "
                    "module's parameters differentiably; its result has no gradient. Avoid "
                    ".item(), .detach(), NumPy and argmax inside it."
                )
            count_passes(len(self.y), BACKWARD)
            parts = torch.autograd.grad(value, list(active.values()), allow_unused=True)
        filled = {
            name: torch.zeros_like(active[name]) if part is None else part
            for name, part in zip(active, parts, strict=True)
        }
        return float(value.detach()), self.model.flatten(filled).detach()

    def loss(self, params, value):
        """Mean row loss, where the criterion has a value."""
        return float(row_losses(self.model, params, self.X, self.y).double().mean())

    def _call(self):
        count_passes(len(self.y), FORWARD)
        value = self.function(self.model.module, self.X, self.y)
        if not isinstance(value, torch.Tensor) or value.ndim > 0 or not torch.isfinite(value):
            raise ValueError(
                f"The 'performance' callable must return a finite scalar tensor, got {value!r}."
            )
        return value

    def _loaded(self, params):
        return _Loaded(self.model, params)


class _Loaded:
    """The module with other parameter values for the length of a block."""

    def __init__(self, model, params):
        self.model, self.params = model, params

    def __enter__(self):
        active = {name: self.model.module.get_parameter(name) for name in self.model.active}
        self.before = {name: value.detach().clone() for name, value in active.items()}
        self._write(self.params)
        return active

    def __exit__(self, *exception):
        self._write(self.before)

    def _write(self, values):
        with torch.no_grad():
            for name in self.model.active:
                self.model.module.get_parameter(name).copy_(values[name])
