"""Approximate removal: a step towards the retrained model, to be measured."""

from sk_unlearn.approximate._preview import ForgetPreview
from sk_unlearn.approximate._puma import PumaClassifier, PumaRegressor
from sk_unlearn.approximate.base import (
    BaseNetForget,
    NetClassifierMixin,
    NetRegressorMixin,
    RemovalRequest,
)

__all__ = [
    "BaseNetForget",
    "ForgetPreview",
    "NetClassifierMixin",
    "NetRegressorMixin",
    "PumaClassifier",
    "PumaRegressor",
    "RemovalRequest",
]
