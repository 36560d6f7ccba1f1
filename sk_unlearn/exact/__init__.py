"""Exact removal."""

from sk_unlearn.exact._arcane import ArcaneEnsembleClassifier
from sk_unlearn.exact._closed_form import ClosedFormClassifier, ClosedFormRegressor
from sk_unlearn.exact._retrain import RetrainClassifier, RetrainRegressor
from sk_unlearn.exact._selection import (
    BaseSelector,
    EntropySelector,
    KCenterSelector,
    RandomSelector,
)
from sk_unlearn.exact._sisa import SisaClassifier, SisaRegressor

__all__ = [
    "ArcaneEnsembleClassifier",
    "BaseSelector",
    "ClosedFormClassifier",
    "ClosedFormRegressor",
    "EntropySelector",
    "KCenterSelector",
    "RandomSelector",
    "RetrainClassifier",
    "RetrainRegressor",
    "SisaClassifier",
    "SisaRegressor",
]
