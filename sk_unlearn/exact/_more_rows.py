"""Rows that are added to a closed-form model."""

import numpy as np
import torch

from sk_unlearn.exact._closed_form_checks import (
    check_inputs,
    check_more_targets,
    check_new_rows,
    check_weights,
)
from sk_unlearn.exact._moments import ColumnMoments
from sk_unlearn.exact._row_blocks import BlockedRows, slots_of
from sk_unlearn.utils._ids import check_keys, check_sample_id
from sk_unlearn.utils._rows import TrainingRows
from sk_unlearn.utils._sklearn import num_samples

__all__ = ["with_more"]


def with_more(draft, X, y, sample_id, groups, weights, on_return):
    """Add rows to a draft of a closed-form model.

    Parameters
    ----------
    draft : BaseClosedForm
        Fitted.
    X, y : array-like
    sample_id, groups, weights : array-like or None
    on_return : {"warn", "raise"}
    """
    X = check_new_rows(draft, X)
    y = check_more_targets(draft, X, y)
    before = draft._rows_
    params = _params(draft, before, num_samples(X), weights)
    X = check_inputs(X, type(draft).__name__) if draft._keeps_inputs else X
    read = draft._read_again(X)
    kept = X if draft._keeps_inputs else read
    rows = _appended(draft, before, kept, y, sample_id, groups, params)
    new = TrainingRows(
        None,
        None,
        len(y),
        sample_id=None if sample_id is None else rows.sample_id[len(before) :],
        groups=None if groups is None else rows.groups[len(before) :],
    )
    ledger = draft.receipts_
    returned = draft._returned(ledger, new, None, on_return, "partial_fit")
    draft.receipts_ = ledger.readmit(returned)
    slots = slots_of(len(y), before.n_fit)
    counts = params["sample_weight"][-len(y) :] if "sample_weight" in params else None
    draft._rows_ = rows
    if "_made_" in vars(draft):
        draft._made_ = draft._made_.plus(read)
    draft._moments_ += ColumnMoments.of(read, counts)
    draft._join_targets(y, counts)
    moved = draft._move_frame()
    if moved:
        draft._accumulate(rows)
    else:
        features, n_cut = draft._map_(read, draft._frame_[0])
        counts = None if counts is None else torch.from_numpy(counts).to(torch.float64)
        draft._sums_ = draft._sums_.plus(features, draft._target_numbers(y), counts, n_cut)

    def features_of(wanted):
        return draft._features_of(rows, wanted)

    ids = rows.ids[-len(y) :]
    draft._sample_ = draft._sample_.plus(draft._seed_, slots, ids, features_of)
    if moved:
        draft._sample_ = draft._sample_.renewed(features_of)
    draft._fit_head(rows)


def _params(draft, before, n_new, weights):
    """One weight, and one mark of public rows, for each row."""
    params, owner = dict(before.fit_params), f"{type(draft).__name__}.partial_fit"
    if weights is not None or "sample_weight" in params:
        ones = np.ones(n_new, dtype=np.int64)
        new = ones if weights is None else check_weights(weights, n_new, owner)
        old = params.get("sample_weight", np.ones(len(before), dtype=np.int64))
        params["sample_weight"] = np.concatenate([old, new])
    if "public" in params:
        params["public"] = np.concatenate([params["public"], np.zeros(n_new, dtype=bool)])
    return params


def _appended(draft, before, X, y, sample_id, groups, params):
    owner, n_new = f"{type(draft).__name__}.partial_fit", num_samples(X)
    named = {"sample_id": sample_id, "groups": groups}
    for name, values in named.items():
        held = getattr(before, name)
        if (values is None) != (held is None):
            given = "were given to fit" if held is not None else "were not given to fit"
            raise ValueError(
                f"The {name!r} parameter of {owner} must be given exactly where it was given to "
                f"fit: {name} {given}."
            )
    if sample_id is not None:
        named["sample_id"] = _joined(before.sample_id, sample_id, n_new, "sample_id", owner)
        check_sample_id(named["sample_id"], len(before) + n_new, owner=owner)
    if groups is not None:
        named["groups"] = _joined(before.groups, groups, n_new, "groups", owner)
    return BlockedRows(
        before.X.plus(X),
        before.y.plus(y),
        before.n_fit + n_new,
        **named,
        fit_params=params,
        per_row=frozenset(params),
        position=np.concatenate([before.position, slots_of(n_new, before.n_fit)]),
    )


def _joined(held, values, n_new, name, owner):
    new = check_keys(values, n_new, name=name, owner=owner)
    if (held.dtype == object) != (new.dtype == object):
        raise ValueError(
            f"The {name!r} parameter of {owner} must hold what it held in fit, "
            f"{'str' if held.dtype == object else 'int'}, got {new[0]!r}."
        )
    return np.concatenate([held, new])
