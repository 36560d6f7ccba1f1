"""Try stacked training on a few rows: what no look at the settings can tell."""

from dataclasses import replace

import torch
from torch.utils._pytree import tree_leaves

from sk_unlearn.nets._inspect import bare_module
from sk_unlearn.nets._replay import record
from sk_unlearn.nets._stacked_batches import VECTOR
from sk_unlearn.nets._stacked_loss import StackedLoss
from sk_unlearn.nets._stacked_state import read_state
from sk_unlearn.nets._stacked_step import StackedNets, StackedStep, first_names
from sk_unlearn.utils._seeding import isolated_rng

__all__ = ["trial_reason"]

_NETS = 11
_PARTS = ([0, 1], [7, 8, 9], [5])  # other widths, and odd places


def trial_reason(net, X, y, n_nets=None):
    """Why stacked steps of a net are not what it would take alone.

    Eleven nets of different weights take one step each; then two, three and one of them, which
    must give the same bits, and so must each step when it is repeated. On a CUDA device kernels
    are chosen by the size of a stack: there it is all nets in other places.
    Buffers must stay as they are, rows must not see each other, and a net's outputs must be
    those of its module alone.

    Parameters
    ----------
    net : skorch.NeuralNet
        Prepared and initialised; left untouched.
    X, y : Tensor
        Rows; two are used.
    n_nets : int, default=None
        In place of eleven.

    Returns
    -------
    reason : str or None
    """
    module = bare_module(net.module_)
    modes = [(part, part.training) for part in module.modules()]
    before = {name: value.detach().clone() for name, value in module.state_dict().items()}
    try:
        with isolated_rng(0), torch.enable_grad():
            return _try(net, module.train(), X, y, n_nets or _NETS)
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
        return f"a trial failed: {str(error).strip().splitlines()[0] if str(error) else error!r}"
    finally:
        module.load_state_dict(before)
        for part, training in modes:
            part.training = training


def _try(net, module, X, y, n_nets):
    device = next(module.parameters()).device
    X, y, states = X.to(device), y.to(device), _states(net, n_nets)
    rows = torch.arange(VECTOR) % min(2, len(X))
    parts = _PARTS if device.type == "cpu" else ([*range(1, n_nets), 0],)
    stacks = (states, *([states[k] for k in part] for part in parts))
    steps = [_step(net, module, stack, X[rows], y[rows]) for stack in stacks]
    buffers = {name: value.clone() for name, value in steps[0].nets.fixed.items()}
    output = steps[0].nets(steps[0].X)
    if not torch.is_tensor(output) or output.shape[:2] != (n_nets, VECTOR):
        return "its module does not return one tensor with one output a row"
    numbers = _numbers(module)
    wide = _results(steps[0], output)
    others = [_results(step, step.nets(step.X)) for step in steps[1:]]
    if _numbers(module) != numbers:
        return "its module keeps count, and a recorded step would not"
    for name, value in steps[0].nets.fixed.items():
        if not _same(value, buffers[name]):
            return f"its buffer {name!r} changes in training"
    for part, other in zip(parts, others, strict=True):
        if not all(_same(whole[part], own) for whole, own in zip(wide, other, strict=True)):
            return "its outputs or gradients depend on the nets that are trained beside it"
    alone = X[rows].clone()
    alone[1:] = X[rows][0]
    with torch.no_grad():
        module.load_state_dict(states[0].tensors)
        single, first = module(X[rows].clone()), module(alone)[0]
    if not torch.allclose(single, output[0], rtol=1e-3, atol=1e-4, equal_nan=True):
        return "its module gives other outputs alone than in a stack"
    if not torch.allclose(single[0], first, rtol=1e-4, atol=1e-5, equal_nan=True):
        return "the output of a row depends on the other rows of its batch"
    recording = record(steps[0].compute)
    with torch.no_grad():
        for _ in range(3):  # as it is, captured, and from then on
            repeated = tree_leaves(recording.repeat())
    if not all(map(_same, wide[1:], repeated)):
        return "its operations give something else when they are repeated"
    return None


def _states(net, n):
    """States around that of ``net``, all different."""
    state, generator = read_state(net), torch.Generator().manual_seed(0)
    first = first_names(bare_module(net.module_))
    states = []
    for _ in range(n):
        moved = {
            name: state.tensors[name] + 0.1 * _noise(state.tensors[name], generator)
            for name in dict.fromkeys(first.values())
        }
        tensors = {
            name: moved[first[name]].to(value.dtype) if name in first else value
            for name, value in state.tensors.items()
        }
        states.append(replace(state, tensors=tensors))
    return states


def _noise(value, generator):
    return torch.randn(value.shape, generator=generator).to(value.device)


def _step(net, module, states, X, y):
    """A step of some nets on all rows, fetched but not taken."""
    shape = len(states), len(X)
    step = StackedStep(StackedNets(module, states), StackedLoss(net, y), X, y, *shape)
    rows = torch.arange(len(X), device=X.device).expand(shape)
    share = torch.full(shape, 1 / len(X), device=X.device)
    step.load(rows, share > 0, share)
    return step


def _numbers(module):
    """Numbers that layers hold as attributes, outside of tensors."""
    return [
        (path, key, value)
        for path, part in module.named_modules()
        for key, value in vars(part).items()
        if isinstance(value, (bool, int, float))
    ]


def _results(step, output):
    return [output.detach(), *tree_leaves(step.compute_from(output))]


def _same(a, b):
    return torch.equal(torch.nan_to_num(a), torch.nan_to_num(b))
