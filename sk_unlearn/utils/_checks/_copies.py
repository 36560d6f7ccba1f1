"""Clones, pickles and cross-validation."""

import io
import pickle
from copy import deepcopy

import joblib
import numpy as np
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import KFold, StratifiedKFold, cross_validate

from sk_unlearn.utils._sklearn import safe_indexing

__all__ = ["FORGET_CHECKS"]

_ROWS = [2, 7, 11, 12]


def check_forget_clone(case):
    """A clone has the parameters and none of what was learned."""
    estimator = case.fit().forget(_ROWS)
    copy = clone(estimator)
    fitted = [name for name in vars(copy) if name.endswith("_")]
    rule = "a clone is unfitted"
    case.require(not fitted, rule, f"It has {', '.join(fitted)}.")
    refitted = copy.fit(case.X, case.y)
    rule = "a clone of an estimator that forgot fits like a new one"
    case.same(case.observe(refitted), case.observe(case.fit()), rule)


def check_forget_pickle(case):
    """Copies made before or after ``forget`` are the estimator."""
    copiers = {"pickle": _by_pickle, "joblib": _by_joblib, "deepcopy": deepcopy}
    unfitted = _by_pickle(case.new()).fit(case.X, case.y, sample_id=case.ids)
    fitted = case.fit(sample_id=case.ids)
    rule = "an unfitted estimator survives pickle"
    case.same(case.observe(unfitted), case.observe(fitted), rule)
    forgot = deepcopy(fitted).forget(_ROWS)
    further = case.fit(sample_id=case.ids).forget(_ROWS)
    for part in getattr(further, "_parts", lambda: (further,))():
        if hasattr(part, "clear_memory"):  # of what requests leave to later ones: not copied
            part.clear_memory()
    further = case.observe(further.forget(sample_id=case.ids[[0, 2]]))
    for name, copier in copiers.items():
        copy = copier(fitted)
        rule = f"{name} before forget keeps the model"
        case.same(case.observe(copy), case.observe(fitted), rule)
        rule = f"forget on a copy by {name} does what it does on the original"
        case.same(case.observe(copy.forget(_ROWS)), case.observe(forgot), rule)
        copy = copier(forgot)
        rule = f"{name} after forget keeps the model"
        case.same(case.observe(copy), case.observe(forgot), rule)
        rule = f"{name} after forget keeps the receipts"
        case.require(len(copy.receipts_) == 1, rule, f"There are {len(copy.receipts_)}.")
        rule = f"a copy by {name} can forget further, and knows what was forgotten"
        case.same(case.observe(copy.forget(sample_id=case.ids[[0, 2]])), further, rule)
        receipt = copy.receipts_[-1]
        case.require((receipt.n_forgotten, receipt.n_already_forgotten) == (1, 1), rule)


def check_forget_cross_validate(case):
    """``cross_validate`` slices mask and ids into each fold, with and without routing."""
    mask = case.mask(_ROWS)
    folds = (StratifiedKFold if case.classifies else KFold)(2)
    expected = []
    for train, test in folds.split(case.X, case.y):
        estimator = case.fit(train, sample_id=case.ids, forget=mask)
        expected.append(estimator.score(safe_indexing(case.X, test), case.y[test]))
        n_marked = int(mask[train].sum())
        rule = "fit(forget=mask) forgets the marked rows"
        case.require(estimator.receipts_[-1].n_forgotten == n_marked, rule)
    for routing in (False, True):
        with config_context(enable_metadata_routing=routing):
            result = cross_validate(
                case.new(),
                case.X,
                case.y,
                cv=folds,
                params={"forget": mask, "sample_id": case.ids},
                error_score="raise",
                return_estimator=True,
            )
        state = "on" if routing else "off"
        rule = f"cross_validate fits, forgets and scores in each fold (metadata routing {state})"
        case.require(
            np.array_equal(result["test_score"], expected),
            rule,
            f"Scores are {result['test_score']}, by hand {expected}.",
        )
        case.require(all(len(e.receipts_) == 1 for e in result["estimator"]), rule)


def _by_pickle(estimator):
    return pickle.loads(pickle.dumps(estimator))


def _by_joblib(estimator):
    file = io.BytesIO()
    joblib.dump(estimator, file)
    file.seek(0)
    return joblib.load(file)


FORGET_CHECKS = (check_forget_clone, check_forget_pickle, check_forget_cross_validate)
