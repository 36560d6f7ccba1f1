"""What a receipt says beside the counts, and what a ledger knows over several fits."""

import json
import pickle
import warnings
from datetime import UTC, datetime, timedelta
from enum import IntEnum

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import config_context
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier

from sk_unlearn import (
    ArcaneEnsembleClassifier,
    PumaClassifier,
    RetrainClassifier,
    RetrainRegressor,
    SisaClassifier,
    receipts,
)
from sk_unlearn.exceptions import (
    ForgetRequestError,
    ForgottenRowsReturnedError,
    ForgottenRowsReturnedWarning,
    RetrainAdvisedWarning,
    VersionsChangedWarning,
)
from sk_unlearn.nets import MLP
from sk_unlearn.pipeline import ForgetPipeline, make_forget_pipeline, residual_steps
from sk_unlearn.receipts import ForgetLedger, library_versions
from sk_unlearn.utils._describe import described_params
from sk_unlearn.utils._digest import state_digest
from sk_unlearn.utils._rows import TrainingRows

N = 36
RNG = np.random.RandomState(0)
Y = RNG.permutation(np.arange(N) % 3)
X = (RNG.normal(size=(N, 4)) + 2 * Y[:, None]).astype(np.float32)
IDS = np.array([f"patient-{i}" for i in range(N)], dtype=object)
OWNERS = np.array([f"family-{i % 6}" for i in range(N)], dtype=object)

pytestmark = pytest.mark.filterwarnings(
    f"ignore::{RetrainAdvisedWarning.__module__}.{RetrainAdvisedWarning.__name__}",
    "ignore:.*trained anew:UserWarning",
)


def net():
    return NeuralNetClassifier(
        MLP,
        criterion=torch.nn.CrossEntropyLoss,
        criterion__weight=torch.ones(3),
        module__n_features=4,
        module__n_outputs=3,
        module__hidden=(5,),
        max_epochs=2,
        train_split=None,
        verbose=0,
    )


MAKERS = {
    "RetrainClassifier": lambda: RetrainClassifier(LogisticRegression(C=0.5), random_state=0),
    "RetrainRegressor": lambda: RetrainRegressor(Ridge(), random_state=0),
    "PumaClassifier": lambda: PumaClassifier(net(), random_state=0),
    "SisaClassifier": lambda: SisaClassifier(
        SGDClassifier(loss="log_loss"), n_shards=2, n_slices=2, max_epochs=1, random_state=0
    ),
    "ArcaneEnsembleClassifier": lambda: ArcaneEnsembleClassifier(
        GaussianMixture(), random_state=0
    ),
    "ForgetPipeline(RetrainClassifier)": lambda: make_forget_pipeline(
        StandardScaler(), RetrainClassifier(LogisticRegression()), random_state=0
    ),
    "ForgetPipeline(ForgetPipeline(SisaClassifier))": lambda: make_forget_pipeline(
        ForgetPipeline([("sisa", MAKERS["SisaClassifier"]())]), random_state=0
    ),
}


@pytest.fixture(params=MAKERS)
def clf(request):
    return MAKERS[request.param]()


def plain():
    return MAKERS["RetrainClassifier"]()


# ------------------------------------------------------------------------------- fields


def test_every_request_says_when_why_how_and_under_what(clf):
    start = datetime.now(UTC)
    clf.fit(X, Y, sample_id=IDS, groups=OWNERS, forget=np.arange(N) == 1)
    clf.forget([3], note="ticket 118").forget(groups=["family-2", "family-4"], note=None)
    clf.forget(groups="family-2")
    in_fit, noted, group, again = clf.receipts_
    end = datetime.now(UTC)
    for receipt in clf.receipts_:
        when = datetime.fromisoformat(receipt.time)
        assert when.utcoffset() == timedelta(0)
        assert start - timedelta(milliseconds=1) <= when <= end
        assert receipt.versions == receipt.versions_at_fit == library_versions()
        assert receipt.caveat is None
        assert receipt.epoch == 1
    names = {name: make for name, make in MAKERS.items() if type(make()) is type(clf)}
    assert noted.method in names
    assert (in_fit.note, noted.note, group.note) == (None, "ticket 118", None)
    assert (in_fit.groups, noted.groups) == ((), ())
    expected = tuple(clf.receipts_.hash(name) for name in ("family-2", "family-4"))
    assert group.groups == expected
    assert again.groups == expected[:1]
    assert again.n_already_forgotten == again.n_requested == 6
    text = clf.receipts_.to_json(allow_nan=True)
    assert "family" not in text
    assert "patient" not in text
    read = json.loads(text)[1]
    assert read["time"] == noted.time
    assert read["parameters"].keys() == clf.get_params(deep=True).keys()
    assert read["parameters"]["random_state"] == 0
    assert "ticket 118" in str(noted)
    assert noted.time[:10] in str(noted)
    assert len(str(noted).splitlines()) <= 4 + len(noted.advice)


def test_parameters_are_values_and_never_data():
    clf = PumaClassifier(net(), random_state=np.random.RandomState(3)).fit(X, Y)
    # what trains counts as fit found it, what removes as it is now
    clf.set_params(eta=0.5, estimator__lr=3.0)
    params = clf.forget([1]).receipts_[-1].parameters
    assert params["eta"] == 0.5
    assert params["estimator__lr"] == 0.01
    assert params["estimator__module__hidden"] == [5]
    assert params["estimator"].endswith("NeuralNetClassifier")
    assert params["estimator__module"] == "sk_unlearn.nets._defaults.MLP"
    assert params["estimator__criterion__weight"] == "Tensor of shape (3,)"
    assert params["random_state"].endswith("RandomState")
    assert json.loads(json.dumps(params)) == params
    rows = [float(value) for value in X[:, 0]]
    unfitted = PumaClassifier(net().set_params(dataset__extra=rows))
    assert described_params(unfitted)["estimator__dataset__extra"] == "list of length 36"


@pytest.mark.parametrize("note", [118, b"x", ["a"], True, 1.5, object()])
def test_a_note_is_text(note):
    clf = plain().fit(X, Y)
    with pytest.raises(ForgetRequestError, match="note must be a str or None"):
        clf.forget([1], note=note)
    assert len(clf.receipts_) == 0
    assert type(clf.forget([1], note=np.str_("n")).receipts_[-1].note) is str


def test_parameters_of_a_pipeline_are_those_that_it_was_trained_with():
    last = RetrainClassifier(LogisticRegression(C=2.0))
    pipe = ForgetPipeline([("scale", StandardScaler()), ("last", last)], random_state=0)
    pipe.fit(X, Y).set_params(scale__with_mean=False, last__estimator__C=0.001, random_state=1)
    pipe.set_params(last__verbose=2, last__estimator=SGDClassifier()).forget([1])
    params = pipe.receipts_[-1].parameters
    assert params["last__estimator__C"] == 2.0
    assert params["last__estimator"].endswith("LogisticRegression")
    assert (params["scale__with_mean"], params["random_state"]) == (True, 0)
    assert params["last__verbose"] == 2  # of the request
    inside = RetrainClassifier(LogisticRegression(C=2.0)).fit(X, Y)
    inside.set_params(estimator__C=0.001, verbose=2).forget([1])
    assert inside.receipts_[-1].parameters["estimator__C"] == 2.0


# ------------------------------------------------------------------------------- covers


def test_covers_takes_what_fit_takes():
    ledger = plain().fit(X, Y, sample_id=IDS, groups=OWNERS).forget([0, 2]).receipts_
    asked = ["patient-0", "patient-1", "patient-2", "nobody"]
    expected = [True, False, True, False]
    for form in (list, tuple, np.array, pd.Series, pd.Index, lambda a: np.array(a, dtype=object)):
        covered = ledger.covers(form(asked))
        assert covered.dtype == bool
        assert covered.tolist() == expected
    for scalar in ("patient-0", np.str_("patient-0"), np.array("patient-0")):
        assert ledger.covers(scalar) is True
    assert ledger.covers("patient-1") is False
    assert ledger.covers([]).shape == (0,)
    assert ledger.covers(IDS).sum() == 2
    for odd in (
        [1.5],
        [None],
        [True],
        True,
        1.5,
        {"a"},
        {"a": 1},
        b"a",
        [["a"]],
        np.zeros((2, 2)),
        ["a", 1],
        np.ma.array(["a", "b"], mask=[True, False]),
        np.array([3], dtype="datetime64[ns]"),
        np.datetime64(3, "ns"),
    ):
        with pytest.raises(ValueError, match="sample_id must"):
            ledger.covers(odd)
    with pytest.raises(ValueError, match="one of sample_id and groups"):
        ledger.covers()
    with pytest.raises(ValueError, match="one of sample_id and groups"):
        ledger.covers("a", groups="b")


def test_covers_reads_keys_as_requests_do():
    class Name(IntEnum):
        first = 3

    ledger = plain().fit(X, Y, sample_id=range(N)).forget(sample_id=Name.first).receipts_
    assert ledger.covers(Name.first)
    assert ledger.covers([Name.first, 4]).tolist() == [True, False]
    assert ledger.covers(range(3, 5)).tolist() == [True, False]


def test_a_group_is_covered_when_nothing_of_it_remains():
    clf = plain().fit(X, Y, sample_id=IDS, groups=OWNERS)
    clf.forget(sample_id="patient-0")
    assert clf.receipts_.covers(groups="family-0") is False
    clf.forget(groups="family-0").forget(sample_id=list(IDS[1::6]))
    covered = clf.receipts_.covers(groups=[f"family-{i}" for i in range(6)])
    assert covered.tolist() == [True, True, False, False, False, False]
    numbered = plain().fit(X, Y, groups=np.arange(N) // 3).forget(groups=np.int64(4))
    assert numbered.receipts_.covers(groups=np.arange(6)).tolist() == [False] * 4 + [True, False]
    assert numbered.receipts_.covers([12, 15]).tolist() == [True, False]


# ------------------------------------------------------------------------ several fits


def test_a_refit_keeps_the_ledger(clf):
    kept = np.arange(N) >= 6
    clf.fit(X, Y, sample_id=IDS, groups=OWNERS).forget([0, 1]).forget(groups="family-5")
    former = tuple(clf.receipts_)
    left = ~clf.receipts_.covers(IDS) & ~clf.receipts_.covers(groups=OWNERS)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ForgottenRowsReturnedWarning)
        clf.fit(X[left], Y[left], sample_id=IDS[left], groups=OWNERS[left])
    assert tuple(clf.receipts_) == former
    assert clf.receipts_.of_last_fit == ()
    assert clf.receipts_.covers(IDS).sum() == N - left.sum()
    assert clf.receipts_.covers(groups="family-5")
    # asked for again, a no-op that says how many rows it was
    receipt = clf.forget(sample_id=["patient-0", "patient-5"]).receipts_[-1]
    assert (receipt.epoch, receipt.n_forgotten, receipt.n_already_forgotten) == (2, 0, 2)
    receipt = clf.forget(groups="family-5").receipts_[-1]
    assert (receipt.n_forgotten, receipt.n_already_forgotten) == (0, 6)
    receipt = clf.forget(groups="family-0").receipts_[-1]
    assert (receipt.n_requested, receipt.n_forgotten) == (5, 5)
    assert [r.epoch for r in clf.receipts_] == [1, 1, 2, 2, 2]
    assert "in 2 fits" in repr(clf.receipts_)
    assert len(clone(clf).fit(X[kept], Y[kept]).receipts_) == 0


def test_rows_that_come_back_are_named_and_can_be_forgotten_again(clf):
    clf.fit(X, Y, sample_id=IDS, groups=OWNERS).forget([0, 7]).forget(groups="family-5")
    match = r"8 ids \('patient-0', 'patient-5', 'patient-7'.*1 groups \('family-5'\)"
    state, receipts_before = state_digest(clf._model_state()), clf.receipts_
    with pytest.raises(ForgottenRowsReturnedError, match=match):
        clf.fit(X, Y, sample_id=IDS, groups=OWNERS, on_return="raise")
    assert state_digest(clf._model_state()) == state
    assert clf.receipts_ is receipts_before
    with pytest.warns(ForgottenRowsReturnedWarning, match=match):
        clf.fit(X, Y, sample_id=IDS, groups=OWNERS)
    fresh = clone(clf).fit(X, Y, sample_id=IDS, groups=OWNERS)
    assert state_digest(clf._model_state()) == state_digest(fresh._model_state())
    # they are in the model again, so that nobody may take them for forgotten
    assert not clf.receipts_.covers(IDS).any()
    assert not clf.receipts_.covers(groups="family-5")
    # a request for them is no repetition
    receipt = clf.forget(sample_id=["patient-0", "patient-7"]).receipts_[-1]
    assert (receipt.n_forgotten, receipt.n_already_forgotten) == (2, 0)
    receipt = clf.forget(groups=["family-5"]).receipts_[-1]
    assert (receipt.n_forgotten, receipt.n_already_forgotten) == (6, 0)
    assert receipt.n_remaining == N - 8
    assert clf.receipts_.covers(["patient-0", "patient-5", "patient-1"]).tolist() == [1, 1, 0]
    assert clf.receipts_.covers(groups="family-5")
    again = fresh.forget(sample_id=["patient-0", "patient-7"]).forget(groups=["family-5"])
    assert state_digest(clf._model_state()) == state_digest(again._model_state())


def test_rows_that_are_forgotten_at_once_have_not_come_back():
    clf = plain().fit(X, Y, sample_id=IDS).forget([0, 7])
    mask = clf.receipts_.covers(IDS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf.fit(X, Y, sample_id=IDS, forget=mask, on_return="raise")
    assert clf.receipts_.covers(IDS).tolist() == mask.tolist()
    assert [r.epoch for r in clf.receipts_] == [1, 2]
    assert clf.receipts_[-1].n_forgotten == 2
    mask[7] = False
    with pytest.warns(ForgottenRowsReturnedWarning, match=r"1 ids \('patient-7'\)"):
        clf.fit(X, Y, sample_id=IDS, forget=mask)
    with pytest.warns(ForgottenRowsReturnedWarning, match="2 ids"):  # a third time as well
        clf.fit(X, Y, sample_id=IDS)


def test_positions_say_nothing_about_the_next_fit():
    clf = plain().fit(X, Y).forget([3])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf.fit(X, Y, on_return="raise")
    assert not clf.receipts_.covers(3)
    assert clf.forget(3).receipts_[-1].n_forgotten == 1
    assert clf.receipts_.covers([3, 4]).tolist() == [True, False]


def test_integers_are_positions_after_a_fit_without_ids():
    clf = plain().fit(X, Y, sample_id=np.arange(N) + 1).forget(sample_id=[3, 9]).fit(X, Y)
    assert not clf.receipts_.covers([3, 9]).any()
    assert clf.forget(3).receipts_.covers([3, 9]).tolist() == [True, False]


def test_a_copy_knows_what_came_back():
    clf = plain().fit(X, Y, sample_id=IDS).forget([3])
    with pytest.warns(ForgottenRowsReturnedWarning):
        clf.fit(X, Y, sample_id=IDS)
    copy = pickle.loads(pickle.dumps(clf))
    assert not copy.receipts_.covers("patient-3")
    assert copy.receipts_.knows_id("patient-3")
    assert copy.forget(3).receipts_.covers("patient-3")


@pytest.mark.parametrize("value", ["ignore", None, True, 1])
def test_on_return_is_checked_before_any_work(clf, value):
    with pytest.raises(ValueError, match="'on_return' parameter"):
        clf.fit(X, Y, on_return=value)
    assert not hasattr(clf, "receipts_")


@pytest.mark.parametrize("routing", [False, True])
def test_cross_validation_starts_with_empty_ledgers(routing):
    clf = plain().fit(X, Y, sample_id=IDS).forget([0])
    params = {"sample_id": IDS, "forget": np.arange(N) < 4}
    with config_context(enable_metadata_routing=routing):
        found = cross_validate(clf, X, Y, cv=2, params=params, return_estimator=True)
        name = "on_return" if routing else "retrainclassifier__on_return"
        pipe = make_pipeline(StandardScaler(), plain())
        ids = "sample_id" if routing else "retrainclassifier__sample_id"
        pipe.fit(X, Y, **{ids: IDS})[-1].forget([1])
        with pytest.raises(ForgottenRowsReturnedError):
            pipe.fit(X, Y, **{ids: IDS, name: "raise"})
    assert [[r.epoch for r in e.receipts_] for e in found["estimator"]] == [[1], [1]]


def test_what_was_forgotten_before_a_refit_is_no_residue():
    pipe = make_pipeline(StandardScaler(), plain()).fit(X, Y)
    pipe[-1].forget([1])
    assert residual_steps(pipe) == ["standardscaler"]
    assert residual_steps(pipe.fit(X, Y)) == []
    assert len(pipe[-1].receipts_) == 1


KEYS = st.sets(st.integers(0, 11), max_size=4)


@given(st.lists(st.one_of(st.tuples(st.just("forget"), KEYS), st.tuples(st.just("fit"), KEYS))))
@settings(max_examples=60)
def test_a_ledger_is_right_over_any_history(history):
    # an estimator that only keeps rows, beside sets that say what must be true
    def rows_of(keys):
        ids = np.array(sorted(keys), dtype=np.int64)
        return TrainingRows.borrow(ids[:, None], ids, len(ids), sample_id=ids, groups=ids // 2)

    def receipt(hit, epoch):
        labels = ledger.labels(rows, hit)
        cost = receipts.ForgetCost(len(hit), 0, 0.0, 0.0)
        counts = (len(hit), len(hit), 0, len(rows) - len(hit))
        guarantee = receipts.Guarantee("exact")
        return receipts.ForgetReceipt(
            "M", guarantee, *counts, labels, cost, 0.0, "", "", epoch=epoch
        )

    ledger, rows, present, gone, erased = (
        ForgetLedger(),
        rows_of(range(12)),
        set(range(12)),
        set(),
        set(),
    )
    for what, keys in history:
        if what == "fit":
            present = keys or {0}
            rows = rows_of(present)
            back = ledger.returned(rows)
            assert set(back.get("sample_id", ())) == present & gone
            assert set(back.get("groups", ())) == {k // 2 for k in present} & erased
            ledger = ledger.next_epoch(rows, back)
        else:
            hit = np.flatnonzero(np.isin(rows.sample_id, list(keys)))
            ledger = ledger.add(receipt(hit, ledger.epoch), rows, hit)
            rows, gone = rows.drop(hit), gone | (present & keys)
            erased |= {k // 2 for k in present & keys} - {k // 2 for k in present - keys}
            present -= keys
        for key in range(12):
            assert ledger.covers(key) == (key in gone - present)
            assert ledger.knows_id(key) == (key in gone)
        for group in range(6):
            assert ledger.covers(groups=group) == (group in erased - {k // 2 for k in present})


# ----------------------------------------------------------------------------- versions


def test_versions_that_changed_are_said_and_on_the_receipt(clf, monkeypatch):
    clf.fit(X, Y, sample_id=IDS)
    then = library_versions()
    copy = pickle.loads(pickle.dumps(clf))
    now = {**then, "torch": "99.1", "processor": "abacus"}
    monkeypatch.setattr(receipts, "library_versions", lambda: now)
    match = (
        rf"{type(clf).__name__}: since fit, versions have changed \(torch \S+ -> 99.1, processor"
    )
    with pytest.warns(VersionsChangedWarning, match=match):
        receipt = copy.forget([3]).receipts_[-1]
    assert receipt.versions_at_fit == then
    assert receipt.versions == now
    assert "exactness" in receipt.caveat
    assert receipt.caveat in str(receipt)
    assert receipt.to_dict()["caveat"] == receipt.caveat
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        repeated = copy.forget([3]).receipts_[-1]  # nothing is computed
        assert repeated.caveat is None
        assert repeated.versions_at_fit == then
        copy.fit(X[4:], Y[4:], sample_id=IDS[4:])
    assert copy.receipts_.versions == now
    assert copy.forget([5]).receipts_[-1].caveat is None


def test_versions_are_no_part_of_the_model(monkeypatch):
    first = plain().fit(X, Y, sample_id=IDS)
    now = {**library_versions(), "numpy": "99"}
    monkeypatch.setattr(receipts, "library_versions", lambda: now)
    second = plain().fit(X, Y, sample_id=IDS)
    assert state_digest(first._exact_state()) == state_digest(second._exact_state())
    assert state_digest(first._model_state()) == state_digest(second._model_state())


def test_a_warning_that_is_an_error_changes_nothing(clf, monkeypatch):
    clf.fit(X, Y, sample_id=IDS)
    before, ledger = state_digest(clf._model_state()), clf.receipts_
    now = {**library_versions(), "numpy": "99"}
    monkeypatch.setattr(receipts, "library_versions", lambda: now)
    with warnings.catch_warnings():
        warnings.simplefilter("error", VersionsChangedWarning)
        with pytest.raises(VersionsChangedWarning):
            clf.forget([3])
    assert state_digest(clf._model_state()) == before
    assert clf.receipts_ is ledger


def test_the_processor_is_among_the_versions():
    assert torch.backends.cpu.get_cpu_capability() in library_versions()["processor"]
