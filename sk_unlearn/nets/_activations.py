"""What a layer of a trained net makes of rows."""

import threading

import torch
from torch import nn

from sk_unlearn.exceptions import UnsupportedNetError
from sk_unlearn.nets._forward import Reader
from sk_unlearn.nets._inspect import bare_module

__all__ = ["Activations"]

_hooked = threading.Lock()  # a hook belongs to the module, which threads share


class Activations:
    """Numbers that a layer gives, or that the last linear layer gets.

    Parameters
    ----------
    net : skorch.NeuralNet
        Trained; put into evaluation mode.
    layer : str or None
        Name of a submodule whose output is taken. None takes the input of the last linear
        layer.

    Raises
    ------
    UnsupportedNetError
        If there is no such layer.
    """

    def __init__(self, net, layer=None):
        module = bare_module(net.module_)
        parts = dict(module.named_modules())
        linear = [name for name, part in parts.items() if isinstance(part, nn.Linear)]
        if layer is None and not linear:
            raise UnsupportedNetError(
                "The module of the net in features= has no linear layer whose input could be "
                "taken. Name the submodule whose output is the features: layer="
                f"{[name for name in parts if name][:8]}."
            )
        if layer is not None and layer not in parts:
            raise UnsupportedNetError(
                f"The 'layer' parameter must name a submodule of the net in features=, got "
                f"{layer!r}. There are: {[name for name in parts if name]}."
            )
        self.net, self.layer, self._before = net, layer or linear[-1], layer is None

    def __call__(self, rows):
        """Activations of rows.

        Parameters
        ----------
        rows : ndarray of shape (n, ...)

        Returns
        -------
        activations : ndarray of shape (n, n_features)
        """
        net, caught = self.net, []
        module = bare_module(net.module_)
        part = dict(module.named_modules())[self.layer]
        if net.module_.training:
            net.module_.eval()

        def catch(_, inputs, output=None):
            caught.append(inputs[0] if self._before else output)

        register = part.register_forward_pre_hook if self._before else part.register_forward_hook
        with _hooked, torch.no_grad():
            handle = register(catch)
            try:
                net.infer(Reader.of(net)(rows))
            finally:
                handle.remove()
        if not caught or not isinstance(caught[-1], torch.Tensor):
            raise UnsupportedNetError(
                f"The layer {self.layer!r} of the net in features= gave no tensor. Name another "
                "one by layer=."
            )
        out = caught[-1].detach().float().cpu()
        if len(out) != len(rows):
            raise UnsupportedNetError(
                f"The layer {self.layer!r} of the net in features= gave {len(out)} rows for "
                f"{len(rows)}. Name a layer by layer= that gives one row for each."
            )
        return out.reshape(len(out), -1).numpy()
