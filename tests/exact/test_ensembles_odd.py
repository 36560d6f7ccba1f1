"""Estimators, schedules, folders and calls that ensembles were once wrong about."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from joblib import parallel_config
from sklearn.ensemble import BaggingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neural_network import MLPClassifier
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, EpochScoring, LRScheduler
from torch import nn

from sk_unlearn import ArcaneEnsembleClassifier, RetrainClassifier, SisaClassifier
from sk_unlearn.nets import MLP, DensityNet, prepare, resume_training
from sk_unlearn.nets._resume import net_state
from sk_unlearn.utils._digest import state_digest

RNG = np.random.RandomState(0)
Y = RNG.permutation(np.arange(60) % 3) * 10 + 10
X = (RNG.normal(size=(60, 4)) + Y[:, None] / 5).astype(np.float32)
KEPT = np.arange(3, 60)


def net(**params):
    options = {"module__n_features": 4, "module__n_outputs": 3, "module__hidden": (5,)}
    defaults = {"max_epochs": 3, "batch_size": 8, "train_split": None, "verbose": 0}
    return NeuralNetClassifier(
        MLP, criterion=nn.CrossEntropyLoss, **{**defaults, **options, **params}
    )


class Noisy(nn.Module):
    """A log-density that draws when it is evaluated."""

    def __init__(self):
        super().__init__()
        self.centre = nn.Parameter(torch.zeros(4))

    def forward(self, X):
        return -((X - self.centre + torch.randn_like(X)) ** 2).sum(dim=1)


ODD = {
    "draws from NumPy": lambda: SisaClassifier(
        MLPClassifier((4,), max_iter=5), n_shards=2, n_slices=2, random_state=0
    ),
    "draws when scored": lambda: ArcaneEnsembleClassifier(
        DensityNet(Noisy, max_epochs=2, verbose=0), n_blocks=3, random_state=0
    ),
    "nets in an inner ensemble": lambda: SisaClassifier(
        BaggingClassifier(net(), n_estimators=2, n_jobs=2), n_shards=2, random_state=0
    ),
    "one against the rest": lambda: SisaClassifier(
        OneVsRestClassifier(net()), n_shards=2, n_slices=2, random_state=0
    ),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", sorted(ODD))
def test_odd_estimators_forget_exactly(kind):
    clf = ODD[kind]().fit(X, Y, sample_id=np.arange(60))
    before = state_digest(clf.estimators_)
    np.random.rand(), torch.rand(1)
    assert state_digest(clf.estimators_) == before
    clf.forget([0, 1, 2])
    fresh = ODD[kind]().fit(X[KEPT], Y[KEPT], sample_id=KEPT)
    found, expected = clf._exact_state(), fresh._exact_state()
    differ = [k for k in expected if state_digest(found[k]) != state_digest(expected[k])]
    assert differ == []


def test_schedules_start_again_in_each_step():
    class Rates(Callback):
        def on_epoch_end(self, net, **kwargs):
            seen.append(net.optimizer_.param_groups[0]["lr"])

    schedule = LRScheduler(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.1)
    template = prepare(net(lr=0.5, callbacks=[("rates", Rates()), ("schedule", schedule)]))
    seen, y = [], (Y // 10 - 1).astype(np.int64)
    first = resume_training(template, None, X, y, epochs=3)
    once, seen = seen, []
    resume_training(template, net_state(first), X, y, epochs=3)
    assert seen == once
    assert once[0] > once[-1]


def test_a_shard_of_one_class_knows_the_features():
    clf = SisaClassifier(LogisticRegression(), n_shards=2, random_state=0)
    assert clf.fit(X, np.zeros(60)).n_features_in_ == 4


@pytest.mark.parametrize("kind", [SisaClassifier, RetrainClassifier])
def test_hard_votes_of_nets_are_labels(kind):
    options = {"aggregation": "hard", "n_shards": 1} if kind is SisaClassifier else {}
    voting = VotingClassifier([("net", net(lr=0.1, max_epochs=40))], voting="hard")
    clf = kind(voting, random_state=0, **options).fit(X, Y)
    assert clf.score(X, Y) > 0.6  # a third by chance


def test_meta_estimators_pass_as_often_as_what_they_wrap():
    inner = SGDClassifier(loss="log_loss", random_state=0)
    sliced = SisaClassifier(OneVsRestClassifier(inner), n_shards=1, n_slices=5, random_state=0)
    clf = sliced.fit(X, Y)
    assert sum(step.epochs for step in clf._chains_[0].steps) > 100


def test_positional_class_weights_are_refused():
    with pytest.raises(ValueError, match="criterion__weight"):
        SisaClassifier(net(criterion__weight=torch.ones(3))).fit(X, Y)


def test_single_rows_cannot_be_weighted():
    with pytest.raises(TypeError, match="sample_weight"):
        SisaClassifier(net()).fit(X, Y, sample_weight=np.ones(60))


def test_parameters_changed_after_fit_leave_predictions():
    clf = SisaClassifier(SGDClassifier(loss="log_loss"), random_state=0).fit(X, Y)
    expected = clf.predict(X)
    assert np.array_equal(clf.set_params(estimator=None).predict(X), expected)


@pytest.mark.parametrize("kind", ["file", "protocol"])
def test_a_bad_place_for_states_is_refused_before_training(tmp_path, kind):
    (tmp_path / "file").write_text("")
    place = {"file": str(tmp_path / "file"), "protocol": "foo://bar"}[kind]
    with pytest.raises(ValueError, match="checkpoints must be a folder"):
        SisaClassifier(net(), checkpoints=place).fit(X, Y)


class Fails(EpochScoring):
    calls = 0

    def on_train_begin(self, *args, **kwargs):
        type(self).calls += 1
        if type(self).calls == 3:
            raise RuntimeError("planted")


def test_a_fit_that_fails_in_a_thread_leaves_no_files(tmp_path):
    failing = net(callbacks=[("fails", Fails("accuracy"))])
    clf = SisaClassifier(failing, n_shards=4, checkpoints=tmp_path, random_state=0)
    with parallel_config("threading", n_jobs=2), pytest.raises(RuntimeError):
        clf.fit(X, Y)
    assert list(tmp_path.rglob("*.safetensors")) == []


@pytest.mark.slow
def test_classes_of_a_script_train_in_other_processes(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import numpy as np
            from sklearn.naive_bayes import GaussianNB
            from skorch import NeuralNetClassifier
            from torch import nn
            from sk_unlearn import SisaClassifier
            from sk_unlearn.utils._digest import state_digest

            class Mine(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.linear = nn.Linear(4, 3)
                def forward(self, X):
                    return self.linear(X)

            class MyNB(GaussianNB):
                pass

            if __name__ == "__main__":
                X = np.random.RandomState(0).rand(40, 4).astype("f4")
                y = np.arange(40) % 3
                net = NeuralNetClassifier(
                    Mine, criterion=nn.CrossEntropyLoss, max_epochs=2, train_split=None, verbose=0
                )
                for base in (net, MyNB()):
                    one, two = (
                        SisaClassifier(base, n_shards=2, n_slices=2, n_jobs=n, random_state=0)
                        .fit(X, y).forget([0])
                        for n in (1, 2)
                    )
                    assert type(two.estimators_[0]) is type(base)
                    assert (one.predict_proba(X) == two.predict_proba(X)).all()
                    assert state_digest(one.estimators_) == state_digest(two.estimators_)
            """
        )
    )
    subprocess.run([sys.executable, str(script)], check=True, timeout=3600)
