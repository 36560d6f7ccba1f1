"""scikit-learn estimators around skorch networks that can forget training rows."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # type checkers and editors read these; at run time see __getattr__
    from sk_unlearn.approximate import PumaClassifier, PumaRegressor
    from sk_unlearn.exact import (
        ArcaneEnsembleClassifier,
        ClosedFormClassifier,
        ClosedFormRegressor,
        RetrainClassifier,
        RetrainRegressor,
        SisaClassifier,
        SisaRegressor,
    )

__version__ = "0.1.0.dev0"

__all__ = [
    "ArcaneEnsembleClassifier",
    "ClosedFormClassifier",
    "ClosedFormRegressor",
    "PumaClassifier",
    "PumaRegressor",
    "RetrainClassifier",
    "RetrainRegressor",
    "SisaClassifier",
    "SisaRegressor",
    "__version__",
]

_HOME = {
    "ArcaneEnsembleClassifier": "exact",
    "ClosedFormClassifier": "exact",
    "ClosedFormRegressor": "exact",
    "PumaClassifier": "approximate",
    "PumaRegressor": "approximate",
    "RetrainClassifier": "exact",
    "RetrainRegressor": "exact",
    "SisaClassifier": "exact",
    "SisaRegressor": "exact",
}
_MODULES = {
    "approximate",
    "base",
    "exact",
    "exceptions",
    "functional",
    "inspection",
    "metrics",
    "mixins",
    "model_selection",
    "nets",
    "pipeline",
    "receipts",
    "utils",
}


def __getattr__(name):
    # torch and skorch take seconds to import: only when something of them is asked for
    if name in _HOME:
        value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    elif name in _MODULES:
        value = import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__, *_MODULES} - {"TYPE_CHECKING", "import_module"})
