"""Outputs of several nets on the same rows."""

import torch
from torch.func import functional_call, vmap

from sk_unlearn.nets._batches import as_tensor
from sk_unlearn.nets._criteria import first_output
from sk_unlearn.nets._inspect import bare_module, embeds, net_dtype
from sk_unlearn.utils._threads import reproducible_threads

__all__ = ["predict_stacked", "stack_tensors"]

# Input and widest output of one chunk for one net, so that it stays in a core's cache.
_CHUNK_ROWS, _DEVICE_CHUNK_ROWS = 512, 4096


def stack_tensors(states):
    """Parameters and buffers of several nets, stacked.

    Parameters
    ----------
    states : sequence of NetState

    Returns
    -------
    tensors : dict of str to Tensor of shape (n_nets, ...)
    """
    names = states[0].tensors
    return {name: torch.stack([state.tensors[name] for state in states]) for name in names}


def predict_stacked(net, tensors, X, *, chunk_size=None):
    """Raw outputs of K nets on the same rows, in evaluation mode.

    Parameters
    ----------
    net : skorch.NeuralNet
        Any initialised net of the architecture; its own values are not used.
    tensors : dict of str to Tensor of shape (n_nets, ...)
        See :func:`stack_tensors`.
    X : array-like of shape (n, ...)
    chunk_size : int, default=None
        Rows in one pass; None takes 512, and 4096 on other devices than a CPU.

    Returns
    -------
    scores : ndarray of shape (n_nets, n, ...)
        Logits of shape (n_nets, n, n_classes) for a classifier. They agree with those of
        each net alone to rounding error.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_unlearn.nets import default_classifier, predict_stacked, read_state
    >>> from sk_unlearn.nets import stack_tensors
    >>> net = default_classifier(n_features=2, n_outputs=3, n_rows=4, device="cpu")
    >>> state = read_state(net.initialize())
    >>> predict_stacked(net, stack_tensors([state, state]), np.zeros((4, 2))).shape
    (2, 4, 3)
    """
    module = bare_module(net.module_)
    modes = [(part, part.training) for part in module.modules()]
    X = as_tensor(X, dtype=net_dtype(module), keep_integers=embeds(module))
    device = next(iter(tensors.values())).device
    aliases = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    aliases -= {name for name, _ in module.named_parameters()}
    tensors = {name: value for name, value in tensors.items() if name not in aliases}
    size = chunk_size or (_CHUNK_ROWS if device.type == "cpu" else _DEVICE_CHUNK_ROWS)
    forward = vmap(
        lambda own, rows: first_output(functional_call(module, own, (rows,))), in_dims=(0, None)
    )
    out = None
    try:
        module.eval()
        with torch.no_grad(), reproducible_threads():
            for start in range(0, max(len(X), 1), size):
                part = forward(tensors, X[start : start + size].to(device, copy=True)).cpu()
                if out is None:
                    out = part.new_empty((part.shape[0], len(X), *part.shape[2:]))
                out[:, start : start + size] = part
    finally:
        for part, training in modes:
            part.training = training
    return out.numpy()
