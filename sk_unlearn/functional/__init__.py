"""Curvature, directional derivatives and solvers as functions of a parameter dictionary.

Pure PyTorch on (model, parameters, rows): nothing here writes to a module, and nothing knows
scikit-learn or skorch. Semi-public: for those who write a removal method of their own.
"""

from ._chunks import rows_per_chunk
from ._curvature import GaussNewtonOperator, HessianOperator
from ._gradients import (
    directional_derivatives,
    losses_and_gradient,
    row_losses,
    weighted_gradient,
)
from ._head import HeadCurvature
from ._model import RowwiseModel
from ._row_sizes import RowSizes, row_sizes, sample_rows
from ._row_space import RowSpace
from ._sampled import SampledPreconditioner
from ._score_curvature import DENSE_SCORES
from ._solvers import SolverReport, conjugate_gradient
from ._work import BACKWARD, FORWARD, Work, count_passes, matrix_passes, measured_work

__all__ = [
    "BACKWARD",
    "DENSE_SCORES",
    "FORWARD",
    "GaussNewtonOperator",
    "HeadCurvature",
    "HessianOperator",
    "RowSizes",
    "RowSpace",
    "RowwiseModel",
    "SampledPreconditioner",
    "SolverReport",
    "Work",
    "conjugate_gradient",
    "count_passes",
    "directional_derivatives",
    "losses_and_gradient",
    "matrix_passes",
    "measured_work",
    "row_losses",
    "row_sizes",
    "rows_per_chunk",
    "sample_rows",
    "weighted_gradient",
]
