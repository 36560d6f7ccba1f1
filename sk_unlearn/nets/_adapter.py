"""What a removal method reads from a trained net, and how it writes its answer."""

from copy import deepcopy
from fnmatch import fnmatchcase

import torch
from sklearn.base import clone
from skorch import NeuralNet

from sk_unlearn.exceptions import UnsupportedNetError
from sk_unlearn.functional import RowwiseModel
from sk_unlearn.nets._criteria import class_weight_scale, links, row_loss, weighs_classes
from sk_unlearn.nets._inspect import bare_module, trains_instance
from sk_unlearn.utils._seeding import isolated_rng

__all__ = ["rebuilt_net", "rowwise_model", "weight_decay", "with_parameters"]

_DECOUPLED = {"AdamW", "Adafactor", "Muon"}


def rowwise_model(net, X=None, y=None, *, params=None):
    """View a trained net as row losses of a parameter dictionary.

    Parameters
    ----------
    net : skorch.NeuralNet
        Trained; left untouched.
    X, y : Tensor, default=None
        The training rows as :func:`to_tensors` gives them. ``y`` normalises class weights
        (needed only with these); with both, two rows are sent through the net to find out
        now whether it can be differentiated.
    params : str or sequence of str, default=None
        Patterns (``fnmatch``) of the names of the parameters that may move; None means
        all that require a gradient.

    Returns
    -------
    model : sk_unlearn.functional.RowwiseModel
        On a copy of the module in evaluation mode. The mean of its row losses over the
        training rows is the loss that the net was trained on, without weight decay.

    Raises
    ------
    UnsupportedNetError
        If the loss is no mean over rows, the module not differentiable, or a pattern
        matches nothing.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from sk_unlearn.nets import default_classifier, rowwise_model, to_tensors
    >>> X, y = np.zeros((4, 2)), np.array([0, 1, 0, 1])
    >>> net = default_classifier(n_features=2, n_outputs=2, n_rows=4, device="cpu")
    >>> net = net.initialize()
    >>> model = rowwise_model(net, params="layers.3.*")
    >>> model.active
    ('layers.3.weight', 'layers.3.bias')
    >>> model.row_losses(model.parameters(), *to_tensors(net, X, y)).shape
    torch.Size([4])
    """
    _check_optimizer(net)
    loss = scaled = row_loss(net)
    if weighs_classes(net):
        if y is None:
            raise ValueError("rowwise_model needs the training targets y to scale class weights.")
        scale = class_weight_scale(net, y)

        def scaled(scores, targets):
            return scale * loss(scores, targets)

    module = copy_module(net)
    model = RowwiseModel(
        module.eval(),
        scaled,
        active=_active(net, module, params),
        scores=_single(net, links(net)[0]),
    )
    if X is not None and y is not None and len(X):
        _probe(net, model, X[:2], y[:2])
    return model


def _single(net, scores):
    def checked(output):
        if isinstance(output, tuple):
            raise UnsupportedNetError(
                f"The module of {type(net).__name__} returns {len(output)} outputs. Removal "
                "methods need one: return what the criterion reads."
            )
        return scores(output)

    return checked


def _active(net, module, params):
    trainable = [name for name, value in module.named_parameters() if value.requires_grad]
    patterns = ["*"] if params is None else [params] if isinstance(params, str) else list(params)
    unmatched = [p for p in patterns if not any(fnmatchcase(name, p) for name in trainable)]
    if unmatched or not patterns:
        raise UnsupportedNetError(
            f"No trainable parameter of {type(net).__name__} matches {unmatched or patterns}; "
            f"there are {', '.join(trainable) or 'none'}."
        )
    return tuple(name for name in trainable if any(fnmatchcase(name, p) for p in patterns))


def _probe(net, model, X, y):
    params = {name: value.requires_grad_() for name, value in model.parameters().items()}
    with torch.enable_grad():
        losses = model.row_losses(params, X, y)
        reached = losses.requires_grad and any(
            grad is not None
            for grad in torch.autograd.grad(
                losses.sum(), tuple(params.values()), allow_unused=True
            )
        )
    if not reached:
        raise UnsupportedNetError(
            f"No gradient of the loss of {type(net).__name__} reaches its parameters "
            f"({', '.join(model.active[:3])}...). Remove detach(), no_grad and rounding from "
            "the module's forward."
        )


def _check_optimizer(net):
    for group in _param_groups(net):
        if group.get("maximize"):
            raise UnsupportedNetError(
                f"The optimizer of {type(net).__name__} maximises its criterion. Negate the "
                "criterion and drop optimizer__maximize."
            )


def _param_groups(net):
    optimizer = getattr(net, "optimizer_", None)
    return [] if optimizer is None else optimizer.param_groups


def weight_decay(net):
    """Coefficient of the L2 penalty on each trainable parameter.

    The objective is mean loss + sum_p coefficient_p / 2 ||p||^2, as SGD, Adam, RMSprop and
    most others minimise it with ``weight_decay``. Decoupled decay (AdamW) shrinks weights
    beside the loss: at a fixed point of AdamW it acts like an L2 penalty of that
    coefficient times the root of the second moment of the gradient, orders of magnitude
    smaller and gone with the optimiser's state. It counts as 0 here.

    Parameters
    ----------
    net : skorch.NeuralNet
        Initialised.

    Returns
    -------
    coefficients : dict of str to float
        By name in ``module_.named_parameters()``, in that order.
    """
    by_id = {}
    for group in _param_groups(net):
        kinds = {kind.__name__ for kind in type(net.optimizer_).__mro__}
        decoupled = group.get("decoupled_weight_decay", False) or bool(kinds & _DECOUPLED)
        for parameter in group["params"]:
            by_id[id(parameter)] = 0.0 if decoupled else float(group.get("weight_decay", 0.0))
    return {
        name: by_id.get(id(parameter), 0.0)
        for name, parameter in bare_module(net.module_).named_parameters()
        if parameter.requires_grad
    }


def copy_module(net, name="module"):
    """Copy of an initialised net's module; torch leaves the gradients of the last batch out."""
    module = bare_module(getattr(net, f"{name}_"))
    try:
        return deepcopy(module)
    except RuntimeError as error:
        raise UnsupportedNetError(
            f"The module {type(module).__name__} of {type(net).__name__} cannot be copied "
            f"({error}). It may keep tensors of its last batch: store them detached, or not "
            "at all."
        ) from error


def with_parameters(net, parameters, *, classes=None):
    """Fresh net with the same settings and given parameters.

    Nothing of the old net's training comes along: no optimiser moments, history, callback
    state or gradients, and no batch that the module kept as an attribute (unless skorch
    trained the user's own instance in place, which cannot be built anew). Parameters that
    are not given, and such buffers, are copied from it; BatchNorm statistics thereby keep a trace
    of every row the net was trained on.

    Parameters
    ----------
    net : skorch.NeuralNet
        Trained; left untouched.
    parameters : mapping of str to Tensor
        New values by name in ``module_.named_parameters()`` or ``named_buffers()``.
    classes : array-like, default=None
        What ``classes_`` of a ``NeuralNetClassifier`` shall be; it is not copied, since it
        lists the labels of the training rows.

    Returns
    -------
    net : skorch.NeuralNet
        Initialised.

    Raises
    ------
    ValueError
        If a name is unknown or a shape differs.
    """
    with isolated_rng(0):
        return rebuilt_net(net, parameters, classes)


def rebuilt_net(net, parameters, classes=None):
    """The same as :func:`with_parameters`, drawing from the global generators as they are."""
    fresh = clone(net)
    fresh.initialize()
    as_new = _ignores_values(fresh)
    for name in net._modules:
        module = _rebuilt(net, fresh, name)
        if name == "module":
            _write(module, parameters)
            if trains_instance(net):
                fresh.module = module  # skorch trains an instance in place: it is not a template
        if module is not bare_module(getattr(fresh, f"{name}_")):
            setattr(fresh, f"{name}_", fresh.torch_compile(module, name=name))
            as_new = False
    if not as_new:
        fresh.initialize_optimizer()
    if classes is not None:
        fresh.classes_inferred_ = classes
    return fresh


def _ignores_values(net):
    """Whether the optimizer of a new net would not differ had the parameters other values."""
    return type(net).initialize_optimizer is NeuralNet.initialize_optimizer and type(
        net.optimizer_
    ).__module__.startswith("torch.optim.")


def _rebuilt(net, fresh, name):
    """The fresh net's module in the old one's state, or a copy where they are not alike."""
    old, new = (bare_module(getattr(each, f"{name}_")) for each in (net, fresh))
    if trains_instance(net) or _layout(old) != _layout(new):
        return copy_module(net, name)
    new.load_state_dict(old.state_dict())
    parts = dict(old.named_modules())
    for path, part in new.named_modules():
        _copy_settings(parts[path], part)
    for parameter, source in zip(new.parameters(), old.parameters(), strict=True):
        parameter.requires_grad_(source.requires_grad)
    return new


def _layout(module):
    parts = {path: type(part) for path, part in module.named_modules()}
    state = module.state_dict()
    tensors = {k: (v.shape, v.dtype, v.device) for k, v in state.items() if torch.is_tensor(v)}
    return parts, tensors, set(state)


def _copy_settings(old, new):
    """Copy numbers and constant tensors that a new module has too: no batch is among them."""
    for values, source in ((vars(new), vars(old)), (new._buffers, old._buffers)):
        for key, value in values.items():
            known = source.get(key)
            if torch.is_tensor(value) and torch.is_tensor(known) and known.shape == value.shape:
                values[key] = known.detach().clone()
            elif isinstance(value, (bool, int, float)) and isinstance(known, (bool, int, float)):
                values[key] = known


def _write(module, parameters):
    own = dict(module.named_parameters())
    if not own.keys() >= set(parameters):
        own.update(module.named_buffers())
    unknown = sorted(set(parameters) - set(own))
    if unknown:
        raise ValueError(
            f"{type(module).__name__} has no parameters {unknown}; it has {list(own)}."
        )
    with torch.no_grad():
        for name, value in parameters.items():
            if own[name].shape != value.shape:
                raise ValueError(
                    f"Parameter {name!r} has shape {tuple(own[name].shape)}, "
                    f"got {tuple(value.shape)}."
                )
            own[name].copy_(value)
