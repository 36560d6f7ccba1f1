import json
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from sk_unlearn import RetrainClassifier, __version__
from sk_unlearn.receipts import ForgetCost, ForgetLedger, ForgetReceipt, Guarantee
from sk_unlearn.utils._rows import TrainingRows

X, y = np.random.RandomState(0).normal(size=(20, 2)), np.arange(20) % 2
NAMES = np.array([f"patient-{i}" for i in range(20)], dtype=object)
OWNERS = np.array([f"family-{i % 4}" for i in range(20)], dtype=object)


def make_receipt(**changes):
    values = {
        "method": "M",
        "guarantee": Guarantee("exact"),
        "n_requested": 1,
        "n_forgotten": 1,
        "n_already_forgotten": 0,
        "n_remaining": 3,
        "sample_id": (2,),
        "cost": ForgetCost(1, 3, 2.0, 1.0),
        "seconds": 0.5,
        "digest_before": "a",
        "digest_after": "b",
    }
    return ForgetReceipt(**{**values, **changes})


def make_rows(**metadata):
    return TrainingRows.borrow(X, y, 20, **metadata)


def fitted():
    clf = RetrainClassifier(LogisticRegression(), random_state=0)
    return clf.fit(X, y, sample_id=NAMES, groups=OWNERS)


def test_guarantees_read_like_the_contract():
    assert str(Guarantee("approximate")) == "approximate"
    assert str(Guarantee("certified", 0.5, 1e-6)) == "certified(epsilon=0.5, delta=1e-06)"
    with pytest.raises(AttributeError):
        Guarantee("exact").kind = "approximate"


def test_receipts_become_json_without_loss():
    receipt = make_receipt(
        solver={"residual": np.float32(0.5), "path": np.arange(3), "ok": np.bool_(True)}
    )
    found = json.loads(ForgetLedger((receipt,)).to_json(indent=1))
    assert found == [receipt.to_dict()]
    assert found[0]["solver"] == {"residual": 0.5, "path": [0, 1, 2], "ok": True}
    assert found[0]["cost"]["rows_retrained"] == 3
    assert found[0]["guarantee"]["kind"] == "exact"
    assert {"python", "torch", "scikit-learn", "skorch", "numpy"} <= set(found[0]["versions"])
    with pytest.raises(TypeError, match="set in a receipt"):
        make_receipt(solver={"odd": {1}}).to_dict()


def test_versions_are_those_that_run():
    import torch

    versions = make_receipt().versions
    assert versions["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert versions["numpy"] == np.__version__
    assert versions["sk-unlearn"] in (__version__, "unknown")
    versions["torch"] = "0"
    assert make_receipt().versions["torch"] != "0"


def test_a_ledger_is_a_sequence_in_order():
    clf = fitted().forget([0]).forget([1, 2])
    ledger = clf.receipts_
    assert [receipt.n_forgotten for receipt in ledger] == [1, 2]
    assert ledger[-1] is ledger[1]
    assert len(ledger[:1]) == 1
    assert repr(ledger) == "<ForgetLedger: 2 receipts, 3 rows forgotten>"
    assert [r.n_remaining for r in reversed(ledger)] == [17, 19]
    frame = ledger.to_frame()
    assert isinstance(frame, pd.DataFrame)
    assert frame["cost.n_forgotten"].tolist() == [1, 2]


def test_ids_are_kept_as_keyed_hashes_only():
    clf = fitted().forget([3, 4]).forget(groups="family-0")
    ledger = clf.receipts_
    content = pickle.dumps(clf) + ledger.to_json().encode()
    assert b"patient-3" not in content
    assert b"family-0" not in content
    assert b"patient-5" in content
    assert b"family-1" in content
    assert ledger.covers("patient-3")
    assert ledger.covers("patient-8")
    assert not ledger.covers("patient-5")
    other = fitted().forget([3, 4]).receipts_
    assert other.covers("patient-3")
    assert set(ledger[0].sample_id).isdisjoint(other[0].sample_id)


def test_positions_are_listed_plainly():
    clf = RetrainClassifier(LogisticRegression()).fit(X, y).forget([0]).forget([5, 1])
    assert [receipt.sample_id for receipt in clf.receipts_] == [(0,), (1, 5)]
    assert clf.receipts_.covers(5)
    assert not clf.receipts_.covers(6)


def test_labels_follow_the_type_of_the_id():
    ledger = ForgetLedger()
    rows = make_rows(sample_id=np.arange(20))
    ledger = ledger.add(make_receipt(sample_id=()), rows, np.array([1]))
    assert ledger.knows_id(1)
    assert not ledger.knows_id("1")
    assert ledger.hash("\ud800") != ledger.hash("\ud801")


@given(st.lists(st.sets(st.integers(0, 19), min_size=1, max_size=3), max_size=5))
def test_the_ledger_counts_like_a_set(requests):
    ledger, rows, gone = ForgetLedger(), make_rows(sample_id=NAMES, groups=OWNERS), set()
    for request in requests:
        hit = np.flatnonzero(np.isin(rows.position, list(request - gone)))
        grown = ledger.add(make_receipt(sample_id=ledger.labels(rows, hit)), rows, hit)
        assert len(grown) == len(ledger) + 1
        ledger, rows, gone = grown, rows.drop(hit), gone | request
    for i in range(20):
        assert ledger.covers(NAMES[i]) == (i in gone)
    for j in range(4):
        assert ledger.rows_of_group(f"family-{j}") == sum(i % 4 == j for i in gone)


@pytest.mark.parametrize("ids", [np.arange(20), NAMES])
def test_numpy_scalars_name_the_same_row(ids):
    ledger = ForgetLedger()
    rows = make_rows(sample_id=ids, groups=ids)
    ledger = ledger.add(make_receipt(sample_id=()), rows, np.array([3]))
    scalar = np.array(ids.tolist())[3]
    assert isinstance(scalar, np.generic)
    assert ledger.covers(ids[3])
    assert ledger.covers(scalar)
    assert ledger.rows_of_group(scalar) == 1
    assert ledger.hash(scalar) == ledger.hash(scalar.item())
    clf = RetrainClassifier(LogisticRegression()).fit(X, y, sample_id=list(rows.sample_id))
    assert clf.forget(sample_id=scalar).forget(sample_id=[scalar]).receipts_.covers(scalar)
    assert clf.receipts_[-1].n_already_forgotten == 1
