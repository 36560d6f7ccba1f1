"""Which nets can be trained side by side, and why the others cannot."""

import torch
from sklearn.base import clone
from skorch import NeuralNet, NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import (
    EpochScoring,
    EpochTimer,
    LRScheduler,
    PassthroughScoring,
    PrintLog,
    ProgressBar,
)

from sk_unlearn.nets._batches import ArrayDataset, TensorBatches
from sk_unlearn.nets._inspect import bare_module
from sk_unlearn.nets._progress import EpochProgress
from sk_unlearn.nets._schedule import POLICIES
from sk_unlearn.nets._setup import TrainingSetup
from sk_unlearn.nets._state import has_single_parts, initial_state
from sk_unlearn.nets.stacked._loss import StackedLoss, loss_reason
from sk_unlearn.nets.stacked._module import StackedNets, module_reason, padded
from sk_unlearn.nets.stacked._optimizer import OPTIMIZERS

__all__ = ["settings_reason", "trial_reason"]

_NETS = (NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor, NeuralNet)
_PREDICTING = {"predict", "predict_proba", "score", "forward", "forward_iter", "evaluation_step"}
_PASSIVE = (EpochProgress, EpochTimer, PassthroughScoring, PrintLog, ProgressBar, TrainingSetup)
_PARTS = ([0, 1], [7, 8, 9], [5])  # of a trial: other widths, and odd places


def settings_reason(net):
    """Why the settings of a prepared and initialised net rule out stacked training, or None."""
    for find in (_net, _data, _optimizer, loss_reason, _callbacks, module_reason):
        reason = find(net)
        if reason is not None:
            return reason
    return None


def _net(net):
    if not has_single_parts(net):
        return "it has several modules, criteria, optimizers or parameter groups"
    known = next(kind for kind in type(net).__mro__ if kind.__module__.startswith("skorch"))
    if known not in _NETS:
        return f"{known.__name__} trains in its own way"
    for kind in type(net).__mro__[: type(net).__mro__.index(known)]:
        known_names = {name for name in vars(NeuralNet) if not name.startswith("__")}
        changed = sorted(set(vars(kind)) & known_names - _PREDICTING)
        if changed:
            return f"{kind.__name__} overrides {', '.join(changed)}"
    if torch.device(net.device or "cpu").type not in ("cpu", "cuda"):
        return f"its device is {net.device!r}, neither a CPU nor a CUDA device"
    return "it is compiled" if net.compile else None


def _data(net):
    if net.train_split is not None:
        return "its train_split is not None"
    if net.dataset is not ArrayDataset or net.iterator_train is not TensorBatches:
        return "it has a dataset or an iterator of its own"
    options = net.get_params_for("iterator_train")
    if options.get("generator") is not None:
        return "its batches are drawn from one generator"
    if options.get("batch_size", net.batch_size) == -1:
        return "its batches hold all rows (batch_size=-1)"
    return "it sets dataset__length" if "length" in net.get_params_for("dataset") else None


def _optimizer(net):
    kind, group = type(net.optimizer_), net.optimizer_.param_groups[0]
    if kind not in OPTIMIZERS:
        return f"optimizer {kind.__name__} is none of SGD, Adam and AdamW"
    if group.get("differentiable") or group.get("capturable"):
        return f"{kind.__name__} is differentiable or capturable"
    if kind is torch.optim.Adam and group.get("decoupled_weight_decay"):
        return "Adam with decoupled_weight_decay is AdamW: use that"
    return "its learning rate is a tensor" if torch.is_tensor(group["lr"]) else None


def _callbacks(net):
    schedulers = 0
    for name, callback in net.callbacks_:
        if type(callback) is LRScheduler:
            schedulers += 1
            policy = callback._get_policy_cls()
            if policy not in POLICIES:
                return f"schedule {getattr(policy, '__name__', policy)} is not known"
            if "last_epoch" in callback.kwargs:
                return "its schedule has a last_epoch"
        elif type(callback) is EpochScoring and not callback.on_train:
            continue  # there are no held-out rows to score
        elif type(callback) not in _PASSIVE:
            return f"callback {name!r} ({type(callback).__name__}) is not known"
    return "it has several schedules" if schedulers > 1 else None


def trial_reason(net, X, y, n_nets=None):
    """Why a trial on two rows shows that nets depend on those beside them, or fails; or None.

    On a CPU the same nets must give the same bits in smaller stacks; on a CUDA device, where
    kernels are chosen by the size of a stack, in other places of one of ``n_nets``.
    """
    device, drawer, n_nets = next(net.module_.parameters()).device, clone(net), n_nets or 11
    rows = torch.arange(padded(1)) % min(2, len(X))
    X, y = X[rows].to(device), y[rows].to(device)
    states = [initial_state(drawer, seed) for seed in range(n_nets)]
    parts = _PARTS if device.type == "cpu" else ([*range(1, n_nets), 0],)
    try:
        with torch.no_grad():
            whole = _step(net, states, X, y)
            others = [_step(net, [states[k] for k in part], X, y) for part in parts]
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        return f"a trial failed: {str(error).strip().splitlines()[0]}"
    for part, other in zip(parts, others, strict=True):
        if not all(torch.equal(a[part], b) for a, b in zip(whole, other, strict=True)):
            return "its outputs or gradients depend on the nets that are trained beside it"
    return None


def _step(net, states, X, y):
    """Outputs, mean losses and gradients of nets that all see the same rows."""
    loss, shape = StackedLoss(net, y), (len(states), len(X))
    nets = StackedNets(bare_module(net.module_), states, loss, X, y, len(X))
    rows = torch.arange(len(X), device=X.device).expand(shape)
    share = torch.full(shape, 1 / len(X), device=X.device, dtype=nets.values.dtype)
    means = nets.step(rows, share > 0, share)
    return [value.nan_to_num() for value in (nets.output, means, nets.gradients)]
