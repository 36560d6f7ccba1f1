"""Which edits of a user's code make a net another one: all that training may run."""

import subprocess
import sys
import types

import numpy as np
import pytest
import torch
from skorch import NeuralNetClassifier
from torch import nn

from sk_unlearn import PumaClassifier
from sk_unlearn.nets import _memory
from sk_unlearn.nets._code import code_digest

RNG = np.random.RandomState(0)
Y = np.arange(30) % 3
X = (RNG.normal(size=(30, 6)) + Y[:, None]).astype(np.float32)

HELPERS = """
import functools
import torch

SCALE = 1.0
SIZES = [8, 8]
TABLE = {"gain": (1.0, {"deep": 1})}
SHIFT = torch.zeros(1)

def inner(x):
    return x * 1.0

def helper(x):
    return inner(x) * SCALE

@functools.lru_cache
def width(n):
    return n + 0

class Config:
    gain = 1.0
    def __init__(self):
        self.gains = [1.0]

CONFIG = Config()
"""
NETS = """
import functools
import torch
from skorch.callbacks import Callback
from skorch.dataset import Dataset, ValidSplit
from torch import nn, optim
from torch.utils.data import DataLoader
import {name}_helpers as helpers
from {name}_helpers import helper

def wrapped(function):
    @functools.wraps(function)
    def inner(*args):
        return function(*args) * 1.0
    return inner

def scaled(gain):
    return lambda x: x * gain

class Base(nn.Module):
    bias = 0.0
    def finish(self, x):
        return x + self.bias

class Block(Base):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, helpers.SIZES[0])
    @property
    def slope(self):
        return 1.0
    @staticmethod
    def plain(x):
        return x - 0.0
    def forward(self, x):
        return self.plain(self.layer(x)) * self.slope

def late():
    from {name}_late import LATE
    return LATE

REGISTRY = {{"block": Block}}
act = scaled(1.0)
lamb = lambda x: x * 1.0

class Net(Base):
    def __init__(self):
        super().__init__()
        self.block = REGISTRY["block"]()
        self.named = getattr(helpers, "Hid" + "den")() if hasattr(helpers, "Hidden") else None
        self.out = nn.Linear(helpers.width(8), 3)
    @wrapped
    def middle(self, x, power=1):
        return x ** power
    def forward(self, X):
        x = act(lamb(self.middle(helper(self.block(X)))))
        x = x * helpers.TABLE["gain"][0] + helpers.SHIFT * helpers.CONFIG.gains[0] * late()
        return self.finish(self.out(x))

class Loss(nn.CrossEntropyLoss):
    def forward(self, x, y):
        return super().forward(x, y) * 1.0

class Step(optim.SGD):
    def step(self, closure=None):
        return super().step(closure)

class Watch(Callback):
    def on_epoch_end(self, net, **kwargs):
        self.seen = 1.0

class Rows(Dataset):
    def transform(self, X, y):
        return super().transform(X, y)

class Batches(DataLoader):
    pass

def split(dataset, y=None, **kwargs):
    return ValidSplit(5)(dataset, y)

def make():
    from skorch import NeuralNetClassifier
    return NeuralNetClassifier(
        Net, criterion=Loss, optimizer=Step, callbacks=[Watch()], dataset=Rows,
        iterator_train=Batches, train_split=split, max_epochs=1, verbose=0,
    )
"""
LATE = "LATE = 1.0\n"

EDITS = {
    "block": ("x)) * self.slope", "x)) * self.slope * 2"),
    "property of a block": ("return 1.0\n    @static", "return 2.0\n    @static"),
    "static method": ("x - 0.0", "x - 1.0"),
    "base": ("return x + self.bias", "return x - self.bias"),
    "attribute of a base": ("bias = 0.0", "bias = 0.5"),
    "another base": ("class Base(nn.Module):", "class Base(nn.Sequential):"),
    "decorator": ("function(*args) * 1.0", "function(*args) * 3.0"),
    "decorated": ("return x ** power", "return -x ** power"),
    "default": ("power=1", "power=2"),
    "lambda": ("lambda x: x * 1.0", "lambda x: x * 2.0"),
    "closure": ("act = scaled(1.0)", "act = scaled(2.0)"),
    "made by a closure": ("lambda x: x * gain", "lambda x: x + gain"),
    "registry": (
        'REGISTRY = {{"block": Block}}',
        'REGISTRY = {{"block": lambda: nn.Linear(6, 8)}}',
    ),
    "criterion": ("forward(x, y) * 1.0", "forward(x, y) * 2.0"),
    "optimizer": ("return super().step(closure)", "super().step(closure)"),
    "callback": ("self.seen = 1.0", "self.seen = 2.0"),
    "dataset": ("return super().transform(X, y)", "return super().transform(2 * X, y)"),
    "iterator": ("(DataLoader):\n    pass", "(DataLoader):\n    own = 1"),
    "split": ("ValidSplit(5)", "ValidSplit(3)"),
    "helper": ("inner(x) * SCALE", "inner(x) + SCALE"),
    "helper of a helper": ("return x * 1.0\n", "return x * 1.5\n"),
    "cached helper": ("n + 0", "n + 0 * n"),
    "constant": ("SCALE = 1.0", "SCALE = 1"),
    "list": ("SIZES = [8, 8]", "SIZES = [8, 9]"),
    "deep in a dict": ('"deep": 1', '"deep": 2'),
    "tensor": ("torch.zeros(1)", "torch.ones(1)"),
    "object": ("self.gains = [1.0]", "self.gains = [2.0]"),
    "class of an object": ("gain = 1.0\n", "gain = 2.0\n"),
    "imported inside": ("LATE = 1.0", "LATE = 2.0"),
    "found by a string": ("CONFIG = ", "class Hidden(torch.nn.Identity):\n    pass\n\nCONFIG = "),
}
SAME = {
    "nothing": ("", ""),
    "comment": ("class Block(Base):", "# a comment\n\n\nclass Block(Base):"),
    "space": ("x)) * self.slope", "x))  *  self.slope"),
    "unused function": ("act = scaled", "def unused():\n    return 1\n\nact = scaled"),
}


def load(name, change=("", ""), folder=None):
    """The module of nets under a name, from files or without any source."""
    texts = {f"{name}_helpers": HELPERS, f"{name}_late": LATE, name: NETS}
    old, new = change
    assert not old or any(old in text for text in texts.values()), old
    for each, text in texts.items():
        code = (text.replace(old, new) if old else text).replace("{name}", name)
        code = code.replace("{{", "{").replace("}}", "}") if text is NETS else code
        module = types.ModuleType(each)
        if folder is not None:
            module.__file__ = str(folder / f"{each}.py")
        sys.modules[each] = module
        exec(compile(code, f"<{each}>", "exec"), vars(module))
    return sys.modules[name]


@pytest.fixture
def name():
    yield "edited_nets"
    for each in [key for key in sys.modules if key.startswith("edited_nets")]:
        del sys.modules[each]


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("source", [False, True])
def test_an_edit_makes_another_net(edit, source, name, tmp_path):
    folder = tmp_path if source else None
    before = code_digest(load(name, folder=folder).make())
    assert code_digest(load(name, folder=folder).make()) == before
    assert code_digest(load(name, EDITS[edit], folder).make()) != before


@pytest.mark.parametrize("edit", SAME)
def test_what_never_runs_makes_the_same_net(edit, name):
    assert code_digest(load(name).make()) == code_digest(load(name, SAME[edit]).make())


def test_a_training_is_shared_until_its_code_is_edited(name, tmp_path, monkeypatch):
    counted, fit_net = [], _memory.fit_net
    monkeypatch.setattr(_memory, "fit_net", lambda *args: counted.append(1) or fit_net(*args))

    def fit(change=("", "")):
        net = load(name, change).make().set_params(train_split=None, criterion=nn.CrossEntropyLoss)
        return PumaClassifier(net, memory=tmp_path, random_state=0).fit(X, Y)

    fit(), fit()
    assert len(counted) == 1
    for edit in ("block", "callback", "constant", "imported inside"):
        fit(EDITS[edit])
        fit(EDITS[edit])
    assert len(counted) == 5


def test_a_module_instance_and_its_hooks(name):
    module = load(name).Net()
    net = NeuralNetClassifier(module, criterion=nn.CrossEntropyLoss)
    before = code_digest(net)
    assert code_digest(net) == before
    module.block.register_forward_hook(lambda *args: None)
    hooked = code_digest(net)
    assert hooked != before
    with torch.no_grad():
        module.out.weight += 1
    assert code_digest(net) != hooked


def test_objects_without_a_pickle_and_circles():
    class Odd(nn.Linear):
        lock = __import__("threading").Lock()
        numbers = iter([1, 2])

    Odd.itself = [Odd]
    Odd.itself.append(Odd.itself)
    net = NeuralNetClassifier(Odd, module__in_features=6, module__out_features=3)
    assert code_digest(net) == code_digest(net)


def test_the_digest_repeats_in_another_process(tmp_path):
    (tmp_path / "nets_of_mine.py").write_text(
        "from torch import nn\nNAMES = {'b', 'a', 'c'}\nclass Net(nn.Linear):\n"
        "    def forward(self, X):\n"
        "        return super().forward(X) * (len(NAMES) in {1, 2, 'x'})\n"
    )
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import nets_of_mine as m\n"
        "from skorch import NeuralNetClassifier\n"
        "from sk_unlearn.nets._code import code_digest\n"
        "print(code_digest(NeuralNetClassifier(m.Net, module__in_features=2, "
        "module__out_features=2)))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)],
            env={**__import__("os").environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1
