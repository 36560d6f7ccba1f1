"""Recorded steps that rest between requests: what they hold, and that they change nothing."""

import copy
import gc
import pickle
import types

import numpy as np
import pytest
import torch
from sklearn.base import clone
from skorch import NeuralNetClassifier
from torch import nn, optim

from sk_unlearn import SisaClassifier
from sk_unlearn.exact import _stacks
from sk_unlearn.nets import MLP, _stacked_step, _stacked_steps
from sk_unlearn.utils._digest import state_digest

RNG = np.random.RandomState(0)
Y = RNG.permutation(np.arange(60) % 3)
X = (RNG.normal(size=(60, 4)) + 2 * Y[:, None]).astype(np.float32)


def fitted(**params):
    net = NeuralNetClassifier(
        MLP,
        module__n_features=4,
        module__n_outputs=3,
        module__hidden=(5,),
        criterion=nn.CrossEntropyLoss,
        optimizer=optim.Adam,
        max_epochs=3,
        batch_size=8,
        train_split=None,
        iterator_train__shuffle=True,
        verbose=0,
    )
    clf = SisaClassifier(net, n_shards=3, n_slices=3, random_state=0).set_params(**params)
    return clf.fit(X, Y)


def reachable(obj):
    """All objects that an object leads to, but for classes, modules and functions' globals."""
    seen, queue = {}, [obj]
    while queue:
        each = queue.pop()
        if id(each) in seen or isinstance(each, (type, types.ModuleType)):
            continue
        seen[id(each)] = each
        if isinstance(each, types.FunctionType):
            queue.extend([each.__closure__, each.__defaults__])
        else:
            queue.extend(gc.get_referents(each))
    return seen.values()


def numbers(clf):
    """Arrays and tensors that the resting steps lead to."""
    found = reachable(clf._steps_)
    tensors = [each.detach().numpy() for each in found if isinstance(each, torch.Tensor)]
    return tensors + [each for each in found if isinstance(each, np.ndarray)]


def test_requests_use_what_was_recorded(monkeypatch):
    clf, calls = fitted(), []

    def counted(*args, record=_stacked_step.record):
        calls.append(args)
        return record(*args)

    monkeypatch.setattr(_stacked_step, "record", counted)
    clf.forget(0)
    once = len(calls)
    clf.forget(1).forget(2)
    assert once == len(calls) == 1


@pytest.mark.parametrize("params", [{}, {"n_jobs": 2}, {"estimator": None}])
def test_they_change_nothing(params):
    clf, requests = fitted(**params), ([0], [1, 2, 3], [4], [5, 40], [20])
    for request in requests:
        empty = copy.deepcopy(clf)
        assert not list(empty._steps_)
        clf.forget(request)
        empty.forget(request)
        assert list(clf._steps_)
        assert state_digest(clf._exact_state()) == state_digest(empty._exact_state())


@pytest.mark.parametrize("requests", [[], [[0]], [[0], [1, 2, 3]]])
def test_they_hold_nothing_of_rows_or_parameters(requests):
    clf = fitted()
    for request in requests:
        clf.forget(request)
    memory = [tensor for steps in clf._steps_ for tensor in steps.memory()]
    assert len(memory) > 10
    assert not any(tensor.any() for tensor in memory)
    # whatever is not zero is of an unused net: nothing of the models or the data
    known = {value.tobytes() for value in X} | {
        value.detach().numpy().tobytes()
        for chain in clf._chains_.values()
        for value in chain.model.module_.parameters()
    }
    for array in numbers(clf):
        assert array.tobytes() not in known
        if array.ndim == 2 and array.shape[1] == X.shape[1]:
            assert not any(row.tobytes() in known for row in array)


def test_the_search_finds_rows():
    """The last test is not blind: it sees the rows that steps hold while they train."""
    clf = fitted()
    next(iter(clf._steps_))._make = lambda rows=X: rows
    assert any(array is X for array in numbers(clf))


def test_nothing_rests_after_an_error(monkeypatch):
    clf, calls = fitted(), []

    def broken(*args, train=_stacks.train_stacks):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train(*args)

    first = int(np.flatnonzero(clf._placement_.block == 0)[0])
    monkeypatch.setattr(_stacks, "train_stacks", broken)
    with pytest.raises(KeyboardInterrupt):
        clf.forget(first)
    assert not any(tensor.any() for steps in clf._steps_ for tensor in steps.memory())
    clf.forget(first)


def test_copies_and_pickles_are_empty():
    clf = fitted().forget(0)
    for other in (copy.deepcopy(clf), pickle.loads(pickle.dumps(clf))):
        assert list(clf._steps_)
        assert not list(other._steps_)
        other.forget(1)


def test_only_so_much_rests(monkeypatch):
    clf = fitted().forget(0)
    narrow = min(steps.nbytes for steps in clf._steps_)
    monkeypatch.setattr(_stacked_steps, "MAX_BYTES", narrow)
    assert [steps.nbytes for steps in clf.forget(1)._steps_] == [narrow]
    monkeypatch.setattr(_stacked_steps, "MAX_BYTES", narrow - 1)
    assert not list(clf.forget(2)._steps_)


def test_those_of_the_last_request_rest():
    resting, kept = _stacked_steps.RestingSteps(), {}
    for settings in ("a", "b"):
        kept[settings] = _stacked_steps.KeptSteps("net", fitted()._steps_.wake()["given"])
    resting.lay_down(kept)
    assert len(list(resting)) == sum(len(list(each)) for each in kept.values())
    resting.lay_down({"a": kept["a"]})
    assert len(list(resting)) == len(list(kept["a"]))
    assert list(resting.wake()) == ["a"]
    assert not list(resting)
    assert resting.wake() == {}


def test_nobody_gets_what_another_thread_has():
    """Shallow copies share what rests: asked at once, one of them gets it."""
    clf = fitted()
    held = clf._steps_._held
    clf._steps_._held = EmptiedMeanwhile(held)
    assert clf._steps_.wake() == held[0]
    assert clf._steps_.wake() == {}


class EmptiedMeanwhile(list):
    """What a thread sees that looks just before another takes the last one."""

    def __bool__(self):
        return True

    def __len__(self):
        return 1


def test_a_class_that_left_is_not_known_any_more():
    """Default nets are told apart by their number of classes, and skorch notes the labels."""
    clf = fitted(estimator=None)
    clf.forget(np.flatnonzero(Y == 2))
    assert list(clf._steps_)
    assert {n_classes for held in clf._steps_._held for _, n_classes in held} == {2}
    assert not any(np.array_equal(array, [0, 1, 2]) for array in numbers(clf))


TABLE = {}
SCALE = torch.tensor([0.5, 1.0, 2.0, 4.0])


class Cached(MLP):
    """Keeps a constant for each size of a batch, in a table of its own or everybody's."""

    def forward(self, X):
        if len(X) not in TABLE:
            TABLE[len(X)] = torch.ones(len(X), 1)
        return super().forward(X * TABLE[len(X)])


class Noted(MLP):
    """Remembers what it saw last."""

    def forward(self, X):
        self.last = X.detach()
        return super().forward(X)


class Clamped(MLP):
    """Writes to a constant, which changes nothing after the first time."""

    def forward(self, X):
        SCALE.clamp_(min=0.1)
        return super().forward(X * SCALE)


@pytest.mark.parametrize("module", [Cached, Noted, Clamped])
def test_steps_of_modules_of_others_do_not_rest(module):
    """Memory that they know about is not ours to empty."""
    clf = fitted(estimator__module=module).forget(0)
    assert clf.stacked_
    assert not list(clf._steps_)
    assert all(value.all() for value in TABLE.values())
    assert SCALE.tolist() == [0.5, 1.0, 2.0, 4.0]
    kept = np.arange(1, len(X))
    fresh = clone(clf).fit(X[kept], Y[kept], sample_id=kept)
    assert np.array_equal(clf.predict_proba(X), fresh.predict_proba(X))


@pytest.mark.parametrize(
    "register",
    [
        "register_forward_hook",
        "register_forward_pre_hook",
        "register_full_backward_hook",
        "register_full_backward_pre_hook",
    ],
)
def test_steps_of_modules_with_hooks_do_not_rest(register):
    (steps, *_) = fitted()._steps_
    assert steps.may_rest
    hook = getattr(steps.nets.module, register)(lambda *args: None)
    assert not steps.may_rest
    hook.remove()
    assert steps.may_rest
    steps.nets.module.forward = steps.nets.module.forward  # of an instance, as if it were patched
    assert not steps.may_rest
