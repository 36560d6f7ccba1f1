"""Parts of closed-form models: exact moments, integer features, blocks, samples, heads."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from scipy.stats import multivariate_normal
from sklearn.datasets import load_iris
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.naive_bayes import GaussianNB

from sk_unlearn import ClosedFormClassifier, ClosedFormRegressor
from sk_unlearn.exact._frame import Frame
from sk_unlearn.exact._maps import FourierMap, LinearMap
from sk_unlearn.exact._moments import ColumnMoments
from sk_unlearn.exact._row_blocks import RowBlocks
from sk_unlearn.exact._sample import Sample
from sk_unlearn.exact._sums import Sums
from sk_unlearn.exceptions import RemovalFailedError

RNG = np.random.RandomState(0)
WILD = (RNG.normal(size=(500, 6)) * 10.0 ** RNG.randint(-30, 15, (500, 6))).astype(np.float32)
WILD[::7, 2] = 0.0
WILD[:, 3] = 1.1
WILD[0, 4] = np.float32(1e-42)  # subnormal
UNIT = Frame(np.zeros(6), np.ones(6))


def value(moments, column):
    """Sum and sum of squares of a column, without rounding."""
    first = second = Fraction(0)
    for band in range(32):
        total, high, low = (int(x) for x in moments.sums[:, band, column])
        unit = Fraction(2) ** (8 * band - 150)
        first += total * unit
        second += (high * 2**32 + low) * unit**2
    return first, second


def test_moments_are_those_of_rational_numbers():
    moments = ColumnMoments.of(WILD)
    for column in range(6):
        numbers = [Fraction(float(x)) for x in WILD[:, column]]
        assert value(moments, column) == (sum(numbers), sum(x * x for x in numbers))


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_moments_can_be_subtracted_and_weighted(form):
    weights = RNG.randint(0, 5, len(WILD))
    leave = RNG.rand(len(WILD)) < 0.3
    whole = ColumnMoments.of(form(WILD), weights)
    rest = whole - ColumnMoments.of(form(WILD[leave]), weights[leave])
    fresh = ColumnMoments.of(np.repeat(WILD[~leave], weights[~leave], axis=0))
    assert rest.n_rows == fresh.n_rows
    assert np.array_equal(rest.sums, fresh.sums)


def test_moments_give_mean_and_variance():
    X = (RNG.normal(size=(1000, 5)) * [1, 1e-6, 1e6, 1, 3] + [0, 1, -5e6, 100, 0]).astype(
        np.float32
    )
    X[:, 4] = 0.1
    mean, variance = ColumnMoments.of(X).mean_and_variance()
    assert np.allclose(mean, X.mean(axis=0, dtype=np.float64), rtol=1e-12)
    assert np.allclose(variance[:4], X[:, :4].var(axis=0, dtype=np.float64), rtol=1e-3)
    assert variance[4] == 0  # a constant column, whatever rounding says


@pytest.mark.parametrize(
    ("scales", "scaling", "common"),
    [
        ([1.0, 1.0, 4.0], "auto", True),
        ([1.0, 1e3, 1e3], "auto", False),
        ([1.0, 1.0, 1e3], "auto", False),
        ([1.0, 1.0, 4.0], "columns", False),
        ([1.0, 1.0, 1e3], "common", True),
        ([1.0, *[1e3] * 40], "auto", True),  # pixels of which one hardly varies
    ],
)
def test_units_are_powers_of_two_near_the_deviation(scales, scaling, common):
    X = RNG.normal(size=(4000, len(scales))) * scales
    unit = 1 / Frame.of(ColumnMoments.of(X.astype(np.float32)), scaling).per_unit
    deviation = X.std(axis=0)
    if common:
        deviation = np.full(len(scales), np.sqrt((deviation**2).mean()))
    assert np.array_equal(np.log2(unit), np.rint(np.log2(deviation)))


def test_fourier_features_are_those_of_the_kernel():
    X = RNG.normal(size=(40, 5))
    frame = Frame(np.zeros(5), np.full(5, 0.5))
    features, n_cut = FourierMap(5, 2**14, 0.3, 0)(X, frame)
    kernel = (features @ features.T / 4.0**FourierMap.bits / 2**13).numpy()
    assert n_cut == 0
    assert np.abs(kernel - rbf_kernel(X / 2, gamma=0.3)).max() < 0.03


@pytest.mark.parametrize("made", [LinearMap(6), FourierMap(6, 50, 0.1, 3)])
def test_features_of_a_row_do_not_depend_on_its_company(made):
    whole, _ = made(WILD, UNIT)
    assert torch.equal(whole, whole.round())
    order = RNG.permutation(len(WILD))
    assert torch.equal(made(WILD[order], UNIT)[0], whole[order])
    for row in (0, 17, 499):
        assert torch.equal(made(WILD[row : row + 1], UNIT)[0], whole[row : row + 1])
    assert torch.equal(made(sparse.csr_array(WILD), UNIT)[0], whole)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert torch.equal(made(WILD, UNIT)[0], whole)
    finally:
        torch.set_num_threads(threads)


def test_numbers_far_out_are_cut_and_counted():
    X = np.array([[0.0, 31.0], [33.0, -1e30]])
    features, n_cut = LinearMap(2)(X, Frame(np.zeros(2), np.ones(2)))
    assert n_cut == 2
    assert np.array_equal(features.numpy() / 2.0**LinearMap.bits, [[0, 31], [32, -32]])


def test_sums_can_be_subtracted_in_any_parts():
    features = torch.from_numpy(RNG.randint(-4096, 4097, (300, 20)).astype(float))
    targets = torch.from_numpy(np.eye(3)[RNG.randint(0, 3, 300)])
    weights = torch.from_numpy(RNG.randint(0, 4, 300).astype(float))
    empty = Sums.none(20, 3, gram=True, squares=True)
    order = RNG.permutation(300)
    leave, kept = order[:200], torch.from_numpy(order[200:])
    rest = empty.plus(features, targets, weights, 5)
    for part in map(torch.from_numpy, np.array_split(leave, 7)):
        rest = rest.plus(features[part], targets[part], weights[part], sign=-1)
    fresh = empty.plus(features[kept], targets[kept], weights[kept], 5)
    expected = {
        "features": weights[kept] @ features[kept],
        "targets": weights[kept] @ targets[kept],
        "cross": targets[kept].T @ torch.diag(weights[kept]) @ features[kept],
        "gram": (features[kept].T @ torch.diag(weights[kept]) @ features[kept]).tril(),
        "squares": targets[kept].T @ torch.diag(weights[kept]) @ features[kept] ** 2,
    }
    assert (rest.n_rows, rest.n_cut) == (fresh.n_rows, 5)
    for name, sums in expected.items():
        assert torch.equal(getattr(rest, name), getattr(fresh, name))
        assert torch.equal(getattr(rest, name), sums)


def test_weights_of_one_are_none():
    features = torch.from_numpy(RNG.randint(-4096, 4097, (90, 20)).astype(float))
    targets, ones = torch.ones(90, 1, dtype=torch.float64), torch.ones(90, dtype=torch.float64)
    empty = Sums.none(20, 1, gram=True, squares=False)
    for sign in (1, -1):
        plain = empty.plus(features, targets, sign=sign)
        assert torch.equal(plain.gram, (sign * features.T @ features).tril())
        assert torch.equal(plain.gram, empty.plus(features, targets, ones, sign=sign).gram)


def test_sums_that_may_round_are_refused():
    features = torch.full((4, 2), 2.0**26, dtype=torch.float64)
    sums = Sums.none(2, 1, gram=True, squares=False).plus(features, torch.ones(4, 1).double())
    with pytest.raises(RemovalFailedError, match="2\\^52, and 4 rows"):
        sums.check_exact("X", 4.0)


@pytest.mark.parametrize("n_columns", [3, 200])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_blocks_lose_rows_without_a_trace(form, n_columns):
    X = RNG.normal(size=(700, n_columns))
    blocks = RowBlocks.of(form(X))
    leave = np.array([0, 255, 256, 699])
    kept = np.delete(np.arange(700), leave)
    rest = blocks.without(leave, kept)
    assert np.array_equal(np.asarray(rest), X[kept])
    assert np.array_equal(np.asarray(blocks), X)  # what was there is not changed
    assert sum(one is not other for one, other in zip(rest.blocks, blocks.blocks, strict=True)) < 5
    order = np.array([698, 3, 400, 3, 257])
    taken = rest.take(order)
    assert np.array_equal(taken.toarray() if sparse.issparse(taken) else taken, X[order])
    numbers = np.concatenate([b.data if sparse.issparse(b) else b.ravel() for b in rest.blocks])
    assert not np.isin(X[leave], numbers).any()
    more = rest.plus(form(X[:300]))
    assert np.array_equal(np.asarray(more), np.concatenate([X[kept], X[:300]]))
    parts = [
        (slots, np.asarray(rows.todense() if sparse.issparse(rows) else rows))
        for slots, rows in more.chunks(256)
    ]
    assert np.array_equal(np.concatenate([rows for _, rows in parts]), np.asarray(more))
    assert np.array_equal(np.concatenate([slots for slots, _ in parts]), more.slots)


def test_the_sample_follows_from_the_rows_that_are_left():
    ids = RNG.permutation(10**6)[:5000]

    def features_of(slots):
        return torch.from_numpy(ids[slots].astype(float))[:, None]

    slots = np.arange(5000)
    sample = Sample.draw(7, slots, ids, features_of)
    for n_leave in (1, 40, 1200, 3000, 600):
        leave = np.random.RandomState(n_leave).choice(slots, n_leave, replace=False)
        if n_leave == 40:
            leave = sample.slots[:40]  # of those in it
        slots = np.setdiff1d(slots, leave)
        sample = sample.without(7, leave, slots, ids[slots], features_of)
        fresh = Sample.draw(7, slots, ids[slots], features_of)
        assert np.array_equal(sample.slots, fresh.slots)
        assert torch.equal(sample.features, fresh.features)
    assert len(sample.slots) == 159  # all that are left


X, Y = load_iris(return_X_y=True)


def uncalibrated(clf, X):
    return softmax(np.log(clf.predict_proba(X)) / clf._fitted_.scale, axis=1)


def test_naive_bayes_is_that_of_scikit_learn():
    ours = ClosedFormClassifier(
        "passthrough", head="naive_bayes", alpha=1e-9, scaling="columns"
    ).fit(X, Y)
    theirs = GaussianNB().fit(X, Y)
    assert np.abs(uncalibrated(ours, X) - theirs.predict_proba(X)).max() < 1e-3


def test_discriminants_are_those_of_scikit_learn():
    ours = ClosedFormClassifier("passthrough", head="lda", alpha=1e-9).fit(X, Y)
    theirs = LinearDiscriminantAnalysis(solver="lsqr").fit(X, Y)
    assert np.abs(uncalibrated(ours, X) - theirs.predict_proba(X)).max() < 2e-3


def test_densities_are_those_of_a_mixture():
    clf = ClosedFormClassifier("passthrough", head="lda", alpha=1e-9, scaling=None).fit(X, Y)
    means = np.array([X[k == Y].mean(axis=0) for k in range(3)])
    covariance = (X - means[Y]).T @ (X - means[Y]) / len(X)
    density = sum(multivariate_normal(m, covariance).pdf(X) for m in means) / 3
    found = clf.score_samples(X)
    # in the space of integers, 2^-12 of a unit
    expected = np.log(density) - 4 * np.log(2.0**12)
    assert np.abs(found - expected).max() < 0.02
    with pytest.raises(AttributeError, match="score_samples"):
        ClosedFormClassifier().fit(X, Y).score_samples  # noqa: B018


def test_ridge_is_that_of_scikit_learn():
    y = X @ [1.0, -2.0, 0.5, 0.0] + RNG.normal(size=len(X))
    both = np.column_stack([y, 100 - 3 * y])
    ours = ClosedFormRegressor("passthrough", alpha=2.0, scaling=None).fit(X, both)
    assert np.allclose(ours.predict(X), Ridge(alpha=2.0).fit(X, both).predict(X), atol=1e-2)
    tiny = ClosedFormRegressor("passthrough", alpha=1e-6, scaling=None).fit(X, y)
    assert np.allclose(tiny.predict(X), LinearRegression().fit(X, y).predict(X), atol=1e-2)


def best_factor(outputs, labels, guess):
    """The factor of logits, times a belief of four rows in a guess."""

    def loss(log_factor):
        logits = outputs * guess * np.exp(log_factor)
        return -log_softmax(logits, axis=1)[np.arange(len(labels)), labels].sum() + (
            2 * log_factor**2
        )

    best = minimize_scalar(loss, bounds=(-8, 8), method="bounded", options={"xatol": 1e-8}).x
    assert abs(best) > 0.05  # else the guess alone would pass
    return guess * np.exp(best)


def left_out(fit, A, b, predict):
    return np.array(
        [predict(fit(np.delete(A, i, 0), np.delete(b, i, 0)), A[[i]])[0] for i in range(len(A))]
    )


def test_probabilities_are_calibrated_on_rows_left_out():
    rows = np.arange(0, 150, 4)
    A, b = X[rows], Y[rows]
    clf = ClosedFormClassifier("passthrough", alpha=0.5, scaling=None, random_state=0).fit(A, b)
    indicators = np.eye(3)[b]
    outputs = left_out(Ridge(alpha=0.5).fit, A, indicators, lambda m, row: m.predict(row))
    guess = 1 / (2 * np.mean((outputs - indicators) ** 2))
    assert clf._fitted_.scale == pytest.approx(best_factor(outputs, b, guess), rel=1e-2)


@pytest.mark.parametrize(
    ("head", "theirs"),
    [
        ("lda", LinearDiscriminantAnalysis(solver="lsqr")),
        ("naive_bayes", GaussianNB()),
    ],
)
def test_probabilities_of_gaussian_classes_are_calibrated_on_rows_left_out(head, theirs):
    rows = np.arange(0, 150, 4)
    A, b = X[rows, :2], Y[rows]
    clf = ClosedFormClassifier(
        "passthrough", head=head, alpha=1e-9, scaling="columns", random_state=0
    ).fit(A, b)
    outputs = left_out(theirs.fit, A, b, lambda m, row: m.predict_log_proba(row))
    assert clf._fitted_.scale == pytest.approx(best_factor(outputs, b, 1.0), rel=2e-2)


@pytest.mark.parametrize("head", ["ridge", "lda", "naive_bayes"])
def test_a_row_alone_in_its_class_is_no_judge(head):
    clf = ClosedFormClassifier("passthrough", head=head, random_state=0).fit(X[:51], Y[:51])
    assert np.isfinite(clf.predict_proba(X)).all()
    assert clf.forget([50]).predict_proba(X).shape == (150, 1)


@pytest.mark.parametrize("kind", ["few", "noisy"])
def test_alpha_of_a_list_is_the_one_with_the_least_error_left_out(kind):
    rng = np.random.RandomState(3)
    A = rng.normal(size=(60, 20))
    y = A @ rng.normal(size=20) + (3.0 if kind == "noisy" else 0.1) * rng.normal(size=60)
    alphas = [0.01, 1.0, 30.0]
    reg = ClosedFormRegressor("passthrough", alpha=alphas, scaling=None, random_state=0).fit(A, y)
    losses = [
        np.mean(
            [
                (y[i] - Ridge(alpha=a).fit(np.delete(A, i, 0), np.delete(y, i)).predict(A[[i]])[0])
                ** 2
                for i in range(60)
            ]
        )
        for a in alphas
    ]
    assert reg.alpha_ == alphas[int(np.argmin(losses))]
