"""What reaches the wrapped estimator: integers, labels, groups, further metadata."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.ensemble import AdaBoostClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from skorch import NeuralNetClassifier
from torch import nn

from sk_unlearn import RetrainClassifier
from sk_unlearn.nets import MLP
from sk_unlearn.utils._digest import state_digest
from sk_unlearn.utils._seeding import derive_seed, isolated_rng
from sk_unlearn.utils.estimator_checks import check_exact_forget, check_forget_estimator

RNG = np.random.RandomState(0)
X, y = RNG.normal(size=(40, 4)), np.arange(40) % 2
TOKENS = RNG.randint(0, 9, (40, 4))
TOKENS[:, 0] = y * 4 + TOKENS[:, 0] % 4
PERSON = np.array([f"p{i // 4}" for i in range(40)])


class Embedded(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Embedding(9, 3), nn.Flatten(), nn.Linear(12, 2))

    def forward(self, tokens):
        return self.layers(tokens)


def net(module=Embedded, **params):
    sizes = {"module__n_features": 4, "module__n_outputs": 2} if module is MLP else {}
    settings = {"criterion": nn.CrossEntropyLoss, "max_epochs": 4, "lr": 0.5, "verbose": 0}
    return NeuralNetClassifier(module, train_split=None, **{**sizes, **settings, **params})


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
def test_an_embedding_gets_integers(dtype):
    tokens = TOKENS.astype(dtype)
    clf = RetrainClassifier(net(), random_state=0).fit(tokens, y).forget([0, 5])
    plain = net()
    with isolated_rng(derive_seed(clf._seed_, "compute")):
        plain.fit(np.delete(TOKENS, [0, 5], 0), np.delete(y, [0, 5]))
    assert state_digest(clf.estimator_.module_) == state_digest(plain.module_)
    assert np.array_equal(clf.predict(tokens), plain.predict(TOKENS))
    assert np.array_equal(clf.predict(tokens.tolist()), plain.predict(TOKENS))
    assert np.allclose(clf.predict_proba(tokens), plain.predict_proba(TOKENS), atol=1e-6)


def test_an_embedding_keeps_the_contract():
    check_exact_forget(RetrainClassifier(net()), TOKENS, y)
    check_forget_estimator(RetrainClassifier(net(max_epochs=2)), TOKENS, y)


def test_embeddings_beside_other_nets_and_behind_a_pipeline():
    votes = VotingClassifier([("a", net()), ("b", net(MLP))], voting="soft")
    votes = RetrainClassifier(votes, random_state=0).fit(TOKENS, y).forget([1])
    assert np.isfinite(votes.predict_proba(TOKENS)).all()
    pipe = make_pipeline(FunctionTransformer(), net())
    check_exact_forget(RetrainClassifier(pipe), TOKENS, y)


def test_a_trained_embedding_is_adopted():
    trained = net().fit(TOKENS, y)
    clf = RetrainClassifier(FrozenEstimator(trained), random_state=0).fit(TOKENS, y)
    assert np.array_equal(clf.predict(TOKENS), trained.predict(TOKENS))
    assert clf.forget([3]).predict(TOKENS).shape == (40,)


def test_other_nets_get_floats_and_no_module_is_built_for_them(monkeypatch):
    built = []
    start = MLP.__init__
    monkeypatch.setattr(MLP, "__init__", lambda *a, **k: (built.append(1), start(*a, **k))[0])
    clf = RetrainClassifier(net(MLP), random_state=0).fit(X, y)
    n_built = len(built)
    assert clf._rows_.X.dtype == np.float64
    assert RetrainClassifier(net(MLP), random_state=0).fit(TOKENS, y)._rows_.X.dtype == np.float32
    assert len(built) == 2 * n_built + 1


@pytest.mark.parametrize("inner", [None, LogisticRegression(), net(MLP)])
def test_a_list_of_mixed_labels_is_refused(inner):
    with pytest.raises(ValueError, match=r"labels in y .* got 'a' of type str and 1 of type int"):
        RetrainClassifier(inner).fit(X, ["a", 1] * 20)


class Scaled(Embedded):
    def forward(self, tokens, scale=1.0):
        return scale * super().forward(tokens)


class Weighted(NeuralNetClassifier):
    def infer(self, x, sample_weight=None, **fit_params):
        return super().infer(x, **fit_params)


def test_metadata_that_a_net_cannot_take_is_refused_by_name():
    weight = np.ones(40)
    message = r"RetrainClassifier.fit takes .* got '{}sample_weight': this method cannot weight"
    with pytest.raises(TypeError, match=message.format("")):
        RetrainClassifier(net()).fit(TOKENS, y, sample_weight=weight)
    pipe = make_pipeline(StandardScaler(), net(MLP))
    with pytest.raises(TypeError, match=message.format("neuralnetclassifier__")):
        RetrainClassifier(pipe).fit(X, y, neuralnetclassifier__sample_weight=weight)
    with config_context(enable_metadata_routing=True):
        asks = net().set_fit_request(sample_weight=True)
        with pytest.raises(TypeError, match=message.format("")):
            RetrainClassifier(asks).fit(TOKENS, y, sample_weight=weight)


def test_metadata_that_a_net_takes_reaches_it():
    plain = RetrainClassifier(net(Scaled), random_state=0).fit(TOKENS, y)
    scaled = RetrainClassifier(net(Scaled), random_state=0).fit(TOKENS, y, scale=3.0)
    assert state_digest(scaled.estimator_) != state_digest(plain.estimator_)
    own = Weighted(Embedded, criterion=nn.CrossEntropyLoss, verbose=0, train_split=None)
    RetrainClassifier(own).fit(TOKENS, y, sample_weight=np.ones(40))
    pipe = make_pipeline(StandardScaler(), net(MLP))
    clf = RetrainClassifier(pipe).fit(X, y, standardscaler__sample_weight=np.arange(40.0))
    assert np.allclose(clf.estimator_[0].mean_, np.average(X, axis=0, weights=np.arange(40)))


def test_groups_reach_an_inner_splitter():
    search = GridSearchCV(LogisticRegression(), {"C": [0.01, 1, 10]}, cv=GroupKFold(3))
    kept = PERSON != "p3"
    with config_context(enable_metadata_routing=True):
        clf = RetrainClassifier(search).fit(X, y, groups=PERSON).forget(groups="p3")
        oracle = clone(search).fit(X[kept], y[kept], groups=PERSON[kept])
        found, expected = clf.estimator_.cv_results_, oracle.cv_results_
        for fold in range(3):
            name = f"split{fold}_test_score"
            assert np.array_equal(found[name], expected[name])
        scores = cross_validate(clf, X, y, cv=2, params={"groups": PERSON}, error_score="raise")
        assert np.isfinite(scores["test_score"]).all()
    with pytest.raises(ValueError, match="'groups' parameter"):
        RetrainClassifier(search).fit(X, y, groups=PERSON)


@pytest.mark.parametrize("inner", [LogisticRegression(), AdaBoostClassifier(), net(MLP), None])
def test_groups_stay_here_where_nobody_asks_for_them(inner):
    with config_context(enable_metadata_routing=True):
        clf = RetrainClassifier(inner).fit(X, y, groups=PERSON).forget(groups="p3")
    assert clf.receipts_[-1].n_forgotten == 4
    assert clf._rows_.fit_params == {}
