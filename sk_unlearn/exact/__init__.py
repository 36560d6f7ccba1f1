"""Exact removal."""

from sk_unlearn.exact._retrain import RetrainClassifier, RetrainRegressor
from sk_unlearn.exact._sisa import SisaClassifier, SisaRegressor

__all__ = ["RetrainClassifier", "RetrainRegressor", "SisaClassifier", "SisaRegressor"]
