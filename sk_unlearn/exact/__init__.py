"""Exact removal: the state after ``forget`` equals a fresh fit on the retained rows."""

from sk_unlearn.exact._retrain import RetrainClassifier, RetrainRegressor

__all__ = ["RetrainClassifier", "RetrainRegressor"]
