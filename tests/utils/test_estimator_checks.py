"""Each check must fail an estimator that breaks its rule: one mutant for each rule."""

import random
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier

from sk_unlearn import RetrainClassifier, RetrainRegressor
from sk_unlearn.base import Removal
from sk_unlearn.receipts import ForgetCost, ForgetLedger
from sk_unlearn.utils.estimator_checks import (
    check_exact_forget,
    check_forget_estimator,
    forget_checks_generator,
    parametrize_with_forget_checks,
)


class ChangesNothing(RetrainClassifier):
    def _forget_rows(self, rows, retained, hit):
        return Removal(ForgetCost(len(hit), 0, 0.0, 0.0))


class ReturnsNone(RetrainClassifier):
    def forget(self, X_idx=None, *, sample_id=None, groups=None):
        super().forget(X_idx, sample_id=sample_id, groups=groups)


class CountsRepeats(RetrainClassifier):
    def _resolve(self, X_idx=None, *, sample_id=None, groups=None):
        request = super()._resolve(X_idx, sample_id=sample_id, groups=groups)
        asked = X_idx if isinstance(X_idx, list) else request.hit
        return replace(request, n_requested=len(asked))


class IdsArePositions(RetrainClassifier):
    def _resolve(self, X_idx=None, *, sample_id=None, groups=None):
        if sample_id is not None and not isinstance(np.ravel(sample_id)[0], str):
            X_idx, sample_id = np.asarray(sample_id) % len(self._rows_), None
        return super()._resolve(X_idx, sample_id=sample_id, groups=groups)


class PositionsShift(RetrainClassifier):
    def forget(self, X_idx=None, *, sample_id=None, groups=None):
        if isinstance(X_idx, list):
            X_idx = self._rows_.position[np.minimum(X_idx, len(self._rows_) - 1)]
        return super().forget(X_idx, sample_id=sample_id, groups=groups)


class NoReceiptForNothing(RetrainClassifier):
    def forget(self, X_idx=None, *, sample_id=None, groups=None):
        if not len(self._resolve(X_idx, sample_id=sample_id, groups=groups).hit):
            return self
        return super().forget(X_idx, sample_id=sample_id, groups=groups)


class TakesNegatives(RetrainClassifier):
    def _resolve(self, X_idx=None, *, sample_id=None, groups=None):
        if isinstance(X_idx, int):
            X_idx %= self._rows_.n_fit
        return super()._resolve(X_idx, sample_id=sample_id, groups=groups)


class RefusesTooLate(RetrainClassifier):
    def forget(self, X_idx=None, *, sample_id=None, groups=None):
        self.n_calls_ = getattr(self, "n_calls_", 0) + 1
        return super().forget(X_idx, sample_id=sample_id, groups=groups)


class FollowsWhatIsSet(RetrainClassifier):
    def _as_told(self):
        return self._draft()


class ForgetsWhatWasSet(RetrainClassifier):
    def _set_as(self, other):
        pass


class IgnoresTheMask(RetrainClassifier):
    def fit(self, X, y, *, sample_id=None, groups=None, forget=None):
        return super().fit(X, y, sample_id=sample_id, groups=groups)


class CastsTheMask(RetrainClassifier):
    def fit(self, X, y, *, sample_id=None, groups=None, forget=None):
        forget = None if forget is None else np.asarray(forget).astype(bool)
        return super().fit(X, y, sample_id=sample_id, groups=groups, forget=forget)


class NoGuarantee(RetrainClassifier):
    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.guarantee = None
        return tags


class ClaimsTooLittleWork(RetrainClassifier):
    def _removal_cost(self, rows, hit):
        return ForgetCost(0, 0, 0.0, 0.0)


class CostLeavesATrace(RetrainClassifier):
    def forget_cost(self, X_idx=None, *, sample_id=None, groups=None):
        self.previewed_ = True
        return super().forget_cost(X_idx, sample_id=sample_id, groups=groups)


class KeepsClasses(RetrainClassifier):
    def _forget_rows(self, rows, retained, hit):
        classes = self.classes_
        removal = super()._forget_rows(rows, retained, hit)
        self.classes_ = classes
        return removal


class HalfRefused(RetrainClassifier):
    def _check_remaining(self, hit):
        if len(hit) == len(self._rows_) - 1:
            self.refused_ = True
            raise ValueError("too few rows")


class SeedsGlobally(RetrainClassifier):
    def forget(self, X_idx=None, *, sample_id=None, groups=None):
        {"numpy": np.random.seed, "torch": torch.manual_seed, "python": random.seed}[self.which](0)
        return super().forget(X_idx, sample_id=sample_id, groups=groups)


class Unseeded(RetrainClassifier):
    def _forget_rows(self, rows, retained, hit):
        removal = super()._forget_rows(rows, retained, hit)
        self.estimator_.coef_ += 1e-9 * np.random.default_rng().random()
        return removal


class TrustsTheCaller(RetrainClassifier):
    def forget(self, X_idx=None, *, sample_id=None, groups=None):
        self._rows_ = replace(self._rows_, checksum=None)
        return super().forget(X_idx, sample_id=sample_id, groups=groups)


class NotAtomic(RetrainClassifier):
    def _forgotten(self, request):
        self.receipts_ = ForgetLedger()
        ledger, draft = self.receipts_, super()._forgotten(request)
        self.receipts_ = ledger
        return draft


class TrainsInPlace(RetrainClassifier):
    def _forget_rows(self, rows, retained, hit):
        self.estimator_.fit(retained.X, retained.y)
        return Removal(self._removal_cost(rows, hit))


class CloneKeepsAll(RetrainClassifier):
    def __sklearn_clone__(self):
        return deepcopy(self)


class PickleDropsReceipts(RetrainClassifier):
    def __getstate__(self):
        return {**super().__getstate__(), "receipts_": ForgetLedger()}


class TakesNoMetadata(RetrainClassifier):
    __metadata_request__fit = {"forget": False, "sample_id": False}


class WarmStarts(RetrainClassifier):
    def _forget_rows(self, rows, retained, hit):
        warm = deepcopy(self.estimator_).set_params(warm_start=True)
        self._set_classes(retained.y)
        if len(self.classes_) < len(warm.classes_):
            return super()._forget_rows(rows, retained, hit)
        self.estimator_ = warm.fit(retained.X, retained.y)
        return Removal(self._removal_cost(rows, hit))


class HidesOldWeights(RetrainClassifier):
    def _forget_rows(self, rows, retained, hit):
        self._before_ = self.estimator_
        return super()._forget_rows(rows, retained, hit)


class HidesInTheRows(RetrainClassifier):
    def _forget_rows(self, rows, retained, hit):
        self._rows_ = replace(retained, fit_params={"before": self.estimator_.coef_})
        return super()._forget_rows(rows, retained, hit)


class HidesInTheParameters(RetrainClassifier):
    def _set_as(self, other):
        super()._set_as(other)
        self.estimator = deepcopy(self.estimator)
        self.estimator.start = other._rows_.X.sum()


class ShowsLittle(HidesOldWeights):
    def _exact_state(self):
        state = super()._exact_state()
        state.pop("_before_", None)
        return state


class HasRandomNames(RetrainClassifier):
    """What cannot be equal is shown by its content."""

    def _fit_rows(self, rows):
        super()._fit_rows(rows)
        self._file_ = (np.random.default_rng().random(), self.estimator_.coef_)

    def _forget_rows(self, rows, retained, hit):
        self._fit_rows(retained)
        return Removal(self._removal_cost(rows, hit))

    def _exact_state(self):
        return {**super()._exact_state(), "_file_": self._file_[1]}


MUTANTS = [
    (ChangesNothing, "check_forget_returns_self", "changes the model"),
    (ReturnsNone, "check_forget_returns_self", "returns self"),
    (CountsRepeats, "check_forget_request_forms", "counts distinct rows"),
    (IdsArePositions, "check_forget_integer_ids", "integer ids name rows"),
    (PositionsShift, "check_forget_positions_of_last_fit", "positions refer"),
    (NoReceiptForNothing, "check_forget_already_forgotten", "There is no receipt"),
    (TakesNegatives, "check_forget_refuses_bad_requests", "a negative position in forget"),
    (RefusesTooLate, "check_forget_refuses_bad_requests", "before anything changes"),
    (IgnoresTheMask, "check_forget_in_fit", "equals fit followed by forget"),
    (CastsTheMask, "check_forget_fit_refuses_bad_metadata", "integers in place of a forget mask"),
    (NoGuarantee, "check_forget_receipts", "says exact, certified or approximate"),
    (ClaimsTooLittleWork, "check_forget_receipts", "cost.n_forgotten is true"),
    (FollowsWhatIsSet, "check_forget_follows_the_recipe", "do not change what forget gives"),
    (ForgetsWhatWasSet, "check_forget_follows_the_recipe", "get_params shows what was set"),
    (CostLeavesATrace, "check_forget_cost_changes_nothing", "forget_cost changes nothing"),
    (KeepsClasses, "check_forget_whole_class", "leaves classes_"),
    (HalfRefused, "check_forget_down_to_one_row", "and changes nothing"),
    (Unseeded, "check_forget_repeats", "forget repeats"),
    (TrustsTheCaller, "check_forget_notices_changed_data", "in-place change of X"),
    (NotAtomic, "check_forget_is_atomic", "receipts_ differs"),
    (TrainsInPlace, "check_forget_is_atomic", "leaves the estimator as it was"),
    (CloneKeepsAll, "check_forget_clone", "a clone is unfitted"),
    (PickleDropsReceipts, "check_forget_pickle", "pickle after forget keeps the receipts"),
    (TakesNoMetadata, "check_forget_cross_validate", "sample_id"),
    (WarmStarts, "check_forget_is_exact", "bit for bit"),
    (ChangesNothing, "check_forget_is_exact", "bit for bit"),
    (HidesOldWeights, "check_forget_is_exact", "These differ: _before_."),
    (HidesInTheRows, "check_forget_is_exact", "These differ: _rows_."),
    (HidesInTheParameters, "check_forget_is_exact", "These differ: estimator."),
    (ShowsLittle, "check_forget_is_exact", "These are absent: _before_."),
]


def run(estimator, name, **data):
    (check,) = (c for _, c in forget_checks_generator(estimator, **data) if c.__name__ == name)
    check(estimator)


@pytest.mark.parametrize(("kind", "name", "message"), MUTANTS)
def test_each_check_fails_what_breaks_its_rule(kind, name, message):
    # tests/test_common.py shows that it passes RetrainClassifier itself
    with pytest.raises(AssertionError, match=message):
        run(kind(LogisticRegression()), name)


def test_every_check_has_a_mutant():
    checks = {check.__name__ for _, check in forget_checks_generator(RetrainClassifier())}
    elsewhere = {"check_forget_leaves_global_rngs", "check_forget_leaves_no_residue"}
    assert checks == {name for _, name, _ in MUTANTS} | elsewhere


@pytest.mark.parametrize("which", ["python", "numpy", "torch"])
def test_touching_a_global_generator_fails(which):
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(0)  # the very state that the mutant sets
    kind = type(f"Seeds{which}", (SeedsGlobally,), {"which": which})
    with pytest.raises(AssertionError, match="global random generator"):
        run(kind(LogisticRegression()), "check_forget_leaves_global_rngs")


def keep_rows(rows, hit):
    return rows.X[hit]


def keep_float32(rows, hit):
    return torch.from_numpy(rows.X[hit]).float()


def keep_python_numbers(rows, hit):
    return {"lost": rows.X[hit].tolist()}


def keep_view(rows, hit):
    # a pickle would hold the first row only; its base keeps all of them in memory
    return rows.X[19:20]


def keep_target(rows, hit):
    return float(rows.y[hit[0]])


@pytest.mark.parametrize(
    ("keep", "place"),
    [
        (keep_rows, "its pickle"),
        (keep_float32, "its pickle"),
        (keep_python_numbers, "its pickle"),
        (keep_view, "the memory that it reaches"),
        (keep_target, "its pickle holds no target"),
    ],
)
def test_any_copy_of_a_forgotten_row_is_found(keep, place):
    class Leaky(RetrainRegressor):
        def _forget_rows(self, rows, retained, hit):
            self._kept = [*getattr(self, "_kept", []), keep(rows, hit)]
            return super()._forget_rows(rows, retained, hit)

    # a local class is not found by name: pickle what it holds
    Leaky.__reduce__ = lambda self: (dict, (), None, None, iter(vars(self).items()))
    with pytest.raises(AssertionError, match=place):
        run(Leaky(Ridge()), "check_forget_leaves_no_residue")
    run(RetrainRegressor(Ridge()), "check_forget_leaves_no_residue")


def test_a_warm_start_fails_whatever_the_solver():
    for inner in (LogisticRegression(), SGDClassifier(loss="log_loss")):
        check_exact_forget(RetrainClassifier(inner))
        with pytest.raises(AssertionError, match="bit for bit"):
            check_exact_forget(WarmStarts(inner))


def test_content_stands_for_what_differs_by_nature(monkeypatch):
    check_exact_forget(HasRandomNames(LogisticRegression()))
    monkeypatch.delattr(HasRandomNames, "_exact_state")
    with pytest.raises(AssertionError, match="These differ: _file_"):
        check_exact_forget(HasRandomNames(LogisticRegression()))


def test_estimators_of_other_packages_are_compared_whole():
    class Foreign(HidesOldWeights):
        _exact_state = property()  # hasattr is False

    with pytest.raises(AssertionError, match=r"These differ: _before_, _rows_\."):
        check_exact_forget(Foreign(LogisticRegression()))


def test_a_regressor_that_changes_nothing_is_not_exact():
    class Idle(RetrainRegressor):
        _forget_rows = ChangesNothing._forget_rows

    with pytest.raises(AssertionError, match=r"the first row \(int ids\)"):
        check_exact_forget(Idle(Ridge()))


def test_the_users_own_data_is_used():
    rng = np.random.RandomState(0)
    X, y = rng.normal(size=(24, 7)), np.repeat(["a", "b"], 12)
    estimator = RetrainClassifier(LogisticRegression())
    check_forget_estimator(estimator, X, y)
    assert set(vars(estimator)) == {"estimator", "random_state", "verbose"}
    with pytest.raises(AssertionError, match="bit for bit"):
        check_exact_forget(WarmStarts(LogisticRegression()), X, y)
    with pytest.raises(ValueError, match="at least 20 rows, got 19"):
        check_forget_estimator(RetrainClassifier(LogisticRegression()), X[:19], y[:19])
    with pytest.raises(ValueError, match="X and y together"):
        check_exact_forget(RetrainClassifier(LogisticRegression()), X)


def test_parametrize_takes_estimators_and_data():
    X, y = np.zeros((20, 2)), np.arange(20) % 2
    estimator = RetrainClassifier(LogisticRegression())
    mark = parametrize_with_forget_checks([estimator, (estimator, X, y)])
    names, pairs = mark.mark.args
    assert names == ("estimator", "check")
    assert len(pairs) == 2 * len(list(forget_checks_generator(estimator)))
    assert mark.mark.kwargs["ids"](estimator) == "RetrainClassifier(LogisticRegression)"
