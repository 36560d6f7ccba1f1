"""Which nets can be trained side by side, and why the others cannot."""

import torch
from skorch import (
    NeuralNet,
    NeuralNetBinaryClassifier,
    NeuralNetClassifier,
    NeuralNetRegressor,
)
from skorch.callbacks import (
    EpochScoring,
    EpochTimer,
    LRScheduler,
    PassthroughScoring,
    PrintLog,
    ProgressBar,
)
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from sk_unlearn.nets._batches import ArrayDataset, TensorBatches
from sk_unlearn.nets._inspect import bare_module
from sk_unlearn.nets._progress import EpochProgress
from sk_unlearn.nets._setup import TrainingSetup
from sk_unlearn.nets._stacked_loss import loss_reason
from sk_unlearn.nets._stacked_schedule import POLICIES
from sk_unlearn.nets._stacked_state import has_single_parts

__all__ = ["settings_reason"]

_NETS = (NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor, NeuralNet)
_OPTIMIZERS = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)
_PREDICTING = {"predict", "predict_proba", "score", "forward", "forward_iter", "evaluation_step"}
_PASSIVE = (EpochProgress, EpochTimer, PassthroughScoring, PrintLog, ProgressBar, TrainingSetup)
_LAYERS = {
    nn.modules.batchnorm._NormBase: "normalises over the rows of a batch",
    nn.modules.conv._ConvNd: "takes other code for other numbers of nets, with other last bits",
    nn.RNNBase: "has no rule for several nets at once",
    nn.RNNCellBase: "has no rule for several nets at once",
    nn.modules.lazy.LazyModuleMixin: "has no sizes before training",
}


def settings_reason(net):
    """Why the settings of a net rule out stacked training.

    Parameters
    ----------
    net : skorch.NeuralNet
        Prepared and initialised.

    Returns
    -------
    reason : str or None
    """
    for find in (_net, _data, _optimizer, loss_reason, _callbacks, _module):
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
    if kind not in _OPTIMIZERS:
        return f"optimizer {kind.__name__} is none of SGD, Adam and AdamW"
    if group.get("differentiable") or group.get("capturable"):
        return f"{kind.__name__} is differentiable or capturable"
    if torch.is_tensor(group["lr"]):
        return "its learning rate is a tensor"
    return None


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


def _module(net):
    module = bare_module(net.module_)
    for path, part in module.named_modules():
        for kind, why in _LAYERS.items():
            if isinstance(part, kind):
                return f"layer {path!r} ({type(part).__name__}) {why}"
        if isinstance(part, nn.modules.dropout._DropoutNd) and part.p > 0:
            return f"layer {path!r} ({type(part).__name__}) draws random numbers"
        if is_parametrized(part):
            return f"layer {path!r} ({type(part).__name__}) is parametrized"
    dtypes = {value.dtype for value in module.parameters()}
    if not dtypes <= {torch.float32, torch.float64} or len(dtypes) > 1:
        return f"its parameters have types {sorted(map(str, dtypes))}"
    if not all(map(torch.is_tensor, module.state_dict().values())):
        return "its state holds more than tensors"
    return None
