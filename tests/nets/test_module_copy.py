import copy
import weakref

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from sk_unlearn.nets._module_copy import deepcopy_module


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.again = self.first
        self.missing = None
        self.register_buffer("scale", torch.ones(3))
        self.register_buffer("unsaved", torch.zeros(1), persistent=False)
        self.sizes, self.noted = [3, {"inner": torch.ones(2)}], {"a"}
        self.__dict__["parent"] = self

    def forward(self, X):
        return self.second(self.again(X)) * self.scale


class Refuses(nn.Linear):
    def __deepcopy__(self, memo):
        return "its own way"


class Stateful(nn.Linear):
    def __getstate__(self):
        return {**self.__dict__, "pickled": True}


def described(module):
    parts = {name: type(part) for name, part in module.named_modules(remove_duplicate=False)}
    tensors = {
        name: (value.tolist(), value.requires_grad)
        for name, value in [
            *module.named_parameters(remove_duplicate=False),
            *module.named_buffers(remove_duplicate=False),
        ]
    }
    attributes = [
        {k: v for k, v in vars(part).items() if isinstance(v, (bool, int, float, str))}
        for part in module.modules()
    ]
    return parts, tensors, list(module.state_dict()), attributes


MODULES = {
    "odd": Odd,
    "batch norm": lambda: nn.Sequential(nn.Conv1d(1, 2, 2), nn.BatchNorm1d(2)).eval(),
    "recurrent": lambda: nn.LSTM(3, 4, batch_first=True),
    "parametrised": lambda: parametrizations.weight_norm(nn.Linear(3, 3)),
    "lists": lambda: nn.ModuleDict({"a": nn.ModuleList([nn.Linear(3, 3)]), "b": nn.ReLU()}),
    "own parameters": lambda: nn.ParameterDict({"w": nn.Parameter(torch.ones(2))}),
}


@pytest.mark.parametrize("kind", MODULES)
def test_the_copy_is_that_of_deepcopy(kind):
    module = MODULES[kind]()
    next(module.parameters()).requires_grad_(False)
    twin = deepcopy_module(module, {})
    assert described(twin) == described(copy.deepcopy(module)) == described(module)
    assert vars(twin).keys() == vars(module).keys()
    own = {t.data_ptr() for t in [*module.parameters(), *module.buffers()]}
    assert not own & {t.data_ptr() for t in [*twin.parameters(), *twin.buffers()]}
    with torch.no_grad():
        for value in twin.parameters():
            value.add_(1)
    assert described(twin) != described(module)


def test_shared_parts_stay_shared_and_nothing_leads_back():
    module, before = Odd(), Odd()
    before.load_state_dict(module.state_dict())
    twin = deepcopy_module(module, {})
    assert twin.first.weight is twin.second.weight
    assert twin.again is twin.first
    assert twin.parent is twin
    twin.sizes[1]["inner"].zero_()
    twin.noted.add("b")
    assert module.sizes[1]["inner"].tolist() == [1, 1]
    assert module.noted == {"a"}
    gone = weakref.ref(module)
    module.__dict__.pop("parent")
    del module
    assert gone() is None
    assert torch.equal(twin(torch.ones(1, 3)), before(torch.ones(1, 3)))


def test_containers_without_layers_are_copied_too():
    module = nn.Sequential(nn.Sequential(), nn.ModuleList())  # both are false
    twin = deepcopy_module(module, {})
    assert [type(part) for part in twin] == [nn.Sequential, nn.ModuleList]
    assert not {id(part) for part in twin.modules()} & {id(part) for part in module.modules()}


def test_hooks_and_gradients_are_treated_as_deepcopy_does():
    module, calls = nn.Sequential(nn.Linear(2, 2)), []
    module[0].register_forward_hook(lambda *args: calls.append(1))
    module(torch.ones(1, 2)).sum().backward()
    twin = deepcopy_module(module, {})
    assert all(value.grad is None for value in twin.parameters())
    twin(torch.ones(1, 2))
    assert len(calls) == 2


def test_a_protocol_of_its_own_is_kept():
    module = nn.Sequential(Stateful(2, 2))
    assert deepcopy_module(module, {})[0].pickled
    assert deepcopy_module(Refuses(2, 2), {}) == "its own way"


def test_tensors_with_a_graph_are_refused():
    module = nn.Linear(2, 2)
    module.last = module(torch.ones(1, 2))
    with pytest.raises(RuntimeError, match=r"leaves|graph"):
        deepcopy_module(module, {})


def test_a_compiled_layer_runs_the_weights_of_the_copy():
    module = nn.Sequential(nn.Linear(2, 2))
    module[0].compile(backend="eager")
    module.compile(backend="eager")
    twin = deepcopy_module(module, {})
    with torch.no_grad():
        for value in twin.parameters():
            value.zero_()
        assert not twin(torch.ones(1, 2)).any()
        assert module(torch.ones(1, 2)).any()


class Noted(nn.Module):
    def __init__(self, notes):
        super().__init__()
        self.notes = notes


def test_empty_containers_that_parts_share_stay_shared():
    notes, groups = {}, set()
    twin = deepcopy_module(nn.Sequential(Noted(notes), Noted(notes), Noted(groups)), {})
    assert twin[0].notes is twin[1].notes
    assert twin[0].notes is not notes
    assert twin[2].notes is not groups


def test_a_protocol_of_an_instance_is_kept():
    module = nn.Linear(2, 2)
    module.__deepcopy__ = lambda memo: "its own way"
    assert deepcopy_module(module, {}) == "its own way"
