"""What the outputs of a classifier's net say about classes, decided before it is trained."""

import numpy as np
import torch
from sklearn.base import clone
from skorch import NeuralNetBinaryClassifier, NeuralNetClassifier
from torch import nn

from sk_unlearn.exceptions import UnsupportedNetError
from sk_unlearn.nets._criteria import first_output, links, wants_labels
from sk_unlearn.nets._forward import ForwardPass, Reader, in_chunks
from sk_unlearn.nets._inspect import bare_module
from sk_unlearn.nets._spared import spared_net
from sk_unlearn.utils._seeding import isolated_rng

__all__ = [
    "as_columns",
    "as_probabilities",
    "check_class_outputs",
    "check_outputs",
    "predicts_itself",
    "proba_pass",
    "softmax_of_logits",
    "too_narrow",
]

# Methods of a net that decide what its predict_proba says.
_PREDICTING = ("predict_proba", "forward", "forward_iter", "evaluation_step")
_TRIAL_ROWS = 16
_TOLERANCE = 1e-3  # of a sum of float32 or float16 probabilities


def proba_link(net):
    """What a net's ``predict_nonlinearity`` makes of the output of its module."""
    nonlinearity = net.predict_nonlinearity
    if nonlinearity is None:
        return first_output
    if callable(nonlinearity):
        return lambda output: nonlinearity(first_output(output))
    return links(net)[1]


def proba_pass(net):
    """What takes rows of a trained net to what its ``predict_proba`` says."""
    return OwnPass(net) if predicts_itself(net) else ForwardPass(net, proba_link(net))


def predicts_itself(net):
    """Whether a net's class overrides how skorch predicts."""
    methods = (getattr(type(net), name) for name in _PREDICTING)
    return not all(method.__module__.startswith("skorch.") for method in methods)


class OwnPass:
    """:class:`ForwardPass` of a net whose class overrides how skorch predicts.

    Parameters
    ----------
    net : skorch.NeuralNet
        Trained.
    """

    def __init__(self, net):
        net.check_is_fitted()
        self.read = Reader.of(net)
        self.net, self._judge = spared_net(net)

    def __call__(self, rows):
        """What the net's own ``predict_proba`` says of rows."""
        said = torch.as_tensor(np.asarray(self.net.predict_proba(rows.numpy(force=True))))
        if self._judge is not None:
            self._judge()
        return said


def softmax_of_logits(net):
    """Whether skorch takes the softmax of a net's outputs: probabilities, whatever they are."""
    if predicts_itself(net):
        return False
    auto = not (net.predict_nonlinearity is None or callable(net.predict_nonlinearity))
    return auto and isinstance(bare_module(net.criterion_), nn.CrossEntropyLoss)


def check_outputs(net, output):
    """Refuse outputs from which a skorch classifier could predict no class.

    Parameters
    ----------
    net : skorch.NeuralNet
        Initialised; anything but a classifier of skorch's passes.
    output : Tensor
        Of the module, for some rows.

    Raises
    ------
    UnsupportedNetError
        If the loss would take the log of what is no probability, or there is one number a
        row and nothing makes a column a class of it.
    """
    is_classifier = isinstance(net, (NeuralNetClassifier, NeuralNetBinaryClassifier))
    if not is_classifier or predicts_itself(net):
        return
    _check_log(net, output)
    with torch.no_grad():
        said = _linked(net, output).numpy(force=True)
    labels = wants_labels(bare_module(net.criterion_))
    if not labels or callable(net.predict_nonlinearity):
        # of these losses labels without an output are refused by their number
        _check_columns(net, output, said, 1 if labels else 2)


def check_class_outputs(net, X, n_classes, *, owner, probabilities=False):
    """Refuse a net that says nothing about classes, or no probabilities where they are needed.

    Parameters
    ----------
    net : skorch.NeuralNet
        Prepared, or trained; left untouched.
    X : ndarray of shape (n_rows, ...)
        A few rows are sent through it.
    n_classes : int
    owner : str
        The caller, for the message.
    probabilities : bool, default=False
        Whether the caller adds up what the net says.

    Returns
    -------
    n_outputs : int or None
        Columns of what the net predicts; None if it fails on the rows, which training will
        say in its own words.

    Raises
    ------
    UnsupportedNetError
    """
    if not net.initialized_:
        with isolated_rng(0):
            net = clone(net).initialize()
    try:
        with isolated_rng(0):
            raw = torch.from_numpy(_ask(ForwardPass(net, first_output), X))
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError):
        return None
    _check_log(net, raw)
    own = predicts_itself(net)
    with isolated_rng(0):
        said = _ask(OwnPass(net), X) if own else _linked(net, raw).numpy(force=True)
    _check_columns(net, raw, said, n_classes)
    if probabilities and not softmax_of_logits(net) and not _are_probabilities(said):
        raise UnsupportedNetError(
            f"{owner}(aggregation='soft') averages probabilities, and {_predicts(net)} rows that "
            f"do not add up to one. {_REMEDY}, or count votes with aggregation='hard'."
        )
    return said.shape[1]


def _ask(step, X):
    return in_chunks([step], X[:_TRIAL_ROWS], lambda each: each[0])


_REMEDY = (
    "Set the net's predict_nonlinearity to what makes probabilities of its scores, for example "
    "a function that returns torch.softmax(scores, dim=-1)"
)


def as_columns(proba):
    """A model's answers as one column a class: of one logit skorch makes shape (n_rows, 2, 1)."""
    return proba[:, :, 0] if proba.ndim == 3 and proba.shape[2] == 1 else proba


def as_probabilities(proba, name):
    """Probabilities that a model gives, or the reason why they are none.

    Parameters
    ----------
    proba : ndarray of shape (n_rows, n_outputs)
    name : str
        Of the model.

    Returns
    -------
    proba : ndarray

    Raises
    ------
    UnsupportedNetError
    """
    if not _are_probabilities(proba):
        raise UnsupportedNetError(
            f"What {name} gives for a class is no probability: its rows do not add up to one. "
            f"{_REMEDY}. predict needs none."
        )
    return proba


def too_narrow(net, n_outputs, n_classes):
    """The error for more classes than outputs."""
    return UnsupportedNetError(
        f"The module of {type(net).__name__} has {n_outputs} outputs and y has "
        f"{n_classes} classes. Give it one output a class, for example "
        f"module__n_outputs={n_classes}."
    )


def _are_probabilities(proba):
    if proba.ndim != 2:
        return False
    off = np.abs(proba.sum(axis=1) - 1) > _TOLERANCE
    # what is not a number comes from a training that diverged, of which training warns
    return not (off.any() or (proba < -_TOLERANCE).any())


def _linked(net, output):
    try:
        return proba_link(net)(output)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise UnsupportedNetError(
            f"predict_nonlinearity of {type(net).__name__} failed on outputs of shape "
            f"{('n', *first_output(output).shape[1:])}: {error}"
        ) from error


def _check_log(net, output):
    """skorch's classifier hands NLLLoss the log of what the module returns."""
    kind = next((base for base in type(net).__mro__ if "get_loss" in vars(base)), None)
    if kind is not NeuralNetClassifier:
        return
    criterion, output = bare_module(net.criterion_), first_output(output)
    if not isinstance(criterion, nn.NLLLoss) or not torch.is_tensor(output):
        return
    if (output < 0).any() or (output > 1 + _TOLERANCE).any():
        raise UnsupportedNetError(
            f"{type(criterion).__name__} of {type(net).__name__} is given the log of what the "
            "module returns, which must be probabilities, and it returns numbers from "
            f"{output.min():.3g} to {output.max():.3g}. Use criterion=torch.nn.CrossEntropyLoss "
            "for scores and for their log_softmax, or end the module with softmax."
        )


def _check_columns(net, output, said, n_classes):
    """Refuse outputs without a column for each class."""
    if said.ndim == 2 and said.shape[1] >= n_classes:
        return
    criterion, output = bare_module(net.criterion_), first_output(output)
    if wants_labels(criterion) and output.ndim == 2 and output.shape[1] < n_classes:
        raise too_narrow(net, output.shape[1], n_classes)
    raise UnsupportedNetError(
        f"{_predicts(net)} shape {('n', *said.shape[1:])} for n rows and y has {n_classes} "
        "classes: the largest column is no class. Give the module one output a class, or, of one "
        "output for two classes, set predict_nonlinearity to a function that returns two columns, "
        "for example torch.stack((1 - p, p), dim=1) of p = torch.sigmoid(scores).flatten()."
    )


def _predicts(net):
    kind = "None" if net.predict_nonlinearity is None else "'auto'"
    if callable(net.predict_nonlinearity):
        kind = getattr(net.predict_nonlinearity, "__name__", "a callable")
    criterion = type(bare_module(net.criterion_)).__name__
    return (
        f"{type(net).__name__} with criterion {criterion} and predict_nonlinearity={kind} predicts"
    )
