import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, make_regression
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler, scale

from sk_unlearn.nets import MLP, default_classifier, default_regressor, prepare


def fit(net, X, y):
    torch.manual_seed(0)
    return prepare(clone(net)).fit(X, y)


@pytest.mark.parametrize(("load", "least"), [(load_digits, 0.97), (load_breast_cancer, 0.945)])
def test_default_classifier_is_good_enough(load, least):
    X, y = load(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, random_state=0, stratify=y)
    scaler = StandardScaler().fit(X)
    net = default_classifier(n_features=X.shape[1], n_outputs=y.max() + 1, n_rows=len(X))
    net = fit(net, scaler.transform(X), y)
    assert net.score(scaler.transform(X_test).astype(np.float32), y_test) >= least


def test_default_regressor_is_good_enough():
    X, y = make_regression(200, 10, n_informative=1, bias=5, noise=20, random_state=42)
    X, y = scale(X), scale(y)
    net = fit(default_regressor(n_features=10, n_outputs=1, n_rows=200), X, y)
    assert net.score(X.astype(np.float32), y) > 0.5
    X, y = load_diabetes(return_X_y=True)
    X, X_test, y, y_test = train_test_split(scale(X), scale(y), random_state=0)
    net = fit(default_regressor(n_features=10, n_outputs=1, n_rows=len(X)), X, y)
    assert net.score(X_test.astype(np.float32), y_test) > 0.25


@pytest.mark.parametrize("magnitude", [1e-8, 1e8])
def test_unscaled_data_gives_no_nan(magnitude):
    X, y = make_regression(60, 4, random_state=0)
    net = fit(
        default_regressor(n_features=4, n_outputs=1, n_rows=60), X * magnitude, y * magnitude
    )
    assert np.isfinite(net.predict((X * magnitude).astype(np.float32))).all()


@pytest.mark.parametrize("n_rows", [1, 2, 100, 10_000, 1_000_000])
def test_settings_follow_the_number_of_rows(n_rows):
    net = default_classifier(n_features=3, n_outputs=2, n_rows=n_rows)
    assert 32 <= net.batch_size <= 128
    assert 20 <= net.max_epochs <= 100


def test_tiny_data_one_class_images_and_pickle():
    X = np.random.RandomState(0).normal(size=(2, 3, 4))
    net = fit(default_classifier(n_features=12, n_outputs=1, n_rows=2), X, np.zeros(2, int))
    assert pickle.loads(pickle.dumps(net)).predict(X.astype(np.float32)).tolist() == [0, 0]


def test_mlp_without_hidden_layers_is_linear():
    assert MLP(2, 2, hidden=())(torch.ones(5, 1, 2)).shape == (5, 2)
