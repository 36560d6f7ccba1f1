"""scikit-learn estimators around skorch networks that can forget training rows."""

from sk_unlearn.approximate import PumaClassifier, PumaRegressor
from sk_unlearn.exact import (
    ArcaneEnsembleClassifier,
    RetrainClassifier,
    RetrainRegressor,
    SisaClassifier,
    SisaRegressor,
)

__version__ = "0.1.0.dev0"

__all__ = [
    "ArcaneEnsembleClassifier",
    "PumaClassifier",
    "PumaRegressor",
    "RetrainClassifier",
    "RetrainRegressor",
    "SisaClassifier",
    "SisaRegressor",
    "__version__",
]
