"""Regressors: targets of any scale in and out, exact where exact is promised."""

import pickle
import warnings

import numpy as np
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes, load_linnerud, make_friedman1
from sklearn.linear_model import Ridge
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler, scale
from skorch import NeuralNetRegressor
from torch import nn

from sk_unlearn import PumaRegressor, RetrainRegressor, SisaRegressor
from sk_unlearn.exceptions import RetrainAdvisedWarning, TargetScaleWarning
from sk_unlearn.model_selection import fit_many
from sk_unlearn.nets import MLP, _defaults
from sk_unlearn.utils._digest import state_digest
from sk_unlearn.utils.estimator_checks import check_exact_forget

REGRESSORS = [PumaRegressor, RetrainRegressor, SisaRegressor]
EXACT = [RetrainRegressor, SisaRegressor]
RNG = np.random.RandomState(0)
X = RNG.normal(size=(60, 4))
Y = X @ np.array([1.0, -0.5, 0.3, 0.0]) + 0.1 * RNG.normal(size=60)


@pytest.fixture
def short_training(monkeypatch):
    monkeypatch.setattr(_defaults, "_EPOCHS", (3, 5))


def net_regressor(n_targets=1, n_features=4):
    return NeuralNetRegressor(
        MLP,
        criterion=nn.MSELoss,
        module__n_features=n_features,
        module__n_outputs=n_targets,
        max_epochs=5,
        train_split=None,
        verbose=0,
    )


def forget(reg, *args, **kwargs):
    """A request whose advice is not what is tested."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RetrainAdvisedWarning)
        return reg.forget(*args, **kwargs)


# quality: oracles are scikit-learn's own


@pytest.mark.slow
@pytest.mark.parametrize("kind", REGRESSORS)
def test_as_good_as_ridge_on_the_diabetes_data_as_they_are(kind):
    data, target = load_diabetes(return_X_y=True)
    lost = []
    for seed in range(3):
        A, B, a, b = train_test_split(data, target, random_state=seed)
        ridge = Ridge().fit(A, a).score(B, b)
        lost.append(ridge - kind(random_state=seed).fit(A, a).score(B, b))
    assert np.mean(lost) < 0.05


@pytest.mark.parametrize("kind", REGRESSORS)
def test_not_silly_on_a_few_rows_of_several_targets(kind):
    data, target = load_linnerud(return_X_y=True)
    reg = kind(random_state=0).fit(data, target)
    away = np.abs(reg.predict(data) - target.mean(axis=0)) / target.std(axis=0)
    assert (away < 4).all()
    assert reg.score(data, target) > 0


@pytest.mark.parametrize("kind", REGRESSORS)
def test_better_than_a_line_where_the_truth_is_none(kind):
    data, target = make_friedman1(400, noise=0.5, random_state=0)
    A, B, a, b = train_test_split(data * 1e3, target * 1e6 - 4e7, random_state=0)
    assert kind(random_state=0).fit(A, a).score(B, b) > Ridge().fit(A, a).score(B, b)


def test_a_request_to_puma_stays_near_a_retrain():
    data, target = load_diabetes(return_X_y=True)
    A, B, a, b = train_test_split(data, target, random_state=0)
    rows = np.random.RandomState(0).choice(len(A), 5, replace=False)
    kept = np.setdiff1d(np.arange(len(A)), rows)
    reg = forget(PumaRegressor(random_state=0).fit(A, a), rows)
    retrained = PumaRegressor(random_state=0).fit(A[kept], a[kept], sample_id=kept)
    assert abs(reg.score(B, b) - retrained.score(B, b)) < 0.03
    assert reg.score(B, b) > Ridge().fit(A, a).score(B, b) - 0.05


# units


@pytest.mark.usefixtures("short_training")
@pytest.mark.parametrize("power", [-900, -30, 3, 40, 900])
@pytest.mark.parametrize("kind", REGRESSORS)
def test_units_of_targets_change_no_bit(kind, power):
    plain = kind(random_state=0).fit(X, Y)
    scaled = kind(random_state=0).fit(X, np.ldexp(Y, power))
    assert np.array_equal(scaled.predict(X), np.ldexp(plain.predict(X), power))
    for reg in (plain, scaled):
        forget(reg, [3, 5])
    assert np.array_equal(scaled.predict(X), np.ldexp(plain.predict(X), power))


@pytest.mark.usefixtures("short_training")
@pytest.mark.parametrize("kind", REGRESSORS)
def test_units_of_inputs_change_no_bit(kind):
    units = np.ldexp(1.0, [-40, 0, 9, 60])
    single = X.astype(np.float32)
    plain, scaled = (kind(random_state=0).fit(each, Y) for each in (single, single * units))
    for _ in range(2):
        assert np.array_equal(scaled.predict(single * units), plain.predict(single))
        forget(plain, [3, 5])
        forget(scaled, [3, 5])


TARGETS = {
    "huge": Y * 1e300,
    "tiny": Y * 1e-300,
    "far from zero": Y + 1e9,
    "integers": np.arange(60) * 7,
    "bytes": np.arange(60, dtype=np.uint8),
    "float32": (Y * 1e30).astype(np.float32),
    "one column": Y[:, None] * 1e5,
    "several": np.column_stack([Y * 1e200, Y * 1e-200, np.arange(60), np.full(60, 3.7)]),
}


@pytest.mark.usefixtures("short_training")
@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("kind", REGRESSORS)
def test_any_targets(kind, name):
    y = TARGETS[name]
    reg = kind(random_state=0).fit(X, y)
    for _ in range(2):
        predicted = reg.predict(X)
        assert predicted.dtype == np.float64
        assert predicted.shape == y.shape
        low, high = y.min(axis=0).astype(float), y.max(axis=0).astype(float)
        low, high = low - 1e-12 * abs(low), high + 1e-12 * abs(high)  # means of shards round
        assert (np.abs(predicted / 2 - low / 4 - high / 4) <= (high - low) * 1.5).all()
        forget(reg, [3, 5])


@pytest.mark.usefixtures("short_training")
@pytest.mark.parametrize("value", [0.0, -1.0, 3.7, 1e300, -1e-300, 5e-324])
@pytest.mark.parametrize("kind", REGRESSORS)
def test_a_constant_is_predicted_as_it_is(kind, value):
    # a mean of shards is rounded
    options = {"aggregation": "median"} if kind is SisaRegressor else {}
    reg = kind(random_state=0, **options).fit(X, np.full(60, value))
    assert (reg.predict(X) == value).all()
    assert (forget(reg, [3]).predict(X) == value).all()


@pytest.mark.usefixtures("short_training")
def test_one_row_is_predicted_as_it_is():
    for reg in (RetrainRegressor(), PumaRegressor(), SisaRegressor(n_shards=1)):
        assert reg.fit(X[:1], [512.5]).predict(X[:1]) == [512.5]
        two = reg.fit(X[:2], [512.5, 1e4])
        assert np.isfinite(forget(two, [0]).predict(X)).all()


@pytest.mark.usefixtures("short_training")
@pytest.mark.parametrize("kind", [PumaRegressor, RetrainRegressor])
def test_the_net_itself_predicts_in_the_units_of_the_targets(kind):
    reg = kind(random_state=0).fit(X, Y * 1e200)
    alone = pickle.loads(pickle.dumps(reg.estimator_)).predict(X.astype(np.float32))
    assert np.allclose(alone[:, 0], reg.predict(X), rtol=1e-5)


@pytest.mark.usefixtures("short_training")
def test_influences_are_in_units_of_the_scaled_targets():
    plain, scaled = (PumaRegressor(random_state=0).fit(X, Y * unit) for unit in (1, 2.0**20))
    assert np.array_equal(plain.influences(), scaled.influences())
    assert np.array_equal(
        plain.influences(X[:5], Y[:5]), scaled.influences(X[:5], Y[:5] * 2.0**20)
    )
    for reg in (plain, scaled):
        forget(reg, [3, 5])
    steps = [reg.receipts_[-1].solver["steps"] for reg in (plain, scaled)]
    assert steps[0] == steps[1]


@pytest.mark.parametrize("kind", REGRESSORS)
def test_a_net_of_ones_own_is_trained_in_the_units_of_the_targets(kind):
    seen = []

    class Loss(nn.MSELoss):
        def forward(self, output, target):
            seen.append(target.detach())
            return super().forward(output, target)

    net = net_regressor().set_params(criterion=Loss, lr=1e-9)
    y = np.arange(60) % 2 + 1000.0
    with pytest.warns(TargetScaleWarning):
        kind(net, random_state=0).fit(X, y)
    assert all(set(target.flatten().tolist()) <= {1000.0, 1001.0} for target in seen)
    assert seen


@pytest.mark.usefixtures("short_training")
@pytest.mark.parametrize("kind", [PumaRegressor, RetrainRegressor])
def test_many_trained_side_by_side_are_those_of_ordinary_fits(kind):
    fitted = fit_many(kind(), X * 1e3, Y * 1e200, [3, 4])
    assert fitted.stacked
    for seed, reg in zip([3, 4], fitted.estimators, strict=True):
        alone = kind(random_state=seed).fit(X * 1e3, Y * 1e200)
        np.testing.assert_allclose(reg.predict(X), alone.predict(X), rtol=1e-4)


# exact methods: scales are those of the retained rows


def heavy(n_targets=1):
    """Rows of which few decide on scales and centres."""
    rng = np.random.RandomState(1)
    inputs = rng.standard_cauchy(size=(40, 3))
    y = rng.standard_cauchy(size=(40, n_targets)) * 10.0 ** rng.randint(-3, 9, size=n_targets)
    return inputs, y[:, 0] if n_targets == 1 else y


@pytest.mark.slow
@pytest.mark.usefixtures("short_training")
@pytest.mark.parametrize(
    ("reg", "n_targets"),
    [
        (RetrainRegressor(), 1),
        (RetrainRegressor(), 3),
        (SisaRegressor(n_shards=2, n_slices=3, max_epochs=3), 3),
        (SisaRegressor(n_shards=1, n_slices=2, max_epochs=3), 1),
        (SisaRegressor(n_shards=3, n_slices=1, max_epochs=3, aggregation="median"), 1),
    ],
    ids=["retrain", "retrain, 3 targets", "shards and slices, 3 targets", "slices", "shards"],
)
def test_bits_of_a_fresh_fit_where_few_rows_decide_on_scales(reg, n_targets):
    check_exact_forget(reg, *heavy(n_targets))


@pytest.mark.usefixtures("short_training")
@pytest.mark.parametrize("what", ["inputs", "targets"])
def test_a_scale_that_changes_trains_all_steps_of_its_shard_and_nothing_else(what):
    reg = SisaRegressor(n_shards=2, n_slices=3, max_epochs=3, random_state=0).fit(X, Y)
    last = np.flatnonzero((reg._placement_.part == 0) & (reg._placement_.block == 2))[0]
    inputs, targets = X.copy(), Y.copy()
    (inputs[:, 1] if what == "inputs" else targets)[last] = 1000
    for data, n_steps in (((X, Y), 1), ((inputs, targets), 3)):
        reg = SisaRegressor(n_shards=2, n_slices=3, max_epochs=3, random_state=0).fit(*data)
        other = reg.estimators_[1]
        scales = _scales(reg.estimators_[0]), _scales(other)
        reg.forget([last])
        assert reg.receipts_[-1].solver["steps_retrained"] == n_steps
        assert (_scales(reg.estimators_[0]) == scales[0]) == (n_steps == 1)
        assert reg.estimators_[1] is other


def _scales(net):
    return net.module__inputs, net.predict_nonlinearity.targets


@pytest.mark.usefixtures("short_training")
def test_shards_know_nothing_of_each_others_scales():
    plain = SisaRegressor(n_shards=2, random_state=0).fit(X, Y)
    row = np.flatnonzero(plain._placement_.part == 0)[0]
    inputs, targets = X.copy(), Y.copy()
    inputs[row], targets[row] = 1e6, -1e6
    other = SisaRegressor(n_shards=2, random_state=0).fit(inputs, targets)
    assert state_digest(plain.estimators_[1]) == state_digest(other.estimators_[1])
    assert _scales(plain.estimators_[0]) != _scales(other.estimators_[0])


@pytest.mark.usefixtures("short_training")
def test_puma_keeps_the_units_that_its_net_was_trained_in():
    y = Y.copy()
    y[7] = 1000
    reg = PumaRegressor(random_state=0).fit(X, y)
    scales = _scales(reg.estimator_)
    forget(reg, [7])
    assert _scales(reg.estimator_) == scales
    again = forget(pickle.loads(pickle.dumps(reg)), [8])
    assert _scales(again.estimator_) == scales
    reg.clear_memory()  # of the solver that the request left, which copies are without
    assert np.array_equal(again.predict(X), forget(reg, [8]).predict(X))


# TransformedTargetRegressor


@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.parametrize("inner", ["ridge", "net"])
def test_transformed_targets_inside_are_fitted_anew(kind, inner):
    regressor = Ridge() if inner == "ridge" else net_regressor()
    transformed = TransformedTargetRegressor(regressor, transformer=StandardScaler())
    y = Y * 1e5 + 1e6
    y[7] = 1e9
    kept, ids = np.setdiff1d(np.arange(60), [3, 7]), np.arange(60)
    options = {} if kind is RetrainRegressor else {"n_slices": 1, "n_shards": 2}
    reg = kind(transformed, random_state=0, **options).fit(X, y, sample_id=ids)
    reg.forget(sample_id=[3, 7])
    fresh = kind(transformed, random_state=0, **options).fit(X[kept], y[kept], sample_id=kept)
    assert np.array_equal(reg.predict(X), fresh.predict(X))
    assert reg.predict(X).shape == (60,)
    if kind is RetrainRegressor:
        assert reg.estimator_.transformer_.mean_ == pytest.approx(y[kept].mean())
        assert np.abs(reg.predict(X) - y[kept].mean()).max() < 10 * y[kept].std()


@pytest.mark.usefixtures("short_training")
@pytest.mark.parametrize("kind", REGRESSORS)
def test_transformed_targets_outside(kind):
    """A fixed function around a regressor that forgets: the request goes to the inner one."""
    y = np.exp(Y)
    outer = TransformedTargetRegressor(
        kind(random_state=0), func=np.log, inverse_func=np.exp, check_inverse=False
    )
    outer.fit(X, y, sample_id=np.arange(60))
    forget(outer.regressor_, sample_id=[3, 5])
    assert outer.regressor_.receipts_[-1].n_forgotten == 2
    alone = forget(kind(random_state=0).fit(X, np.log(y), sample_id=np.arange(60)), [3, 5])
    assert np.array_equal(outer.predict(X), np.exp(alone.predict(X)))


@pytest.mark.parametrize("kind", REGRESSORS)
def test_several_transformed_targets_inside_and_outside(kind):
    both = scale(np.column_stack([Y, X[:, 3] - Y]))
    if kind is not PumaRegressor:
        options = {} if kind is RetrainRegressor else {"n_slices": 1}
        inner = TransformedTargetRegressor(net_regressor(2), transformer=StandardScaler())
        assert kind(inner, **options).fit(X, both).forget([3]).predict(X).shape == (60, 2)
    outer = TransformedTargetRegressor(kind(net_regressor(2)), transformer=StandardScaler())
    outer.fit(X, both)
    forget(outer.regressor_, [3])
    assert outer.predict(X).shape == (60, 2)
