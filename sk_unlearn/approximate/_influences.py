"""What each retained row does to a criterion."""

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from sk_unlearn.approximate._criterion import HeldOutLoss
from sk_unlearn.approximate._curvature_system import build_system
from sk_unlearn.functional import directional_derivatives
from sk_unlearn.nets import to_tensors
from sk_unlearn.utils._generators import without_draws
from sk_unlearn.utils._inputs import check_net_input
from sk_unlearn.utils._transaction import on_snapshot
from sk_unlearn.utils._warn import warn_user

__all__ = ["InfluencesMixin"]


class InfluencesMixin:
    """An estimator that tells what its rows do, by the curvature that its removals use."""

    @on_snapshot
    def influences(self, X=None, y=None, *, damping=None):
        """Effect of each retained row on a performance criterion, to first order.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features) or (n_rows, ...), default=None
            Rows whose mean loss is the criterion. None means the rows that ``fit`` held
            out (or what ``performance`` makes of them). For finding mislabelled rows
            give a few rows known to be clean.
        y : array-like of shape (n_rows,), default=None
        damping : float, default=None
            In place of the estimator's. Larger values, 0.1 to 1, rank more stably.

        Returns
        -------
        phi : ndarray of shape (n_retained,)
            In the order of the retained rows of the last ``fit``. Change of the criterion
            for one more unit of weight on a row, 1 being the weight it has. Positive:
            up-weighting the row raises the criterion, it does harm. Rank by it,
            descending, to find mislabelled rows. For rows that were held out it is the
            effect that training on them would have.

        Notes
        -----
        Cost: one curvature solve and one forward-mode pass over the rows; no per-row
        gradient is formed.
        """
        check_is_fitted(self)
        self._rows_.verify(type(self).__name__)
        if (X is None) != (y is None):
            raise ValueError("influences takes X and y together, or neither.")
        told = self._as_told()
        with told._computing(), without_draws():
            net = told.estimator_
            cache = told._known_curvature(told._rows_)
            objective = told._objective(net, told._rows_, cache, damping=damping)
            if X is None:
                criterion = told._criterion(net, objective)
                if criterion is None:
                    raise ValueError(
                        "influences needs a criterion: no rows were held out. Pass X and y, or "
                        "set validation_fraction or the train_split of the net."
                    )
            else:
                X, y = check_net_input(told, X), told._net_target(np.asarray(y))
                batch = to_tensors(net, X, y)
                criterion = HeldOutLoss(objective.model, *batch, objective.chunk_size)
            slopes, solved = _influences(criterion, objective, cache, told._solver_settings())
        if not solved.converged:
            warn_user(f"influences are inaccurate: {solved.message}", ConvergenceWarning)
        return -slopes / self._n_objective_


def _influences(criterion, objective, cache, settings):
    """Minus the effect of a unit of weight on each row, times the divisor of the objective.

    It is the derivative of all row losses along the solve with the criterion's gradient.
    """
    params, nothing = objective.model.parameters(), objective.rows.take([])
    system, _ = build_system(objective, params, cache, settings, nothing)
    toward, solved = system.solve(criterion.value_and_gradient(params)[1])
    at, chunk = (objective.model, params), {"chunk_size": objective.chunk_size}
    slopes = [
        directional_derivatives(*at, part.X, part.y, toward, **chunk).double().cpu()
        for part in objective.rows.parts()
    ]
    return torch.cat(slopes).numpy(), solved
