"""What a skorch criterion means for one row: scores, loss of a row, probabilities."""

import copy

import torch
from skorch import (
    NeuralNet,
    NeuralNetBinaryClassifier,
    NeuralNetClassifier,
    NeuralNetRegressor,
)
from torch import Tensor, nn
from torch.nn import functional as F

from sk_unlearn.exceptions import UnsupportedNetError
from sk_unlearn.nets._inspect import bare_module

__all__ = [
    "ELEMENTWISE",
    "as_read",
    "class_weight_scale",
    "is_elementwise",
    "is_own",
    "links",
    "reads_labels",
    "row_loss",
    "wants_labels",
    "weighs_classes",
]

_LABELS = (nn.CrossEntropyLoss, nn.NLLLoss, nn.MultiMarginLoss)
ELEMENTWISE = (
    nn.BCELoss,
    nn.BCEWithLogitsLoss,
    nn.HuberLoss,
    nn.KLDivLoss,
    nn.L1Loss,
    nn.MSELoss,
    nn.PoissonNLLLoss,
    nn.SmoothL1Loss,
    nn.SoftMarginLoss,
)


def wants_labels(criterion):
    """Whether a criterion (class or instance) reads class labels, not real targets."""
    kind = criterion if isinstance(criterion, type) else type(criterion)
    return issubclass(kind, _LABELS)


def is_elementwise(criterion):
    """Whether a criterion compares outputs and targets of equal shape, one by one."""
    return isinstance(criterion, ELEMENTWISE) and not is_own(criterion)


def is_own(criterion):
    """Whether a criterion (class or instance) computes what a user wrote.

    A class of the user's may derive from one of torch's and compute something else.
    """
    kind = criterion if isinstance(criterion, type) else type(criterion)
    forward = getattr(kind, "forward", None)
    return not getattr(forward, "__module__", "").startswith("torch.nn")


def reads_labels(net):
    """Whether integers among a net's targets stay integers, before its outputs are known.

    A loss of the user's own gets what plain skorch hands it; see :func:`as_read`.
    """
    criterion = bare_module(getattr(net, "criterion_", net.criterion))
    if is_own(criterion):
        return not isinstance(net, (NeuralNetBinaryClassifier, NeuralNetRegressor))
    return wants_labels(criterion)


def as_read(criterion, output, y):
    """Targets in the type that a loss of the user's own reads.

    Class numbers stay integers where there is an output a class. One output a row is compared
    with a number, as binary cross-entropy does, and so are the targets of regressors, which have
    two dimensions here.
    """
    if not is_own(criterion) or y.is_floating_point() or (y.ndim == 1 and output[:1].numel() > 1):
        return y
    return y.to(output.dtype)


def links(net):
    """Maps from the raw output of a net's module to scores and to predictions.

    Parameters
    ----------
    net : skorch.NeuralNet
        Trained.

    Returns
    -------
    scores : callable
        Raw output to what the loss of a row is a smooth and curved function of: logits,
        log-probabilities or predictions.
    proba : callable
        Raw output to what ``predict_proba`` returns: probabilities of shape (n, K) for a
        classifier, the output itself otherwise.
    """
    criterion = _criterion(net)
    binary = isinstance(net, NeuralNetBinaryClassifier)
    column = _flat if binary else first_output
    if isinstance(criterion, nn.NLLLoss):
        # skorch's classifiers take the log themselves; a plain NeuralNet hands over as is
        takes_log = isinstance(net, NeuralNetClassifier)
        return (_log_first, first_output) if takes_log else (first_output, _exp_first)
    if isinstance(criterion, nn.CrossEntropyLoss):
        return first_output, lambda output: torch.softmax(first_output(output), dim=-1)
    if isinstance(criterion, nn.BCEWithLogitsLoss):
        return column, lambda output: _two_columns(torch.sigmoid(column(output)))
    if isinstance(criterion, nn.BCELoss):
        scores = column if is_own(criterion) else lambda output: _logit(column(output))
        return scores, lambda output: _two_columns(column(output))
    return column, column


def first_output(output):
    """The prediction among the outputs of a module, by skorch's convention."""
    return output[0] if isinstance(output, tuple) else output


def _flat(output):
    return first_output(output).reshape(-1)


def _log_first(output):
    output = first_output(output)
    return torch.log(output + torch.finfo(output.dtype).eps)


def _exp_first(output):
    return first_output(output).exp()


def _logit(probability):
    return torch.logit(probability, eps=torch.finfo(probability.dtype).eps)


def _two_columns(probability):
    # one independent probability a column (several labels a row) stays as it is
    if probability.ndim > 1 and probability[0].numel() > 1:
        return probability
    probability = probability.reshape(-1)
    return torch.stack((1 - probability, probability), 1)


def row_loss(net):
    """Loss of each row, without regulariser and without touching the net's criterion.

    Cross-entropy stands in for the negative log-likelihood of log-probabilities, and
    binary cross-entropy on logits for that on probabilities: same values, and the
    Gauss-Newton matrix becomes the Fisher information.

    Parameters
    ----------
    net : skorch.NeuralNet
        Trained.

    Returns
    -------
    loss : callable
        ``loss(scores, y)`` of shape (n,), whose mean is the net's loss on the batch, but
        for class weights (see :func:`class_weight_scale`).

    Raises
    ------
    UnsupportedNetError
        If the loss of a batch is not a mean of smooth losses of its rows.
    """
    criterion = _checked_criterion(net)
    own = is_own(criterion)
    if isinstance(criterion, (nn.NLLLoss, nn.CrossEntropyLoss)) and not own:
        smoothing = getattr(criterion, "label_smoothing", 0.0)
        weight = None if criterion.weight is None else criterion.weight.detach().clone()

        def elements(scores, y):
            return F.cross_entropy(
                scores, y, weight=weight, reduction="none", label_smoothing=smoothing
            )

    elif isinstance(criterion, nn.BCELoss) and not own:
        logits = nn.BCEWithLogitsLoss(weight=criterion.weight, reduction="none")

        def elements(scores, y):
            return logits(scores, y.to(scores.dtype).reshape(scores.shape))

    else:
        per_row = copy.deepcopy(criterion)
        per_row.reduction = "none"
        shaped = not wants_labels(criterion)

        def elements(scores, y):
            y = as_read(criterion, scores, y)
            if shaped and y.shape != scores.shape and y.numel() == scores.numel():
                y = y.reshape(scores.shape)
            return per_row(scores, y)

    name = type(criterion).__name__

    def loss(scores: Tensor, y: Tensor) -> Tensor:
        values = elements(scores, y)
        if values.ndim == 0 or len(values) != len(scores):
            raise UnsupportedNetError(
                f"{name} with reduction='none' gives shape {tuple(values.shape)} on "
                f"{len(scores)} rows. Make it return one loss a row for that reduction."
            )
        # the mean over a row's own elements, as reduction='mean' takes it over all
        return values if values.ndim == 1 else values.flatten(1).mean(1)

    return loss


def weighs_classes(net):
    """Whether the criterion divides by the weights of a batch instead of its size."""
    criterion = _criterion(net)
    by_weights = isinstance(criterion, (nn.CrossEntropyLoss, nn.NLLLoss)) and not is_own(criterion)
    return by_weights and criterion.weight is not None


def class_weight_scale(net, y):
    """Factor that makes weighted row losses a plain mean.

    ``CrossEntropyLoss(weight=w)`` divides by the sum of the weights of the rows, not by
    their number: J = sum_i w[y_i] ce_i / sum_i w[y_i] = mean_i (w[y_i] ce_i N / W). With
    the factor N / W of the training rows the loss of a row is what 1/N of J is made of.
    Removing rows changes W as it changes N: both are held fixed in a first-order step.

    Parameters
    ----------
    net : skorch.NeuralNet
    y : Tensor of shape (n,)
        Targets of the training rows.

    Returns
    -------
    scale : float
        1.0 without class weights, and for probabilities as targets.
    """
    if not weighs_classes(net) or y.is_floating_point():
        return 1.0
    weight = _criterion(net).weight
    total = weight[y.to(weight.device)].double().sum().item()
    return y.numel() / total if total > 0 else 1.0


def _criterion(net):
    return bare_module(net.criterion_)


def _checked_criterion(net):
    criterion, owner = _criterion(net), type(net).__name__
    name = type(criterion).__name__
    for method in ("get_loss", "infer"):
        defined_in = next(kind for kind in type(net).__mro__ if method in vars(kind))
        if not defined_in.__module__.startswith("skorch.") and issubclass(defined_in, NeuralNet):
            raise UnsupportedNetError(
                f"{owner} overrides {method}, so the loss of one row is not known. Move the "
                "change into the module or into a criterion with a 'reduction' attribute."
            )
    if not hasattr(criterion, "reduction"):
        raise UnsupportedNetError(
            f"The criterion {name} of {owner} has no 'reduction' attribute: its loss cannot be "
            "split into rows. Give it one, with 'mean' and 'none', as torch's losses have."
        )
    if criterion.reduction != "mean":
        raise UnsupportedNetError(
            f"The criterion {name} of {owner} has reduction={criterion.reduction!r}; removal "
            "methods need the mean over rows. Use criterion__reduction='mean' and scale lr."
        )
    if isinstance(criterion, nn.Module) and any(True for _ in criterion.parameters()):
        raise UnsupportedNetError(
            f"The criterion {name} of {owner} has parameters of its own. Move them into the "
            "module, which is where removal methods look for them."
        )
    if isinstance(criterion, nn.L1Loss):
        raise UnsupportedNetError(
            f"L1Loss of {owner} has no second derivative, which removal methods need. Use "
            "SmoothL1Loss or HuberLoss with a small threshold."
        )
    ignored = getattr(criterion, "ignore_index", -100)
    if ignored >= 0:
        raise UnsupportedNetError(
            f"{name} of {owner} has ignore_index={ignored}, a class: rows that do not train "
            "cannot be unlearned. Leave these rows out of fit instead."
        )
    weight = getattr(criterion, "weight", None)
    one_output = isinstance(net, NeuralNetBinaryClassifier)
    if one_output and weight is not None and weight.numel() > 1:
        raise UnsupportedNetError(
            f"{name}(weight=...) of {owner} weighs positions of a batch, not rows. Use "
            "pos_weight to weigh the classes."
        )
    return criterion
