import os
import random
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from joblib import Parallel, delayed
from scipy import stats

from sk_unlearn.utils._checks._isolation import _interrupt
from sk_unlearn.utils._seeding import derive_seed, isolated_rng, keyed_uniform, root_seed


def draws():
    return random.random(), np.random.random(), torch.rand(()).item()


def test_root_seed_follows_random_state():
    assert root_seed(7) == 7
    assert root_seed(np.int64(7)) == 7
    one, same = np.random.RandomState(3), np.random.RandomState(3)
    first = root_seed(one)
    assert first == root_seed(same)
    assert root_seed(one) != first
    before = np.random.get_state()[1].copy()
    assert len({root_seed(None) for _ in range(5)}) == 5
    assert np.array_equal(before, np.random.get_state()[1])
    with pytest.raises(ValueError, match="cannot be used to seed"):
        root_seed("seven")


@given(st.integers(0, 2**31), st.text(), st.text())
def test_derived_seeds_differ_by_name(seed, one, other):
    derived = derive_seed(seed, one)
    assert 0 <= derived < 2**31
    assert derived == derive_seed(seed, one)
    assert (derived == derive_seed(seed, other)) == (one == other)
    assert derive_seed(seed, one, other) != derived


@pytest.mark.slow
def test_seeds_do_not_depend_on_the_process():
    code = (
        "import numpy as np; from sk_unlearn.utils._seeding import derive_seed, keyed_uniform;"
        "print(derive_seed(1, 'a'), *keyed_uniform(1, 'a', np.array(['x', 'y'], dtype=object)))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "123"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    here = keyed_uniform(1, "a", np.array(["x", "y"], dtype=object))
    assert done.stdout.split() == [str(derive_seed(1, "a")), *map(str, here)]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), unique=True, min_size=1), st.randoms())
def test_a_rows_draw_depends_on_its_id_alone(ids, rng):
    whole = dict(zip(ids, keyed_uniform(0, "split", np.array(ids)), strict=True))
    part = rng.sample(ids, rng.randint(1, len(ids)))
    assert [whole[key] for key in part] == keyed_uniform(0, "split", np.array(part)).tolist()
    names = np.array([str(key) for key in ids], dtype=object)
    named = dict(zip(ids, keyed_uniform(0, "split", names), strict=True))
    picked = names[[ids.index(key) for key in part]]
    assert [named[key] for key in part] == keyed_uniform(0, "split", picked).tolist()


@pytest.mark.parametrize("kind", [np.arange, lambda n: np.array([f"r{i}" for i in range(n)])])
def test_draws_are_uniform_and_independent(kind):
    u, v = (keyed_uniform(0, name, kind(4000)) for name in ("a", "b"))
    assert stats.kstest(u, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(u, v)[0, 1]) < 0.06
    assert abs(np.corrcoef(u[1:], u[:-1])[0, 1]) < 0.06
    assert u.min() >= 0
    assert u.max() < 1


def test_isolated_rng_seeds_and_restores():
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    expected = draws()
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    with isolated_rng(5):
        inside = draws()
    assert draws() == expected
    with isolated_rng(5):
        assert draws() == inside
    with pytest.raises(ZeroDivisionError), isolated_rng(5):
        1 / 0  # noqa: B018
    before = torch.get_rng_state()
    with isolated_rng(6):
        assert draws() != inside
    assert torch.equal(before, torch.get_rng_state())


def test_blocks_in_threads_take_turns_and_may_be_nested():
    def task(seed):
        with isolated_rng(seed):
            first = draws()
            time.sleep(0.02)  # let the other threads draw, if they can
            return first, draws()

    def outer(seed):
        # tasks inside must not wait for the block that waits for them
        with isolated_rng(seed):
            inner = Parallel(n_jobs=2, backend="threading")(delayed(task)(i) for i in range(3))
            return inner, draws()

    expected = [task(seed) for seed in range(4)]
    found = Parallel(n_jobs=4, backend="threading")(delayed(task)(seed) for seed in range(4))
    assert found == expected
    with isolated_rng(9):
        after = draws()
    assert outer(9) == (expected[:3], after)
    nested = Parallel(n_jobs=2, backend="threading")(delayed(outer)(seed) for seed in (9, 9))
    assert nested == [(expected[:3], after)] * 2


def test_an_interrupt_anywhere_leaves_the_turn_to_other_threads():
    def enter():
        with isolated_rng(0):
            pass

    states, stop = (random.getstate(), np.random.get_state(), torch.get_rng_state()), 1
    while _interrupt(enter, stop):
        other = threading.Thread(target=enter, daemon=True)
        other.start()
        other.join(timeout=3600)
        assert not other.is_alive(), f"the lock is still held after an interrupt at call {stop}"
        stop += 1
    assert stop > 20
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])


def test_any_string_is_an_id():
    first, second = keyed_uniform(0, "split", np.array(["\ud800", "\ud801"], dtype=object))
    assert 0 <= first < 1
    assert first != second
