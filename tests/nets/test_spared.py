"""A prediction leaves the model as it was, whatever its modules do to their own tensors."""

import numpy as np
import pytest
import torch
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch import NeuralNetClassifier, NeuralNetRegressor
from torch import nn

from sk_unlearn import (
    PumaClassifier,
    PumaRegressor,
    RetrainClassifier,
    RetrainRegressor,
    SisaClassifier,
    SisaRegressor,
)
from sk_unlearn.nets import _spared
from sk_unlearn.pipeline import make_forget_pipeline
from sk_unlearn.utils._digest import state_digest

X = np.random.RandomState(0).randint(0, 20, (60, 2)).astype(np.float32)
NEW = np.random.RandomState(1).randint(20, 50, (60, 2)).astype(np.float32)
Y = np.arange(60) % 3


class Renormed(nn.Module):
    def __init__(self, k=3):
        super().__init__()
        self.table, self.out = nn.Embedding(50, 4, max_norm=0.5), nn.Linear(8, k)

    def forward(self, X):
        return self.out(self.table(X.long()).flatten(1))


class RenormedByHand(Renormed):
    def __init__(self, k=3):
        super().__init__(k)
        self.table.max_norm = None

    def forward(self, X):
        found = nn.functional.embedding(X.long(), self.table.weight, max_norm=0.5)
        return self.out(found.flatten(1))


class Clamps(nn.Module):
    def __init__(self, k=3):
        super().__init__()
        self.out = nn.Linear(2, k)

    def forward(self, X):
        self.out.weight.data.mul_(0.99)  # which no version counter sees
        return self.out(X)


class Counts(nn.Module):
    def __init__(self, k=3):
        super().__init__()
        self.out = nn.Linear(2, k)
        self.register_buffer("n", torch.zeros(1), persistent=False)

    def forward(self, X):
        self.n = self.n + len(X)
        return self.out(X)


class Innocent(nn.Module):
    def __init__(self, k=3):
        super().__init__()
        self.out = nn.Linear(2, k)

    def forward(self, X):
        return self.out(X)


WRITERS = [Renormed, RenormedByHand, Clamps, Counts]


def net(module, kind=NeuralNetClassifier, k=3):
    loss = nn.MSELoss if kind is NeuralNetRegressor else nn.CrossEntropyLoss
    return kind(
        module, module__k=k, criterion=loss, train_split=None, max_epochs=2, lr=0.01, verbose=0
    )


def real(module):
    return net(module, NeuralNetRegressor, 1)


class Overriding(NeuralNetClassifier):
    def infer(self, x, **params):
        return super().infer(x, **params)


def same(X):
    return X


ESTIMATORS = {
    "retrain": lambda m: RetrainClassifier(net(m)),
    "retrain adopted": lambda m: RetrainClassifier(FrozenEstimator(net(m).fit(X, Y))),
    "retrain infer": lambda m: RetrainClassifier(net(m, Overriding)),
    "retrain inside": lambda m: RetrainClassifier(
        make_pipeline(FunctionTransformer(same), net(m))
    ),
    "sisa": lambda m: SisaClassifier(net(m), n_shards=2),
    "sisa inside": lambda m: SisaClassifier(
        make_pipeline(FunctionTransformer(same), net(m)), n_shards=2
    ),
    "puma": lambda m: PumaClassifier(net(m)),
    "puma adopted": lambda m: PumaClassifier(FrozenEstimator(net(m).fit(X, Y))),
    "retrain real": lambda m: RetrainRegressor(real(m)),
    "sisa real": lambda m: SisaRegressor(real(m), n_shards=2),
    "puma real": lambda m: PumaRegressor(real(m)),
    "pipeline": lambda m: make_forget_pipeline(RetrainClassifier(net(m))),
}


def digests(estimator):
    last = estimator[-1] if hasattr(estimator, "steps") else estimator
    modules = [vars(last).get("estimators_", last.__dict__.get("estimator_"))]
    return state_digest([last._model_state(), modules])


@pytest.mark.filterwarnings("ignore")  # advice on small nets
@pytest.mark.parametrize("module", WRITERS)
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_a_prediction_changes_no_bit_of_the_model(kind, module):
    estimator = ESTIMATORS[kind](module).set_params(random_state=0).fit(X, Y)
    for _ in range(2):
        before = digests(estimator)
        first = estimator.predict(NEW)
        assert np.array_equal(estimator.predict(NEW), first)
        for method in ("predict_proba", "influences"):
            if hasattr(estimator, method):
                getattr(estimator, method)(*([NEW] if method == "predict_proba" else [NEW, Y]))
        estimator.forget_cost([5])
        assert digests(estimator) == before
        receipt = estimator.forget([1]).receipts_[-1]
    assert receipt.digest_before == receipt.digest_after  # row 1 had left before


def test_innocent_modules_are_copied_once(monkeypatch):
    copied, deepcopy = [], _spared.copy.deepcopy
    clf = RetrainClassifier(net(Innocent), random_state=0).fit(X, Y)
    monkeypatch.setattr(_spared.copy, "deepcopy", lambda m: copied.append(m) or deepcopy(m))
    for _ in range(3):
        clf.predict(X)
    assert len(copied) == 1
    monkeypatch.undo()
    inside = ESTIMATORS["retrain inside"](Innocent).fit(X, Y)
    monkeypatch.setattr(_spared.copy, "deepcopy", lambda m: copied.append(m) or deepcopy(m))
    for _ in range(3):
        inside.predict(X)
    assert len(copied) == 2


def test_known_modules_are_never_copied(monkeypatch):
    clf = RetrainClassifier(random_state=0).fit(X, Y)
    monkeypatch.setattr(_spared.copy, "deepcopy", lambda m: pytest.fail("copied"))
    assert len(clf.predict(X)) == 60
