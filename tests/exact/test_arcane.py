"""Scores, ingredients, files and refusals of ARCANE."""

from pathlib import Path

import numpy as np
import pytest
from scipy import sparse
from scipy.special import logsumexp, softmax
from scipy.stats import multivariate_normal, norm
from sklearn.base import BaseEstimator
from sklearn.cluster import KMeans
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.mixture import GaussianMixture
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from sk_unlearn import ArcaneEnsembleClassifier
from sk_unlearn.exact import EntropySelector, KCenterSelector, RandomSelector
from sk_unlearn.exact._arcane_base import n_selected
from sk_unlearn.exact._one_class import temperature
from sk_unlearn.nets import default_density
from sk_unlearn.utils._digest import state_digest

RNG = np.random.RandomState(0)
Y = RNG.permutation(np.repeat([0, 1, 2], [16, 20, 24]))
CENTRES = np.array([[0.0, 0, 0, 0], [4, 0, 0, 0], [0, 4, 0, 0]])
X = (RNG.normal(size=(60, 4)) + CENTRES[Y]).astype(np.float32)
Z = (RNG.normal(size=(30, 4)) + CENTRES[RNG.randint(3, size=30)]).astype(np.float32)


def net(max_epochs=2):
    return default_density(n_features=4, device="cpu").set_params(max_epochs=max_epochs)


def arcane(estimator=None, **params):
    estimator = net() if estimator is None else estimator
    return ArcaneEnsembleClassifier(estimator, **{"random_state": 0, **params})


def files(folder):
    return sorted(path.name for path in folder.rglob("*.safetensors"))


# ------------------------------------------------------------------------------ scores


def test_gaussians_and_priors_are_quadratic_discriminant_analysis():
    x = X.astype(np.float64)
    clf = arcane(GaussianMixture(1, reg_covar=0)).fit(x, Y)
    labels, counts = np.unique(Y, return_counts=True)
    expected = np.transpose(
        [
            multivariate_normal(x[c == Y].mean(axis=0), np.cov(x[c == Y].T, bias=True)).logpdf(Z)
            for c in labels
        ]
    ) + np.log(counts / 60)
    np.testing.assert_allclose(clf.decision_function(Z), expected, rtol=1e-6)
    own = [expected_scores(x[c == Y]) for c in labels]
    t = np.sqrt(max(1, np.sqrt(np.mean([s.std() ** 2 for s in own]))))
    assert t > 1
    assert clf.temperature_ == pytest.approx(t)
    np.testing.assert_allclose(clf.predict_proba(Z), softmax(expected / t, axis=1), rtol=1e-5)
    # covariances with n - 1 instead of n: the same up to the few rows
    qda = QuadraticDiscriminantAnalysis().fit(x, Y)
    assert np.mean(clf.predict(Z) == qda.predict(Z)) > 0.95


def expected_scores(x):
    return multivariate_normal(x.mean(axis=0), np.cov(x.T, bias=True)).logpdf(x)


def test_diagonal_gaussians_are_naive_bayes():
    x = X.astype(np.float64)
    clf = arcane(GaussianMixture(1, covariance_type="diag", reg_covar=0)).fit(x, Y)
    bayes = GaussianNB(var_smoothing=0).fit(x, Y)
    posterior = softmax(clf.decision_function(Z), axis=1)
    np.testing.assert_allclose(posterior, bayes.predict_proba(Z), rtol=1e-6, atol=1e-12)
    assert clf.predict(Z).tolist() == bayes.predict(Z).tolist()


def test_kernel_densities_of_scipy():
    x, width = X.astype(np.float64), 0.8
    clf = arcane(KernelDensity(bandwidth=width), prior="uniform").fit(x, Y)
    for column, label in enumerate((0, 1, 2)):
        logs = norm(scale=width).logpdf(Z[:, None] - x[label == Y]).sum(axis=2)
        expected = logsumexp(logs, axis=1) - np.log((label == Y).sum())
        np.testing.assert_allclose(clf.decision_function(Z)[:, column], expected, rtol=1e-6)
    assert clf.class_log_prior_.tolist() == [0, 0, 0]


def test_where_no_class_has_any_density_the_prior_decides():
    clf = arcane(KernelDensity(kernel="tophat", bandwidth=1.0)).fit(X, Y)
    far = np.full((2, 4), 50.0)
    assert clf.predict(far).tolist() == [2, 2]
    np.testing.assert_allclose(
        np.log(clf.predict_proba(far)[0]),
        (s := clf.class_log_prior_ / clf.temperature_) - logsumexp(s),
    )
    assert np.isneginf(clf.score_samples(far)).all()


@pytest.mark.parametrize(
    ("estimator", "standard"),
    [
        (OneClassSVM(), True),
        (IsolationForest(n_estimators=5), True),
        (make_pipeline(StandardScaler(), GaussianMixture()), True),
        (GaussianMixture(), False),
        (KernelDensity(), False),
        (net(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_calibration_is_in_standard_deviations_of_the_class_s_own_rows(estimator, standard):
    clf = arcane(estimator, prior="uniform", n_blocks=1).fit(X, Y)
    raw = np.transpose([model.score_samples(Z) for model in clf.estimators_])
    own = [m.score_samples(X[c == Y]) for m, c in zip(clf.estimators_, (0, 1, 2), strict=True)]
    calibrated = (raw - [s.mean() for s in own]) / [s.std() for s in own]
    np.testing.assert_allclose(
        clf.decision_function(Z), calibrated if standard else raw, rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(clf.score_samples(Z), calibrated.max(axis=1), rtol=1e-4, atol=1e-6)
    assert (clf.temperature_ == 1) == (standard or np.mean([s.var() for s in own]) <= 1)
    asked = arcane(estimator, calibration="standard", prior="uniform", n_blocks=1).fit(X, Y)
    np.testing.assert_allclose(asked.decision_function(Z), calibrated, rtol=1e-4, atol=1e-6)
    assert asked.temperature_ == 1


def test_temperature_is_the_root_of_the_spread_and_at_least_one():
    assert temperature([np.array([5.0, 3.0]), np.array([-2.0, 5.0])]) == (17**0.5) ** 0.5
    assert temperature([np.array([5.0, 0.2])]) == 1
    assert temperature([np.array([-np.inf, np.nan])]) == 1


def test_unseen_classes_score_low_and_two_classes_have_one_decision():
    two = Y < 2
    clf = arcane().fit(X[two], Y[two])
    assert clf.score_samples(X[~two]).mean() < clf.score_samples(X[two]).min()
    decision = clf.decision_function(Z)
    assert decision.shape == (30,)
    assert ((decision > 0) == (clf.predict(Z) == 1)).all()
    assert ((clf.predict_proba(Z)[:, 1] > 0.5) == (decision > 0)).all()


# ------------------------------------------------------------------------------ classes


def test_a_class_leaves_with_its_model_and_touches_no_other():
    names = np.array(["ash", "birch", "cedar"])
    clf = arcane().fit(X, names[Y])
    before = {c: state_digest(m) for c, m in zip(clf.classes_, clf.estimators_, strict=True)}
    cost = clf.forget_cost(Y == 1)
    receipt = clf.forget(Y == 1).receipts_[-1]
    assert receipt.cost == cost
    assert (cost.rows_retrained, cost.share_of_retrain) == (0, 0)
    assert receipt.solver["models_retrained"] == 0
    assert clf.classes_.tolist() == ["ash", "cedar"]
    assert [state_digest(m) for m in clf.estimators_] == [before["ash"], before["cedar"]]
    np.testing.assert_allclose(clf.class_log_prior_, np.log([16 / 40, 24 / 40]))
    assert set(clf.predict(Z)) == {"ash", "cedar"}
    assert clf.predict_proba(Z).shape == (30, 2)


def test_a_row_touches_its_own_class_only():
    clf = arcane().fit(X, Y)
    before = [state_digest(m) for m in clf.estimators_]
    clf.forget(int(np.flatnonzero(Y == 2)[0]))
    after = [state_digest(m) for m in clf.estimators_]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, True, False]


def test_a_model_depends_on_its_class_alone():
    own = np.flatnonzero(Y == 1)
    whole, alone = arcane().fit(X, Y), arcane().fit(X[own], Y[own], sample_id=own)
    assert state_digest(whole.estimators_[1]) == state_digest(alone.estimators_[0])
    assert alone.predict(Z).tolist() == [1] * 30
    assert alone.predict_proba(Z).tolist() == [[1.0]] * 30


# -------------------------------------------------------------------------- ingredients


def selected(clf):
    """Rows that the models are trained on."""
    plans = clf._plan_chain
    order = [
        plans(c, clf._rows_, clf._placement_.ordered(np.flatnonzero(c == Y))).order
        for c in (0, 1, 2)
    ]
    return np.concatenate(order)


def test_a_row_outside_of_the_selection_costs_no_training():
    clf = arcane(selector=RandomSelector(), selection=0.5).fit(X, Y)
    inside = selected(clf)
    free = [i for i in range(60) if clf.forget_cost(i).rows_retrained == 0]
    assert not set(free) & set(inside)
    # 16 rows: 8, 15 rows: 8; 20: 10, 19: 10; 24: 12, 23: 12, so that no other row leaves with it
    assert sorted(free) == sorted(set(range(60)) - set(inside))
    before = state_digest(clf.estimators_)
    receipt = clf.forget(free[0]).receipts_[-1]
    assert receipt.solver["models_retrained"] == receipt.cost.share_of_retrain == 0
    assert state_digest(clf.estimators_) == before


def test_the_number_of_selected_rows_rarely_changes():
    for share in (0.1, 0.5, 0.9):
        counts = np.array([n_selected(share, n) for n in range(1, 2000)])
        wanted = share * np.arange(1, 2000)
        assert (np.diff(counts) >= 0).all()
        assert (counts >= 1).all()
        assert (counts <= np.arange(1, 2000)).all()
        large = wanted > 16
        np.testing.assert_allclose(counts[large], wanted[large], rtol=0.1)
        assert np.mean(np.diff(counts[999:]) > 0) < 0.02
    assert [n_selected(1.0, n) for n in (1, 7, 1000)] == [1, 7, 1000]


@pytest.mark.parametrize(
    "selector", [None, EntropySelector(), KCenterSelector(), RandomSelector()]
)
def test_selection_trains_on_a_part_chosen_by_the_selector(selector):
    clf = arcane(KernelDensity(), selector=selector, selection=0.25).fit(X, Y)
    assert [model.tree_.data.shape[0] for model in clf.estimators_] == [4, 5, 6]
    whole = arcane(KernelDensity(), selector=selector).fit(X, Y)
    assert [model.tree_.data.shape[0] for model in whole.estimators_] == [16, 20, 24]
    for model, label in zip(clf.estimators_, (0, 1, 2), strict=True):
        rows = {tuple(row) for row in np.asarray(model.tree_.data, dtype=np.float32)}
        assert rows <= {tuple(row) for row in X[label == Y]}


def test_a_selector_may_be_anyone_s():
    class First(BaseEstimator):
        def select(self, X, *, n_select, ids, seed):
            return np.argsort(ids)[:n_select]

    clf = arcane(KernelDensity(), selector=First(), selection=0.25).fit(X, Y)
    for model, label in zip(clf.estimators_, (0, 1, 2), strict=True):
        first = np.flatnonzero(label == Y)[: len(model.tree_.data)]
        expected = {tuple(row) for row in X[first]}
        assert {tuple(row) for row in np.asarray(model.tree_.data, np.float32)} == expected


def test_expected_share_of_blocks():
    """(b + 1) / (2 b) of a class for a uniform request, and all of it without blocks."""
    x, y = RNG.normal(size=(1200, 4)).astype(np.float32), np.arange(1200) % 2
    for n_blocks in (1, 4):
        clf = arcane(net(1), n_blocks=n_blocks).fit(x, y)
        rows = [clf.forget_cost(int(i)).rows_retrained for i in range(0, 1200, 13)]
        expected = 600 * (n_blocks + 1) / (2 * n_blocks)
        assert np.mean(rows) == pytest.approx(expected, rel=0.1)


def test_one_block_is_one_training_on_all_rows_and_blocks_are_several():
    whole, blocks = arcane(n_blocks=1).fit(X, Y), arcane(n_blocks=3).fit(X, Y)
    assert [len(c.steps) for c in whole._chains_.values()] == [1, 1, 1]
    for chain, label in zip(blocks._chains_.values(), (0, 1, 2), strict=True):
        sizes = np.bincount(blocks._placement_.block[label == Y], minlength=3)
        assert [step.stop - step.start for step in chain.steps] == sizes[sizes > 0].tolist()
        assert {step.epochs for step in chain.steps} == {2}
        # blocks are merged: the class's mean is that of all of its rows
        mean = chain.model.module_.gaussian.mean.numpy()
        np.testing.assert_allclose(mean, np.arcsinh(X[label == Y].astype(float)).mean(axis=0))


def test_likely_requests_go_to_the_last_blocks():
    proba = np.where(np.arange(60) % 5 == 0, 0.9, 0.001)
    block = arcane(n_blocks=4).fit(X, Y, forget_proba=proba)._placement_.block
    assert (block[::5] == 3).all()
    assert set(block[np.arange(60) % 5 != 0]) == {0, 1, 2, 3}
    unsorted = arcane(n_blocks=4).fit(X, Y)._placement_.block
    assert set(unsorted[::5]) == {0, 1, 2, 3}
    low = proba < 0.5
    assert (np.abs(unsorted[low] - block[low]) <= 1).all()


def test_groups_share_a_block():
    groups = np.array([f"p{i // 6}" for i in range(60)])
    clf = arcane(n_blocks=5).fit(X, Y, groups=groups)
    for group in np.unique(groups):
        assert len(set(clf._placement_.block[groups == group])) == 1
    assert len(set(clf._placement_.block)) > 1
    receipt = clf.forget(groups=["p3"]).receipts_[-1]
    assert receipt.n_forgotten == 6
    kept = np.flatnonzero(groups != "p3")
    fresh = arcane(n_blocks=5).fit(X[kept], Y[kept], sample_id=kept, groups=groups[kept])
    assert state_digest(fresh.estimators_) == state_digest(clf.estimators_)


@pytest.mark.parametrize("selection", [1.0, 0.4])
def test_the_preview_is_what_it_costs(selection):
    clf = arcane(n_blocks=3, selection=selection).fit(X, Y)
    for request in ([0], [1, 2, 3], np.flatnonzero(Y == 2), range(20, 30)):
        predicted = clf.forget_cost(request)
        assert clf.forget(request).receipts_[-1].cost == predicted


# --------------------------------------------------------------------------------- small


def test_one_row_a_class_and_more_blocks_than_rows():
    clf = arcane(n_blocks=50, selection=0.01).fit(X[:3], ["a", "b", "c"])
    assert clf.predict(X[:3]).tolist() == ["a", "b", "c"]
    assert np.isfinite(clf.predict_proba(Z)).all()
    assert clf.forget(0).classes_.tolist() == ["b", "c"]
    many = arcane(n_blocks=50).fit(X, Y)
    assert all(len(chain.steps) <= 24 for chain in many._chains_.values())
    rows = np.flatnonzero(Y == 0)[:-1]
    fresh = np.delete(np.arange(60), rows)
    many.forget(rows)  # one row is left of the class
    other = arcane(n_blocks=50).fit(X[fresh], Y[fresh], sample_id=fresh)
    assert state_digest(many.estimators_) == state_digest(other.estimators_)


def test_equal_rows():
    clf = arcane(selection=0.5).fit(np.ones((10, 4)), np.arange(10) % 2)
    assert np.isfinite(clf.decision_function(Z)).all()
    assert clf.score_samples(np.ones((1, 4)))[0] == pytest.approx(0, abs=1e-6)


def test_data_frames():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcd"))
    clf = arcane(n_blocks=3, selection=0.5).fit(frame, Y)
    assert clf.feature_names_in_.tolist() == list("abcd")
    clf.forget([0, 1])
    plain = arcane(n_blocks=3, selection=0.5).fit(X, Y).forget([0, 1])
    np.testing.assert_array_equal(clf.predict_proba(frame), plain.predict_proba(X))
    around = arcane(GaussianMixture(), selection=0.5).fit(frame, Y)
    assert around.feature_names_in_.tolist() == list("abcd")


def test_sparse_rows_reach_estimators_that_take_them():
    clf = arcane(OneClassSVM()).fit(sparse.csr_matrix(X), Y)
    dense = arcane(OneClassSVM()).fit(X, Y)
    assert clf.predict(sparse.csr_matrix(Z)).tolist() == dense.predict(Z).tolist()


# --------------------------------------------------------------------------------- files


@pytest.mark.parametrize("damage", ["delete", "alter", "delete all"])
def test_a_lost_file_costs_time_and_is_on_the_receipt(tmp_path, damage):
    whole = arcane(n_blocks=4).fit(X, Y)
    hurt = arcane(n_blocks=4, checkpoints=tmp_path).fit(X, Y)
    chain = hurt._chains_[2]
    assert len(files(tmp_path)) == sum(len(c.saved) for c in hurt._chains_.values()) == 9
    late = int(np.flatnonzero((hurt._placement_.block == 3) & (Y == 2))[0])
    paths = {path.name: path for path in tmp_path.rglob("*.safetensors")}
    victims = [Path(s.name).name for s in chain.saved][0 if damage == "delete all" else -1 :]
    for name in victims:
        if damage == "alter":
            content = paths[name].read_bytes()
            paths[name].write_bytes(content[:-4] + b"\0\1\2\3")
        else:
            paths[name].unlink()
    whole.forget(late), hurt.forget(late)
    assert state_digest(whole.estimators_) == state_digest(hurt.estimators_)
    solver = hurt.receipts_[-1].solver
    assert solver["checkpoints_lost"] == len(victims)
    assert solver["steps_retrained"] == 1 + len(victims)
    assert hurt.receipts_[-1].cost.rows_retrained > whole.receipts_[-1].cost.rows_retrained


def test_a_class_takes_its_files_along(tmp_path):
    clf = arcane(n_blocks=4, checkpoints=tmp_path).fit(X, Y)
    names = {Path(saved.name).name for saved in clf._chains_[0].saved}
    clf.forget(Y == 0)
    assert len(files(tmp_path)) == 6
    assert not names & set(files(tmp_path))


# ------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"estimator": KernelDensity(), "n_blocks": 2}, ValueError, "Set n_blocks=1"),
        ({"n_blocks": 0}, ValueError, "'n_blocks' parameter"),
        ({"selection": 0.0}, ValueError, "'selection' parameter"),
        ({"selection": 1.1}, ValueError, "'selection' parameter"),
        ({"estimator": KMeans()}, ValueError, "'estimator' parameter.*score_samples"),
        ({"selector": "entropy"}, ValueError, "'selector' parameter"),
        ({"calibration": "platt"}, ValueError, "'calibration' parameter"),
        ({"prior": "flat"}, ValueError, "'prior' parameter"),
        ({"estimator": FrozenEstimator(GaussianMixture())}, ValueError, "FrozenEstimator"),
        (
            {"estimator": make_pipeline(FrozenEstimator(StandardScaler()), KernelDensity())},
            ValueError,
            "FrozenEstimator",
        ),
    ],
)
def test_refusals_come_before_any_work(params, error, message):
    clf = ArcaneEnsembleClassifier(**{"estimator": net(), **params})
    with pytest.raises(error, match=message):
        clf.fit(X, Y)
    with pytest.raises(NotFittedError):
        clf.predict(X)


def test_sparse_rows_cannot_be_selected():
    with pytest.raises(TypeError, match="Set selection=1"):
        arcane(OneClassSVM(), selection=0.5).fit(sparse.csr_matrix(X), Y)


def test_a_class_too_small_for_its_model_leaves_everything_as_it_was():
    clf = arcane(GaussianMixture(2)).fit(X, Y)
    before = state_digest(clf._exact_state())
    with pytest.raises(ValueError, match="minimum of 2"):
        clf.forget(np.flatnonzero(Y == 0)[1:])
    assert state_digest(clf._exact_state()) == before


def test_parameters_changed_after_fit_count_at_the_next_fit():
    clf = arcane(n_blocks=3).fit(X, Y)
    clf.set_params(n_blocks=7, selection=0.1, estimator__max_epochs=9).forget(0)
    kept = np.arange(1, 60)
    fresh = arcane(n_blocks=3).fit(X[kept], Y[kept], sample_id=kept)
    assert state_digest(clf.estimators_) == state_digest(fresh.estimators_)
