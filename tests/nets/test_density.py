import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from skorch.exceptions import NotInitializedError
from torch import nn

from sk_unlearn.nets import _mixture_scores, prepare
from sk_unlearn.nets._density import DensityNet, default_density, score_samples_each
from sk_unlearn.nets._gaussian import RunningGaussian
from sk_unlearn.nets._mixture import MixtureDensity
from sk_unlearn.nets._mixture_scores import compress
from sk_unlearn.nets._resume import net_state, resume_training
from sk_unlearn.utils._digest import state_digest


def rows(n, d, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)).astype(
        np.float32
    )


def two_lumps(n, d, seed=0):
    rng = np.random.default_rng(seed)
    return (0.3 * rng.normal(size=(n, d)) + rng.choice([-1.5, 1.5], size=(n, 1))).astype(
        np.float32
    )


def net_for(X, **params):
    net = default_density(n_features=X[0].size, device="cpu")
    return prepare(net.set_params(**params))


def fitted(X, seed=0, **params):
    torch.manual_seed(seed)
    return net_for(X, **params).fit(X)


def class_gaussian(X, compression, noise):
    """Log-density of the regularised Gaussian of asinh(c X) / c, as a density of X."""
    X = X.astype(float)
    u = np.arcsinh(compression * X) / compression
    n, d = u.shape
    scatter = (u - u.mean(0)).T @ (u - u.mean(0))
    normal = multivariate_normal(u.mean(0), (scatter + np.eye(d)) / (n + 1) + noise * np.eye(d))

    def log_density(Z):
        Z = np.asarray(Z, dtype=float)
        slopes = -0.5 * np.log1p((compression * Z) ** 2).sum(1)
        return normal.logpdf(np.arcsinh(compression * Z) / compression) + slopes

    return log_density


@pytest.mark.parametrize("params", [{"module__n_components": 1}, {"max_epochs": 0}])
@pytest.mark.parametrize("d", [1, 5])
@pytest.mark.parametrize("mixture_rank", [1, 32])
def test_starts_as_the_class_gaussian(params, d, mixture_rank):
    X, Z = rows(30, d), rows(8, d, seed=1)
    net = fitted(X, module__compression=2.0, module__mixture_rank=mixture_rank, **params)
    expected = np.atleast_1d(class_gaussian(X, 2.0, 0.01)(Z))
    np.testing.assert_allclose(net.score_samples(Z), expected, rtol=1e-9)


def test_few_directions_leave_the_floor_elsewhere():
    X = rows(40, 6)
    gaussian = RunningGaussian(6, rank=2, noise=0.05)
    gaussian.update(torch.from_numpy(X.astype(float)))
    centred = X.astype(float) - X.astype(float).mean(0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    kept = (vectors[:, -2:] * values[-2:]) @ vectors[:, -2:].T
    covariance = (kept + np.eye(6)) / 41 + 0.05 * np.eye(6)
    np.testing.assert_allclose(gaussian.covariance(), covariance, rtol=1e-8, atol=1e-12)
    expected = multivariate_normal(X.astype(float).mean(0), covariance).logpdf(X[:5].astype(float))
    found = gaussian.log_density(torch.from_numpy(X[:5].astype(float)))
    np.testing.assert_allclose(found, expected, rtol=1e-8)


@pytest.mark.parametrize("sizes", [[60], [1, 59], [20, 20, 20], [10, 49, 1]])
@pytest.mark.parametrize(("d", "scale"), [(4, 1.0), (4, 1e-3), (300, 1.0)])
def test_blocks_give_the_statistics_of_all_rows(sizes, d, scale):
    torch.manual_seed(0)
    X = torch.from_numpy(rows(60, d) * scale).double()
    if d == 300:  # rank 5: what the randomised decomposition of many features keeps whole
        X = X[:, :5] @ torch.randn(5, d, dtype=torch.float64)
    gaussian = RunningGaussian(d, rank=min(d, 8), noise=0.1)
    for block in X.split(sizes):
        gaussian.update(block)
    centred = X - X.mean(0)
    found = gaussian.directions.T @ torch.diag(gaussian.scatter) @ gaussian.directions
    tolerance = 1e-9 * float(centred.square().sum())
    torch.testing.assert_close(found, centred.T @ centred, rtol=0, atol=tolerance)
    torch.testing.assert_close(gaussian.mean, X.mean(0), rtol=1e-10, atol=1e-12)
    assert gaussian.count == 60


def total(net, d):
    """Integral of the density by the trapezoidal rule, on a grid that is fine around zero."""
    grid = np.sinh(np.linspace(-20, 20, 40001) if d == 1 else np.linspace(-5, 5, 901))
    cells = np.stack(np.meshgrid(*[grid] * d, indexing="ij"), axis=-1).reshape(-1, d)
    density = np.exp(net.score_samples(cells)).reshape([len(grid)] * d)
    for _ in range(d):
        density = np.trapezoid(density, grid, axis=-1)
    return density


@pytest.mark.parametrize("compression", [1.0, 3.0])
def test_integrates_to_one_in_one_dimension(compression):
    net = fitted(two_lumps(40, 1), module__compression=compression)
    assert total(net, 1) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("n_blocks", [1, 4])
@pytest.mark.parametrize("params", [{}, {"module__mixture_rank": 1}, {"module__rank": 1}])
def test_integrates_to_one_in_two_dimensions(params, n_blocks):
    X = two_lumps(60, 2)
    net = net_for(X, **params).initialize()
    for block in np.array_split(X, n_blocks):
        net.partial_fit(block)
    assert total(net, 2) == pytest.approx(1, abs=1e-4)


def test_mixture_is_the_sum_of_its_components():
    X = two_lumps(50, 2)
    module = fitted(X).module_
    u = np.arcsinh(X.astype(float))
    y = (u - module.origin.numpy()) @ module.frame.numpy().T
    parts = []
    with torch.no_grad():
        for weight, mean, whitener in zip(
            module.log_weights, module.means, module.whiteners, strict=True
        ):
            precision = (whitener.T @ whitener).numpy()
            normal = multivariate_normal(mean.numpy(), np.linalg.inv(precision))
            parts.append(float(weight) + normal.logpdf(y))
    # the frame is square: a change of variables takes y back to X
    log_det = np.linalg.slogdet(module.frame.numpy())[1]
    expected = logsumexp(parts, axis=0) + log_det - 0.5 * np.log1p(X.astype(float) ** 2).sum(1)
    np.testing.assert_allclose(module(torch.from_numpy(X)).detach(), expected, rtol=1e-8)


def test_passes_climb_and_beat_the_gaussian_on_new_rows():
    X, Z = two_lumps(200, 3), two_lumps(200, 3, seed=1)
    net = fitted(X)
    losses = net.history[:, "train_loss"]
    assert len(losses) == 15
    gaussian = fitted(X, max_epochs=0)
    assert losses[0] == pytest.approx(-gaussian.score_samples(X).mean())
    assert net.score_samples(Z).mean() > gaussian.score_samples(Z).mean() + 0.5
    assert losses[-1] < losses[1] < losses[0]


@pytest.mark.parametrize("n_blocks", [2, 6])
def test_blocks_lose_little(n_blocks):
    X, Z = two_lumps(240, 3), two_lumps(200, 3, seed=1)
    net = net_for(X).initialize()
    for block in np.array_split(X, n_blocks):
        net.partial_fit(block)
    whole, gaussian = fitted(X), fitted(X, max_epochs=0)
    gain = whole.score_samples(Z).mean() - gaussian.score_samples(Z).mean()
    assert net.score_samples(Z).mean() - gaussian.score_samples(Z).mean() > 0.5 * gain


def test_memory_bound_does_not_change_the_result(monkeypatch):
    X = two_lumps(50, 3)
    whole = fitted(X).score_samples(X)
    monkeypatch.setattr("sk_unlearn.nets._mixture._CHUNK", 7)
    monkeypatch.setattr("sk_unlearn.nets._density._CHUNK", 11)
    np.testing.assert_allclose(fitted(X).score_samples(X), whole, rtol=1e-9)


@pytest.mark.parametrize("d", [3, 300])
def test_a_resumed_chain_has_the_bits_of_one_that_ran_through(d):
    blocks = np.array_split(rows(40, d), 4)
    template = net_for(blocks[0])

    def train(state, block, seed):
        torch.manual_seed(seed)
        return net_state(resume_training(template, state, block, None, epochs=3))

    states = [None]
    for seed, block in enumerate(blocks):
        states.append(train(states[-1], block, seed))
    copied = {k: {n: v.clone() for n, v in s.items()} if k == "module_" else s
              for k, s in states[2].items()}  # fmt: skip
    again = train(train(copied, blocks[2], 2), blocks[3], 3)
    assert state_digest(again["module_"]) == state_digest(states[-1]["module_"])
    other = train(train(copied, blocks[2], 2), blocks[2], 3)
    assert state_digest(other["module_"]) != state_digest(states[-1]["module_"])


def test_draws_come_from_the_global_generator():
    X = two_lumps(40, 3)
    digests = [state_digest(fitted(X, seed=s).module_) for s in (0, 0, 1)]
    assert digests[0] == digests[1] != digests[2]


HARD = {
    "one row": np.ones((1, 3)),
    "duplicates": np.ones((9, 3)),
    "constant feature": np.c_[np.arange(6.0), np.full(6, 2.0)],
    "fewer rows than features": rows(4, 20),
    "many features": rows(5, 300),
    "small": 1e-3 * rows(20, 4),
    "large": 1e3 * rows(20, 4),
    "mixed": rows(20, 4) * [1e-3, 1, 1e3, 1e6],
    "outlier": np.r_[rows(20, 2), [[1e30, -1e30]]],
}


@pytest.mark.parametrize("case", HARD)
@pytest.mark.parametrize("n_blocks", [1, 3])
def test_hard_rows_have_finite_scores(case, n_blocks):
    X = HARD[case].astype(np.float32)
    net = net_for(X).initialize()
    for block in np.array_split(X, min(n_blocks, len(X))):
        net.partial_fit(block)
    scores = net.score_samples(np.r_[X, X[:1] + 1, -X[:1], np.zeros_like(X[:1])])
    assert scores.dtype == np.float64
    assert np.isfinite(scores).all()


def test_a_net_without_rows_is_a_wide_gaussian():
    module = MixtureDensity(3)
    u = np.arcsinh([[0.5, -1.0, 2.0]])
    expected = multivariate_normal(np.zeros(3), 1.01 * np.eye(3)).logpdf(u)
    expected -= 0.5 * np.log1p(np.sinh(u) ** 2).sum()
    found = module(torch.sinh(torch.from_numpy(u)))
    np.testing.assert_allclose(found.detach(), [expected])


def test_images_are_flattened():
    X = rows(12, 9).reshape(12, 1, 3, 3)
    flat = X.reshape(12, 9)
    np.testing.assert_array_equal(fitted(X).score_samples(X), fitted(flat).score_samples(flat))
    assert fitted(X).score_samples(X[:0]).shape == (0,)


class Bump(nn.Module):
    def __init__(self):
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(2))

    def forward(self, X):
        return torch.distributions.Normal(self.mean, 1.0).log_prob(X).sum(1, keepdim=True)


def test_other_modules_are_trained_by_their_gradient():
    X = two_lumps(64, 2) + 1
    net = DensityNet(Bump, lr=0.5, max_epochs=30, batch_size=64, verbose=0)
    net = prepare(net).fit(X)
    np.testing.assert_allclose(net.module_.mean.detach(), X.mean(0), atol=1e-4)
    expected = multivariate_normal(X.mean(0)).logpdf(X)
    np.testing.assert_allclose(net.score_samples(X), expected, rtol=1e-4)


def test_separates_classes_that_share_mean_and_covariance():
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, 600)
    ring = np.c_[np.cos(angle), np.sin(angle)] + 0.05 * rng.normal(size=(600, 2))
    blob = rng.normal(size=(600, 2)) * ring.std(0)

    def accuracy(**params):
        nets = [fitted(X[:300].astype(np.float32), **params) for X in (ring, blob)]
        right = [
            nets[own].score_samples(X[300:]) > nets[1 - own].score_samples(X[300:])
            for own, X in enumerate((ring, blob))
        ]
        return np.mean(right)

    assert accuracy() > accuracy(max_epochs=0) + 0.1


@pytest.mark.parametrize("name", ["n_components", "rank", "mixture_rank", "compression", "noise"])
def test_parameters_are_checked(name):
    with pytest.raises(ValueError, match=f"{name} must be .*, got 0"):
        MixtureDensity(3, **{name: 0})


def test_rows_are_checked():
    X = rows(10, 3)
    net = fitted(X)
    with pytest.raises(ValueError, match="X must have 3 features"):
        net.score_samples(X[:, :2])
    with pytest.raises(ValueError, match="at least one row and be finite"):
        net_for(X).fit(np.full((2, 3), np.inf, dtype=np.float32))
    with pytest.raises(NotInitializedError):
        net_for(X).score_samples(X)


# ------------------------------------------------------------------- scores of many rows


@pytest.mark.parametrize("rank", [3, 6])
@pytest.mark.parametrize("blocks", [[60], [40, 20]])
def test_scores_replace_the_marginal_by_the_mixture(rank, blocks):
    X, Z = two_lumps(60, 6), torch.from_numpy(rows(40, 6, seed=1)).double()
    torch.manual_seed(0)
    module = MixtureDensity(6, 4, compression=2.0, rank=rank, mixture_rank=2)
    for block in torch.from_numpy(X).split(blocks):
        step = module.start_block(block)
        step()
        step()
    module.requires_grad_(False)
    u = torch.asinh(2 * Z) / 2
    y = (u - module.origin) @ module.frame.T
    parts = []
    for mean, whitener, log_weight in zip(
        module.means, module.whiteners, module.log_weights, strict=True
    ):
        covariance = torch.linalg.inv(whitener.T @ whitener).numpy()
        normal = multivariate_normal(mean.numpy(), covariance)
        parts.append(normal.logpdf(y.numpy()) + float(log_weight))
    marginal = multivariate_normal(*(value.numpy() for value in module.marginal()))
    slopes = -0.5 * np.log1p((2 * Z.numpy()) ** 2).sum(1)
    expected = module.gaussian.log_density(u).numpy() + logsumexp(parts, axis=0)
    expected += slopes - marginal.logpdf(y.numpy())
    np.testing.assert_allclose(module(Z), expected, rtol=1e-9, atol=1e-9)


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, X):
        return -self.scale * X.mul_(2).square().sum(dim=1, keepdim=True)


def test_nets_of_an_ensemble_score_as_they_do_alone(monkeypatch):
    X, Z = rows(60, 4), rows(2500, 4, seed=1)
    nets = [fitted(X, module__compression=c) for c in (1.0, 1.0, 3.0)]
    nets += [prepare(DensityNet(Plain)).initialize()]
    alone = [net.score_samples(Z) for net in nets]
    np.testing.assert_allclose(alone[-1], -4 * (Z.astype(float) ** 2).sum(1), rtol=1e-5)
    compressed, before = [], Z.copy()

    def counted(X, compression):
        compressed.append((len(X), compression))
        return compress(X, compression)

    monkeypatch.setattr(_mixture_scores, "compress", counted)
    found = score_samples_each(nets, Z, lambda scores: np.stack(scores, axis=1))
    assert np.array_equal(found, np.stack(alone, axis=1))  # the same bits
    assert np.array_equal(Z, before)
    assert compressed == [(n, c) for n in (1024, 1024, 452) for c in (1.0, 3.0)]


def test_no_rows_have_no_scores():
    net = fitted(rows(20, 3))
    assert net.score_samples(np.empty((0, 3), np.float32)).shape == (0,)
    assert net.score_samples([[0.0, 1.0, 2.0]]).shape == (1,)
    with pytest.raises(ValueError, match="must have 3 features, as in training, got 2"):
        net.score_samples(rows(4, 2))
