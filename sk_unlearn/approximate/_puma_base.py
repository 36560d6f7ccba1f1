"""PUMA on a net: which rows play which part, and one request from start to end."""

from dataclasses import replace
from functools import partial
from itertools import pairwise
from numbers import Integral, Real

import numpy as np
import torch
from tqdm.auto import tqdm

from sk_unlearn.approximate._advice import advice, expected_gap
from sk_unlearn.approximate._budget import (
    A_DENSE_ROW,
    Budget,
    affordable_rows,
    most_work,
    row_cost,
)
from sk_unlearn.approximate._correction import N_ROWS, rows_to_look_at
from sk_unlearn.approximate._criterion import HeldOutLoss, UserCriterion
from sk_unlearn.approximate._curvature_cache import CurvatureCache
from sk_unlearn.approximate._curvature_system import (
    OPERATORS,
    Objective,
    SolverSettings,
    build_system,
)
from sk_unlearn.approximate._influences import InfluencesMixin
from sk_unlearn.approximate._net_rows import RowBatch
from sk_unlearn.approximate._preview import ForgetPreviewMixin
from sk_unlearn.approximate._puma_cost import puma_work
from sk_unlearn.approximate._removal_step import StepSettings
from sk_unlearn.approximate._trusted_step import trusted_step
from sk_unlearn.approximate.base import BaseNetForget
from sk_unlearn.base import Removal
from sk_unlearn.exceptions import RemovalFailedError
from sk_unlearn.functional import measured_work, rows_per_chunk
from sk_unlearn.nets import (
    check_differentiable,
    rowwise_model,
    to_tensors,
    weight_decay,
)
from sk_unlearn.nets._criteria import weighs_classes
from sk_unlearn.nets._proximal import proximal_term
from sk_unlearn.utils._generators import without_draws
from sk_unlearn.utils._seeding import keyed_uniform
from sk_unlearn.utils._sklearn import Interval, RealNotInt, StrOptions

__all__ = ["BasePuma"]

# Of the proximal term of training. On the development half of benchmarks/bench_trust.py 1 leaves
# forgotten rows at .22 of the distance of doing nothing in the median, 2 and 3 at .26 and .33.
TRAINING_FACTOR = 1.0


class BasePuma(ForgetPreviewMixin, InfluencesMixin, BaseNetForget):
    """The method; classifier and regressor differ only in their targets."""

    _parameter_constraints: dict = {
        **BaseNetForget._parameter_constraints,
        "eta": [Interval(Real, 0, None, closed="left")],
        "compensation": [StrOptions({"auto", "l1", "l2"}), None],
        "max_weight": [Interval(Real, 0, None, closed="neither")],
        "strict": ["boolean"],
        "curvature": [StrOptions(set(OPERATORS))],
        "damping": [Interval(Real, 0, None, closed="neither"), StrOptions({"training"})],
        "adaptive_damping": ["boolean"],
        "n_curvature_rows": [
            Interval(Integral, 1, None, closed="left"),
            Interval(RealNotInt, 0, 1, closed="neither"),
            None,
        ],
        "tol": [Interval(Real, 0, 0.5, closed="right")],
        "max_products": [Interval(Integral, 1, None, closed="left")],
        "n_steps": [Interval(Integral, 1, None, closed="left")],
        "params": [str, list, tuple, None],
        "performance": [callable, None],
    }
    # all that is PUMA's own matters to removal only
    _removal_params = frozenset(_parameter_constraints) - {*BaseNetForget._parameter_constraints}
    _removal_params |= BaseNetForget._removal_params
    _between_requests = (*BaseNetForget._between_requests, "_n_compensated_", "_curvature_cache_")

    def __init__(
        self,
        estimator=None,
        *,
        eta=1.0,
        compensation="auto",
        max_weight=1.0,
        strict=False,
        curvature="gauss_newton",
        damping="training",
        adaptive_damping=True,
        n_curvature_rows=300,
        tol=1e-1,
        max_products=100,
        n_steps=1,
        params=None,
        performance=None,
        validation_fraction=0.1,
        chunk_size=None,
        on_advice="warn",
        max_drift=None,
        memory=None,
        random_state=None,
        verbose=0,
    ):
        super().__init__(
            estimator,
            validation_fraction=validation_fraction,
            chunk_size=chunk_size,
            on_advice=on_advice,
            max_drift=max_drift,
            memory=memory,
            random_state=random_state,
            verbose=verbose,
        )
        self.eta = eta
        self.compensation = compensation
        self.max_weight = max_weight
        self.strict = strict
        self.curvature = curvature
        self.damping = damping
        self.adaptive_damping = adaptive_damping
        self.n_curvature_rows = n_curvature_rows
        self.tol = tol
        self.max_products = max_products
        self.n_steps = n_steps
        self.params = params
        self.performance = performance

    def __getstate__(self):
        state = dict(super().__getstate__())  # it may be the estimator's own __dict__
        state.pop("_curvature_cache_", None)
        return state

    def clear_memory(self):
        """Remove the trained nets that ``memory`` keeps, those of other estimators included.

        What requests to this estimator left in memory for later ones goes too.

        Returns
        -------
        self : object
        """
        vars(self).pop("_curvature_cache_", None)
        return super().clear_memory()

    def _check_net(self, net, X, y):
        check_differentiable(net, X, y, params=self.params)

    def _fit_rows(self, rows):
        super()._fit_rows(rows)
        # the objective keeps this divisor, so that requests in turn add up to one request
        self._n_objective_ = self._n_trained
        # a class-weighted mean divides by the sum of the weights: numbers that stay fixed too
        y = self._net_target(rows.y)[self._trained_]
        self._class_counts_ = np.bincount(y) if self._classification else None
        self._proximal_ = proximal_term(self.estimator_, self._n_objective_)

    def _forget_rows(self, rows, retained, hit):
        removal = super()._forget_rows(rows, retained, hit)
        cache = getattr(self, "_curvature_cache_", None)
        if cache is not None:
            self._curvature_cache_ = cache.after(self.estimator_)
        return removal

    def _remove(self, net, request):
        """Move the parameters: as many steps as the request is split into."""
        # in evaluation mode; what draws there all the same has no gradient to speak of
        with measured_work() as work, without_draws():
            budget = Budget(work, most_work(request.n_epochs, request.n_retained))
            params, reports = self._move(net, request, budget)
        solver = {
            "steps": [report.to_dict() for report in reports],
            "expected_gap": expected_gap(reports),
        }
        messages = advice(reports, retrain=self._retrain_class)
        cost = request.cost(work.row_passes)
        return params, Removal(cost, solver, messages, self._remarks(reports))

    def _move(self, net, request, budget):
        forgotten, reports = request.forgotten, []
        cache = self._known_curvature(request.retained)
        objective = self._objective(net, request.retained, cache)
        criterion, params = self._criterion(net, objective), objective.model.parameters()
        if cache.kept is not None:
            kept = cache.kept.drop(objective.model, params, forgotten, request.position)
            cache = replace(cache, kept=kept)
        names = StepSettings.__dataclass_fields__
        settings = {name: getattr(self, name) for name in names}
        step = StepSettings(**settings | {"compensation": self._compensation})
        parts = _consecutive(len(forgotten), self.n_steps)
        settings = replace(self._solver_settings(), several_steps=len(parts) > 1)
        start, before = 0, budget.spent
        for part in self._progress(parts):
            if part.start < start:  # went in a step before
                continue
            taken = budget.spent - before
            if start and not budget.allows(taken):
                part = slice(start, len(forgotten))  # all others at once
            before, start = budget.spent, part.stop
            budget.begin()
            later = forgotten.part(slice(start, None))
            system, cache = build_system(objective, params, cache, settings, later)
            system = system.limited(budget.products(settings.n_sampled, settings.max_products))
            candidates = partial(self._candidates, cache)
            allowed = system.closed_form or budget.allows_compensation(
                settings.n_sampled, self._row_cost
            )
            params, report = trusted_step(
                objective,
                params,
                forgotten.part(part),
                system,
                criterion,
                step if allowed else replace(step, compensation=None),
                candidates,
                budget,
                partial(rows_to_look_at, objective, cache) if self._corrects else None,
            )
            if step.compensation and not allowed:
                report = replace(report, compensated=False)
            reports.append(report)
        if cache.kept is not None:
            moved = cache.kept.moved + sum(report.step_ratio for report in reports)
            cache = replace(cache, kept=replace(cache.kept, moved=moved))
        at_once = None if self.chunk_size else (objective.chunk_size, objective.most_kept)
        self._curvature_cache_ = replace(cache, rows_at_once=at_once)
        compensated = any(report.n_weighted for report in reports)
        self._n_compensated_ = vars(self).get("_n_compensated_", 0) + compensated
        return params, reports

    def _row_passes(self, n_forgotten, n_retained):
        n_sampled, n_rows = self._n_sampled(n_retained), len(self._trained_) - n_forgotten
        cache = getattr(self, "_curvature_cache_", None)
        sized = n_sampled >= n_retained or (cache is not None and cache.curvature is not None)
        parameters = self.estimator_.module_.parameters()
        return puma_work(
            n_forgotten=n_forgotten,
            n_held_out=n_rows - n_retained,
            n_sampled=n_sampled,
            n_sized=0 if sized else n_rows,
            n_parameters=sum(p.numel() for p in parameters if p.requires_grad),
            limit=most_work(self._n_epochs, n_retained),
            dense=self._row_cost == A_DENSE_ROW,
            compensates=self._compensation is not None,
            adapts=self.adaptive_damping,
            n_corrected=min(n_retained, N_ROWS) if self._corrects else 0,
            n_steps=min(self.n_steps, n_forgotten),
        )

    @property
    def _compensation(self):
        """That asked for, or none where damping is the training's: there it costs more."""
        if self.compensation != "auto":
            return self.compensation
        return None if self.damping == "training" else "l1"

    @property
    def _corrects(self):
        return self.damping == "training" and self.adaptive_damping and self.n_steps == 1

    def _n_sampled(self, n_trained):
        wanted = self.n_curvature_rows
        if wanted is None:
            return n_trained
        n_rows = wanted if isinstance(wanted, Integral) else int(wanted * n_trained)
        affordable = affordable_rows(
            most_work(self._n_epochs, n_trained) / self.n_steps, self._row_cost
        )
        return min(max(n_rows, 1), n_trained, affordable)

    @property
    def _row_cost(self):
        n_scores = len(self._class_counts_) if self._classification else self._rows_.y[:1].size
        return row_cost(self.estimator_.module_, n_scores)

    def _acted_through(self):
        n_requests = vars(self).get("_n_compensated_", 0)
        requests = "request" if n_requests == 1 else "requests"
        own = (f"the criterion of compensation in {n_requests} earlier {requests}",)
        return super()._acted_through() + (own if n_requests else ())

    def _remarks(self, reports):
        if self.compensation is None or reports[0].criterion is not None:
            return ()
        return (
            "No rows were held out, so the harm of the removal could be neither compensated "
            "nor measured, and nothing tells whether to retrain: set validation_fraction, or give "
            "more rows.",
        )

    def _expected_gap(self, removal):
        return (removal.solver or {}).get("expected_gap", 0.0)

    def _objective(self, net, retained, cache, *, damping=None):
        # a net that a request left is finite
        if cache.kept is None and not _is_finite(net.module_):
            raise RemovalFailedError(
                "The net has parameters that are not finite: its training diverged. Lower its "
                "learning rate or scale the data, and fit again."
            )
        y = self._objective_targets() if weighs_classes(net) else None
        model = rowwise_model(net, y=y, params=self.params)
        rows, draw = self._net_rows(net, retained), cache.draw
        if draw is None:
            draw = keyed_uniform(self._seed_, "curvature", retained.ids)
        params, decay = model.parameters(), weight_decay(net)
        damping = self.damping if damping is None else damping
        metric = damping == "training"
        if metric:
            ridge = self._proximal_.ridge(params, decay, TRAINING_FACTOR)
        else:
            ridge = {name: torch.full_like(p, damping + decay[name]) for name, p in params.items()}
        chunk_size, most_kept = self._rows_at_once(model, params, rows, cache)
        return Objective(
            model,
            rows,
            self._mask(net),
            draw,
            self._n_objective_,
            model.flatten(ridge),
            chunk_size,
            most_kept,
            metric,
        )

    def _objective_targets(self):
        """Class numbers of the rows of the objective in ``fit``; None for regression."""
        if self._class_counts_ is None:
            return None
        counts = torch.from_numpy(self._class_counts_)
        return torch.repeat_interleave(torch.arange(len(counts)), counts)

    def _mask(self, net):
        """Which retained rows the net is trained on, beside its tensors."""
        return torch.from_numpy(self._trained_).to(next(net.module_.parameters()).device)

    def _rows_at_once(self, model, params, rows, cache):
        """Rows in a pass, and rows whose graph may be kept."""
        if self.chunk_size:
            return self.chunk_size, self.chunk_size
        if cache.rows_at_once is not None:
            return cache.rows_at_once
        few = rows.take(range(min(2, len(rows)))).X
        return tuple(rows_per_chunk(model, params, few, kept=kept) for kept in (False, True))

    def _solver_settings(self):
        n_sampled = self._n_sampled(self._n_trained)
        return SolverSettings(n_sampled, self.curvature, self.tol, self.max_products)

    def _criterion(self, net, objective):
        """The performance criterion on the held-out rows; None where there are none."""
        if self._external_ is not None:
            X, y = self._external_
            if self._classification:  # a class that was forgotten is no longer to be predicted
                X, y = X[np.isin(y, self._columns_)], y[np.isin(y, self._columns_)]
            batch = RowBatch(*to_tensors(net, X, y)) if len(y) else ()
        else:
            held_out = np.flatnonzero(~self._trained_)
            batch = objective.rows.take(held_out) if len(held_out) else ()
        if not len(batch):
            return None
        if self.performance is not None:
            return UserCriterion(self.performance, objective.model, batch.X, batch.y)
        return HeldOutLoss(objective.model, batch.X, batch.y, objective.chunk_size)

    def _known_curvature(self, rows):
        """What earlier requests learnt about the rows that are left."""
        cache = getattr(self, "_curvature_cache_", None)
        if cache is None:
            return CurvatureCache(rows.position)
        if cache.kept is not None and not cache.imprint.fits(self.estimator_):
            cache = replace(cache, kept=None)  # somebody has changed the net since
        return cache.restrict(rows.position)

    def _candidates(self, cache):
        """Rows to consider for compensation; None means all.

        Few rows carry an "l1" compensation, those of the largest influence, which are
        among those of the largest gradients.
        """
        if self._compensation != "l1" or cache.gradient is None:
            return None
        return cache.largest_gradients(self._n_sampled(self._n_trained))

    def _progress(self, parts):
        if not self.verbose:
            return parts
        return tqdm(parts, desc="forgetting", unit="step", leave=False)


def _consecutive(n_rows, n_parts):
    """Slices of about equal lengths, none of them empty."""
    n_parts = min(n_parts, n_rows)
    length, n_longer = divmod(n_rows, n_parts)
    stops = [k * length + min(k, n_longer) for k in range(n_parts + 1)]
    return [slice(*ends) for ends in pairwise(stops)]


def _is_finite(module):
    return all(torch.isfinite(parameter).all() for parameter in module.parameters())
