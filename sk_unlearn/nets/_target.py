"""Bring the target's shape and the module's output shape together before training."""

import torch
from skorch import NeuralNetClassifier

from sk_unlearn.exceptions import UnsupportedNetError
from sk_unlearn.nets._criteria import ELEMENTWISE, as_read, is_elementwise, wants_labels
from sk_unlearn.nets._inspect import bare_module
from sk_unlearn.nets._outputs import check_outputs, too_narrow
from sk_unlearn.utils._seeding import isolated_rng

__all__ = ["check_width", "match_target"]


def match_target(net, X, y):
    """Compare output and target on two rows; reshape or refuse the target.

    Elementwise losses broadcast a target of shape (n,) against an output of shape (n, 1)
    to (n, n) and train on nonsense without an error. Where only axes of length one differ
    the target is reshaped; any other difference is refused. Class labels beyond the number
    of outputs are refused too, and outputs from which a classifier could predict no class.
    Class numbers become what a loss of the user's own reads.

    Parameters
    ----------
    net : skorch.NeuralNet
        Initialised; modes and generators are left as found.
    X, y : Tensor
        All rows.

    Returns
    -------
    y : Tensor

    Raises
    ------
    UnsupportedNetError
        If output and target do not go together.
    """
    output = _two_rows(net, X)
    if output is None:
        return y
    criterion = bare_module(net.criterion_)
    if wants_labels(criterion):
        check_width(net, output, y)
        check_outputs(net, output)
        return y
    y = as_read(criterion, output, y)
    if not isinstance(net, NeuralNetClassifier) or isinstance(criterion, ELEMENTWISE):
        y = _reshaped(net, criterion, output, y)
    check_outputs(net, output)
    return y


def _reshaped(net, criterion, output, y):
    shape = (len(y), *output.shape[1:])
    if y.shape == shape:
        return y
    if y.numel() == len(y) * output[0].numel() and _squeezed(y.shape) == _squeezed(shape):
        return y.reshape(shape)
    if not is_elementwise(criterion):
        return y  # a loss of the user's own may pair two outputs with one target
    raise UnsupportedNetError(
        f"The module of {type(net).__name__} outputs shape {('n', *output.shape[1:])} and y has "
        f"shape {('n', *y.shape[1:])}: {type(criterion).__name__} would broadcast one against "
        "the other. Give the module as many outputs as y has columns."
    )


def _two_rows(net, X):
    modes = [(module, module.training) for module in net.module_.modules()]
    try:
        net.module_.eval()
        with torch.no_grad(), isolated_rng(0):
            output = net.infer(X[:2].clone())
    finally:
        for module, training in modes:
            module.training = training
    output = output[0] if isinstance(output, tuple) else output
    return output if torch.is_tensor(output) and output.ndim > 0 else None


def check_width(net, output, y):
    """Refuse class labels beyond the number of outputs."""
    if y.dtype != torch.int64 or output.ndim < 2:
        return
    largest, ignored = int(y.max()), getattr(net.criterion_, "ignore_index", -100)
    if largest >= output.shape[1] and largest != ignored:
        raise too_narrow(net, output.shape[1], largest + 1)


def _squeezed(shape):
    return tuple(size for size in shape[1:] if size != 1)
