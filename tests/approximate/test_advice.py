"""Advice: what was left undone, why, the way out, at the user's line, once a search."""

import re
import subprocess
import sys
import warnings

import joblib
import numpy as np
import pytest
import sklearn
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.preprocessing import StandardScaler

from sk_unlearn import PumaClassifier, PumaRegressor
from sk_unlearn.approximate._advice import advice, expected_gap
from sk_unlearn.approximate._removal_step import StepReport
from sk_unlearn.exceptions import RetrainAdvisedWarning
from sk_unlearn.pipeline import make_forget_pipeline
from sk_unlearn.utils._warn import warn_user

X, y = load_iris(return_X_y=True)
MASK = np.arange(len(y)) % 3 == 0
FAR = {"random_state": 0, "eta": 5.0}  # much too far for a linear step


@pytest.fixture(autouse=True)
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.fixture(scope="module")
def memory(tmp_path_factory):
    return str(tmp_path_factory.mktemp("trained"))


def advised(action):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        action()
    return [w for w in caught if w.category is RetrainAdvisedWarning]


def direct(puma):
    puma.fit(X, y).forget(MASK)


def in_fit(puma):
    puma.fit(X, y, forget=MASK)


def in_a_pipeline(puma):
    pipe = make_forget_pipeline(StandardScaler(), puma)
    pipe.fit(X, y).forget(MASK)


def in_fit_of_a_pipeline(puma):
    make_forget_pipeline(StandardScaler(), puma).fit(X, y, forget=MASK)


def in_cross_validation(puma):
    cross_validate(puma, X, y, params={"forget": MASK}, cv=3)


def in_scores(puma):
    cross_val_score(make_forget_pipeline(puma), X, y, params={"forget": MASK}, cv=3)


def in_a_search(puma):
    GridSearchCV(puma, {"eta": [4.0, 5.0, 6.0]}, cv=2).fit(X, y, forget=MASK)


def in_threads(puma):
    with joblib.parallel_config("threading", n_jobs=2):
        GridSearchCV(puma, {"eta": [4.0, 5.0, 6.0]}, cv=2).fit(X, y, forget=MASK)


def in_a_search_in_a_cross_validation(puma):
    search = GridSearchCV(puma.set_fit_request(forget=True), {"eta": [5.0, 6.0]}, cv=2)
    cross_validate(search, X, y, params={"forget": MASK}, cv=2)


ACTIONS = [
    direct,
    in_fit,
    in_a_pipeline,
    in_fit_of_a_pipeline,
    in_cross_validation,
    in_scores,
    in_a_search,
    in_threads,
    in_a_search_in_a_cross_validation,
]


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
def test_the_users_line_once(action, memory):
    (warning,) = advised(lambda: action(PumaClassifier(memory=memory, **FAR)))
    assert warning.filename == __file__
    first = action.__code__.co_firstlineno
    assert first < warning.lineno <= first + 4  # not one of the tests'


def test_another_search_says_it_again_and_receipts_have_all(memory):
    puma, found = PumaClassifier(memory=memory, **FAR), []

    def twice():
        for _ in range(2):
            found.append(
                cross_validate(puma, X, y, params={"forget": MASK}, cv=3, return_estimator=True)
            )

    assert len(advised(twice)) == 2
    fitted = [one for scores in found for one in scores["estimator"]]
    assert len(fitted) == 6
    assert all("Retraining is advised" in one.receipts_[-1].advice[0] for one in fitted)


def test_requests_outside_of_a_search_all_say_it(memory):
    def requests():
        puma = PumaClassifier(memory=memory, **FAR).fit(X, y)
        for rows in (range(40), range(60, 90)):
            puma.forget(rows)

    assert len(advised(requests)) == 2


def test_an_error_made_of_it_is_one_in_every_fit(memory):
    puma, etas = PumaClassifier(memory=memory, **FAR), [5.0, 6.0]
    search = GridSearchCV(puma, {"eta": etas}, cv=2, error_score=0.0, refit=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", RetrainAdvisedWarning)
        with pytest.raises(ValueError, match="All the 4 fits failed"):
            search.fit(X, y, forget=MASK)


@pytest.mark.slow
def test_worker_processes_say_it_once_each(tmp_path):
    script = tmp_path / "search.py"
    script.write_text(
        "import numpy as np, sklearn\n"
        "from sklearn.datasets import load_iris\n"
        "from sklearn.model_selection import GridSearchCV\n"
        "from sk_unlearn import PumaClassifier\n"
        "sklearn.set_config(enable_metadata_routing=True)\n"
        "X, y = load_iris(return_X_y=True)\n"
        "search = GridSearchCV(PumaClassifier(random_state=0), {'eta': [4.0, 5.0, 6.0]}, cv=4,\n"
        "    n_jobs=2, refit=False).fit(X, y, forget=np.arange(150) % 3 == 0)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=True
    )
    assert 1 <= len(re.findall("Retraining is advised", done.stderr)) <= 2


def test_what_a_function_of_the_users_does_in_a_loop_is_the_users_line():
    def say(k):
        warn_user(f"Something took {k} of 7", UserWarning)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        joblib.Parallel(1)(joblib.delayed(say)(k) for k in range(5))
    assert len(caught) == 5
    assert {w.filename for w in caught} == {__file__}


def report(**given):
    found = {
        "n_forgotten": 2,
        "solves": [],
        "damage": 0.1,
        "n_weighted": 0,
        "unmet": 0.0,
        "step_ratio": 0.01,
        "criterion_before": 0.2,
        "criterion": 0.2,
        "criterion_change_predicted": 0.0,
        "forget_loss_before": 0.01,
        "forget_loss": 0.3,
        "forget_loss_predicted": 1.25,
    }
    return StepReport(**(found | given))


@pytest.mark.parametrize(
    ("given", "why", "way"),
    [
        (
            {"solves": [{"converged": False, "relative_residual": 0.4, "tol": 0.1}]},
            "did not converge",
            "raise damping",
        ),
        ({"held_out_loss": 0.1}, "rose by 2.9 times the loss on rows it never saw", "fewer rows"),
        ({"step_ratio": 1.5}, "was cut to the norm of the parameters", "lower eta"),
        ({"unmet": 0.4}, "could compensate only 60% of the predicted harm", "raise max_weight"),
        ({"compensated": False}, "was not compensated", "compensation=None"),
        ({"criterion": 0.9}, "changed by 0.7 where 0 was predicted", "fewer rows"),
        ({"stopped": "it was late", "shortened": 0.3}, "30% of it was taken", "fewer rows"),
    ],
)
def test_it_says_what_why_and_what_now(given, why, way):
    assert advice([report()]) == ()
    (message,) = advice([report(**given), report()], retrain="RetrainRegressor")
    if {"held_out_loss", "criterion"} & given.keys():
        assert expected_gap([report(**given)]) > 1 > expected_gap([report()])
    undone, ways = message.split(" You can ")
    assert "the mean loss of the 4 forgotten rows was to rise from 0.01 to 1.25" in undone
    assert "and rose to 0.3, because" in undone
    assert why in undone
    assert ways.startswith("retrain on the rows that remain")
    assert "RetrainRegressor" in ways
    assert way in ways


def test_one_row_and_a_fall():
    falls = {"forget_loss": 0.005, "n_forgotten": 1}
    (message,) = advice([report(step_ratio=2.0, **falls)])
    assert (
        "the loss of the forgotten row was to rise from 0.01 to 1.25 and fell to 0.005" in message
    )


def test_the_numbers_are_those_of_the_model(memory):
    """What the advice says of the forgotten rows is what the model says of them."""
    puma = PumaClassifier(memory=memory, compensation=None, **FAR).fit(X, y)
    rows = np.setdiff1d(np.flatnonzero(MASK), puma.validation_indices_)

    def loss():
        return -np.log(puma.predict_proba(X[rows])[np.arange(len(rows)), y[rows]]).mean()

    before = loss()
    with pytest.warns(RetrainAdvisedWarning):
        puma.forget(rows)
    text = puma.receipts_[-1].advice[0]
    told = [float(t) for t in re.search(r"from (\S+) to \S+ and \w+ to ([^,\s]+)", text).groups()]
    np.testing.assert_allclose(told, [before, loss()], rtol=1e-2)


def test_regressors_name_their_retrainer():
    target = X[:, 3] + 0.1 * np.sin(37 * X[:, 0])
    reg = PumaRegressor(**FAR).fit(X[:, :3], target)
    with pytest.warns(RetrainAdvisedWarning, match="RetrainRegressor"):
        reg.forget(MASK)
