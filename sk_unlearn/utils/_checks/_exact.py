"""Bit equality of forgetting with a fresh fit on the retained rows."""

import numpy as np

from sk_unlearn.utils._digest import state_digest

__all__ = ["check_forget_is_exact"]


def check_forget_is_exact(case, random_state=0):
    """``fit(D).forget(F)`` is ``fit(D without F)``, bit for bit."""
    for what, forget_set in _forget_sets(case, random_state).items():
        for kind, ids in (("int", np.arange(case.n_rows)), ("string", case.ids)):
            kept = np.setdiff1d(np.arange(case.n_rows), forget_set)
            fresh = _observe(case, case.fit(kept, sample_id=ids))
            estimator = case.fit(sample_id=ids)
            if kind == "int":
                estimator.forget(forget_set)
            else:
                estimator.forget(sample_id=ids[forget_set])
            rule = (
                f"after forgetting {what} ({kind} ids) the model is the one that a fresh fit on "
                "the retained rows gives, bit for bit"
            )
            case.same(_observe(case, estimator), fresh, rule)
            if kind == "string" or what not in ("random rows", "every other row"):
                continue
            parts = np.array_split(np.random.RandomState(random_state).permutation(forget_set), 3)
            estimator = case.fit(sample_id=ids)
            for part in parts:
                estimator.forget(part)
            rule = f"forgetting {what} in three requests is forgetting them in one, bit for bit"
            case.same(_observe(case, estimator), fresh, rule)


def _observe(case, estimator):
    """Digests of all attributes, private ones and parameters included, and of each output."""
    held = set(vars(estimator)) - {"receipts_"}
    if hasattr(estimator, "_exact_state"):
        state = estimator._exact_state()
        absent = sorted(held - set(state))
        rule = "_exact_state() shows every attribute but receipts_"
        case.require(not absent, rule, f"These are absent: {', '.join(absent)}.")
    else:
        state = {name: getattr(estimator, name) for name in held}
    digests = {name: state_digest(value) for name, value in state.items()}
    return {**case.observe(estimator), **digests}


def _forget_sets(case, random_state):
    rng = np.random.RandomState(random_state)
    sets = {
        "the first row": np.array([0]),
        "the last row": np.array([case.n_rows - 1]),
        "random rows": np.sort(rng.choice(case.n_rows, max(4, case.n_rows // 10), replace=False)),
        "every other row": np.arange(1, case.n_rows, 2),
    }
    labels = np.unique(case.y) if case.classifies else ()
    if len(labels) > 2:
        sets["a whole class"] = np.flatnonzero(case.y == labels[1])
    return sets
