"""Diagonal scales of the parameters of a layer, as factors of its outputs and of its inputs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ._layers import Layer


def layer_factors(layer: Layer, scale: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, bool]:
    """Factors whose outer product is a layer's part of a positive scale.

    Parameters
    ----------
    layer : Layer
    scale : mapping of str to Tensor
        By parameter, each of its shape.

    Returns
    -------
    of_outputs : Tensor of shape (fan_out,)
    of_inputs : Tensor of shape (fan_in,), or (fan_in + 1,) where the layer has a bias
    exact : bool
        Whether they are more than an approximation.

    Examples
    --------
    >>> import torch
    >>> from sk_unlearn.functional._layers import Layer
    >>> from sk_unlearn.functional._separable import layer_factors
    >>> scale = {"w": torch.tensor([[1.0, 3.0], [2.0, 6.0]]), "b": torch.tensor([2.0, 4.0])}
    >>> layer_factors(Layer("w", "b"), scale)
    (tensor([2., 4.]), tensor([0.5000, 1.5000, 1.0000]), True)
    """
    grid = scale[layer.weight].flatten(1)
    if layer.bias is not None:
        grid = torch.cat([grid, scale[layer.bias][:, None]], dim=1)
    rows, columns = grid.mean(1), grid.mean(0) / grid.mean()
    exact = torch.allclose(torch.outer(rows, columns), grid, rtol=1e-3)
    return rows, columns, exact
