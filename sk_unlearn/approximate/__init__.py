"""Approximate removal: a step towards the retrained model, to be measured."""

from sk_unlearn.approximate._puma import PumaClassifier, PumaRegressor

__all__ = ["PumaClassifier", "PumaRegressor"]
