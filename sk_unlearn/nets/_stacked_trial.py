"""Try stacked training on a few rows: what no look at the settings can tell."""

from dataclasses import replace

import torch

from sk_unlearn.nets._inspect import bare_module
from sk_unlearn.nets._stacked_batches import VECTOR
from sk_unlearn.nets._stacked_loss import StackedLoss
from sk_unlearn.nets._stacked_state import read_state
from sk_unlearn.nets._stacked_train import StackedNets, first_names

__all__ = ["trial_reason"]

_WIDTHS = (11, 2, 3)


def trial_reason(net, X, y):
    """Why stacked steps of a net are not what it would take alone.

    Eleven nets of different weights take one step each; then the first two and the first
    three of them, which must give the same bits. Buffers must stay as they are, rows must
    not see each other, and a net's outputs must be those of its module alone.

    Parameters
    ----------
    net : skorch.NeuralNet
        Prepared and initialised; left untouched.
    X, y : Tensor
        Rows; two are used.

    Returns
    -------
    reason : str or None
    """
    module = bare_module(net.module_)
    modes = [(part, part.training) for part in module.modules()]
    before = {name: value.detach().clone() for name, value in module.state_dict().items()}
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            return _try(net, module.train(), X, y)
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
        return f"a trial failed: {str(error).strip().splitlines()[0] if str(error) else error!r}"
    finally:
        module.load_state_dict(before)
        for part, training in modes:
            part.training = training


def _try(net, module, X, y):
    states = _states(net, max(_WIDTHS))
    rows = torch.arange(VECTOR) % min(2, len(X))
    wide = [_step(net, module, states[:n], X[rows], y[rows]) for n in _WIDTHS]
    output, fixed_before, fixed_after = wide[0][0], *wide[0][2:]
    if not torch.is_tensor(output) or output.shape[:2] != (max(_WIDTHS), VECTOR):
        return "its module does not return one tensor with one output a row"
    for name, value in fixed_before.items():
        if not _same(value, fixed_after[name]):
            return f"its buffer {name!r} changes in training"
    for other, width in zip(wide[1:], _WIDTHS[1:], strict=True):
        pairs = zip((wide[0][0], *wide[0][1]), (other[0], *other[1]), strict=True)
        if not all(_same(whole[:width], part) for whole, part in pairs):
            return "its outputs or gradients depend on how many nets are trained beside it"
    alone = X[rows].clone()
    alone[1:] = X[rows][0]
    with torch.no_grad():
        module.load_state_dict(states[0].tensors)
        single, first = module(X[rows].clone()), module(alone)[0]
    if not torch.allclose(single, output[0], rtol=1e-3, atol=1e-4, equal_nan=True):
        return "its module gives other outputs alone than in a stack"
    if not torch.allclose(single[0], first, rtol=1e-4, atol=1e-5, equal_nan=True):
        return "the output of a row depends on the other rows of its batch"
    return None


def _states(net, n):
    """States around that of ``net``, all different."""
    state, generator = read_state(net), torch.Generator().manual_seed(0)
    first = first_names(bare_module(net.module_))
    states = []
    for _ in range(n):
        moved = {
            name: state.tensors[name]
            + 0.1 * torch.randn(state.tensors[name].shape, generator=generator)
            for name in dict.fromkeys(first.values())
        }
        tensors = {
            name: moved[first[name]].to(value.dtype) if name in first else value
            for name, value in state.tensors.items()
        }
        states.append(replace(state, tensors=tensors))
    return states


def _step(net, module, states, X, y):
    nets = StackedNets(module, states)
    fixed = {name: value.clone() for name, value in nets.fixed.items()}
    n = len(states)
    loss = StackedLoss(net, y, torch.ones(1, n, len(X), dtype=torch.bool))
    output = nets(X.repeat(n, *[1] * (X.ndim - 1)).unflatten(0, (n, len(X))))
    if not torch.is_tensor(output):
        return output, [], fixed, nets.fixed
    ys = y.repeat(n, *[1] * (y.ndim - 1))
    elements = loss.elements(output, ys)
    gradients = nets.gradients(elements, loss.coefficients(elements, ys, 0))
    return output.detach(), [g.clone() for g in gradients], fixed, nets.fixed


def _same(a, b):
    return torch.equal(torch.nan_to_num(a), torch.nan_to_num(b))
