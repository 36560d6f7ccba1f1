"""Several threads, one estimator: no request is lost, no answer is from between two states."""

import copy
import pickle
import threading

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from sk_unlearn import RetrainClassifier, SisaClassifier
from sk_unlearn.exceptions import ConcurrentChangeError
from sk_unlearn.pipeline import make_forget_pipeline
from tests.service.conftest import MAKERS, THREE, X, own_net, target

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sk_unlearn.exceptions.RetrainAdvisedWarning"),
]


def together(*calls):
    """Call all at once, each in a thread; raise what one of them raises."""
    barrier, errors = threading.Barrier(len(calls)), []

    def run(call):
        barrier.wait()
        try:
            call()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def digest(estimator):
    return estimator.forget([]).receipts_[-1].digest_after


def test_no_request_is_lost(kind):
    ids = np.array([f"r{i}" for i in range(96)])
    estimator = MAKERS[kind]().fit(X, target(kind), sample_id=ids)
    shares = np.array_split(np.random.RandomState(1).permutation(96)[:50], 8)

    def ask(rows):
        for row in rows:
            estimator.forget(sample_id=[ids[row]])

    together(*(lambda rows=rows: ask(rows) for rows in shares))
    assert len(estimator.receipts_) == 50
    assert [r.n_remaining for r in estimator.receipts_] == list(range(95, 45, -1))
    assert all(estimator.receipts_.covers(ids[row]) for rows in shares for row in rows)
    for before, after in zip(estimator.receipts_, estimator.receipts_[1:], strict=False):
        assert before.digest_after == after.digest_before
    if str(estimator.guarantee) == "exact":
        rest = np.setdiff1d(np.arange(96), np.concatenate(shares))
        fresh = clone(estimator).fit(X[rest], target(kind)[rest], sample_id=ids[rest])
        np.testing.assert_array_equal(estimator.predict(X), fresh.predict(X))
        assert digest(estimator) == digest(fresh)


def test_fits_and_requests_come_one_after_the_other():
    clf = RetrainClassifier(GaussianNB(), random_state=0).fit(X, THREE)
    together(*[lambda: clf.fit(X, THREE), lambda: clf.forget([3])] * 4)
    assert len(clf.receipts_) == 4
    assert clf.receipts_.epoch == 5
    asked = [receipt for receipt in clf.receipts_ if receipt.epoch == 5]
    assert len(clf._rows_) == (95 if asked else 96)


def test_predictions_are_of_before_or_after(kind):
    estimator = MAKERS[kind]().fit(X, target(kind))
    # predictions where a class leaves as well: other columns, other classes
    rows = range(5) if "regressor" in kind else np.flatnonzero(THREE == 1)
    asked = "predict_proba" if hasattr(estimator, "predict_proba") else "predict"
    before = getattr(estimator, asked)(X)
    after = getattr(MAKERS[kind]().fit(X, target(kind)).forget(rows), asked)(X)
    seen, stop = [], threading.Event()

    def watch():
        while not stop.is_set() or not seen:
            seen.append(getattr(estimator, asked)(X))

    def ask():
        try:
            estimator.forget(rows)
        finally:
            stop.set()

    together(watch, watch, ask)
    for found in seen:
        assert any(np.array_equal(found, wanted) for wanted in (before, after))
    np.testing.assert_array_equal(getattr(estimator, asked)(X), after)


def test_a_pipeline_and_its_last_step_wait_for_each_other():
    pipe = make_forget_pipeline(RetrainClassifier(GaussianNB()), random_state=0).fit(X, THREE)
    errors = []

    def ask(estimator, rows):
        for row in rows:
            try:
                estimator.forget([row])
            except ValueError as error:  # the last step was asked by itself: said so
                errors.append(error)

    together(lambda: ask(pipe, range(10)), lambda: ask(pipe[-1], range(10, 20)))
    assert len(pipe._rows_) == 96 - len(pipe.receipts_)
    assert all("by itself" in str(error) for error in errors)


def test_a_state_from_elsewhere_is_noticed():
    class SetBack(RetrainClassifier):
        def _forget_rows(self, rows, retained, hit):
            clf.__dict__ = dict(vars(clf))  # as somebody who restores an older state does
            return super()._forget_rows(rows, retained, hit)

    clf = SetBack(GaussianNB()).fit(X, THREE)
    with pytest.raises(ConcurrentChangeError, match="repeat it"):
        clf.forget([3])
    assert len(clf._rows_) == 96
    assert not len(clf.receipts_)


def test_parameters_set_meanwhile_stay():
    class Sets(RetrainClassifier):
        def _forget_rows(self, rows, retained, hit):
            clf.set_params(verbose=1)
            return super()._forget_rows(rows, retained, hit)

    clf = Sets(LogisticRegression()).fit(X, THREE)
    clf.forget([3])
    assert clf.verbose == 1
    assert len(clf._rows_) == 95


def test_a_request_inside_a_request_of_the_same_thread_ends():
    class Asks(GaussianNB):
        def fit(self, X, y, sample_weight=None):
            if len(y) == 95:
                clf.forget_cost([5])
            return super().fit(X, y)

    clf = RetrainClassifier(Asks()).fit(X, THREE)
    assert len(clf.forget([3])._rows_) == 95


@pytest.mark.slow
def test_stress_as_in_a_service():
    """Eight threads predict, one draws, one forgets 200 times, under autocast and inference."""
    n_rows = 240
    rng = np.random.RandomState(0)
    y = np.arange(n_rows) % 3
    X = (rng.normal(size=(n_rows, 4)) + 2 * y[:, None]).astype(np.float32)
    requests = rng.permutation(n_rows)[:200]
    net = own_net().set_params(max_epochs=1)
    retrain = RetrainClassifier(net, random_state=0)
    sisa = SisaClassifier(net, n_shards=4, n_slices=2, random_state=0)
    for unfitted, rows in ((retrain, requests[:40]), (sisa, requests)):
        quiet = clone(unfitted).fit(X, y)
        expected, answers = [], {quiet.predict_proba(X).tobytes()}
        for row in rows:
            expected.append(quiet.forget([row]).receipts_[-1].digest_after)
            answers.add(quiet.predict_proba(X).tobytes())
        estimator, stop, numbers, wrong = clone(unfitted).fit(X, y), threading.Event(), [], []

        def predict(estimator=estimator, stop=stop, wrong=wrong, answers=answers):
            while not stop.is_set():
                with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
                    found = estimator.predict_proba(X)
                if found.tobytes() not in answers:
                    wrong.append(found)
                stop.wait(0.01)

        def draw(stop=stop, numbers=numbers):
            while not stop.is_set():
                numbers.append((np.random.random(), float(torch.rand(1, dtype=torch.float64))))
                stop.wait(0.0005)

        def forget(estimator=estimator, stop=stop, rows=rows):
            try:
                for row in rows:
                    with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
                        estimator.forget([row])
            finally:
                stop.set()

        together(*[predict] * 8, draw, forget)
        assert [receipt.digest_after for receipt in estimator.receipts_] == expected
        assert not wrong
        assert len(set(numbers)) == len(numbers)


def test_nets_are_trained_side_by_side_alike_beside_other_threads():
    """Recorded steps see all operations, also where draws come from a generator of the thread."""
    alone, beside = (SisaClassifier(random_state=0).fit(X, THREE) for _ in range(2))
    assert alone.stacked_
    over = threading.Event()
    other = threading.Thread(target=over.wait)
    other.start()
    try:
        assert digest(beside.fit(X, THREE)) == digest(alone)
        assert digest(beside.forget([1, 5])) == digest(alone.forget([1, 5]))
    finally:
        over.set()
        other.join()


class ByName(GaussianNB):
    """Draws from torch's global generator by its names, as random_split does."""

    def fit(self, X, y, sample_weight=None):
        rows = range(len(X))
        halves = torch.utils.data.random_split(rows, [0.5, 0.5])
        order = torch.randperm(4, generator=torch.default_generator)
        again = torch.randperm(4, generator=torch.random.default_generator)
        kept = np.concatenate([halves[0].indices, np.arange(9)])
        super().fit(X[kept], y[kept])
        self.theta_ = self.theta_[:, order][:, again]
        return self


def test_draws_by_the_name_of_the_global_generator_are_those_of_the_thread():
    alone = RetrainClassifier(ByName(), random_state=0).fit(X, THREE)
    beside = RetrainClassifier(ByName(), random_state=0)
    before = torch.get_rng_state()
    together(lambda: beside.fit(X, THREE))
    assert digest(beside) == digest(alone)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.random.default_generator is torch.default_generator


def test_copies_made_in_inference_mode_can_forget(kind):
    estimator = MAKERS[kind]().fit(X, target(kind))
    with torch.inference_mode():
        copies = copy.deepcopy(estimator), pickle.loads(pickle.dumps(estimator))
    estimator.forget([3])
    for each in copies:
        each.forget([3])
        assert each.receipts_[-1].digest_after == estimator.receipts_[-1].digest_after
