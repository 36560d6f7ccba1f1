"""The nets used when the user gives none: a small MLP sized by the data."""

import math

import torch
from skorch import NeuralNetClassifier, NeuralNetRegressor
from torch import nn

__all__ = ["MLP", "ScaledFlatten", "default_classifier", "default_regressor"]

# Optimiser steps. Measured on held-out rows of digits, iris, wine, breast cancer: no gain beyond.
_STEPS = 1500
# Noisy regression (diabetes) overfits beyond so many epochs; some thousand rows of a function
# that is not linear need them all (benchmarks/bench_regression.py).
_REGRESSOR_EPOCHS, _REGRESSOR_STEPS = 50, (500, 3500)
_EPOCHS = (20, 100)
_DECAY = {"classifier": 1e-4, "regressor": 1e-2}
# At 1e-3 a linear model stops far from its minimum (letters: accuracy .62 in place of .72,
# benchmarks/bench_linear_head.py --lr), where what a row does to the minimum says little about
# what it did to the net.
_LINEAR_LR = 1e-2
_BATCH = (32, 128)


class MLP(nn.Module):
    """Multi-layer perceptron; inputs of more than two axes are flattened.

    Parameters
    ----------
    n_features : int
        Numbers in one row.
    n_outputs : int
        Classes, or columns of a regression target. The output has shape (n, n_outputs),
        also for one output.
    hidden : sequence of int, default=(128,)
        Widths of the hidden layers; empty means a linear model.
    activation : type of nn.Module, default=nn.ReLU
    inputs : GridScale, default=None
        How inputs are scaled before the first layer; None takes them as they are.

    Examples
    --------
    >>> import torch
    >>> from sk_unlearn.nets import MLP
    >>> MLP(4, 3)(torch.zeros(2, 4)).shape
    torch.Size([2, 3])
    """

    def __init__(self, n_features, n_outputs, hidden=(128,), activation=nn.ReLU, inputs=None):
        super().__init__()
        layers = [nn.Flatten() if inputs is None else ScaledFlatten(inputs)]
        width = n_features
        for size in hidden:
            layers += [nn.Linear(width, size), activation()]
            width = size
        self.layers = nn.Sequential(*layers, nn.Linear(width, n_outputs))

    def forward(self, X):
        return self.layers(X)


class ScaledFlatten(nn.Flatten):
    """Flatten rows and bring each number to about unit scale.

    Parameters
    ----------
    inputs : GridScale
        One scale a number. Kept in buffers, so that they belong to the state of the net.
    """

    def __init__(self, inputs):
        super().__init__()
        # of powers of two, which are exact; the offset comes after, where it is small
        self.register_buffer("factor", 1 / torch.tensor(inputs.scale, dtype=torch.float32))
        self.register_buffer("offset", torch.tensor(inputs.offset, dtype=torch.float32))

    def forward(self, X):
        return super().forward(X) * self.factor - self.offset


class Restored:
    """Callable that takes a net's outputs back to the units of the targets.

    Parameters
    ----------
    targets : GridScale
    """

    def __init__(self, targets):
        self.targets = targets

    def __call__(self, output):
        scale, offset = output.new_tensor(
            (self.targets.scale, self.targets.offset), dtype=torch.float64
        )
        return (output.double() + offset) * scale


def default_classifier(*, n_features, n_outputs, n_rows, hidden=(128,), device=None):
    """Unfitted net for classification, sized by the data.

    An :class:`MLP` trained on the cross-entropy of its logits by Adam (learning rate
    1e-3, or 1e-2 without hidden layers; weight decay 1e-4, which gives the objective
    curvature everywhere), on shuffled batches, without internal validation. Batch size and
    number of epochs follow from ``n_rows``: about 1500 optimiser steps, fewer for tiny and
    more for large data.

    Parameters
    ----------
    n_features : int
        Numbers in one row, all axes multiplied.
    n_outputs : int
        Classes.
    n_rows : int
        Training rows; 1 is enough.
    hidden : sequence of int, default=(128,)
    device : str, default=None
        None takes "cuda" where available.

    Returns
    -------
    net : skorch.NeuralNetClassifier

    Notes
    -----
    Features should have about unit scale. A feature of scale 1e6 makes the first steps
    as large; the net still trains, badly, and ``fit`` of the estimators around it gives an
    :class:`~sk_unlearn.exceptions.InputScaleWarning`. Put a StandardScaler in front.

    Examples
    --------
    >>> from sk_unlearn.nets import default_classifier
    >>> default_classifier(n_features=64, n_outputs=10, n_rows=1797).batch_size
    32
    """
    return NeuralNetClassifier(
        MLP,
        criterion=nn.CrossEntropyLoss,
        **_common("classifier", n_features, n_outputs, n_rows, hidden, device),
    )


def default_regressor(
    *, n_features, n_outputs, n_rows, hidden=(128,), device=None, inputs=None, targets=None
):
    """Unfitted net for regression, sized by the data.

    As :func:`default_classifier`, with the mean squared error, weight decay 1e-2 and about 50
    epochs, within 500 to 3500 steps.

    Parameters
    ----------
    n_features, n_outputs, n_rows : int
    hidden : sequence of int, default=(128,)
    device : str, default=None
    inputs : GridScale, default=None
        How inputs are scaled inside the net; None takes them as they are, which should then
        have about unit scale.
    targets : GridScale, default=None
        How the targets that the net is trained on were scaled: its predictions are scaled
        back, as float64. None predicts in the units that it is trained in, which should
        then have about unit scale.

    Returns
    -------
    net : skorch.NeuralNetRegressor

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sk_unlearn.nets import GridScale, default_regressor, prepare
    >>> X, y = load_diabetes(return_X_y=True)
    >>> y = y[:, None]
    >>> scales = {"inputs": GridScale.of_inputs(X), "targets": GridScale.of_targets(y)}
    >>> net = default_regressor(n_features=10, n_outputs=1, n_rows=len(X), **scales)
    >>> net = prepare(net).fit(X, scales["targets"].apply(y))
    >>> bool(abs(net.predict(X.astype("float32")).mean() - y.mean()) < 0.1 * y.std())
    True
    """
    common = _common("regressor", n_features, n_outputs, n_rows, hidden, device)
    if inputs is not None:
        common["module__inputs"] = inputs
    if targets is not None:
        common["predict_nonlinearity"] = Restored(targets)
    return NeuralNetRegressor(MLP, criterion=nn.MSELoss, **common)


def _common(kind, n_features, n_outputs, n_rows, hidden, device):
    batch_size, max_epochs = _schedule(n_rows, kind)
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return {
        "module__n_features": n_features,
        "module__n_outputs": n_outputs,
        "module__hidden": tuple(hidden),
        "optimizer": torch.optim.Adam,
        "optimizer__weight_decay": _DECAY[kind],
        "optimizer__fused": True,
        "lr": 1e-3 if hidden else _LINEAR_LR,
        "batch_size": batch_size,
        "max_epochs": max_epochs,
        "iterator_train__shuffle": True,
        "train_split": None,
        "callbacks__epoch_timer": None,
        "verbose": 0,
        "device": device,
    }


def _schedule(n_rows, kind):
    """Batch size and epochs: the batch grows with the data, the steps stay about equal."""
    wanted = max(1, math.ceil(n_rows / 100))
    batch_size = min(max(_BATCH[0], 2 ** math.ceil(math.log2(wanted))), _BATCH[1])
    steps_per_epoch = math.ceil(n_rows / batch_size)
    steps = _STEPS
    if kind == "regressor":
        least, most = _REGRESSOR_STEPS
        steps = min(max(_REGRESSOR_EPOCHS * steps_per_epoch, least), most)
    epochs = math.ceil(steps / steps_per_epoch)
    return batch_size, min(max(epochs, _EPOCHS[0]), _EPOCHS[1])
