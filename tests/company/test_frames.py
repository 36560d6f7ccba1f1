"""Data in pandas and polars: rows as DataFrames, labels and metadata as Series."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sk_unlearn import RetrainClassifier, SisaClassifier
from sk_unlearn.exceptions import TrainingDataChangedError
from sk_unlearn.pipeline import make_forget_pipeline
from sk_unlearn.utils._take import take_rows
from sk_unlearn.utils.estimator_checks import check_forget_estimator

KINDS = ["puma", "retrain", "sisa", "closed", "arcane"]
LIBRARIES = ["pandas", "polars"]
KEPT = np.arange(4, 60)


def frame(library, X, names):
    if library == "pandas":
        # an index of labels, which are not positions
        return pd.DataFrame(X, columns=names, index=np.arange(len(X))[::-1] + 100)
    return pl.DataFrame(X, schema=names)


def series(library, values, dtype=None):
    if library == "pandas":
        return pd.Series(values, index=np.arange(len(values))[::-1] + 100, dtype=dtype)
    return pl.Series("s", values, dtype=dtype and pl.Categorical)


def renamed(X, names):
    columns = dict(zip("abcd", names, strict=False))
    return X.rename(columns=columns) if isinstance(X, pd.DataFrame) else X.rename(columns)


@pytest.fixture
def labels(data):
    return np.array(["x", "yy", "z"])[data.three]


@pytest.mark.parametrize("dtype", [None, "category"])
@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_arrays_with_names(kind, library, dtype, data, labels, make):
    X, y = frame(library, data.X, data.names), series(library, labels, dtype)
    ids = series(library, data.ids, dtype)
    clf = make.classifier(kind).fit(X, y, sample_id=ids)
    plain = make.classifier(kind).fit(data.X, labels, sample_id=data.ids)
    for each in (clf, plain):
        assert each.n_features_in_ == 4
    assert clf.feature_names_in_.tolist() == data.names
    assert not hasattr(plain, "feature_names_in_")
    assert clf.classes_.tolist() == ["x", "yy", "z"]

    def agree():
        # sums over a frame's columns are in another order where they reach scikit-learn
        found, expected = clf.predict_proba(X), plain.predict_proba(data.X)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
        assert np.array_equal(clf.predict(X), plain.predict(data.X))

    agree()
    clf.forget(sample_id=ids[:4])
    plain.forget(sample_id=data.ids[:4])
    agree()
    clf.forget(series(library, np.arange(60) == 7)).forget(series(library, [8, 9]))
    plain.forget(7).forget([8, 9])
    agree()
    assert sum(receipt.n_forgotten for receipt in clf.receipts_) == 7


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("kind", KINDS)
def test_masks_and_groups_are_series(kind, library, data, labels, make):
    X, y = frame(library, data.X, data.names), series(library, labels)
    person = np.array([f"p{i // 4}" for i in range(60)])
    first = data.three == data.three[0]
    first[20:] = False
    clf = make.classifier(kind)
    clf.fit(X, y, groups=series(library, person), forget=series(library, first))
    clf.forget(groups=series(library, ["p9"]))
    plain = make.classifier(kind).fit(data.X, labels, groups=person, forget=first)
    plain.forget(groups="p9")
    found, expected = clf.predict_proba(X), plain.predict_proba(data.X)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("kind", KINDS)
def test_other_columns_are_refused(kind, library, data, make):
    X = frame(library, data.X, data.names)
    clf = make.classifier(kind).fit(X, data.three)
    for _ in range(2):
        for other in (X[["b", "a", "c", "d"]], X[["a", "b", "c"]], renamed(X, "qbcd")):
            with pytest.raises(ValueError, match="feature names should match"):
                clf.predict(other)
        with pytest.warns(UserWarning, match="X does not have valid feature names"):
            clf.predict(data.X)
        clf.forget([0, 1, 2, 3])


def pipeline(library):
    """Steps that go by the names of columns."""
    first = make_column_transformer((StandardScaler(), ["a", "b"]), remainder="passthrough")
    second = make_column_transformer(
        (StandardScaler(), ["remainder__c"]),
        remainder="passthrough",
        verbose_feature_names_out=False,
    )
    return make_pipeline(first, second)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("output", LIBRARIES)
@pytest.mark.parametrize("kind", KINDS)
def test_behind_transformers_that_put_out_frames(kind, output, library, data, make):
    X, scaled = frame(library, data.X, data.names), StandardScaler().fit_transform(data.X)
    order = np.column_stack([scaled[:, 2], scaled[:, 0], scaled[:, 1], data.X[:, 3]])
    with sklearn.config_context(transform_output=output, enable_metadata_routing=True):
        pipe = make_pipeline(pipeline(library), make.classifier(kind))
        pipe.fit(X, data.three, sample_id=series(library, data.ids))
        names = ["remainder__c", "standardscaler__a", "standardscaler__b", "remainder__d"]
        assert pipe[-1].feature_names_in_.tolist() == names
        alone = make.classifier(kind)
        alone.fit(order, data.three, sample_id=data.ids)
        for clf in (pipe[-1], alone):
            clf.forget(sample_id=data.ids[:4].tolist())
        found, expected = pipe.predict_proba(X), alone.predict_proba(order)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("output", ["default", *LIBRARIES])
@pytest.mark.parametrize("outer", [RetrainClassifier, SisaClassifier])
def test_around_transformers_of_columns(outer, output, library, data, routing):
    """Fitted on the retained rows only: a category that left is no column any more."""
    colour = np.array(["red", "green", "blue"])[np.arange(60) % 3]
    colour[:4] = "only of those who leave"
    X = frame(library, data.X, data.names)
    if library == "pandas":
        X = X.assign(colour=colour)
    else:
        X = X.with_columns(pl.Series("colour", colour))
    encoder = OneHotEncoder(sparse_output=False, handle_unknown="ignore")
    inner = make_pipeline(
        make_column_transformer((encoder, ["colour"]), remainder="passthrough"),
        LogisticRegression(max_iter=500),
    )
    options = {"n_shards": 1} if outer is SisaClassifier else {}
    with sklearn.config_context(transform_output=output):
        clf = outer(inner, random_state=0, **options).fit(X, data.three, sample_id=data.ids)
        clf.forget(range(4))
        model = clf.estimators_[0] if outer is SisaClassifier else clf.estimator_
        assert model[0].n_features_in_ == 5
        assert len(model[-1].coef_[0]) == 4 + 3
        kept = X.iloc[KEPT] if library == "pandas" else X[KEPT]
        fresh = outer(inner, random_state=0, **options)
        fresh.fit(kept, data.three[KEPT], sample_id=data.ids[KEPT])
        assert np.array_equal(clf.predict_proba(X), fresh.predict_proba(X))
    content = pickle.dumps(clf)
    assert b"only of those" not in content
    assert b"green" in content


def test_taken_rows_of_polars_hold_nothing_of_the_others():
    secret = "a string too long to be kept beside its length"
    values = {
        "string": pl.Series([secret, "b", None, "another string, which is also long"]),
        "category": pl.Series([secret, "b", None, "b"], dtype=pl.Categorical),
        "enum": pl.Series([secret, "b", None, "c"], dtype=pl.Enum(["c", secret, "b"])),
        "list": pl.Series([[secret], ["b", None], None, []]),
        "bytes": pl.Series([secret.encode(), b"b", None, b"c"]),
        "number": pl.Series([1.0, 2.0, None, 4.0]),
        "flag": pl.Series([True, False, None, True]),
        "time": pl.Series([1, 2, None, 4]).cast(pl.Datetime),
    }
    whole = pl.DataFrame(values)
    assert secret.encode() in pickle.dumps(whole[np.array([1, 2, 3])])  # why they are rebuilt
    taken = take_rows(whole, np.array([1, 2, 3]))
    assert secret.encode() not in pickle.dumps(taken)
    assert taken.columns == whole.columns
    for name in values:
        column = take_rows(whole[name], np.array([1, 2, 3]))
        assert secret.encode() not in pickle.dumps(column)
        for found in (taken[name], column):
            assert found.to_list() == whole[name].to_list()[1:]
            assert found.name == name
            if name != "enum":
                assert found.dtype == whole[name].dtype
    assert taken["enum"].dtype == pl.Enum(["c", "b"])  # in their order


def test_a_polars_frame_changed_in_place_is_noticed(data):
    X = pl.DataFrame(data.X, schema=data.names)
    clf = RetrainClassifier(LogisticRegression()).fit(X, data.three)
    X[5, "a"] = 9.0
    with pytest.raises(TrainingDataChangedError, match="X changed since fit"):
        clf.forget([0])


def test_polars_frames_keep_the_contract(data):
    X = frame("polars", data.X[:36], data.names)
    y = np.array(["x", "yy"])[data.two[:36]]
    check_forget_estimator(RetrainClassifier(LogisticRegression()), X, y)


# attributes and accessors of DataFrames, Series, arrays and estimators
AWKWARD = [
    *(
        "cat",
        "str",
        "dt",
        "list",
        "struct",
        "sparse",
        "values",
        "shape",
        "dtype",
        "dtypes",
        "ndim",
    ),
    *("columns", "index", "iloc", "loc", "T", "name", "size", "kind", "levels", "categories"),
    *("to_numpy", "get_columns", "toarray", "tocoo", "coords", "data", "__array__", "steps"),
    *("fit", "cache", "get_params", "numpy_dtype", "remove_unused_categories", "schema", "len"),
]


@pytest.mark.filterwarnings("ignore:Pandas doesn't allow columns")
@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("kind", [*KINDS, "pipeline", "inside"])
def test_columns_may_be_called_like_attributes(kind, library, data, labels, make):
    expected = []
    for start in range(0, len(AWKWARD), 4):
        names = [*AWKWARD, "a", "b", "c"][start : start + 4]
        X = frame(library, data.X, names)
        for rows in (X, frame(library, data.X, list("abcd")))[: 1 if expected else 2][::-1]:
            if kind in KINDS:
                clf = make.classifier(kind)
            elif kind == "pipeline":
                clf = make_forget_pipeline(StandardScaler(), make.classifier("retrain"))
            else:
                inner = make_pipeline(StandardScaler(), LogisticRegression())
                clf = SisaClassifier(inner, n_shards=2, random_state=0)
            clf.fit(rows, labels, sample_id=data.ids)
            clf.forget(sample_id=data.ids[:4]).forget([9])
            expected = expected or [clf.predict(rows)]
            assert np.array_equal(clf.predict(rows), *expected)
        assert clf.receipts_[-1].n_forgotten == 1


@pytest.mark.parametrize("kind", KINDS)
def test_rows_may_be_labelled_like_attributes(kind, data, labels, make):
    index = (AWKWARD * 2)[:60]
    X = pd.DataFrame(data.X, columns=data.names, index=index)
    y, person = pd.Series(labels, index=index), pd.Series(data.ids, index=index)
    ids = pd.Series(data.ids, index=index, dtype="category")
    clf = make.classifier(kind).fit(X, y, sample_id=ids, groups=person)
    clf.forget(groups=person.iloc[:2]).forget(sample_id=ids.iloc[2:4])
    plain = make.classifier(kind).fit(X.reset_index(drop=True), labels, sample_id=data.ids)
    plain.forget([0, 1]).forget([2, 3])
    assert np.array_equal(clf.predict(X), plain.predict(X))


def test_an_awkward_series_in_the_metadata(data):
    weight = pd.Series(np.arange(60) + 1.0, index=(AWKWARD * 2)[:60])
    clf = RetrainClassifier(LogisticRegression())
    clf.fit(data.X, data.three, sample_weight=weight).forget([0, 3])
    kept = np.setdiff1d(np.arange(60), [0, 3])
    fresh = LogisticRegression().fit(
        data.X[kept], data.three[kept], sample_weight=weight.iloc[kept]
    )
    assert np.array_equal(clf.predict_proba(data.X), fresh.predict_proba(data.X))


LABELS = {
    "Int64": pd.Series(np.arange(60) % 3, dtype="Int64"),
    "Int8 array": pd.array(np.arange(60) % 3, dtype="Int8"),
    "UInt16": pd.Series(np.arange(60) % 3, dtype="UInt16"),
    "boolean": pd.Series(np.arange(60) % 2 == 0, dtype="boolean"),
    "Float64": pd.Series(np.arange(60) % 3 * 1.0, dtype="Float64"),
    "string": pd.Series(np.array(["x", "yy", "z"])[np.arange(60) % 3], dtype="string"),
    "str": pd.Series(np.array(["x", "yy", "z"])[np.arange(60) % 3]),
    "category of str": pd.Series(np.array(["x", "yy", "z"])[np.arange(60) % 3], dtype="category"),
    "category of int": pd.Series(np.arange(60) % 3, dtype="category"),
    "category of bool": pd.Series(np.arange(60) % 2 == 0, dtype="category"),
    "polars int": pl.Series(np.arange(60) % 3),
    "polars bool": pl.Series(np.arange(60) % 2 == 0),
    "polars str": pl.Series(np.array(["x", "yy", "z"])[np.arange(60) % 3]),
    "polars category": pl.Series(np.array(["x", "yy"])[np.arange(60) % 2], dtype=pl.Categorical),
}
TYPES = {"Int64": "int64", "Int8 array": "int8", "UInt16": "uint16", "boolean": "bool"}
TYPES |= {"Float64": "float64", "category of int": "int64", "category of bool": "bool"}
TYPES |= {"polars int": "int64", "polars bool": "bool", "polars str": "<U2"}


@pytest.mark.parametrize("library", LABELS)
@pytest.mark.parametrize("kind", [*KINDS, "retrain net", "sisa net", "pipeline"])
def test_classes_keep_the_type_of_the_labels(kind, library, data, make):
    """All classifiers alike, and as scikit-learn where that does not make floats of them."""
    y = LABELS[library]
    n_classes = len(set(np.asarray(y)))
    clf = {
        "retrain net": lambda: RetrainClassifier(make.net_classifier(n_classes), random_state=0),
        "sisa net": lambda: SisaClassifier(make.net_classifier(n_classes), n_shards=2),
        "pipeline": lambda: make_forget_pipeline(make.classifier("retrain")),
    }.get(kind, lambda: make.classifier(kind, n_classes))()
    clf.fit(data.X, y, sample_id=data.ids)
    expected = np.dtype(TYPES.get(library, object))
    for _ in range(2):
        assert clf.classes_.dtype == clf.predict(data.X).dtype == expected
        assert set(clf.predict(data.X)) <= set(clf.classes_) == set(np.asarray(y).tolist())
        clf.forget([0, 1])
    assert 0 <= clf.score(data.X, y) <= 1


@pytest.mark.parametrize("kind", [*KINDS, "pipeline"])
@pytest.mark.parametrize("dtype", ["Int64", "boolean", "string", "category"])
def test_missing_labels_are_refused(kind, dtype, data, make):
    values = {"Int64": [1, 0], "boolean": [True, False]}.get(dtype, ["x", "y"]) * 30
    y = pd.Series([*values[:-1], None], dtype=dtype)
    clf = make.classifier("retrain" if kind == "pipeline" else kind)
    clf = make_forget_pipeline(clf) if kind == "pipeline" else clf
    with pytest.raises(ValueError, match=r"y contains NaN: 1 targets are missing, .* 59"):
        clf.fit(data.X, y)
