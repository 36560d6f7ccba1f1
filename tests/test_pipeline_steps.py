"""Pipelines of real transformers: what each step remembers, and what a request costs."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA, KernelPCA, TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    Normalizer,
    OneHotEncoder,
    StandardScaler,
    TargetEncoder,
)
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted
from skorch import NeuralNetClassifier
from torch import nn

from sk_unlearn import (
    PumaClassifier,
    RetrainClassifier,
    RetrainRegressor,
    SisaClassifier,
)
from sk_unlearn.exceptions import (
    ForgetRequestError,
    FullRetrainWarning,
    RetrainAdvisedWarning,
    TrainingDataChangedError,
)
from sk_unlearn.nets import MLP
from sk_unlearn.pipeline import ForgetPipeline, make_forget_pipeline, residual_steps
from sk_unlearn.pipeline._last import weakest
from sk_unlearn.receipts import Guarantee
from sk_unlearn.utils._digest import state_digest

RNG = np.random.RandomState(0)
N = 60
X, y = RNG.normal(size=(N, 5)), np.arange(N) % 3
X[:, 0] += y
IDS = np.array([f"r{i}" for i in range(N)])
MASK = np.arange(N) % 9 == 0
FRAME = pd.DataFrame(
    {
        "age": np.where(np.arange(N) % 8 == 0, np.nan, X[:, 0]),
        "income": X[:, 1],
        "city": pd.Categorical.from_codes(np.arange(N) % 4, ["a", "b", "c", "d"]),
    }
)
FRAME.loc[9, "city"] = "d"
TEXT = [f"word{i % 7} word{i % 11} label{i % 3} only{i}x" for i in range(N)]
LOGISTIC = LogisticRegression()


def net(n_features=5, **params):
    return NeuralNetClassifier(
        MLP,
        criterion=nn.CrossEntropyLoss,
        module__n_features=n_features,
        module__n_outputs=3,
        module__hidden=(8,),
        max_epochs=3,
        verbose=0,
        train_split=None,
        **params,
    )


def last():
    return RetrainClassifier(LOGISTIC)


def dense(matrix):
    return matrix.toarray()


def columns():
    return ColumnTransformer(
        [
            ("num", make_pipeline(SimpleImputer(), StandardScaler()), ["age", "income"]),
            ("cat", OneHotEncoder(handle_unknown="ignore"), ["city"]),
        ],
        sparse_threshold=0,
    )


def take(data, rows):
    rows = np.flatnonzero(rows)
    if hasattr(data, "iloc"):
        return data.iloc[rows]
    return data[rows] if hasattr(data, "shape") else [data[i] for i in rows]


def same_models(found, expected):
    for (name, step), (_, other) in zip(found.steps[:-1], expected.steps[:-1], strict=True):
        if step is not None and not isinstance(step, FunctionTransformer):
            assert state_digest(step) == state_digest(other), name
    assert state_digest(found[-1]._exact_state()) == state_digest(expected[-1]._exact_state())


CASES = {
    "ColumnTransformer": ((columns(), last()), FRAME),
    "ColumnTransformer to pandas": (
        (
            ColumnTransformer(
                [
                    ("num", SimpleImputer(), ["age"]),
                    ("cat", OneHotEncoder(sparse_output=False), ["city"]),
                ]
            ).set_output(transform="pandas"),
            StandardScaler().set_output(transform="pandas"),
            last(),
        ),
        FRAME,
    ),
    "SelectKBest and PCA": ((SelectKBest(k=4), PCA(2, svd_solver="randomized"), last()), X),
    "TfidfVectorizer": ((TfidfVectorizer(), TruncatedSVD(3), last()), TEXT),
    "CountVectorizer": (
        (CountVectorizer(min_df=2), FunctionTransformer(dense, accept_sparse=True), last()),
        TEXT,
    ),
    "TargetEncoder": (
        (TargetEncoder(target_type="multiclass", cv=3), last()),
        FRAME[["city"]].astype(str),
    ),
    "RandomState": (
        (
            PCA(2, svd_solver="randomized", random_state=np.random.RandomState(3)),
            RetrainClassifier(net(n_features=2), random_state=np.random.RandomState(1)),
        ),
        X,
    ),
}


@pytest.mark.parametrize("ids", [None, IDS], ids=["positions", "ids"])
@pytest.mark.parametrize("case", CASES)
def test_every_step_is_fitted_on_the_rows_that_remain(case, ids):
    steps, data = CASES[case]
    pipe = make_forget_pipeline(*steps, random_state=0)
    fitted = clone(pipe).fit(data, y, sample_id=ids).forget(MASK)
    kept = np.arange(N) if ids is None else ids
    fresh = clone(pipe).fit(take(data, ~MASK), y[~MASK], sample_id=kept[~MASK])
    same_models(fitted, fresh)
    for method in ("predict", "predict_proba"):
        assert np.array_equal(getattr(fitted, method)(data), getattr(fresh, method)(data))
    in_turn = clone(pipe).fit(data, y, sample_id=ids).forget(np.flatnonzero(MASK)[:3])
    same_models(in_turn.forget(MASK), fresh)
    assert [r.n_forgotten for r in in_turn.receipts_] == [3, int(MASK.sum()) - 3]


def test_forgotten_words_and_categories_leave():
    pipe = make_forget_pipeline(TfidfVectorizer(), TruncatedSVD(3), last(), random_state=0)
    pipe.fit(TEXT, y, sample_id=IDS).forget(sample_id="r4")
    assert "only4x" not in pipe[0].vocabulary_
    assert b"only4x" not in pickle.dumps(pipe)
    assert b"only5x" in pickle.dumps(pipe)
    frame = FRAME.assign(city=["secret" if i == 4 else "a" for i in range(N)])
    pipe = make_forget_pipeline(columns(), last()).fit(frame, y)
    assert b"secret" in pickle.dumps(pipe)
    assert b"secret" not in pickle.dumps(pipe.forget([4]))


def test_polars_frames():
    polars = pytest.importorskip("polars")
    pipe = make_forget_pipeline(columns(), last(), random_state=0)
    data = polars.DataFrame({name: FRAME[name].tolist() for name in FRAME})
    forgot = clone(pipe).fit(data, y).forget(MASK)
    fresh = clone(pipe).fit(data.filter(~MASK), y[~MASK], sample_id=np.flatnonzero(~MASK))
    same_models(forgot, fresh)


def outcome(pipe):
    return pipe.receipts_[-1].solver["steps"]


@pytest.mark.parametrize(
    "before",
    [
        (Normalizer(),),
        (None, FunctionTransformer(np.tanh)),
        (MaxAbsScaler(),),
        (SimpleImputer(), Normalizer()),
    ],
    ids=["Normalizer", "FunctionTransformer", "MaxAbsScaler", "SimpleImputer"],
)
def test_unchanged_inputs_leave_the_last_step_its_own_removal(before):
    data = X.copy()
    data[0] = 100  # the largest, and it stays
    sisa = SisaClassifier(LOGISTIC, n_shards=4)
    pipe = make_forget_pipeline(*before, sisa, random_state=0).fit(data, y)
    cost = pipe.forget_cost([7])
    assert cost.share_of_retrain < 1
    models = pipe[-1].estimators_
    pipe.forget([7])
    assert pipe.receipts_[-1].cost.share_of_retrain == cost.share_of_retrain
    assert outcome(pipe)["sisaclassifier"] == "forgot"
    assert sum(a is b for a, b in zip(models, pipe[-1].estimators_, strict=True)) == 3
    kept = np.arange(N) != 7
    fresh = clone(pipe).fit(data[kept], y[kept], sample_id=np.flatnonzero(kept))
    same_models(pipe, fresh)


@pytest.mark.parametrize(
    ("step", "data"),
    [
        (OneHotEncoder(sparse_output=False).set_output(transform="pandas"), FRAME[["city"]]),
        (CountVectorizer(vocabulary=["label0", "label1", "word3"]), TEXT),
    ],
    ids=["frame", "sparse"],
)
def test_unchanged_frames_and_sparse_matrices_are_recognised(step, data):
    sisa = SisaClassifier(LOGISTIC, n_shards=4)
    pipe = make_forget_pipeline(step, sisa, random_state=0).fit(data, y).forget([7])
    assert outcome(pipe)["sisaclassifier"] == "forgot"


def test_changed_inputs_train_an_exact_last_step_anew_and_say_so():
    sisa = SisaClassifier(LOGISTIC, n_shards=4)
    pipe = make_forget_pipeline(StandardScaler(), sisa, random_state=0).fit(X, y)
    state = state_digest(pipe.__getstate__())
    with pytest.warns(FullRetrainWarning, match=r"SisaClassifier\(make_pipeline") as record:
        cost = pipe.forget_cost([7])
    assert record[0].filename == __file__
    assert state_digest(pipe.__getstate__()) == state
    assert (cost.rows_retrained, cost.share_of_retrain) == (N - 1, 1.0)
    with pytest.warns(FullRetrainWarning) as record:
        pipe.forget([7])
    assert record[0].filename == __file__
    assert pipe.receipts_[-1].cost == cost or np.isnan(cost.gradient_passes)
    assert outcome(pipe) == {"standardscaler": "fitted anew", "sisaclassifier": "trained anew"}
    inside = SisaClassifier(make_pipeline(StandardScaler(), LOGISTIC), n_shards=4)
    assert inside.fit(X, y).forget_cost([7]).share_of_retrain < 0.5


def test_a_full_retrain_costs_its_epochs():
    pipe = make_forget_pipeline(StandardScaler(), RetrainClassifier(net()), random_state=0)
    cost = pipe.fit(X, y).forget_cost([7])
    assert (cost.gradient_passes, cost.share_of_retrain) == (3 * (N - 1) / N, 1.0)


@pytest.mark.filterwarnings(f"ignore::{FullRetrainWarning.__module__}.FullRetrainWarning")
@pytest.mark.parametrize("step", [Normalizer(), StandardScaler()])
def test_stored_models_that_knew_forgotten_rows_are_deleted(step, tmp_path):
    def files():
        return {path for path in tmp_path.rglob("*") if path.is_file()}

    model = SGDClassifier(loss="log_loss", max_iter=3)
    sisa = SisaClassifier(model, n_shards=2, n_slices=3, max_epochs=3, checkpoints=tmp_path)
    pipe = make_forget_pipeline(step, sisa, random_state=0).fit(X, y)
    n_files, plain = len(files()), files()
    pipe.forget(np.arange(N) % 2 == 0)
    assert len(files()) <= n_files
    assert not plain & files() or isinstance(step, Normalizer)
    pipe.fit(X, y)
    assert len(files()) == n_files
    pipe.set_params(sisaclassifier__checkpoints=None).fit(X, y)
    assert not files()
    in_fit = clone(pipe).set_params(sisaclassifier__checkpoints=tmp_path).fit(X, y, forget=MASK)
    assert {path.name for path in files()} == {
        item.name.rpartition("/")[2]
        for chain in in_fit[-1]._chains_.values()
        for item in chain.saved
    }


CHANGED = [
    {"step__norm": "l1"},
    {"scale__with_std": False},
    {"union__pca__n_components": 1},
    {"clf__estimator__C": 1e-3},
    {"clf__estimator": LogisticRegression(C=1e-3)},
    {"scale": StandardScaler(with_std=False)},
]


def varied():
    union = FeatureUnion([("pca", PCA(2)), ("same", "passthrough")])
    clf = RetrainClassifier(LogisticRegression())
    steps = [("step", Normalizer()), ("scale", StandardScaler()), ("union", union), ("clf", clf)]
    return ForgetPipeline(steps, random_state=0)


@pytest.mark.parametrize("change", CHANGED, ids=[next(iter(change)) for change in CHANGED])
def test_parameters_set_after_fit_wait_for_the_next_fit(change):
    """Setting and forgetting give the same in either order; a refit follows what was set."""
    change = clone_values(change)
    kept = np.arange(N) != 7
    ids = np.flatnonzero(kept)
    pipe = varied().fit(X, y).set_params(**change).forget([7])
    fresh = varied().fit(X[kept], y[kept], sample_id=ids)
    assert state_digest(pipe[-1].estimator_) == state_digest(fresh[-1].estimator_)
    if "scale" not in change:  # which would replace what was fitted
        fresh.set_params(**clone_values(change))
        assert np.array_equal(pipe.predict_proba(X), fresh.predict_proba(X))
        assert repr(pipe.get_params()) == repr(fresh.get_params())
    again = varied().set_params(**clone_values(change)).fit(X, y)
    assert np.array_equal(pipe.fit(X, y).predict_proba(X), again.predict_proba(X))
    assert not np.array_equal(again.predict_proba(X), varied().fit(X, y).predict_proba(X))


def clone_values(change):
    return {name: clone(value, safe=False) for name, value in change.items()}


@pytest.mark.parametrize(
    "change",
    [
        {"step": "passthrough"},
        {"step": FunctionTransformer(np.tanh)},
        {"step": MaxAbsScaler()},
        {"union__pca": KernelPCA(2)},
        {"union__same": "drop"},
        {"clf": last()},
        {"steps": [("scale", StandardScaler()), ("clf", last())]},
    ],
    ids=["passthrough", "stateless", "learns", "inside", "inside dropped", "last", "all"],
)
def test_steps_replaced_after_fit_refuse_requests(change):
    pipe = varied().fit(X, y)
    before = dict(vars(pipe))
    steps = list(pipe.steps)
    pipe.set_params(**change)
    for ask in (pipe.forget, pipe.forget_cost):
        with pytest.raises(ValueError, match=r"ForgetPipeline has (another|other).*fit again"):
            ask([7])
    assert len(pipe.receipts_) == 0
    pipe.__dict__ = before
    pipe.steps = steps
    if "union" not in next(iter(change)):  # which was changed in place
        pipe.forget([7])


class Mean(TransformerMixin, BaseEstimator):
    """A transformer that forgets by subtraction, exactly in integers."""

    def fit(self, X, y=None):
        self.rows_, self.sum_, self.n_, self.asked_ = X, X.sum(axis=0), len(X), []
        return self

    def transform(self, X):
        return X - self.sum_ / self.n_

    def forget(self, X_idx):
        self.sum_ = self.sum_ - self.rows_[X_idx].sum(axis=0)
        self.n_ -= len(X_idx)
        self.asked_.append(list(X_idx))
        return self


def test_steps_with_forget_are_asked_unless_their_input_changed():
    data = np.round(10 * X)
    pipe = make_forget_pipeline(Mean(), last(), random_state=0).fit(data, y)
    pipe.forget([2, 5]).forget([9])
    assert pipe[0].asked_ == [[2, 5], [9]]
    assert outcome(pipe) == {"mean": "forgot", "retrainclassifier": "trained anew"}
    kept = np.delete(data, [2, 5, 9], axis=0)
    assert np.array_equal(pipe[0].sum_ / pipe[0].n_, kept.mean(axis=0))
    # what it promises is not known
    assert str(pipe.receipts_[-1].guarantee) == "approximate"
    behind = make_forget_pipeline(StandardScaler(), Mean(), last()).fit(data, y).forget([2])
    assert behind[1].asked_ == []
    assert outcome(behind)["mean"] == "fitted anew"
    assert behind[1].n_ == N - 1


class Drawing(Mean):
    """Draws from the global generator when it is fitted, not when it forgets."""

    def fit(self, X, y=None):
        np.random.random()
        return super().fit(X, y)


def test_what_a_step_draws_does_not_depend_on_the_steps_before():
    data, kept = np.round(10 * X), np.arange(N) > 2
    pipe = make_forget_pipeline(Drawing(), TruncatedSVD(2, n_iter=1), last(), random_state=0)
    forgot = clone(pipe).fit(data, y).forget([0, 1, 2])
    fresh = clone(pipe).fit(data[kept], y[kept])
    assert np.array_equal(forgot[1].components_, fresh[1].components_)


def test_weakest_guarantee():
    exact, approximate = Guarantee("exact"), Guarantee("approximate")
    certified = Guarantee("certified", 1.0, 1e-5)
    assert weakest([exact, exact]) == exact
    assert weakest([certified, approximate, exact]) == approximate
    assert weakest([certified, exact, certified]) == Guarantee("certified", 2.0, 2e-5)
    assert get_tags(make_forget_pipeline(Mean(), last())).guarantee == approximate
    assert get_tags(make_forget_pipeline(StandardScaler(), last())).guarantee == exact
    assert get_tags(make_forget_pipeline(PCA(), PumaClassifier())).guarantee == approximate
    assert make_forget_pipeline(PCA(), PCA()).guarantee is None


@pytest.fixture
def puma():
    return PumaClassifier(net(lr=0.1), compensation=None, random_state=0)


class Drop(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X[:-3]


class InPlace(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        return self

    def transform(self, X):
        X += 1
        return X


@pytest.mark.parametrize(
    ("pipe", "error", "message"),
    [
        (make_forget_pipeline(Drop(), last()), ValueError, "'drop'.*57 rows for 60"),
        (make_forget_pipeline(InPlace(), last()), ValueError, "in place"),
        (make_forget_pipeline(FrozenEstimator(StandardScaler()), last()), ValueError, "Frozen"),
        (ForgetPipeline([("clf", last())], memory="cache"), ValueError, "'memory'"),
        (ForgetPipeline([("clf", last())], transform_input=["X_val"]), ValueError, "transform_in"),
        (make_forget_pipeline(make_pipeline(PCA(), memory="c"), last()), ValueError, "__memory'"),
        (make_forget_pipeline(PCA(), LOGISTIC), TypeError, "LogisticRegression"),
        (make_forget_pipeline(PCA(), "passthrough"), TypeError, "passthrough"),
        (ForgetPipeline([("a", last()), ("b", last())]), TypeError, "transform"),
    ],
)
def test_refusals(pipe, error, message):
    with pytest.raises(error, match=message):
        pipe.fit(X.copy(), y)
    assert not hasattr(pipe, "receipts_")


@pytest.mark.parametrize("labels", [None, ["a", 1] * (N // 2), RNG.normal(size=N)])
def test_labels_are_checked_before_any_step(labels):
    seen = []
    spy = FunctionTransformer(lambda X: seen.append(1) or X)
    with pytest.raises(ValueError, match="y"):
        make_forget_pipeline(spy, last()).fit(X, labels)
    assert not seen


def test_failed_fit_keeps_the_fitted_pipeline():
    pipe = make_forget_pipeline(StandardScaler(), last(), random_state=0).fit(X, y)
    before = state_digest(pipe.__getstate__())
    with pytest.raises(ValueError, match="NaN"):
        pipe.fit(np.where(X > 1, np.nan, X), y)
    assert state_digest(pipe.__getstate__()) == before


def test_the_steps_that_were_passed_stay_unfitted():
    scaler, clf = StandardScaler(), last()
    make_forget_pipeline(scaler, clf).fit(X, y).forget([1])
    assert not hasattr(scaler, "mean_")
    assert not hasattr(clf, "estimator_")


def test_the_last_step_alone_cannot_be_asked():
    pipe = make_forget_pipeline(StandardScaler(), last()).fit(X, y)
    assert residual_steps(pipe) == []
    pipe[-1].forget([3])
    assert residual_steps(pipe) == ["standardscaler"]
    with pytest.raises(ValueError, match="by itself"):
        pipe.forget([3])
    assert residual_steps(pipe.fit(X, y).forget([3])) == []


def test_residual_steps_of_a_plain_pipeline():
    pipe = Pipeline(
        [("norm", Normalizer()), ("off", None), ("pca", PCA(3)), ("mean", Mean()), ("clf", last())]
    ).fit(X, y)
    assert residual_steps(pipe) == []
    pipe[-1].forget([3])
    assert residual_steps(pipe) == ["pca", "mean"]
    nested = make_pipeline(StandardScaler(), make_forget_pipeline(PCA(), last())).fit(X, y)
    nested[-1].forget([3])
    assert residual_steps(nested) == ["standardscaler"]


def test_changed_rows_are_noticed():
    data = X.copy()
    pipe = make_forget_pipeline(StandardScaler(), last()).fit(data, y)
    data[5] += 1
    with pytest.raises(TrainingDataChangedError, match="X changed"):
        pipe.forget([3])


@pytest.mark.parametrize("routing", [False, True])
def test_metadata_reaches_the_steps_and_is_cut_with_the_rows(routing):
    weight = RNG.uniform(0.5, 2, size=N)
    scaler, clf = StandardScaler(), RetrainRegressor(Ridge())
    if routing:
        with config_context(enable_metadata_routing=True):
            scaler.set_fit_request(sample_weight=True)
            clf = RetrainRegressor(Ridge().set_fit_request(sample_weight=True))
    names = ["sample_weight"] if routing else ["standardscaler__sample_weight"]
    if not routing:
        names.append("retrainregressor__sample_weight")
    with config_context(enable_metadata_routing=routing):
        pipe = make_forget_pipeline(scaler, clf, random_state=0)
        forgot = clone(pipe).fit(X, X[:, 0], **dict.fromkeys(names, weight)).forget(MASK)
        kept = dict.fromkeys(names, weight[~MASK])
        fresh = clone(pipe).fit(X[~MASK], X[~MASK, 0], sample_id=np.flatnonzero(~MASK), **kept)
    same_models(forgot, fresh)
    by_hand = StandardScaler().fit(X[~MASK], sample_weight=weight[~MASK])
    assert np.array_equal(forgot[0].mean_, by_hand.mean_)
    ridge = Ridge().fit(by_hand.transform(X[~MASK]), X[~MASK, 0], sample_weight=weight[~MASK])
    assert np.array_equal(forgot[-1].estimator_.coef_, ridge.coef_)


@pytest.mark.parametrize("name", ["nobody__weight", "weight", "retrainclassifier__forget"])
def test_unknown_metadata_is_refused_by_name(name):
    with pytest.raises(TypeError, match=name):
        make_forget_pipeline(StandardScaler(), last()).fit(X, y, **{name: MASK})


@pytest.mark.parametrize("routing", [False, True])
def test_cross_validation_and_search(routing, puma):
    params = {"forget": MASK, "sample_id": IDS}
    pipe = make_forget_pipeline(StandardScaler(), last(), random_state=0)
    with config_context(enable_metadata_routing=routing):
        result = cross_validate(
            pipe, X, y, cv=3, params=params, return_estimator=True, error_score="raise"
        )
        assert [e.receipts_[-1].n_remaining for e in result["estimator"]] == [
            e[0].n_samples_seen_ for e in result["estimator"]
        ]
        search = GridSearchCV(
            make_forget_pipeline(Normalizer(), puma, random_state=0),
            {"pumaclassifier__eta": [0.0, 20.0], "normalizer__norm": ["l1"]},
            cv=2,
            error_score="raise",
        )
        with pytest.warns(RetrainAdvisedWarning):
            search.fit(X, y, **params)
        assert search.best_estimator_.receipts_[-1].n_forgotten == MASK.sum()
        assert search.predict(X).shape == (N,)


def test_routed_score_weights():
    weight = RNG.uniform(size=N)
    with config_context(enable_metadata_routing=True):
        clf = last().set_score_request(sample_weight=True)
        pipe = make_forget_pipeline(StandardScaler(), clf).fit(X, y)
        by_hand = np.average(pipe.predict(X) == y, weights=weight)
        assert pipe.score(X, y, sample_weight=weight) == pytest.approx(by_hand)


def test_it_is_a_pipeline():
    pipe = make_forget_pipeline(StandardScaler(), PCA(2), last(), random_state=0)
    assert "ForgetPipeline" in repr(pipe)
    assert "RetrainClassifier" in pipe._repr_html_()
    params = pipe.get_params()
    assert params["pca__n_components"] == 2
    assert params["retrainclassifier__estimator__C"] == 1.0
    pipe.fit(X, y).forget([3])
    assert set(clone(pipe).get_params()) == set(params)
    with pytest.raises(ValueError, match="not fitted"):
        check_is_fitted(clone(pipe))
    copy = pickle.loads(pickle.dumps(pipe))
    assert np.array_equal(copy.predict_proba(X), pipe.predict_proba(X))
    assert len(copy.forget([3, 4]).receipts_) == 2
    assert type(pipe[:-1]) is Pipeline
    assert np.array_equal(pipe[1:].predict(pipe[:1].transform(X)), pipe.predict(X))
    assert pipe[0] is pipe["standardscaler"] is pipe.named_steps["standardscaler"]
    assert list(pipe[:-1].get_feature_names_out()) == ["pca0", "pca1"]
    assert (len(pipe), pipe.n_features_in_, list(pipe.classes_)) == (3, 5, [0, 1, 2])
    framed = make_forget_pipeline(StandardScaler(), last()).set_output(transform="pandas")
    assert isinstance(
        framed.fit(FRAME[["income"]], y).forget([3])[:-1].transform(FRAME[["income"]]),
        pd.DataFrame,
    )
    assert list(framed[-1].estimator_.feature_names_in_) == ["income"]


def test_groups_and_unknown_rows():
    pipe = make_forget_pipeline(StandardScaler(), last())
    pipe.fit(X, y, sample_id=IDS, groups=np.array(["ann", "bob", "cyd"])[np.arange(N) % 3])
    with pytest.raises(ForgetRequestError, match="dan"):
        pipe.forget(groups="dan")
    pipe.forget(groups="bob")
    assert pipe.receipts_[-1].n_forgotten == N // 3
    assert list(pipe.classes_) == [0, 2]


def test_verbose_names_the_steps(capsys):
    make_forget_pipeline(StandardScaler(), last(), verbose=True).fit(X, y)
    assert "standardscaler" in capsys.readouterr().out
