"""The template methods, on a small method of a user's own and on the package's."""

import numpy as np
import pytest
import torch
from joblib import parallel_config
from sklearn import config_context
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.validation import check_array, check_is_fitted, check_X_y
from skorch import NeuralNetClassifier
from skorch.callbacks import Checkpoint, LoadInitState, TrainEndCheckpoint
from skorch.dataset import ValidSplit
from torch import nn

from sk_unlearn import PumaClassifier, RetrainClassifier
from sk_unlearn.base import BaseForgetEstimator, Removal
from sk_unlearn.exceptions import (
    RetrainAdvisedWarning,
    TrainingDataChangedError,
    UnsupportedNetError,
)
from sk_unlearn.mixins import ForgetClassifierMixin
from sk_unlearn.nets import MLP
from sk_unlearn.receipts import ForgetCost, Guarantee
from sk_unlearn.utils._digest import state_digest
from sk_unlearn.utils.estimator_checks import check_exact_forget, check_forget_estimator

RNG = np.random.RandomState(0)
X, y = RNG.normal(size=(40, 4)), np.arange(40) % 3
X[:, 0] += y
MASK = np.arange(40) % 8 == 0


class NearestMean(ForgetClassifierMixin, BaseForgetEstimator):
    """What a user writes for a method of their own: four hooks and predict."""

    guarantee = Guarantee("exact")

    def __init__(self, estimator=None, random_state=None):
        self.estimator = estimator
        self.random_state = random_state

    def _check_training_data(self, X, y):
        return check_X_y(X, y)

    def _fit_rows(self, rows):
        self._set_classes(rows.y)
        self.means_ = np.stack([rows.X[rows.y == label].mean(axis=0) for label in self.classes_])
        # a draw from the global generator: the template must have seeded it
        self.tie_break_ = np.random.random()

    def _forget_rows(self, rows, retained, hit):
        self._fit_rows(retained)
        return Removal(self._removal_cost(rows, hit), {"hit": hit}, ("retrain",) * self.noisy)

    def _removal_cost(self, rows, hit):
        return ForgetCost(len(hit), len(rows) - len(hit), float("nan"), 1.0)

    noisy = False

    def predict(self, X):
        check_is_fitted(self)
        distance = np.linalg.norm(check_array(X)[:, None] - self.means_, axis=2)
        return self.classes_[distance.argmin(axis=1)]


def net(**params):
    values = {
        "module__n_features": 4,
        "module__n_outputs": 3,
        "module__hidden": (6,),
        "criterion": nn.CrossEntropyLoss,
        "max_epochs": 3,
        "verbose": 0,
        "train_split": None,
        **params,
    }
    return NeuralNetClassifier(MLP, **values)


def test_a_users_own_method_keeps_the_contract():
    check_forget_estimator(NearestMean())
    check_exact_forget(NearestMean(), X, np.array(["a", "b", "c"])[y])


def test_advice_becomes_a_warning_and_stays_on_the_receipt():
    clf = NearestMean().fit(X, y)
    clf.noisy = True
    with pytest.warns(RetrainAdvisedWarning, match="retrain") as caught:
        clf.forget([0])
    assert caught[0].filename == __file__
    assert clf.receipts_[-1].advice == ("retrain",)
    assert clf.receipts_[-1].solver["hit"].tolist() == [0]


def test_a_warning_turned_into_an_error_changes_nothing():
    clf = NearestMean().fit(X, y)
    clf.noisy, before = True, state_digest(clf.means_)
    with pytest.raises(RetrainAdvisedWarning, match="retrain"):  # pytest makes it an error
        clf.forget([0])
    assert (len(clf.receipts_), state_digest(clf.means_)) == (0, before)


def test_rows_are_borrowed_until_the_first_request():
    data = X.copy()
    clf = RetrainClassifier(LogisticRegression()).fit(data, y)
    assert clf._rows_.X is data
    data[0] += 1
    with pytest.raises(TrainingDataChangedError, match=r"RetrainClassifier holds .*X changed"):
        clf.forget([1])
    data[0] = X[0]
    assert not np.shares_memory(clf.forget([1])._rows_.X, data)


def test_a_net_gets_the_callers_array_without_a_copy():
    for dtype in (np.float32, np.float64):
        data = X.astype(dtype)
        clf = PumaClassifier(net(), random_state=0).fit(data, y)
        assert np.shares_memory(clf._rows_.X, data)


def test_the_digests_on_a_receipt_are_of_the_public_state():
    clf = NearestMean(random_state=0).fit(X, y)
    first = clf.forget([0]).receipts_[-1]
    state = {k: v for k, v in vars(clf).items() if k in ("means_", "classes_", "tie_break_")}
    assert first.digest_after == state_digest(state)
    assert first.digest_before != first.digest_after


def test_tags_and_routing():
    assert get_tags(PumaClassifier()).guarantee.kind == "approximate"
    assert get_tags(make_pipeline(StandardScaler(), RetrainClassifier())) is not None
    requests = RetrainClassifier().get_metadata_routing()._serialize()["$self_request"]["fit"]
    assert requests == dict.fromkeys(("sample_id", "groups", "forget", "on_return"), True)
    with config_context(enable_metadata_routing=True):
        silent = RetrainClassifier().set_fit_request(forget=False)
        with pytest.raises(TypeError, match="forget"):
            cross_validate(silent, X, y, params={"forget": MASK})


@pytest.mark.parametrize("routing", [False, True])
def test_grid_search_forgets_in_every_fold(routing):
    search = GridSearchCV(
        RetrainClassifier(LogisticRegression()), {"estimator__C": [0.1, 1]}, cv=2
    )
    with config_context(enable_metadata_routing=routing):
        search.fit(X, y, forget=MASK)
    best = search.best_estimator_
    assert best.receipts_[-1].n_forgotten == MASK.sum()
    oracle = LogisticRegression(C=search.best_params_["estimator__C"]).fit(X[~MASK], y[~MASK])
    assert np.array_equal(best.predict_proba(X), oracle.predict_proba(X))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sk_unlearn.exceptions.RetrainAdvisedWarning")
@pytest.mark.parametrize("estimator", [RetrainClassifier(net()), PumaClassifier(net())])
def test_every_joblib_backend_gives_the_serial_result(estimator):
    estimator.set_params(random_state=0)

    def run(n_jobs=None):
        result = cross_validate(
            estimator,
            X,
            y,
            cv=4,
            params={"forget": MASK},
            n_jobs=n_jobs,
            return_estimator=True,
            error_score="raise",
        )
        return [e.predict_proba(X) for e in result["estimator"]]

    serial = run()
    for backend in ("threading", "loky"):
        before = torch.get_num_threads()
        with parallel_config(backend, n_jobs=2):
            assert np.array_equal(run(), serial), backend
        assert torch.get_num_threads() == before
    assert np.array_equal(run(2), serial)


@pytest.mark.filterwarnings("ignore::sk_unlearn.exceptions.RetrainAdvisedWarning")
@pytest.mark.parametrize("kind", [RetrainClassifier, PumaClassifier])
def test_a_trained_net_is_adopted_and_left_alone(kind):
    trained = net(optimizer=torch.optim.Adam).fit(X.astype(np.float32), y)
    before, weight = state_digest(trained), trained.module_.layers[1].weight
    clf = kind(FrozenEstimator(trained), random_state=0).fit(X, y)
    assert np.allclose(
        clf.predict_proba(X), trained.predict_proba(X.astype(np.float32)), atol=1e-6
    )
    clf.forget([0, 1, 2])
    assert clf.receipts_[-1].n_remaining == 37
    assert clf.estimator_ is not trained
    assert state_digest(clf.estimator_.module_) != state_digest(trained.module_)
    assert trained.module_.layers[1].weight is weight
    assert state_digest(trained) == before
    if kind is RetrainClassifier:
        fresh = RetrainClassifier(net(optimizer=torch.optim.Adam), random_state=0)
        fresh.fit(X[3:], y[3:])
        assert np.array_equal(clf.predict_proba(X), fresh.predict_proba(X))


@pytest.mark.parametrize("kind", [RetrainClassifier, PumaClassifier])
def test_adoption_needs_the_labels_of_the_net(kind):
    trained = net().fit(X.astype(np.float32), y)
    with pytest.raises(ValueError, match="Encode y the way the net was trained"):
        kind(FrozenEstimator(trained)).fit(X, np.array(["a", "b", "c"])[y])
    with pytest.raises(UnsupportedNetError, match=r"3 outputs|labels \[0, 1, 2\], and y holds 5"):
        kind(FrozenEstimator(trained)).fit(X, y + 5)


def test_an_adopted_estimator_must_know_the_labels():
    trained = FrozenEstimator(LogisticRegression().fit(X, y))
    clf = RetrainClassifier(trained).fit(X, y)
    assert np.array_equal(clf.predict_proba(X), trained.predict_proba(X))
    assert RetrainClassifier(trained).fit(X[y < 2], y[y < 2]).predict_proba(X).shape == (40, 2)
    with pytest.raises(UnsupportedNetError, match=r"labels \[0, 1, 2\], and y holds 3"):
        RetrainClassifier(trained).fit(X, y + 1)


def test_metadata_for_single_rows_is_refused_by_name():
    with pytest.raises(TypeError, match=r"got 'sample_weight': this method cannot weight"):
        PumaClassifier(net()).fit(X, y, sample_weight=np.ones(40))
    with pytest.raises(TypeError, match="criterion__weight"):
        RetrainClassifier().fit(X, y, sample_weight=np.ones(40))


def test_rows_held_out_by_the_net_are_known():
    split = ValidSplit(0.25, stratified=True, random_state=0)
    clf = PumaClassifier(net(train_split=split), random_state=0).fit(X, y)
    assert clf._trained_.sum() == 30
    held_out = np.flatnonzero(~clf._trained_)[:2]
    before = state_digest(clf.estimator_.module_)
    clf.forget(held_out)
    assert state_digest(clf.estimator_.module_) == before
    assert clf.receipts_[-1].n_forgotten == 2


def test_a_mask_of_everything_is_refused_before_training(monkeypatch):
    monkeypatch.setattr(NearestMean, "_fit_rows", lambda self, rows: pytest.fail("was trained"))
    with pytest.raises(ValueError, match=r"'forget' parameter of NearestMean.fit marks all 40"):
        NearestMean().fit(X, y, forget=np.ones(40, dtype=bool))


@pytest.mark.parametrize("kind", [RetrainClassifier, PumaClassifier])
def test_weights_from_a_file_are_refused(kind, tmp_path):
    stored = TrainEndCheckpoint(dirname=str(tmp_path))
    net(callbacks=[stored]).fit(X.astype(np.float32), y)
    with pytest.raises(UnsupportedNetError, match=r"LoadInitState .* Remove it\..*EarlyStopping"):
        kind(net(callbacks=[LoadInitState(stored)])).fit(X, y)
    best = Checkpoint(dirname=str(tmp_path), monitor=None, load_best=True)
    with pytest.raises(UnsupportedNetError, match=r"Checkpoint\(load_best=True\)"):
        kind(net(callbacks=[("best", best)])).fit(X, y)
    kind(net(callbacks=[stored]), random_state=0).fit(X, y)


def test_bad_parameters_are_refused_before_any_work():
    with pytest.raises(ValueError, match="'random_state' parameter of RetrainClassifier"):
        RetrainClassifier(random_state="a").fit(X, y)
    with pytest.raises(ValueError, match="'estimator' parameter of PumaClassifier"):
        PumaClassifier("net").fit(X, y)


class Extended(RetrainClassifier):
    """With a parameter that has a rule, one that has none, and one whose rule is waived."""

    _parameter_constraints: dict = {
        **RetrainClassifier._parameter_constraints,
        "share": [float],
        "waived": "no_validation",
    }

    def __init__(self, estimator=None, *, share=0.5, free=None, waived=None, random_state=None):
        super().__init__(estimator, random_state=random_state)
        self.share = share
        self.free = free
        self.waived = waived


def test_parameters_set_after_fit_are_validated_before_a_removal():
    X, y = np.arange(20.0).reshape(10, 2), np.arange(10) % 2
    clf = Extended(LogisticRegression(), free=object(), waived=object()).fit(X, y)
    clf.forget(0)
    clf.set_params(share="all")
    rule = "The 'share' parameter of Extended must be an instance of 'float'. Got 'all' instead."
    for call in (clf.forget, clf.forget_cost):
        with pytest.raises(ValueError, match=rule):
            call(1)
    assert len(clf.receipts_) == 1
    clf.set_params(share=0.1).forget(1)
