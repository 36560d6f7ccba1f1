"""Attacks on perfect twins: what does not differ is not told apart, and what leaks is."""

import numpy as np
import pytest
from scipy.special import expit

from sk_unlearn.metrics import forgetting_quality, membership_attack, rmia, u_lira

SCALES = [(0, 1), (4, 2), (8, 2), (0, 30)]
SIZES = [(65, 497), (5, 500), (500, 5), (5, 5)]
TIES = {
    "none": lambda z: z,
    "few values": np.round,
    "one rare value": lambda z: (z > 1.8).astype(float),
    "all equal": np.zeros_like,
}
SEEDS = range(40)
# 95 % intervals: 33 of 40 or fewer inside has a probability of 0.1 %
ENOUGH = 34


class World:
    """Rows of some difficulty; every model sees it with its own noise."""

    def __init__(self, seed, sizes, scale=(0, 1), ties="none"):
        self.rng = np.random.default_rng(seed)
        self.is_forget = np.arange(sum(sizes)) < sizes[0]
        self.difficulty = self.rng.normal(size=sum(sizes))
        (self.mean, self.spread), self.tie = scale, TIES[ties]

    def margins(self, n_models, leak=0.0):
        noise = 0.5 * self.rng.normal(size=(n_models, len(self.difficulty)))
        z = self.difficulty + noise + leak * self.is_forget
        return self.mean + self.spread * self.tie(z)


def proba(margins):
    return np.stack([expit(-margins), expit(margins)], -1)


def attack_rmia(world, n_models, leak=0.0, **options):
    margins = world.margins(n_models, leak), world.margins(8)
    return rmia(*margins, world.is_forget, **options)


def attack_rmia_every_rank(world, n_models, leak=0.0):
    return attack_rmia(world, n_models, leak, gamma=1.0)


def attack_rmia_own_population(world, n_models, leak=0.0):
    is_population = ~world.is_forget & (np.arange(len(world.is_forget)) % 2 == 0)
    return attack_rmia(world, n_models, leak, is_population=is_population)


def attack_by(score):
    def attack(world, n_models, leak=0.0):
        y = np.ones(len(world.is_forget), int)
        both = proba(world.margins(n_models, leak)), proba(world.margins(8))
        return membership_attack(both[0], y, world.is_forget, oracle=both[1], score=score)

    return attack


ATTACKS = {
    "rmia": attack_rmia,
    "rmia, gamma 1": attack_rmia_every_rank,
    "rmia, own population": attack_rmia_own_population,
    **{s: attack_by(s) for s in ("loss", "confidence", "entropy", "modified_entropy")},
}


def assert_chance(outcomes):
    """Half on average, and within the interval as often as the interval says."""
    values = np.array([value for value, _ in outcomes])
    inside = sum(i.low <= 0.5 <= i.high for _, i in outcomes)
    assert inside >= ENOUGH, (inside, values.mean())
    spread = values.std(ddof=1) / np.sqrt(len(values))
    assert abs(values.mean() - 0.5) <= 4 * spread, values.mean()


def assert_twins(results):
    assert_chance([(r.value, r.interval) for r in results])
    assert_chance([(r.null, r.null_interval) for r in results])


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize("sizes", SIZES)
def test_twins_in_groups_of_any_size_with_ties(attack, ties, sizes):
    n_models = 1 if min(sizes) == 5 else 3
    results = [ATTACKS[attack](World(seed, sizes, ties=ties), n_models) for seed in SEEDS]
    assert_twins(results)
    if ties == "all equal":
        assert {(r.value, r.null) for r in results} == {(0.5, 0.5)}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("scale", SCALES)
def test_twins_with_margins_of_any_scale(attack, scale):
    assert_twins([ATTACKS[attack](World(seed, (65, 497), scale), 4) for seed in SEEDS])


@pytest.mark.parametrize("attack", ATTACKS)
def test_few_rows_that_leak_are_found_in_one_model(attack):
    # easy rows, so that confidence without the label is a sign too
    results = [ATTACKS[attack](World(seed, (20, 500), (2, 1)), 1, leak=2.0) for seed in SEEDS]
    found = sum(r.interval.low > max(0.5, r.null_interval.high) for r in results)
    assert found >= ENOUGH
    assert np.mean([r.value for r in results]) > 0.75


def test_true_positive_rate_of_twins_is_at_most_that_of_chance():
    # a forgotten row above all but k of n held-out ones: probability (k + 1) / (n + 1)
    for attack in ATTACKS.values():
        for sizes in ((5, 500), (60, 60), (20, 5)):
            found = []
            for seed in range(100):
                result = attack(World(seed, sizes, ties="few values"), 1)
                found.append(result.details["tpr_at_fpr"].value)
            chance = (int(0.01 * sizes[1]) + 1) / (sizes[1] + 1)
            assert np.mean(found) <= chance + 3 * np.std(found) / 10


def test_ties_show_where_rmia_is_blind():
    # all probabilities are near 1: none is twice another
    blind, sharp = (
        attack_rmia(World(0, (65, 497), (12, 1)), 1, leak=3.0, gamma=g) for g in (2.0, 1.0)
    )
    assert (blind.value, blind.details["tied"]) == (0.5, 1.0)
    assert sharp.interval.low > 0.9
    assert sharp.details["tied"] < 0.01


@pytest.mark.parametrize("ties", ["none", "few values", "all equal"])
@pytest.mark.parametrize("sizes", [(16, 16), (5, 64), (64, 5)])
@pytest.mark.parametrize("scale", [(0, 1), (8, 2)])
def test_u_lira_of_twins_with_any_numbers_of_models(ties, sizes, scale):
    results = []
    for seed in SEEDS:
        world = World(seed, (30, 1), scale, ties)
        unlearned, oracle, null = (world.margins(n)[:, :30] for n in (*sizes, sizes[0]))
        results.append(u_lira(unlearned, oracle, oracle_null=null, n_resamples=100))
    assert_twins(results)
    assert_twins([r.details["auc"] for r in results])


def test_u_lira_finds_leaks_with_five_models():
    for seed in SEEDS:
        world = World(seed, (30, 1))
        result = u_lira(world.margins(5, 1.0)[:, :30], world.margins(64)[:, :30])
        assert result.interval.low > 0.6


def test_forgetting_quality_of_twins_is_its_null():
    values, nulls = [], []
    for seed in range(8):
        world = World(seed, (12, 1))
        unlearned, oracle, null = (world.margins(30)[:, :12] for _ in range(3))
        result = forgetting_quality(unlearned, oracle, oracle_null=null)
        values.append(result.value)
        nulls.append(result.null)
        assert forgetting_quality(world.margins(30, 3.0)[:, :12], oracle).value < 0.01
    spread = np.std(np.subtract(values, nulls), ddof=1) / np.sqrt(8)
    assert abs(np.mean(values) - np.mean(nulls)) < 4 * spread
    equal = np.ones((20, 3))
    result = forgetting_quality(equal, equal)
    assert result.value == result.null
