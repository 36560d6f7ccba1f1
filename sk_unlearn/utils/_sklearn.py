"""The only imports of scikit-learn's private names.

One file to look at when a new scikit-learn release moves them; a test forbids them
anywhere else.
"""

from sklearn.base import _fit_context as fit_context
from sklearn.utils import _safe_indexing as safe_indexing
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    RealNotInt,
    StrOptions,
)
from sklearn.utils.validation import _num_samples as num_samples

__all__ = [
    "HasMethods",
    "Interval",
    "RealNotInt",
    "StrOptions",
    "fit_context",
    "num_samples",
    "safe_indexing",
]
