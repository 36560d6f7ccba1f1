import os
import pickle
import signal

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier, StackingClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC
from skorch import NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import Callback
from torch import nn

from sk_unlearn import PumaClassifier, RetrainClassifier, RetrainRegressor
from sk_unlearn.exceptions import UnsupportedNetError
from sk_unlearn.nets import MLP, _defaults
from sk_unlearn.utils._digest import state_digest
from sk_unlearn.utils._seeding import derive_seed, isolated_rng
from sk_unlearn.utils.estimator_checks import check_exact_forget

RNG = np.random.RandomState(0)
X, y = RNG.normal(size=(30, 4)), np.arange(30) % 3
X[:, 0] += 3 * y
TARGET = X @ np.array([1.0, -1.0, 0.5, 0.0])


def net(kind=NeuralNetClassifier, module=MLP, **params):
    values = {"max_epochs": 4, "verbose": 0, "train_split": None, "lr": 0.1}
    if module is MLP:
        values |= {"module__n_features": 4, "module__hidden": (6,)}
        values["module__n_outputs"] = 3 if kind is NeuralNetClassifier else 1
    if kind is NeuralNetClassifier:
        values["criterion"] = nn.CrossEntropyLoss
    return kind(module, **{**values, **params})


@pytest.fixture
def short_training(monkeypatch):
    monkeypatch.setattr(_defaults, "_EPOCHS", (3, 5))


@given(st.sets(st.integers(0, 29), min_size=1, max_size=15))
@settings(max_examples=25)
def test_scikit_learn_models_equal_those_fitted_on_the_rest(gone):
    kept = [i for i in range(30) if i not in gone]
    clf = RetrainClassifier(LogisticRegression()).fit(X, y).forget(sorted(gone))
    oracle = LogisticRegression().fit(X[kept], y[kept])
    assert np.array_equal(clf.predict_proba(X), oracle.predict_proba(X))
    assert np.array_equal(clf.decision_function(X), oracle.decision_function(X))
    reg = RetrainRegressor(Ridge()).fit(X, TARGET).forget(sorted(gone))
    assert np.array_equal(reg.predict(X), Ridge().fit(X[kept], TARGET[kept]).predict(X))


def test_a_net_equals_skorch_itself_on_the_rest():
    clf = RetrainClassifier(net(), random_state=0).fit(X, y).forget([0, 4])
    kept = np.setdiff1d(np.arange(30), [0, 4])
    seen = clf.estimator_
    plain = net()
    with isolated_rng(derive_seed(clf._seed_, "compute")):
        plain.fit(X[kept].astype(np.float32), y[kept])
    for name, value in plain.module_.state_dict().items():
        assert torch.equal(value, seen.module_.state_dict()[name]), name


class PressCtrlC(Callback):
    """Interrupt the second epoch, when told to."""

    armed = False

    def on_epoch_begin(self, net, **kwargs):
        if PressCtrlC.armed and len(net.history) == 2:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("step", ["fit", "forget"])
def test_ctrl_c_leaves_the_estimator_as_it_was(step, monkeypatch):
    clf = RetrainClassifier(net(callbacks=[PressCtrlC()]), random_state=0).fit(X, y).forget([1])
    before, receipts = state_digest(clf.__getstate__()), clf.receipts_
    monkeypatch.setattr(PressCtrlC, "armed", True)
    handler, threads = signal.getsignal(signal.SIGINT), torch.get_num_threads()
    generator = torch.get_rng_state()
    with pytest.raises(KeyboardInterrupt):
        clf.fit(X[:20], y[:20]) if step == "fit" else clf.forget([2])
    assert clf.receipts_ is receipts
    assert state_digest(clf.__getstate__()) == before
    assert signal.getsignal(signal.SIGINT) is handler
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), generator)
    monkeypatch.setattr(PressCtrlC, "armed", False)
    expected = RetrainClassifier(net(callbacks=[PressCtrlC()]), random_state=0)
    expected.fit(X, y).forget([1, 2])
    assert np.array_equal(clf.forget([2]).predict_proba(X), expected.predict_proba(X))


@pytest.mark.usefixtures("short_training")
@pytest.mark.parametrize(
    "estimator", [None, make_pipeline(StandardScaler(), LogisticRegression())]
)
def test_frames_keep_their_names(estimator):
    frame = pd.DataFrame(X, columns=list("abcd"), index=np.arange(30)[::-1])
    clf = RetrainClassifier(estimator, random_state=0).fit(frame, pd.Series(y, index=frame.index))
    assert clf.feature_names_in_.tolist() == list("abcd")
    assert clf.n_features_in_ == 4
    clf.forget([0, 5])
    same = RetrainClassifier(estimator, random_state=0).fit(X, y).forget([0, 5])
    # pandas keeps columns together: the same numbers are summed in another order
    assert np.allclose(clf.predict_proba(frame), same.predict_proba(X), rtol=1e-12)
    with pytest.raises(ValueError, match="feature names"):
        clf.predict(frame[["b", "a", "c", "d"]])


@pytest.mark.usefixtures("short_training")
@pytest.mark.filterwarnings("ignore::sk_unlearn.exceptions.RetrainAdvisedWarning")
@pytest.mark.parametrize("kind", [RetrainClassifier, PumaClassifier])
@pytest.mark.parametrize(
    "labels", [np.array(["no", "perhaps", "yes"]), np.array([3.0, 5.0, 9.0]), np.array([-1, 0, 7])]
)
def test_any_labels_are_encoded(kind, labels):
    clf = kind(random_state=0).fit(X, labels[y])
    plain = kind(random_state=0).fit(X, y)
    assert np.array_equal(clf.classes_, labels)
    assert np.array_equal(clf.predict(X), labels[plain.predict(X)])
    gone = np.flatnonzero(y == 1)
    clf.forget(gone), plain.forget(gone)
    assert np.array_equal(clf.classes_, labels[[0, 2]])
    assert np.array_equal(clf.predict(X), labels[plain.predict(X)])
    assert np.array_equal(clf.predict_proba(X), plain.predict_proba(X))


@pytest.mark.usefixtures("short_training")
@pytest.mark.filterwarnings("ignore::sk_unlearn.exceptions.RetrainAdvisedWarning")
@pytest.mark.parametrize("kind", [RetrainClassifier, PumaClassifier])
def test_booleans_one_feature_and_two_rows_a_class(kind):
    clf = kind(random_state=0).fit(X[:, :1], y == 1).forget([0])
    assert clf.classes_.dtype == bool
    assert clf.predict(X[:, :1]).dtype == bool
    few = kind(random_state=0).fit(X[:6], y[:6])
    assert few.forget([0]).classes_.tolist() == [0, 1, 2]
    assert few.forget([3]).classes_.tolist() == [1, 2]
    assert few.predict_proba(X).shape == (30, 2)


class SmallCNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(8, 3)
        )

    def forward(self, images):
        return self.layers(images)


IMAGES = RNG.normal(size=(30, 1, 6, 6)).astype(np.float32) + y[:, None, None, None]


@pytest.mark.filterwarnings("ignore::sk_unlearn.exceptions.RetrainAdvisedWarning")
def test_images_reach_a_convolution():
    check_exact_forget(RetrainClassifier(net(module=SmallCNN)), IMAGES, y)
    clf = PumaClassifier(net(module=SmallCNN), random_state=0).fit(IMAGES, y)
    before = clf.predict_proba(IMAGES)
    assert not np.array_equal(clf.forget([0, 1]).predict_proba(IMAGES), before)
    with pytest.raises(ValueError, match=r"rows of shape \(1, 6, 6\)"):
        clf.predict(IMAGES[:, :, :5])


@pytest.mark.parametrize("kind", [RetrainClassifier, PumaClassifier])
def test_a_module_instance_is_a_template(kind):
    module = MLP(4, 3, hidden=(5,))
    before = state_digest(module)
    clf = kind(net(module=module), random_state=0).fit(X, y)
    again = kind(net(module=module), random_state=0).fit(X, y)
    assert state_digest(module) == before
    assert np.array_equal(clf.predict_proba(X), again.predict_proba(X))
    if kind is RetrainClassifier:
        check_exact_forget(kind(net(module=module)))
    used = net(module=module).fit(X.astype(np.float32), y)
    with pytest.raises(UnsupportedNetError, match="has been trained"):
        kind(used).fit(X, y)


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_net_of_fixed_width_outlives_a_class(gone):
    clf = RetrainClassifier(net(), random_state=0).fit(X, y).forget(np.flatnonzero(y == gone))
    kept = [label for label in range(3) if label != gone]
    assert clf.classes_.tolist() == kept
    proba = clf.predict_proba(X)
    assert proba.shape == (30, 2)
    assert np.allclose(proba.sum(axis=1), 1)
    scores = clf.estimator_.forward(X.astype(np.float32)).numpy()[:, :2]
    assert np.allclose(proba, torch.softmax(torch.from_numpy(scores), 1).numpy(), atol=1e-6)
    with pytest.raises(UnsupportedNetError, match="3 outputs and y has 4 classes"):
        RetrainClassifier(net()).fit(X, np.arange(30) % 4)


@pytest.mark.parametrize("routing", [False, True])
def test_sample_weight_reaches_the_estimator_and_shrinks_with_the_rows(routing):
    weight = RNG.uniform(0.1, 3, 30)
    inner = LogisticRegression()
    with config_context(enable_metadata_routing=routing):
        if routing:
            inner.set_fit_request(sample_weight=True)
        clf = RetrainClassifier(inner)
        if routing:
            clf.set_score_request(sample_weight=False)
        clf.fit(X, y, sample_weight=weight, sample_id=np.arange(30)).forget([0, 9]).forget([3])
        kept = np.setdiff1d(np.arange(30), [0, 3, 9])
        oracle = LogisticRegression().fit(X[kept], y[kept], sample_weight=weight[kept])
        assert np.array_equal(clf.predict_proba(X), oracle.predict_proba(X))
        if routing:
            scores = cross_validate(
                clf, X, y, cv=2, params={"sample_weight": weight}, error_score="raise"
            )
            assert np.isfinite(scores["test_score"]).all()


def test_huge_numbers():
    with pytest.raises(ValueError, match=r"1e\+300, too large .*StandardScaler"):
        RetrainClassifier(net()).fit(np.full((6, 4), 1e300), y[:6])
    scaled = make_pipeline(StandardScaler(), net())
    huge = RetrainClassifier(scaled, random_state=0).fit(X * 1e100, y).forget([0])
    plain = RetrainClassifier(scaled, random_state=0).fit(X, y).forget([0])
    assert np.allclose(huge.predict_proba(X * 1e100), plain.predict_proba(X), atol=1e-5)


def test_open_seeds_of_nested_estimators_are_set():
    forest = RandomForestClassifier(5)
    check_exact_forget(RetrainClassifier(forest), X, y)
    clf = RetrainClassifier(forest, random_state=1).fit(X, y)
    assert isinstance(clf.estimator_.random_state, int)
    assert forest.random_state is None
    fixed = RetrainClassifier(RandomForestClassifier(5, random_state=7)).fit(X, y)
    oracle = RandomForestClassifier(5, random_state=7).fit(X[1:], y[1:])
    assert np.array_equal(fixed.forget(0).predict_proba(X), oracle.predict_proba(X))


def test_methods_follow_the_wrapped_estimator():
    svc = RetrainClassifier(LinearSVC())
    assert hasattr(svc, "decision_function")
    assert not hasattr(svc, "predict_proba")
    assert svc.fit(X, y).forget([1]).decision_function(X).shape == (30, 3)
    assert not hasattr(RetrainClassifier(net()), "decision_function")


def test_regression_with_several_targets():
    wide = np.stack([TARGET, -TARGET], axis=1)
    reg = RetrainRegressor(net(NeuralNetRegressor, module__n_outputs=2, lr=0.01), random_state=0)
    assert reg.fit(X, wide).forget([0]).predict(X).shape == (30, 2)
    check_exact_forget(reg, X, wide)
    with pytest.raises(UnsupportedNetError, match="outputs shape"):
        reg.fit(X, np.stack([TARGET] * 3, axis=1))


def test_cost_of_a_retrain():
    clf = RetrainClassifier(net(), random_state=0).fit(X, y)
    cost = clf.forget_cost(range(15))
    assert (cost.n_forgotten, cost.rows_retrained) == (15, 15)
    assert (cost.gradient_passes, cost.share_of_retrain) == (2.0, 1.0)  # 4 epochs on half the rows
    assert clf.forget(range(15)).receipts_[-1].cost == cost
    assert np.isnan(
        RetrainClassifier(LogisticRegression()).fit(X, y).forget_cost([0]).gradient_passes
    )


def test_progress_is_shown_when_asked_for(capsys):
    RetrainClassifier(net(), verbose=0).fit(X, y).forget([0])
    assert capsys.readouterr().err == ""
    clf = RetrainClassifier(make_pipeline(StandardScaler(), net()), verbose=1, random_state=0)
    clf.fit(X, y)
    assert "training" in capsys.readouterr().err
    clf.forget([0])
    assert "0/4" in capsys.readouterr().err
    quiet = RetrainClassifier(clf.estimator, random_state=0).fit(X, y).forget([0])
    assert np.array_equal(clf.predict_proba(X), quiet.predict_proba(X))


def test_missing_targets_are_refused():
    with pytest.raises(ValueError, match="requires y"):
        RetrainClassifier(LogisticRegression()).fit(X, None)
    with pytest.raises(ValueError, match="continuous"):
        RetrainClassifier(LogisticRegression()).fit(X, TARGET)
    with pytest.raises(ValueError, match="inconsistent"):
        RetrainClassifier(LogisticRegression()).fit(X, y[:-1])


def test_labels_of_several_types_are_refused():
    mixed = np.array(["a", 1, 2] * 10, dtype=object)
    for estimator in (LogisticRegression(), net(), None):
        for labels, other in ((mixed, 1), (np.roll(mixed, 1), "'a'")):
            with pytest.raises(ValueError, match=rf"labels in y must .* and {other} of type"):
                RetrainClassifier(estimator).fit(X, labels)


def test_frozen_parts_are_refused():
    frozen = FrozenEstimator(StandardScaler().fit(X))
    for kind, model in ((RetrainClassifier, LogisticRegression), (RetrainRegressor, Ridge)):
        for inner in (
            make_pipeline(frozen, model()),
            make_pipeline(make_pipeline(frozen), model()),
            FrozenEstimator(make_pipeline(frozen, model()).fit(X, y)),
        ):
            with pytest.raises(ValueError, match=r"'.*frozenestimator' in Retrain.* move it out"):
                kind(inner).fit(X, y)
    inside = RetrainClassifier(LogisticRegression())
    check = make_pipeline(frozen, inside).fit(X, y)[-1].forget([0])
    oracle = LogisticRegression().fit(frozen.transform(X)[1:], y[1:])
    assert np.array_equal(check.predict_proba(X), oracle.predict_proba(X))


@pytest.mark.parametrize("kind", [str, joblib.Memory])
def test_caches_are_refused(kind, tmp_path):
    cached = make_pipeline(StandardScaler(), LogisticRegression(), memory=kind(tmp_path))
    for inner, name in ((cached, "memory"), (make_pipeline(cached), "pipeline__memory")):
        with pytest.raises(ValueError, match=f"cache '{name}' in RetrainClassifier.* to None"):
            RetrainClassifier(inner).fit(X, y)
    assert not list(tmp_path.rglob("*.pkl"))


def test_a_stack_equals_one_fitted_on_the_rest():
    stack = StackingClassifier(
        [("linear", LogisticRegression()), ("forest", RandomForestClassifier(3, random_state=0))]
    )
    clf = RetrainClassifier(stack).fit(X, y).forget([0, 4])
    kept = np.setdiff1d(np.arange(30), [0, 4])
    oracle = clone(stack).fit(X[kept], y[kept])
    assert np.array_equal(clf.predict_proba(X), oracle.predict_proba(X))


@pytest.mark.parametrize("form", ["coo", "dia", "bsr", "csr", "csc"])
def test_sparse_formats_equal_the_dense_rows(form):
    clf = RetrainClassifier(LogisticRegression())
    clf.fit(sparse.csr_matrix(X).asformat(form), y).forget([0, 4]).forget([5])
    dense = RetrainClassifier(LogisticRegression()).fit(X, y).forget([0, 4, 5])
    assert np.allclose(clf.predict_proba(X), dense.predict_proba(X), atol=1e-4)


def test_categories_that_only_forgotten_rows_had_leave_no_trace():
    frame = pd.DataFrame(
        {"a": X[:, 0], "who": pd.Categorical([f"name-{i:02}" for i in range(30)])}
    )
    encoder = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["who"]))
    clf = RetrainClassifier(make_pipeline(encoder, LogisticRegression())).fit(frame, y)
    assert b"name-07" in pickle.dumps(clf)
    clf.forget([7])
    assert b"name-07" not in pickle.dumps(clf)
    assert b"name-08" in pickle.dumps(clf)
    assert clf.predict(frame).shape == (30,)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_nets_in_an_ensemble_are_seeded_whatever_its_n_jobs(n_jobs):
    X, y = make_classification(60, 6, n_informative=4, n_classes=3, random_state=0)
    net = NeuralNetClassifier(
        MLP,
        module__n_features=6,
        module__n_outputs=3,
        criterion=torch.nn.CrossEntropyLoss,
        max_epochs=2,
        train_split=None,
        verbose=0,
    )
    votes = VotingClassifier([("a", net), ("b", net)], voting="soft", n_jobs=n_jobs)
    forgotten = RetrainClassifier(votes, random_state=0).fit(X, y).forget([3])
    fresh = RetrainClassifier(votes, random_state=0).fit(np.delete(X, 3, 0), np.delete(y, 3))
    assert np.array_equal(forgotten.predict_proba(X), fresh.predict_proba(X))


def test_the_default_net_gives_probabilities_before_fit_too():
    assert hasattr(RetrainClassifier(), "predict_proba")
    assert not hasattr(RetrainClassifier(), "decision_function")
