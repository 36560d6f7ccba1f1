"""Prove how well estimators forget: compare them with retraining, score them in searches."""

from sk_unlearn.model_selection._compare import compare_forgetting
from sk_unlearn.model_selection._comparison import ForgettingComparison
from sk_unlearn.model_selection._scorer import make_forgetting_scorer
from sk_unlearn.model_selection._training import FittedModels, fit_many

__all__ = [
    "FittedModels",
    "ForgettingComparison",
    "compare_forgetting",
    "fit_many",
    "make_forgetting_scorer",
]
