"""Which requests are understood, and which are refused."""

from copy import deepcopy

import numpy as np

__all__ = ["FORGET_CHECKS"]

_ROWS = [3, 7, 11]


def check_forget_returns_self(case):
    """``forget`` returns the estimator and changes it."""
    estimator = case.fit()
    before = case.observe(estimator)
    case.require(estimator.forget(_half(case)) is estimator, "forget returns self")
    case.require(
        case.observe(estimator) != before,
        "forgetting changes the model",
        f"After forgetting {len(_half(case))} of {case.n_rows} rows nothing differs.",
    )


def check_forget_request_forms(case):
    """Positions, masks, slices, ids and groups that mean the same rows do the same."""
    fitted = case.fit(sample_id=case.ids, groups=case.groups)
    expected = case.observe(deepcopy(fitted).forget(_ROWS))
    forms = {
        "a tuple": (tuple(_ROWS), {}),
        "a list of NumPy integers": ([np.int64(i) for i in _ROWS], {}),
        "an int32 array": (np.array(_ROWS, dtype=np.int32), {}),
        "a uint8 array": (np.array(_ROWS, dtype=np.uint8), {}),
        "a slice": (slice(3, 12, 4), {}),
        "a range": (range(3, 12, 4), {}),
        "another order": (_ROWS[::-1], {}),
        "repeats": ([*_ROWS, *_ROWS], {}),
        "a boolean mask": (case.mask(_ROWS), {}),
        "a list of bool": (case.mask(_ROWS).tolist(), {}),
        "sample_id": (None, {"sample_id": case.ids[_ROWS]}),
        "a list of sample_id": (None, {"sample_id": list(case.ids[_ROWS])}),
    }
    for form, (positions, keywords) in forms.items():
        estimator = deepcopy(fitted).forget(positions, **keywords)
        case.same(case.observe(estimator), expected, f"forget understands {form}")
        receipt = estimator.receipts_[-1]
        case.require(
            receipt.n_requested == receipt.n_forgotten == len(_ROWS),
            "a receipt counts distinct rows",
            f"Got {receipt.n_requested} requested, {receipt.n_forgotten} forgotten for {form}.",
        )
    members = np.flatnonzero(case.groups == case.groups[0])
    smaller = [
        ([7], {"an int": {"X_idx": 7}, "an id": {"sample_id": case.ids[7]}}),
        ([0, 1, 2], {"an open slice": {"X_idx": slice(None, 3)}}),
        (
            members,
            {
                "a group": {"groups": case.groups[0]},
                "a list of groups": {"groups": [case.groups[0]]},
            },
        ),
        ([0], {"a NumPy integer": {"X_idx": np.int64(0)}}),
    ]
    for rows, requests in smaller:
        expected = case.observe(deepcopy(fitted).forget(rows))
        for form, request in requests.items():
            seen = case.observe(deepcopy(fitted).forget(**request))
            case.same(seen, expected, f"forget understands {form}")


def check_forget_integer_ids(case):
    """Integer ids are names, not positions; without ids, positions are the ids."""
    ids = 1000 - np.arange(case.n_rows)
    named = case.fit(sample_id=ids).forget(sample_id=ids[_ROWS])
    counted = case.fit(sample_id=ids).forget(_ROWS)
    rule = "integer ids name rows, whatever their position"
    case.same(case.observe(named), case.observe(counted), rule)
    plain = case.fit()
    by_id = case.observe(deepcopy(plain).forget(sample_id=_ROWS))
    rule = "without sample_id in fit, ids are positions"
    case.same(by_id, case.observe(plain.forget(_ROWS)), rule)


def check_forget_positions_of_last_fit(case):
    """Positions keep their meaning after earlier requests, and a new fit resets them."""
    fitted = case.fit(sample_id=case.ids)
    by_position, by_id = deepcopy(fitted), deepcopy(fitted)
    requests = [[0], [5, 1], [case.n_rows - 1]]
    for rows in requests:
        by_position.forget(rows)
        by_id.forget(sample_id=case.ids[rows])
    rule = "positions refer to the X of the last fit, whatever was forgotten since"
    case.same(case.observe(by_position), case.observe(by_id), rule)
    before = case.observe(by_position)
    receipt = by_position.forget([row for rows in requests for row in rows]).receipts_[-1]
    case.require(receipt.n_forgotten == 0 and receipt.n_already_forgotten == 4, rule)
    case.same(case.observe(by_position), before, rule)
    n_receipts = len(by_position.receipts_)
    refitted = by_position.fit(case.X, case.y)
    case.require(len(refitted.receipts_) == n_receipts, "a new fit keeps the receipts")
    receipt = refitted.forget([0]).receipts_[-1]
    case.require(receipt.n_forgotten == 1, "a new fit knows all of its rows again")


def check_forget_already_forgotten(case):
    """Asking again, and asking for nothing, is a no-op with a receipt."""
    estimator = case.fit(sample_id=case.ids, groups=case.groups).forget(_ROWS)
    estimator.forget(groups=case.groups[0])
    before, n_left = case.observe(estimator), estimator.receipts_[-1].n_remaining
    n_group = int((case.groups == case.groups[0]).sum())
    again = {
        "positions": ({"X_idx": _ROWS}, len(_ROWS)),
        "ids": ({"sample_id": case.ids[_ROWS]}, len(_ROWS)),
        "a group": ({"groups": case.groups[0]}, n_group),
        "an empty list": ({"X_idx": []}, 0),
        "an empty mask": ({"X_idx": case.mask([])}, 0),
        "no ids": ({"sample_id": []}, 0),
    }
    for what, (request, n_already) in again.items():
        n_receipts = len(estimator.receipts_)
        estimator.forget(**request)
        rule = f"a request without new rows ({what}) is a no-op that a receipt records"
        case.same(case.observe(estimator), before, rule)
        case.require(len(estimator.receipts_) == n_receipts + 1, rule, "There is no receipt.")
        receipt = estimator.receipts_[-1]
        case.require(
            (receipt.n_forgotten, receipt.n_already_forgotten) == (0, n_already)
            and receipt.n_remaining == n_left,
            rule,
            f"Its receipt counts {receipt.n_already_forgotten} rows forgotten before "
            f"(expected {n_already}) and {receipt.n_remaining} left (expected {n_left}).",
        )
        rule += ", with the digest of the same model before and after"
        case.require(receipt.digest_before == receipt.digest_after, rule)
    mixed = deepcopy(estimator).forget([*_ROWS, 12]).receipts_[-1]
    case.require(
        (mixed.n_requested, mixed.n_forgotten, mixed.n_already_forgotten) == (4, 1, 3),
        "a request that mixes forgotten and present rows forgets the present ones",
    )


def check_forget_refuses_bad_requests(case):
    """A wrong request names the offender and changes nothing."""
    n = case.n_rows
    estimator = case.fit(sample_id=case.ids, groups=case.groups).forget(_ROWS)
    positions = {
        "a negative position": (-1, "-1"),
        "a negative position in a list": ([4, -2], "-2"),
        "a position out of range": (n, str(n)),
        "a position out of range in a list": ([4, n + 7], str(n + 7)),
        "a float position": ([1.5], "1.5"),
        "a whole float": (np.array([1.0]), "1.0"),
        "text": (["seven"], "seven"),
        "a mask of wrong length": (np.ones(n + 3, dtype=bool), str(n)),
        "a mask of the retained rows only": (np.ones(n - len(_ROWS), dtype=bool), str(n)),
        "a two-dimensional request": ([[1], [2]], "(2, 1)"),
    }
    for what, (request, name) in positions.items():
        for method in ("forget", "forget_cost"):
            call = getattr(estimator, method)
            case.refuses(
                lambda call=call, request=request: call(request),
                f"{what} in {method}",
                name,
                estimator=estimator,
            )
    keyed = {
        "an unknown id": ({"sample_id": ["row-001", "nobody"]}, ("nobody",)),
        "an id of the wrong type": ({"sample_id": [1]}, ("1",)),
        "a float id": ({"sample_id": [2.5]}, ("2.5",)),
        "an unknown group": ({"groups": "stranger"}, ("stranger",)),
        "no parameter": ({}, ("sample_id", "groups")),
        "two parameters": ({"X_idx": [1], "sample_id": ["row-001"]}, ("X_idx", "sample_id")),
        "everything": ({"X_idx": slice(None)}, ()),
        "all that is left": ({"X_idx": ~case.mask(_ROWS)}, ()),
        "all groups": ({"groups": np.unique(case.groups)}, ()),
    }
    for what, (request, names) in keyed.items():
        case.refuses(
            lambda request=request: estimator.forget(**request), what, *names, estimator=estimator
        )
    plain = case.fit()
    case.refuses(
        lambda: plain.forget(groups="person-1"), "groups that fit did not get", estimator=plain
    )
    receipt = estimator.forget([1]).receipts_[-1]
    case.require(
        (len(estimator.receipts_), receipt.n_forgotten) == (2, 1),
        "the estimator can be used after a refused request",
    )


def _half(case):
    return np.arange(0, case.n_rows, 2)


FORGET_CHECKS = (
    check_forget_returns_self,
    check_forget_request_forms,
    check_forget_integer_ids,
    check_forget_positions_of_last_fit,
    check_forget_already_forgotten,
    check_forget_refuses_bad_requests,
)
