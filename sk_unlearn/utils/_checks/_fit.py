"""What ``fit`` takes, what receipts say, and what becomes of classes."""

import math
from copy import deepcopy

import numpy as np
from sklearn.utils import get_tags

__all__ = ["FORGET_CHECKS"]

_ROWS = [2, 9, 10, 21]


def check_forget_in_fit(case):
    """``fit(forget=mask)`` does what ``fit`` and ``forget`` do."""
    mask = case.mask(_ROWS)
    at_once = case.fit(sample_id=case.ids, forget=mask)
    after = case.fit(sample_id=case.ids).forget(mask)
    rule = "fit(forget=mask) equals fit followed by forget"
    case.same(case.observe(at_once), case.observe(after), rule)
    case.require([r.n_forgotten for r in at_once.receipts_] == [len(_ROWS)], rule)
    nothing = case.fit(forget=case.mask([]))
    rule = "an empty mask in fit forgets nothing"
    case.same(case.observe(nothing), case.observe(case.fit()), rule)


def check_forget_fit_refuses_bad_metadata(case):
    """A wrong mask, wrong ids or wrong groups leave the former model in place."""
    n = case.n_rows
    estimator = case.fit().forget([0])
    twice = case.ids.copy()
    twice[4] = twice[3]
    floats = np.arange(n) + 0.5
    bad = {
        "a forget mask of wrong length": ({"forget": np.zeros(n - 1, dtype=bool)}, str(n - 1)),
        "positions in place of a forget mask": ({"forget": np.array([1, 2])}, "forget"),
        "integers in place of a forget mask": ({"forget": np.zeros(n, dtype=int)}, "int"),
        "a forget mask of all rows": ({"forget": np.ones(n, dtype=bool)}, "forget"),
        "repeated ids": ({"sample_id": twice}, str(twice[3])),
        "float ids": ({"sample_id": floats}, "sample_id"),
        "ids of wrong length": ({"sample_id": case.ids[:-1]}, str(n - 1)),
        "groups of wrong length": ({"groups": case.groups[:-2]}, str(n - 2)),
        "float groups": ({"groups": floats}, "groups"),
    }
    for what, (params, name) in bad.items():
        case.refuses(
            lambda params=params: estimator.fit(case.X, case.y, **params),
            what,
            name,
            estimator=estimator,
        )


def check_forget_receipts(case):
    """Receipts tell what happened, in order."""
    estimator = case.fit(sample_id=case.ids)
    rule = "a fitted estimator has no receipt before the first request"
    case.require(len(estimator.receipts_) == 0, rule)
    guarantee = getattr(get_tags(estimator), "guarantee", None)
    case.require(
        getattr(guarantee, "kind", None) in ("exact", "certified", "approximate"),
        "__sklearn_tags__().guarantee says exact, certified or approximate",
        f"Got {guarantee!r}.",
    )
    left, before = case.n_rows, None
    for rows in (_ROWS, [0], [5, 6, 7]):
        receipt = estimator.forget(rows).receipts_[-1]
        left -= len(rows)
        fields = {
            "method": (receipt.method.partition("(")[0], case.name),
            "guarantee": (receipt.guarantee, guarantee),
            "n_requested": (receipt.n_requested, len(rows)),
            "n_forgotten": (receipt.n_forgotten, len(rows)),
            "n_already_forgotten": (receipt.n_already_forgotten, 0),
            "n_remaining": (receipt.n_remaining, left),
            "number of sample_id": (len(receipt.sample_id), len(rows)),
            "cost.n_forgotten": (receipt.cost.n_forgotten, len(rows)),
        }
        for name, (found, expected) in fields.items():
            case.require(
                found == expected,
                f"a receipt's {name} is true",
                f"Got {found!r}, expected {expected!r}.",
            )
        case.require(
            math.isfinite(receipt.seconds) and receipt.seconds >= 0,
            "a receipt's seconds are the time taken",
            f"Got {receipt.seconds!r}.",
        )
        case.require(
            before is None or receipt.digest_before == before,
            "a request starts from the state that the last one left (digests)",
        )
        before = receipt.digest_after
    case.require(len(estimator.receipts_) == 3, "there is one receipt for each request")
    exact_work = estimator.receipts_[0].cost.rows_retrained
    rule = "a cost counts retained rows at most"
    case.require(0 <= exact_work <= case.n_rows - len(_ROWS), rule, f"Got {exact_work}.")


def check_forget_cost_changes_nothing(case):
    """``forget_cost`` is a preview."""
    estimator = case.fit(sample_id=case.ids, groups=case.groups).forget([1])
    state, seen = case.state(estimator), case.observe(estimator)
    costs = {
        4: estimator.forget_cost(_ROWS),
        1: estimator.forget_cost(sample_id=case.ids[5]),
        0: estimator.forget_cost([1]),
        int((case.groups == case.groups[2]).sum()): estimator.forget_cost(groups=case.groups[2]),
    }
    for n_rows, cost in costs.items():
        case.require(
            cost.n_forgotten == n_rows,
            "forget_cost counts the rows that would leave",
            f"Got {cost.n_forgotten}, expected {n_rows}.",
        )
        for name in ("rows_retrained", "gradient_passes", "share_of_retrain"):
            value = getattr(cost, name)
            rule = f"forget_cost gives {name}, at least 0 (NaN where unknown)"
            case.require(math.isnan(value) or value >= 0, rule, f"Got {value!r}.")
    rule = "forget_cost changes nothing"
    case.same(case.observe(estimator), seen, rule)
    case.require(case.state(estimator) == state, rule, "Its pickled state differs.")
    twin = case.fit(sample_id=case.ids, groups=case.groups).forget([1])
    rule = "forgetting after forget_cost does what it does without"
    case.same(case.observe(estimator.forget(_ROWS)), case.observe(twin.forget(_ROWS)), rule)


def check_forget_follows_the_recipe(case):
    """Parameters set after ``fit`` count from the next ``fit`` on, not in ``forget``."""
    estimator = case.fit()
    changed = _other_parameters(estimator)
    if not changed:
        return
    told = deepcopy(estimator).forget(_ROWS).set_params(**changed)
    rule = "parameters set after fit do not change what forget gives"
    estimator.set_params(**changed).forget(_ROWS)
    case.same(case.observe(estimator), case.observe(told), rule)
    shown = estimator.get_params(deep=True)
    lost = [name for name, value in changed.items() if shown[name] != value]
    rule = "get_params shows what was set after fit, also after forget"
    case.require(not lost, rule, f"These differ: {', '.join(lost)}.")
    expected = case.observe(case.new().set_params(**changed).fit(case.X, case.y))
    rule = "parameters set after fit count at the next fit"
    case.same(case.observe(estimator.fit(case.X, case.y)), expected, rule)


def _other_parameters(estimator):
    """Another seed, and half of each positive fraction that the wrapped estimator is given."""
    params = estimator.get_params(deep=True)
    inner = {
        name: value / 2
        for name, value in params.items()
        if "estimator__" in name and type(value) is float and 0 < value < math.inf
    }
    return inner | {name: 1 for name in ("random_state",) if name in params}


def check_forget_whole_class(case):
    """A class without rows leaves ``classes_`` and every column of the probabilities."""
    if not case.classifies:
        return
    labels = np.unique(case.y)
    estimator = case.fit()
    gone, kept = labels[0], labels[1:]
    n_least = 1 if len(kept) > 1 else 2
    if n_least == 2:  # binary: one class cannot be told from none by every classifier
        _check_last_class(case, estimator, kept[0])
        return
    estimator.forget(np.flatnonzero(case.y == gone))
    rule = "a class without rows leaves classes_"
    case.require(np.array_equal(estimator.classes_, kept), rule, f"Got {estimator.classes_}.")
    predicted = np.setdiff1d(estimator.predict(case.X), kept)
    rule = "a forgotten class is never predicted"
    case.require(not len(predicted), rule, f"Predicted {predicted}.")
    if hasattr(estimator, "predict_proba"):
        proba = estimator.predict_proba(case.X)
        case.require(
            proba.shape == (case.n_rows, len(kept)) and np.allclose(proba.sum(axis=1), 1),
            "predict_proba has one column for each class that is left, and rows sum to one",
            f"Its shape is {proba.shape}.",
        )
        rule = "predict is the class of the largest probability"
        best = estimator.classes_[proba.argmax(axis=1)]
        case.require(np.array_equal(estimator.predict(case.X), best), rule)
    _check_last_class(case, estimator, kept[-1])


def _check_last_class(case, estimator, last):
    """One class left: either a constant model or a refusal that changes nothing."""
    request = np.flatnonzero(case.y != last)
    trial = deepcopy(estimator)
    rule = "forgetting all classes but one works, or is refused with ValueError"
    try:
        trial.forget(request)
    except ValueError:
        case.same(case.observe(trial), case.observe(estimator), rule + " and changes nothing")
        return
    case.require(np.array_equal(trial.classes_, [last]), rule, f"classes_ is {trial.classes_}.")
    case.require(set(trial.predict(case.X)) == {last}, rule)


def check_forget_down_to_one_row(case):
    """The last row but one can go, or the request is refused and changes nothing."""
    estimator = case.fit()
    seen, state = case.observe(estimator), case.state(estimator)
    rule = "a request that leaves one row works, or is refused with ValueError"
    try:
        estimator.forget(slice(1, None))
    except ValueError:
        case.same(case.observe(estimator), seen, rule + " and changes nothing")
        case.require(case.state(estimator) == state, rule + " and changes nothing")
        return
    case.require(estimator.receipts_[-1].n_remaining == 1, rule)
    case.refuses(lambda: estimator.forget([0]), "forgetting the last row", estimator=estimator)


FORGET_CHECKS = (
    check_forget_in_fit,
    check_forget_fit_refuses_bad_metadata,
    check_forget_receipts,
    check_forget_cost_changes_nothing,
    check_forget_follows_the_recipe,
    check_forget_whole_class,
    check_forget_down_to_one_row,
)
