import copy
import pickle

import numpy as np
import pytest
import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from skorch.dataset import ValidSplit
from skorch.history import History
from torch import nn

from sk_unlearn.nets import MLP, prepare
from sk_unlearn.nets._lean import LeanHistory, lean_modes, restore_modes

X = np.random.RandomState(0).normal(size=(40, 4)).astype(np.float32)
Y = np.arange(40) % 2


def layers():
    return nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.Dropout(), nn.BatchNorm1d(3)))


def test_history_records_what_skorchs_does():
    ours, theirs = LeanHistory(), History()
    for history in (ours, theirs):
        for epoch in range(2):
            history.new_epoch()
            history.record("epoch", epoch)
            for batch in range(3):
                history.new_batch()
                history.record_batch("train_loss", batch + epoch)
    assert ours == theirs
    assert ours[:, "batches", -1, "train_loss"] == [2, 3]
    assert pickle.loads(pickle.dumps(ours)) == theirs


def test_switch_sets_every_layer_whatever_was_changed_in_between():
    module = layers()
    lean_modes(module)
    assert module.train() is module
    module[1][1].eval()
    assert all(part.training for part in module.train().modules())
    assert not any(part.training for part in module.eval().modules())
    restore_modes(module)
    assert "train" not in vars(module)


def test_switch_of_a_copy_belongs_to_the_copy():
    module = layers()
    lean_modes(module)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        other.eval()
        assert all(part.training for part in module.modules())
        assert not any(part.training for part in other.modules())


def test_modules_with_a_train_method_of_their_own_are_left_alone():
    class FrozenNorm(nn.BatchNorm1d):
        def train(self, mode=True):
            return super().train(False)

    module = nn.Sequential(nn.Linear(4, 3), FrozenNorm(3))
    lean_modes(module)
    assert "train" not in vars(module)


class Modes(Callback):
    def __init__(self):
        self.wrong_ = 0

    def on_grad_computed(self, net, **kwargs):
        self.wrong_ += not all(part.training for part in net.module_.modules())

    def on_batch_end(self, net, training, **kwargs):
        self.wrong_ += net.module_.training != training or net.criterion_.training != training
        next(iter(net.module_.children())).train(not training)


@pytest.mark.parametrize("split", [None, ValidSplit(4)])
def test_every_batch_runs_in_its_mode_and_nothing_is_left_behind(split):
    modes = Modes()
    net = NeuralNetClassifier(
        MLP,
        module__n_features=4,
        module__n_outputs=2,
        criterion=nn.CrossEntropyLoss,
        train_split=split,
        callbacks=[modes],
        verbose=0,
    )
    net = prepare(net).fit(X, Y)
    assert modes.wrong_ == 0
    assert "train" not in vars(net.module_)
    assert "train" not in vars(net.criterion_)
    assert isinstance(net.history, LeanHistory)
    assert torch.isfinite(net.forward(X)).all()
