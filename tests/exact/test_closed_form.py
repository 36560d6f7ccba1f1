"""Closed-form models through their public doors."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits, load_iris
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import FunctionTransformer, Normalizer, StandardScaler
from skorch import NeuralNetClassifier
from torch import nn

from sk_unlearn import ClosedFormClassifier, ClosedFormRegressor, RetrainClassifier
from sk_unlearn.exceptions import (
    ForgetRequestError,
    ForgottenRowsReturnedError,
    ForgottenRowsReturnedWarning,
    FullRetrainWarning,
    RemovalFailedError,
    UnsupportedNetError,
)
from sk_unlearn.nets import default_classifier
from sk_unlearn.utils._digest import state_digest
from sk_unlearn.utils.estimator_checks import check_exact_forget, check_forget_estimator

X, Y = load_iris(return_X_y=True)
RNG = np.random.RandomState(0)


def same(one, other):
    """Whether two models are the same, to the last bit of every attribute."""
    a, b = one._exact_state(), other._exact_state()
    return not [
        name for name in {*a, *b} if state_digest(a.get(name)) != state_digest(b.get(name))
    ]


def trained_net(n_features=4, **params):
    net = default_classifier(n_features=n_features, n_outputs=3, n_rows=150, device="cpu")
    net.set_params(**{"module__hidden": (9, 7), "max_epochs": 3, **params})
    return net.fit(RNG.normal(size=(60, n_features)).astype(np.float32), np.arange(60) % 3)


KEEPS = ("features", "inputs")
TEXTS = np.array([f"{'good' if i % 2 else 'bad'} word{i % 7} number{i}" for i in range(60)])
MAPS = {
    "net": FrozenEstimator(trained_net()),
    "stateless": Normalizer(),
    "function": FunctionTransformer(np.tanh),
    "frozen": FrozenEstimator(PCA(3).fit(RNG.normal(size=(50, 4)))),
}


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("head", ["ridge", "lda"])
def test_features_of_frozen_estimators_forget_exactly(name, head):
    check_exact_forget(ClosedFormClassifier(MAPS[name], head=head))


@pytest.mark.parametrize("name", ["net", "stateless"])
def test_features_of_frozen_estimators_keep_the_contract(name):
    check_forget_estimator(ClosedFormClassifier(MAPS[name]))
    check_forget_estimator(ClosedFormRegressor(MAPS[name]))


def test_activations_are_what_the_last_linear_layer_reads():
    net = MAPS["net"].estimator
    clf = ClosedFormClassifier(MAPS["net"]).fit(X, Y)
    layers = net.module_.layers
    with torch.no_grad():
        expected = layers[:-1](torch.tensor(X, dtype=torch.float32)).numpy()
    assert np.allclose(clf._rows_.X[:], expected, atol=1e-6)
    named = ClosedFormClassifier(MAPS["net"], layer="layers.1").fit(X, Y)
    with torch.no_grad():
        expected = layers[:2](torch.tensor(X, dtype=torch.float32)).numpy()
    assert np.allclose(named._rows_.X[:], expected, atol=1e-6)
    with pytest.raises(UnsupportedNetError, match=r"a submodule .* got 'nowhere'"):
        ClosedFormClassifier(MAPS["net"], layer="nowhere").fit(X, Y)


class Convolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 5, 3)
        self.last = nn.Linear(5 * 36, 10)

    def forward(self, images):
        return self.last(torch.relu(self.first(images)).flatten(1))


def test_images_go_through_a_net():
    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 1, 8, 8).astype(np.float32)[:300] / 16
    net = NeuralNetClassifier(Convolution, criterion=nn.CrossEntropyLoss, max_epochs=1, verbose=0)
    net.set_params(train_split=None).fit(images[200:], labels[200:300])
    clf = ClosedFormClassifier(FrozenEstimator(net), random_state=0).fit(
        images[:200], labels[:200]
    )
    fresh = clone(clf).fit(images[7:200], labels[7:200], sample_id=np.arange(7, 200))
    clf = clone(clf).fit(images[:200], labels[:200], sample_id=np.arange(200)).forget(range(7))
    assert same(clf, fresh)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (StandardScaler(), "learn nothing from rows, got StandardScaler"),
        (default_classifier(n_features=4, n_outputs=3, n_rows=9), "public=mask"),
        (FrozenEstimator(RetrainClassifier()), "must not hold training rows"),
        ("polynomial", "'features' parameter"),
        (3, "'features' parameter"),
        (FrozenEstimator(default_classifier(n_features=4, n_outputs=3, n_rows=9)), "initialized"),
    ],
)
def test_feature_maps_that_learn_are_refused(features, message):
    with pytest.raises(ValueError, match=message):
        ClosedFormClassifier(features).fit(X, Y)


def by_place(rows):
    return rows + np.arange(len(rows))[:, None]


@pytest.mark.parametrize("keep", KEEPS)
def test_features_of_a_row_do_not_depend_on_those_it_came_with(keep):
    ids = np.arange(150)
    clf = ClosedFormClassifier(FunctionTransformer(by_place), keep=keep, random_state=0)
    plain = ClosedFormClassifier("passthrough", random_state=0).fit(X, Y)
    model = clone(clf).fit(X, Y, sample_id=ids)
    assert np.array_equal(model.predict_proba(X), plain.predict_proba(X))  # one at a time
    model.forget([3, 140]).forget([7]).partial_fit(X[[3]], Y[[3]], sample_id=[999])
    order = np.append(np.delete(ids, [3, 7, 140]), 3)
    named = np.where(order == 3, 999, order)
    assert same(model, clone(clf).fit(X[order], Y[order], sample_id=named))


@pytest.mark.parametrize("kind", ["csr_array", "csc_matrix", "coo_array"])
def test_sparse_rows(kind):
    made = HashingVectorizer(n_features=64).transform(TEXTS)
    S, labels = getattr(sparse, kind)(made), np.arange(60) % 2
    for clf in (
        ClosedFormClassifier(n_components=50, random_state=0),
        ClosedFormClassifier("passthrough", head="naive_bayes", random_state=0),
        ClosedFormClassifier("passthrough", head="lda", random_state=0),
    ):
        clf.fit(S, labels)
        assert np.array_equal(clf.predict_proba(S), clf.predict_proba(S.toarray()))
        fresh = clone(clf).fit(made[5:], labels[5:], sample_id=np.arange(5, 60))
        clf = clone(clf).fit(S, labels, sample_id=np.arange(60))
        assert same(clf.forget(range(5)), fresh)


def test_text_in_a_feature_map():
    clf = ClosedFormClassifier(HashingVectorizer(n_features=32), random_state=0)
    ids, labels = np.arange(60), np.array(["no", "yes"])[np.arange(60) % 2]
    whole = clone(clf).fit(TEXTS, labels, sample_id=ids).forget([0, 3])
    kept = np.delete(ids, [0, 3])
    assert same(whole, clone(clf).fit(TEXTS[kept], labels[kept], sample_id=kept))
    assert whole.score(TEXTS, labels) == 1.0


@pytest.mark.parametrize("kind", ["net", "stateless", "texts", "public"])
def test_inputs_are_kept_in_place_of_features(kind):
    maps = {**MAPS, "texts": HashingVectorizer(n_features=32), "public": public_model().features}
    rows = TEXTS if kind == "texts" else X.astype(np.float32)
    labels, ids = np.arange(len(rows)) % 3, np.arange(len(rows))
    public = {"public": ids % 4 == 0} if kind == "public" else {}

    def part(index):
        return {"sample_id": ids[index], **{k: v[index] for k, v in public.items()}}

    keeps = [ClosedFormClassifier(maps[kind], keep=k, random_state=0) for k in KEEPS]
    leave, back = [0, 7, 8], [7]  # 0 and 8 are public
    for model in keeps:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(rows, labels, **part(ids)).forget(leave)
            model.partial_fit(rows[back], labels[back], sample_id=back)
        order = np.concatenate([np.delete(ids, leave), back])
        if kind == "public":
            public["public"][back] = False
        assert same(model, clone(model).fit(rows[order], labels[order], **part(order)))
    inputs = keeps[1]
    assert np.array_equal(keeps[0].predict_proba(rows), inputs.predict_proba(rows))
    kept = np.asarray(inputs._rows_.X)
    assert kept.shape == rows[order].shape
    assert np.array_equal(kept, rows[order])
    for name in leave:  # nothing of the rows that left, in any block
        if name not in back and kind != "texts":
            blocks = np.concatenate(inputs._rows_.X.blocks)
            assert not (blocks == rows[name]).all(axis=1).any()


def test_tables_cannot_be_kept_as_inputs():
    table = pytest.importorskip("pandas").DataFrame({"a": [1.0, 2.0], "b": [2.0, 1.0]})
    model = ClosedFormClassifier(FunctionTransformer(np.tanh), keep="inputs")
    with pytest.raises(ValueError, match=r"keep='inputs'.* got a table of type DataFrame"):
        model.fit(table, [0, 1])
    assert model.set_params(keep="features").fit(table, [0, 1]).predict(table).shape == (2,)


@pytest.mark.parametrize("keep", KEEPS)
def test_devices_are_not_mixed(keep):
    model = ClosedFormClassifier(FrozenEstimator(trained_net()), keep=keep).fit(X, Y)
    model.features_.estimator.device = "meta"  # as if it was loaded on another machine
    before = pickle.dumps(model)
    with pytest.raises(UnsupportedNetError, match="was on 'cpu' in fit and is on 'meta' now"):
        model.partial_fit(X[:1], Y[:1])
    if keep == "inputs":
        with pytest.raises(UnsupportedNetError, match="'meta' now"):
            model.forget([0])
        assert pickle.dumps(model) == before
    else:  # what removal needs was kept
        assert model.forget([0]).receipts_[-1].n_forgotten == 1


@pytest.mark.cuda
@pytest.mark.parametrize("keep", KEEPS)
@pytest.mark.parametrize("head", ["ridge", "naive_bayes"])
def test_sums_are_the_same_on_a_gpu(head, keep):
    net = trained_net(device="cuda")
    model = ClosedFormClassifier(FrozenEstimator(net), head=head, keep=keep, random_state=0)
    ids = np.arange(150)
    forgot = clone(model).fit(X, Y, sample_id=ids).forget(range(7))
    assert same(forgot, clone(model).fit(X[7:], Y[7:], sample_id=ids[7:]))
    # of the same features on the CPU
    made = ClosedFormClassifier(FrozenEstimator(net)).fit(X, Y)._rows_.X[:]
    plain = ClosedFormClassifier("passthrough", head=head).fit(made, Y)
    whole = clone(model).fit(X, Y)
    assert state_digest(vars(plain._sums_)) == state_digest(vars(whole._sums_))


def test_wide_sparse_rows_are_refused():
    with pytest.raises(ValueError, match="at most 16384 of them, got 20000"):
        ClosedFormClassifier("passthrough").fit(sparse.csr_array((5, 20000)), [0, 1, 0, 1, 0])


HEADS = {
    "fourier": ClosedFormClassifier(n_components=40, random_state=0),
    "ridge": ClosedFormClassifier("passthrough", random_state=0),
    "lda": ClosedFormClassifier("passthrough", head="lda", random_state=0),
    "naive_bayes": ClosedFormClassifier("passthrough", head="naive_bayes", random_state=0),
    "regression": ClosedFormRegressor(n_components=40, random_state=0),
}


def target(name, y=Y):
    return X[:, 0] + 0.1 * y if name == "regression" else y


@pytest.mark.parametrize("name", HEADS)
def test_rows_can_be_added_and_removed_in_any_order(name):
    y, ids = target(name), np.array([f"r{i}" for i in range(150)])
    groups = np.array([f"g{i % 11}" for i in range(150)])

    def part(rows):
        return {"sample_id": ids[rows], "groups": groups[rows]}

    first, second, third = np.arange(0, 60), np.arange(60, 110), np.arange(110, 150)
    model = clone(HEADS[name]).fit(X[first], y[first], **part(first))
    model.forget(sample_id=ids[:3])
    model.partial_fit(X[second], y[second], **part(second))  # labels 1 and 2 are new or partly so
    model.forget(groups="g4")
    with pytest.warns(ForgottenRowsReturnedWarning, match="g4"):
        model.partial_fit(X[third], y[third], **part(third))
    model.forget([70, 140])
    kept = np.flatnonzero((groups != "g4") & ~np.isin(np.arange(150), [0, 1, 2, 70, 140]))
    kept = np.union1d(kept, np.flatnonzero((groups == "g4") & (np.arange(150) >= 110)))
    kept = np.setdiff1d(kept, [0, 1, 2, 70, 140])
    fresh = clone(HEADS[name]).fit(X[kept], y[kept], **part(kept))
    assert same(model, fresh)
    back = np.array([1, 70])  # and back again, at the end
    with pytest.raises(ForgottenRowsReturnedError, match="r1"):
        model.partial_fit(X[back], y[back], **part(back), on_return="raise")
    assert model.receipts_.covers(["r1", "r2"]).all()
    with pytest.warns(ForgottenRowsReturnedWarning, match="r1"):
        model.partial_fit(X[back], y[back], **part(back))
    assert model.receipts_.covers(["r1", "r2"]).tolist() == [False, True]
    order = np.concatenate([kept, back])
    assert same(model, clone(HEADS[name]).fit(X[order], y[order], **part(order)))
    assert model.forget(sample_id="r70").receipts_[-1].n_forgotten == 1


def test_adding_without_ids_numbers_on():
    model = ClosedFormClassifier("passthrough").partial_fit(X[:100], Y[:100], classes=[0, 1, 2])
    model.partial_fit(X[100:], Y[100:]).forget([0, 149])
    assert same(model, clone(model).fit(X[1:149], Y[1:149], sample_id=np.arange(1, 149))) is False
    assert model.receipts_[-1].n_forgotten == 2
    with pytest.raises(ForgetRequestError, match="150"):
        model.forget([150])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"sample_id": range(3)}, "'sample_id' parameter of ClosedFormClassifier.partial_fit"),
        ({"groups": range(3)}, "'groups' parameter of ClosedFormClassifier.partial_fit"),
        ({"sample_weight": [0.5, 1, 1]}, "Got 0.5"),
        ({"X": X[:3, :2]}, "2 features"),
        ({"X": np.full((3, 4), np.nan)}, "NaN"),
        ({"y": ["a", "b", "c"]}, "of the type of those of fit"),
        ({"y": [0, 1]}, "inconsistent"),
    ],
)
def test_rows_that_cannot_be_added_change_nothing(params, message):
    model = ClosedFormClassifier("passthrough", random_state=0).fit(X, Y)
    before = pickle.dumps(model)
    given = {"X": X[:3], "y": [0, 1, 2], **params}
    with pytest.raises(ValueError, match=message):
        model.partial_fit(given.pop("X"), given.pop("y"), **given)
    assert pickle.dumps(model) == before


def test_repeated_ids_cannot_be_added():
    model = ClosedFormClassifier("passthrough").fit(X, Y, sample_id=np.arange(150))
    with pytest.raises(ValueError, match="unique, got 7"):
        model.partial_fit(X[:1], Y[:1], sample_id=[7])


@pytest.mark.parametrize("name", HEADS)
def test_weights_are_repetitions(name):
    y, weights = target(name), RNG.randint(0, 4, 150)
    weights[:50] = weights[:50].clip(1)
    model = clone(HEADS[name])
    if "alpha" in model.get_params() and name != "naive_bayes":
        model.set_params(alpha=0.1)
    model.fit(X, y, sample_weight=weights)
    repeated = np.repeat(np.arange(150), weights)
    twin = clone(model).fit(X[repeated], y[repeated])
    assert state_digest(vars(model._sums_)) == state_digest(vars(twin._sums_))
    if name != "regression":
        assert np.array_equal(model.predict(X), twin.predict(X))
    else:
        assert np.allclose(model.predict(X), twin.predict(X), rtol=1e-12)
    ids = np.arange(150)
    model = clone(model).fit(X, y, sample_weight=weights, sample_id=ids).forget(range(30, 90))
    kept = np.delete(ids, range(30, 90))
    fresh = clone(model).fit(X[kept], y[kept], sample_weight=weights[kept], sample_id=kept)
    assert same(model, fresh)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.full(150, 0.5), "Got 0.5"),
        (-np.ones(150), "Got -1"),
        (np.ones(3), "shape"),
        (np.zeros(150), "all are 0"),
        (np.full(150, np.nan), "finite"),
        (np.array(["1"] * 150), "integers"),
    ],
)
def test_weights_that_are_no_counts_are_refused(weights, message):
    with pytest.raises(ValueError, match=f"'sample_weight' parameter.*{message}"):
        ClosedFormClassifier().fit(X, Y, sample_weight=weights)


def test_a_class_without_weight_is_none():
    weights = np.where(Y == 1, 0, 1)
    weights[60] = 2
    model = ClosedFormClassifier(n_components=40, random_state=0).fit(X, Y, sample_weight=weights)
    assert model.classes_.tolist() == [0, 1, 2]
    assert model.forget([60]).classes_.tolist() == [0, 2]
    fresh = clone(model).fit(
        np.delete(X, 60, 0),
        np.delete(Y, 60),
        sample_weight=np.delete(weights, 60),
        sample_id=np.delete(np.arange(150), 60),
    )
    assert np.array_equal(model.predict_proba(X), fresh.predict_proba(X))
    only = ClosedFormClassifier("passthrough").fit(X, Y, sample_weight=np.eye(150, dtype=int)[5])
    with pytest.raises(ForgetRequestError, match="sample_weight above 0"):
        only.forget([5])


def test_a_request_that_moves_a_unit_is_announced_and_exact():
    A = X.copy()
    A[3] = 500.0  # the unit of every column follows from this row
    for name, model in HEADS.items():
        y = target(name)
        model = clone(model).fit(A, y, sample_id=np.arange(150))
        cost = model.forget_cost([3])
        assert (cost.rows_retrained, cost.share_of_retrain) == (149, 1.0)
        small = model.forget_cost([100])
        assert small.rows_retrained == 0
        assert model.forget([3]).receipts_[-1].solver["accumulated_anew"]
        assert model.receipts_[-1].cost == cost
        kept = np.delete(np.arange(150), 3)
        assert same(model, clone(model).fit(A[kept], y[kept], sample_id=kept))


def test_sums_that_would_round_are_refused_and_nothing_changes():
    model = ClosedFormClassifier("passthrough", scaling=None)
    huge = {"sample_weight": np.full(2, 2**20)}
    with pytest.raises(RemovalFailedError, match="exact up to 2\\^52"):
        model.fit([[31.0], [-31.0]], [0, 1], **huge)
    model.fit(X, Y)
    before = pickle.dumps(model)
    with pytest.raises(RemovalFailedError, match="exact up to 2\\^52"):
        model.partial_fit(np.full((2, 4), 31.0), [0, 1], **huge)
    assert pickle.dumps(model) == before


def test_words_are_refused():
    for features in (None, "passthrough"):
        with pytest.raises(ValueError, match=r"could not convert string to float: .*'bad"):
            ClosedFormClassifier(features).fit(TEXTS[:, None], np.arange(60) % 2)


def test_numbers_far_out_are_reported():
    A = X.copy()
    A[:20] *= 1e4
    with pytest.warns(UserWarning, match="13.3% of the numbers"):
        model = ClosedFormClassifier("passthrough", scaling=None).fit(A, Y)
    assert model.cut_share_ == pytest.approx(20 / 150, abs=0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.forget(range(20))
    assert model.cut_share_ == 0


def test_constant_columns_and_targets():
    A = np.column_stack([X, np.full(150, 7.1), np.zeros(150)])
    model = ClosedFormClassifier(random_state=0, n_components=50).fit(A, Y)
    odd = A + np.array([0, 0, 0, 0, 100, 5])
    assert np.array_equal(model.predict_proba(odd), model.predict_proba(A))
    for value in (0.0, 1e-7, -12345.678):
        reg = ClosedFormRegressor(n_components=50).fit(X, np.full(150, value))
        assert np.allclose(reg.predict(X), value, rtol=1e-5, atol=1e-12)
    same_rows = ClosedFormClassifier().fit(np.ones((6, 2)), [0, 0, 0, 0, 1, 1])
    assert np.array_equal(same_rows.predict(np.ones((1, 2))), [0])


def test_targets_of_any_size():
    y = X @ [1.0, 2.0, -1.0, 0.5]
    plain = ClosedFormRegressor(random_state=0, n_components=100, alpha=0.1).fit(X, y)
    for factor, offset in ((1e9, 0), (1e-9, 0), (1.0, 1e5), (-1e6, 1e9)):
        other = clone(plain).fit(X, factor * y + offset)
        expected = factor * plain.predict(X) + offset
        assert np.allclose(other.predict(X), expected, atol=2e-3 * abs(factor))


def test_one_class_and_few_rows():
    one = ClosedFormClassifier(n_components=20).fit(X, Y).forget(np.flatnonzero(Y != 2))
    assert one.classes_.tolist() == [2]
    assert np.array_equal(one.predict_proba(X), np.ones((150, 1)))
    assert one.forget(slice(0, 149)).receipts_[-1].n_remaining == 1
    assert set(one.predict(X)) == {2}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"alpha": 0}, "'alpha' parameter"),
        ({"alpha": [1.0, -1.0]}, "positive numbers, got -1.0"),
        ({"alpha": []}, "list of numbers"),
        ({"alpha": [1.0], "head": "lda"}, "head='lda'"),
        ({"n_components": 2**15}, "'n_components' parameter"),
        ({"gamma": -1.0}, "'gamma' parameter"),
        ({"head": "tree"}, "'head' parameter"),
        ({"scaling": "rows"}, "'scaling' parameter"),
    ],
)
def test_parameters_are_checked(params, message):
    with pytest.raises(ValueError, match=message):
        ClosedFormClassifier(**params).fit(X, Y)


PUBLIC = np.arange(150) % 3 == 0


def public_model(kind=ClosedFormClassifier):
    net = default_classifier(n_features=4, n_outputs=3, n_rows=50, device="cpu")
    return kind(net.set_params(module__hidden=(8,), max_epochs=2), random_state=0)


def test_a_net_trained_on_public_rows_forgets_the_others_by_subtraction():
    ids = np.arange(150)
    model = public_model().fit(X, Y, public=PUBLIC, sample_id=ids)
    net = model.features_
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert model.forget_cost([1, 4]).share_of_retrain < 1
        model.forget([1, 4])
    assert model.features_ is net
    kept = np.delete(ids, [1, 4])
    fresh = public_model().fit(X[kept], Y[kept], public=PUBLIC[kept], sample_id=kept)
    assert same(model, fresh)
    with pytest.warns(FullRetrainWarning, match="2 of the rows asked for are public"):
        cost = model.forget_cost([0, 3, 5])
    assert cost.share_of_retrain == 1.0
    with pytest.warns(FullRetrainWarning, match="2 of the rows asked for are public"):
        model.forget([0, 3, 5])
    kept = np.delete(ids, [0, 1, 3, 4, 5])
    fresh = public_model().fit(X[kept], Y[kept], public=PUBLIC[kept], sample_id=kept)
    assert same(model, fresh)
    with pytest.raises(ForgetRequestError, match="that are public"):
        model.forget(np.flatnonzero(PUBLIC))
    model.partial_fit(X[:2], Y[:2], sample_id=[200, 201])
    assert not model._rows_.fit_params["public"][-2:].any()


@pytest.mark.parametrize(
    ("model", "public", "message"),
    [
        (public_model(), PUBLIC[:9], "'public' parameter.*shape"),
        (public_model(), np.flatnonzero(PUBLIC), "'public' parameter.*boolean mask"),
        (public_model(), np.eye(150, dtype=bool)[0], "'public' parameter.*marks 1"),
        (ClosedFormClassifier(), PUBLIC, "trains none"),
        (ClosedFormClassifier(MAPS["net"]), PUBLIC, "trains none"),
    ],
)
def test_masks_of_public_rows_are_checked(model, public, message):
    with pytest.raises(ValueError, match=message):
        model.fit(X, Y, public=public)


def test_the_caller_keeps_rows_and_net():
    A, net = X.copy(), MAPS["net"].estimator
    before = state_digest(net.module_)
    model = ClosedFormClassifier(MAPS["net"]).fit(A, Y)
    A[:] = 0  # it was copied
    model.forget([3])
    assert state_digest(net.module_) == before
    assert np.array_equal(
        model.predict(X),
        ClosedFormClassifier(MAPS["net"])
        .fit(np.delete(X, 3, 0), np.delete(Y, 3), sample_id=np.delete(np.arange(150), 3))
        .predict(X),
    )


def test_predictions_follow_the_parameters_of_fit():
    net = FrozenEstimator(trained_net())
    model = ClosedFormClassifier(net, random_state=0).fit(X, Y)
    plain = ClosedFormClassifier("passthrough", random_state=0).fit(X, Y)
    before = model.predict_proba(X), plain.predict_proba(X)
    net.estimator.module_.layers[1].weight.data.zero_()
    model.set_params(features="passthrough", head="naive_bayes")
    plain.set_params(features=None, scaling="columns", alpha=100.0)
    assert np.array_equal(model.predict_proba(X), before[0])
    assert np.array_equal(plain.predict_proba(X), before[1])
    plain.forget([0])
    fresh = ClosedFormClassifier("passthrough", random_state=0)
    fresh.fit(X[1:], Y[1:], sample_id=np.arange(1, 150))
    assert np.array_equal(plain.predict_proba(X), fresh.predict_proba(X))


def test_regressors_choose_their_penalty():
    A, y = load_diabetes(return_X_y=True)
    fit, test, y_fit, y_test = train_test_split(A, y, random_state=0)
    reg = ClosedFormRegressor(random_state=0).fit(fit, y_fit)
    assert reg.alpha_ in (1e-3, 1e-2, 1e-1, 1.0, 10.0)
    assert reg.score(test, y_test) > 0.3
    both = ClosedFormRegressor(random_state=0, alpha=1.0).fit(
        fit, np.column_stack([y_fit, -y_fit])
    )
    assert both.predict(test).shape == (len(test), 2)


def test_probabilities_are_fit_for_use():
    A, y = load_digits(return_X_y=True)
    fit, test, y_fit, y_test = train_test_split(A, y, random_state=3)
    clf = ClosedFormClassifier(n_components=400, random_state=0).fit(fit, y_fit)
    proba = clf.predict_proba(test)
    assert clf.score(test, y_test) > 0.97
    assert log_loss(y_test, proba) < 0.1
    scores = clf.decision_function(test)
    assert np.allclose(np.diff(np.log(proba)), np.diff(scores))
