"""Targets of several columns: regressors take what they wrap takes, classifiers refuse by name."""

import numpy as np
import polars as pl
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression, Ridge, SGDRegressor
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor, RegressorChain
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import check_regressor_multioutput

from sk_unlearn import (
    ArcaneEnsembleClassifier,
    PumaClassifier,
    PumaRegressor,
    RetrainClassifier,
    RetrainRegressor,
    SisaClassifier,
    SisaRegressor,
)
from sk_unlearn.exceptions import UnsupportedNetError

KEPT = np.arange(4, 60)


@pytest.fixture
def both(data):
    """Two real targets a row."""
    return np.column_stack([data.real, -2 * data.real + data.X[:, 3]])


@pytest.fixture
def labels(data):
    """Three labels a row, each there or not."""
    return (data.X[:, :3] > 1).astype(int)


@pytest.mark.parametrize(
    "inner",
    [
        Ridge(),
        RegressorChain(SVR()),
        MultiOutputRegressor(SVR()),
        GridSearchCV(Ridge(), {"alpha": [0.1, 1.0]}, cv=2),
        make_pipeline(StandardScaler(), Ridge()),
    ],
    ids=lambda inner: type(inner).__name__,
)
def test_a_retrained_regressor_has_as_many_targets(inner, data, both):
    reg = RetrainRegressor(inner).fit(data.X, both)
    expected = inner.fit(data.X, both).predict(data.X)
    assert np.array_equal(reg.predict(data.X), expected)
    reg.forget(range(4))
    expected = inner.fit(data.X[KEPT], both[KEPT]).predict(data.X)
    assert np.array_equal(reg.predict(data.X), expected)
    column = RetrainRegressor(inner).fit(data.X, both[:, :1]).predict(data.X)
    assert np.array_equal(column, inner.fit(data.X, both[:, :1]).predict(data.X))


@pytest.mark.parametrize("aggregation", ["mean", "median"])
def test_shards_of_several_targets(aggregation, data, both):
    options = {"n_shards": 3, "aggregation": aggregation, "random_state": 0}
    reg = SisaRegressor(Ridge(), **options).fit(data.X, both).forget(range(4))
    models, weights = [], []
    for shard in range(3):
        rows = np.flatnonzero(reg._placement_.part == shard)
        rows = KEPT[reg._placement_.ordered(rows)]
        models.append(Ridge().fit(data.X[rows], both[rows]).predict(data.X))
        weights.append(len(rows))
    by_hand = np.average(models, axis=0, weights=weights)
    if aggregation == "median":
        by_hand = np.median(models, axis=0)
    assert np.array_equal(reg.predict(data.X), by_hand)


@pytest.mark.parametrize("kind", [PumaRegressor, SisaRegressor])
def test_nets_of_several_targets(kind, data, both, make):
    own = {"eta": 0.2, "damping": 1.0, "compensation": None} if kind is PumaRegressor else {}
    reg = kind(make.net_regressor(2), random_state=0, **own).fit(data.X, both)
    before = reg.predict(data.X)
    after = reg.forget(range(4)).predict(data.X)
    assert before.shape == after.shape == (60, 2)
    assert not np.array_equal(after, before)
    with pytest.raises(UnsupportedNetError, match=r"outputs shape \('n', 2\).*\('n', 1\)"):
        kind(make.net_regressor(2)).fit(data.X, data.real)


def test_retrained_nets_of_several_targets(data, both, make):
    reg = RetrainRegressor(make.net_regressor(2), random_state=0).fit(data.X, both)
    reg.forget(range(4))
    fresh = RetrainRegressor(make.net_regressor(2), random_state=0).fit(data.X[KEPT], both[KEPT])
    assert np.array_equal(reg.predict(data.X), fresh.predict(data.X))
    assert reg.predict(data.X).shape == (60, 2)


REGRESSORS = [PumaRegressor, RetrainRegressor, SisaRegressor]


@pytest.mark.parametrize("kind", REGRESSORS)
def test_default_nets_promise_several_targets(kind):
    assert get_tags(kind()).target_tags.multi_output
    quick = {"max_epochs": 1} if kind is SisaRegressor else {}
    check_regressor_multioutput(kind.__name__, kind(**quick))


@pytest.mark.parametrize("kind", [RetrainRegressor, SisaRegressor])
@pytest.mark.parametrize(
    "inner",
    [Ridge(), SVR(), SGDRegressor(), RegressorChain(SVR()), make_pipeline(Ridge())],
    ids=lambda inner: type(inner).__name__,
)
def test_tags_of_targets_are_those_of_what_is_wrapped(kind, inner):
    found, expected = (get_tags(e).target_tags for e in (kind(inner), inner))
    assert found.multi_output == expected.multi_output
    assert found.single_output == expected.single_output


@pytest.mark.parametrize("kind", [RetrainRegressor, SisaRegressor])
def test_one_target_only_is_refused_by_what_is_wrapped(kind, data, both):
    reg = kind(SVR())
    with pytest.raises(
        ValueError, match=r"y should be a 1d array, got an array of shape \(\d+, 2"
    ):
        reg.fit(data.X, both)
    assert not hasattr(reg, "receipts_")


@pytest.mark.parametrize(
    "clf",
    [
        PumaClassifier(),
        RetrainClassifier(),
        RetrainClassifier(MLPClassifier()),
        RetrainClassifier(KNeighborsClassifier()),
        SisaClassifier(KNeighborsClassifier()),
        SisaClassifier(),
        ArcaneEnsembleClassifier(),
    ],
    ids=lambda clf: f"{type(clf).__name__}({type(clf.estimator).__name__})",
)
def test_several_labels_are_refused_by_name(clf, data, labels, monkeypatch):
    tags = get_tags(clf)
    assert not tags.target_tags.multi_output
    assert not tags.classifier_tags.multi_label
    monkeypatch.setattr(type(clf), "_fit_rows", lambda *_: pytest.fail("work was done"))
    name = type(clf).__name__
    rule = f"The 'y' parameter of {name}.fit must hold one label a row"
    for y, got in (
        (labels, r"got shape \(60, 3\)"),
        (labels + 5, r"got shape \(60, 3\)"),
        (pl.DataFrame(labels), r"got shape \(60, 3\)"),
        (labels.tolist(), "got lists of labels"),
        ([[1], [1, 2]] * 30, "got lists of labels"),
        ([{1}, {1, 2}] * 30, "got lists of labels"),
    ):
        with pytest.raises(ValueError, match=rf"{rule}.*{got}.*MultiOutputClassifier\({name}"):
            clf.fit(data.X, y)
    with pytest.raises(TypeError, match=r"'y' .* must be dense, got a sparse .* \(60, 3\)"):
        clf.fit(data.X, sparse.csr_array(labels))
    assert not hasattr(clf, "receipts_")


@pytest.mark.parametrize("column", [[[0], [1]] * 30, np.arange(60)[:, None] % 2])
def test_a_column_of_labels_is_one_label_a_row(column, data):
    with pytest.warns(match="column-vector y was passed"):
        clf = RetrainClassifier(LogisticRegression()).fit(data.X, column)
    plain = LogisticRegression().fit(data.X, np.ravel(column))
    assert np.array_equal(clf.predict(data.X), plain.predict(data.X))


def test_sparse_targets_of_a_regressor_are_refused(data, both):
    with pytest.raises(TypeError, match=r"'y' parameter of RetrainRegressor.fit must be dense"):
        RetrainRegressor(Ridge()).fit(data.X, sparse.csr_array(both))


@pytest.mark.parametrize("kind", ["puma", "retrain", "sisa", "closed", "arcane"])
def test_an_estimator_for_each_label(kind, data, labels, make):
    """The remedy that the refusal names."""
    inner = make.classifier(kind, 2)
    clf = MultiOutputClassifier(inner).fit(data.X, labels, sample_id=data.ids)
    for column, part in enumerate(clf.estimators_):
        alone = make.alone(inner, np.arange(60), labels[:, column], data.ids)
        for each in (part, alone):
            each.forget(sample_id=data.ids[:4])
        assert np.array_equal(part.predict_proba(data.X), alone.predict_proba(data.X))
        assert np.array_equal(clf.predict(data.X)[:, column], alone.predict(data.X))


def test_labels_as_arrays_without_dimensions():
    labels = [np.array(k % 2) for k in range(20)]
    X = np.random.RandomState(0).normal(size=(20, 3))
    fitted = RetrainClassifier(LogisticRegression()).fit(X, labels)
    assert fitted.classes_.tolist() == [0, 1]
