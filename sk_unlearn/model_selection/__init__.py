"""Prove how well estimators forget: compare them with retraining, score them in searches."""

from sk_unlearn.model_selection._compare import compare_forgetting
from sk_unlearn.model_selection._comparison import ForgettingComparison
from sk_unlearn.model_selection._params import forget_params
from sk_unlearn.model_selection._refit import best_within_bounds
from sk_unlearn.model_selection._scorer import make_forgetting_scorer
from sk_unlearn.model_selection._training import FittedModels, fit_many

__all__ = [
    "FittedModels",
    "ForgettingComparison",
    "best_within_bounds",
    "compare_forgetting",
    "fit_many",
    "forget_params",
    "make_forgetting_scorer",
]
