"""Plans of chains, restarts, and where states are kept."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sk_unlearn.exact._chain import Chain, plan_steps, restart
from sk_unlearn.exact._learners import epochs_per_step
from sk_unlearn.exact._store import FolderStore, MemoryStore, open_store
from sk_unlearn.utils._state_tree import pack, unpack

STATE = {
    "module_": {"w": torch.arange(6.0).reshape(2, 3), "empty": torch.zeros(0, 2)},
    "optimizer_": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1}]},
    "other": (1, None, True, "é", b"\x00ab", np.float64(2.5), np.arange(3)),
}


def steps(ids, sizes=(3, 2, 4), epochs=(1, 1, 1), **options):
    settings = {"seed": 0, "recipe": "r", "cumulative": True, **options}
    return plan_steps(np.asarray(ids), sizes, epochs, **settings)


def chain_of(plan, store):
    saved = tuple(store.save(step.key, {"at": i}) for i, step in enumerate(plan[:-1]))
    return Chain(None, None, plan, saved, "")


@given(st.integers(1, 200), st.integers(1, 20))
def test_epochs_per_step_do_the_work_of_a_plain_training(max_epochs, n_steps):
    epochs = epochs_per_step(max_epochs, n_steps)
    assert len(epochs) == n_steps
    assert min(epochs) >= 1
    work = sum(e * (r + 1) / n_steps for r, e in enumerate(epochs))
    if 2 * max_epochs >= n_steps + 1:
        assert abs(work - max_epochs) <= 1.5
    else:  # one epoch a step is the least
        assert work == pytest.approx((n_steps + 1) / 2)


def test_keys_name_everything_that_the_state_depends_on():
    base = steps(range(9))
    assert [s.key for s in base] == [s.key for s in steps(range(9))]
    for other in (
        steps(range(9), seed=1),
        steps(range(9), recipe="s"),
        steps(range(9), cumulative=False),
        steps(range(9), epochs=(2, 1, 1)),
        steps([1, 0, *range(2, 9)]),
        steps([str(i) for i in range(9)]),
    ):
        assert not {s.key for s in base} & {s.key for s in other}
    late = steps([0, 1, 2, 3, 4, 5, 6, 8], sizes=(3, 2, 3))
    assert [a.key == b.key for a, b in zip(base, late, strict=True)] == [True, True, False]


def test_steps_cover_their_rows():
    assert [(s.start, s.stop, s.work) for s in steps(range(9), epochs=(1, 2, 3))] == [
        (0, 3, 3),
        (0, 5, 10),
        (0, 9, 27),
    ]
    apart = steps(range(9), sizes=(3, 0, 6), cumulative=False)
    assert [(s.start, s.stop) for s in apart] == [(0, 3), (3, 9)]


@pytest.mark.parametrize("gone", range(9))
def test_restart_before_the_first_step_that_changed(gone):
    store, ids = MemoryStore(), np.arange(9)
    chain = chain_of(steps(ids), store)
    step_of = np.repeat([0, 1, 2], (3, 2, 4))
    sizes = np.bincount(np.delete(step_of, gone), minlength=3)
    found = restart(chain, steps(np.delete(ids, gone), sizes=sizes), store)
    assert found.n_done == step_of[gone]
    assert found.state == (None if found.n_done == 0 else {"at": found.n_done - 1})
    assert len(found.saved) == found.n_done
    assert restart(chain, steps(np.delete(ids, gone), sizes=sizes)).n_done == found.n_done


def test_an_emptied_last_step_trains_the_one_before_again():
    store = MemoryStore()
    chain = chain_of(steps(range(9)), store)
    assert restart(chain, steps(range(5), sizes=(3, 2, 0)), store).n_done == 1


def test_a_state_survives_packing():
    tensors, skeleton = pack(STATE)
    json.loads(skeleton)
    back = unpack(tensors, skeleton)
    assert back["optimizer_"] == STATE["optimizer_"]
    assert torch.equal(back["module_"]["w"], STATE["module_"]["w"])
    assert back["module_"]["empty"].shape == (0, 2)
    assert back["other"][:6] == (1, None, True, "é", b"\x00ab", 2.5)
    assert back["other"][6].tolist() == [0, 1, 2]
    with pytest.raises(TypeError, match="set"):
        pack({"a": {1, 2}})


@pytest.mark.parametrize("where", ["memory", "folder", "url"])
def test_stores_return_what_they_were_given(where, tmp_path):
    place = {"memory": None, "folder": tmp_path, "url": f"memory://{tmp_path.name}"}[where]
    store, weight = open_store(place), torch.ones(2)
    store.begin()
    saved = store.save("key", {"w": weight})
    weight.add_(1)  # training goes on in place
    assert store.load(saved)["w"].tolist() == [1, 1]
    store.succeed(None, [])
    store.sweep()
    assert store.load(saved)["w"].tolist() == [1, 1]
    later = store.draft()
    assert later.load(saved)["w"].tolist() == [1, 1]
    later.succeed(store, [saved])
    later.sweep()
    assert (later.load(saved) is None) == (where != "memory")


@pytest.mark.parametrize("damage", ["delete", "truncate", "alter", "replace"])
def test_a_damaged_file_is_noticed_and_an_earlier_state_used(tmp_path, damage):
    store, ids = FolderStore(tmp_path), np.arange(9)
    store.begin()
    chain = chain_of(steps(ids), store)
    path = tmp_path / chain.saved[1].name
    content = path.read_bytes()
    if damage == "delete":
        path.unlink()
    elif damage == "truncate":
        path.write_bytes(content[:-1])
    elif damage == "alter":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        path.write_bytes((tmp_path / chain.saved[0].name).read_bytes())
    found = restart(chain, steps(ids[:8], sizes=(3, 2, 3)), store)
    assert (found.n_done, found.state, found.n_lost) == (1, {"at": 0}, 1)
