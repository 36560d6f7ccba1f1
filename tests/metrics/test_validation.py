"""Bad input is refused before any work, by parameter, rule and value."""

import numpy as np
import pytest

from sk_unlearn import metrics

GOOD = np.zeros((20, 6)) + np.linspace(-1, 1, 20)[:, None]
MASK = np.arange(6) < 3
PROBA = np.full((4, 6, 3), 1 / 3)
LABELS = np.array([0, 1, 2, 0, 1, 2])
PAIRED = {
    "klom": (metrics.klom, GOOD),
    "u_lira": (metrics.u_lira, GOOD),
    "forgetting_quality": (metrics.forgetting_quality, GOOD),
    "rmia": (lambda u, o: metrics.rmia(u, o, MASK), GOOD),
    "tug_of_war": (metrics.tug_of_war, (GOOD + 1) / 2),
    "relearn_time": (lambda u, o: metrics.relearn_time(u, o, 0.1), GOOD),
    "prediction_divergence": (metrics.prediction_divergence, PROBA),
    "parameter_distance": (metrics.parameter_distance, GOOD + 3),
}


@pytest.mark.parametrize("name", PAIRED)
def test_every_comparison_accepts_lists_and_refuses_bad_arrays(name):
    function, good = PAIRED[name]
    assert isinstance(function(good.tolist(), good), metrics.MetricResult)
    with pytest.raises(ValueError, match=r"unlearned and oracle must have the same shape after"):
        function(good[:, :-1], good) if name != "rmia" else function(good, good[:, :-1])
    with pytest.raises(ValueError, match=r"unlearned must be of shape \(n_models, .*got \(6,\)"):
        function(np.zeros(6), good)
    with pytest.raises(ValueError, match=r"oracle must be of shape .* and not empty"):
        function(good, good[:0])
    with pytest.raises(ValueError, match=r"unlearned must hold real numbers, got dtype <U1"):
        function(np.full(good.shape, "a"), good)
    for value in (np.nan, np.inf):
        bad = good.copy()
        bad[1, 2] = value
        with pytest.raises(ValueError, match=rf"oracle must be finite, got {value} at \(1, 2"):
            function(good, bad)
    with pytest.raises(ValueError, match=r"unlearned must be of shape .*unequal size"):
        function([[1.0, 2.0], [1.0]], good)


@pytest.mark.parametrize(
    ("function", "needed"),
    [
        (metrics.klom, 2),
        (lambda u, o, **k: metrics.klom(u, o, estimator="histogram", n_bins=7, **k), 7),
        (metrics.u_lira, 4),
        (metrics.forgetting_quality, 10),
    ],
)
def test_too_few_models_are_counted(function, needed, margins):
    many, enough, few = margins(2 * needed), margins(needed), margins(needed - 1)
    function(enough, many)
    function(enough, enough, oracle_null=enough)
    needs = rf"must hold at least {needed} models for .*got {needed - 1}\."
    with pytest.raises(ValueError, match="unlearned " + needs):
        function(few, many)
    with pytest.raises(ValueError, match="oracle " + needs):
        function(enough, few)
    with pytest.raises(ValueError, match="oracle_null " + needs):
        function(enough, enough, oracle_null=few)
    with pytest.raises(ValueError, match=rf"oracle must .* {2 * needed} models.*one half.*got"):
        function(enough, many[1:])
    with pytest.raises(ValueError, match="oracle_null and oracle must have the same shape"):
        function(enough, enough, oracle_null=enough[:, 1:])


def test_rmia_needs_two_oracles():
    with pytest.raises(ValueError, match="oracle must hold at least 2 models for RMIA"):
        metrics.rmia(GOOD, GOOD[:1], MASK)


def call(name, **changed):
    arguments = {
        "logit_margin": {"scores": PROBA[0], "y": LABELS, "kind": "proba"},
        "klom": {"unlearned": GOOD, "oracle": GOOD},
        "u_lira": {"unlearned": GOOD, "oracle": GOOD},
        "rmia": {"unlearned": GOOD, "oracle": GOOD, "is_forget": MASK},
        "membership_attack": {"proba": PROBA, "y": LABELS, "is_forget": MASK},
        "forgetting_quality": {"unlearned": GOOD, "oracle": GOOD},
        "tug_of_war": {"unlearned": [[0.5]], "oracle": [[0.5]]},
        "relearn_time": {"unlearned": GOOD, "oracle": GOOD, "original_loss": 0.1},
        "interclass_confusion": {"y_true": LABELS, "y_pred": LABELS, "classes": (0, 1)},
        "prediction_divergence": {"unlearned": PROBA, "oracle": PROBA},
        "parameter_distance": {"unlearned": GOOD + 3, "oracle": GOOD + 3},
    }[name]
    return getattr(metrics, name)(**(arguments | changed))


ZERO = np.vstack([np.ones((1, 6)), np.zeros((1, 6))])
BAD = [
    ("logit_margin", {"kind": "odds"}, "kind must be one of .*got 'odds'"),
    ("logit_margin", {"scores": PROBA[0] - 0.4}, r"scores must hold probabilities in \[0, 1\]"),
    ("logit_margin", {"scores": PROBA[0] / 2}, "scores must sum to 1 .* got a sum of 0.5"),
    ("logit_margin", {"scores": np.ones((6, 1))}, "scores must have at least 2 columns, got 1"),
    ("logit_margin", {"y": LABELS[:-1]}, r"y must be of shape \(6,\), one label a row"),
    (
        "logit_margin",
        {"y": LABELS + 1},
        "y must hold column numbers, integers from 0 to 2.*got .*3",
    ),
    ("logit_margin", {"y": LABELS - 1}, "y must hold column numbers.*got .*-1"),
    ("logit_margin", {"y": LABELS * 1.0}, "y must hold column numbers.*unless labels"),
    ("logit_margin", {"labels": [4, 5, 6]}, "y must hold values of labels only, got .*0"),
    ("logit_margin", {"labels": [0, 1, 1]}, "labels must name each of the 3 columns once"),
    ("logit_margin", {"labels": [0, 1]}, "labels must name each of the 3 columns once"),
    ("klom", {"estimator": "kde"}, "estimator must be one of"),
    ("klom", {"n_bins": 1}, "n_bins must be an integer of at least 2, got 1"),
    ("klom", {"n_bins": 20.0}, "n_bins must be an integer of at least 2, got 20.0"),
    ("klom", {"quantile": 1}, r"quantile must be a number in \(0, 1\), got 1"),
    ("klom", {"confidence_level": 95}, r"confidence_level must be a number in \(0, 1\), got 95"),
    ("klom", {"n_resamples": 0}, "n_resamples must be an integer of at least 20, got 0"),
    ("u_lira", {"n_folds": 21}, "n_folds must be at most the number of models.*got 21"),
    ("u_lira", {"n_folds": 1}, "n_folds must be an integer of at least 2, got 1"),
    ("u_lira", {"fpr": 0.0}, r"fpr must be a number in \(0, 1\), got 0.0"),
    ("rmia", {"gamma": 0.5}, r"gamma must be a number in \[1, .*got 0.5"),
    ("rmia", {"a": 1.1}, r"a must be a number in \[0, 1\], got 1.1"),
    ("rmia", {"is_forget": [0, 1, 2]}, r"is_forget must be a boolean mask of shape \(6,\)"),
    (
        "rmia",
        {"is_forget": np.ones(6, bool)},
        "is_forget must mark rows on both sides, got 6 of 6",
    ),
    ("rmia", {"is_population": MASK}, "is_population must not mark forgotten rows, got row 0"),
    (
        "rmia",
        {"is_population": np.arange(6) == 5},
        "is_population must mark at least 2 rows, got 1",
    ),
    ("rmia", {"is_population": np.zeros(6, bool)}, "is_population must mark at least one row"),
    ("membership_attack", {"score": "logit"}, "score must be one of"),
    ("membership_attack", {"y": LABELS + 3}, "y must hold column numbers"),
    ("membership_attack", {"proba": PROBA * 2}, "proba must sum to 1"),
    ("membership_attack", {"proba": PROBA[..., :1] * 3}, "proba must have at least 2 columns"),
    ("membership_attack", {"oracle": PROBA * 2}, "oracle must sum to 1"),
    ("membership_attack", {"is_forget": ~np.ones(6, bool)}, "is_forget must mark rows on both"),
    ("forgetting_quality", {"delta": -0.1}, r"delta must be a number in \[0, 1"),
    ("tug_of_war", {"oracle": [[1.5]]}, r"oracle must hold accuracies in \[0, 1\], got 1.5"),
    ("tug_of_war", {"oracle_null": [[-1.0]]}, r"oracle_null must hold accuracies.*got -1"),
    ("relearn_time", {"margin": -0.1}, "margin must be a number in"),
    ("relearn_time", {"original_loss": -1}, "original_loss must be at least 0, got -1"),
    ("relearn_time", {"original_loss": [1, 2]}, "original_loss must be one number or .* got 2"),
    ("relearn_time", {"original_loss": np.nan}, r"original_loss must be finite, got nan at \(\)"),
    (
        "relearn_time",
        {"unlearned": GOOD[:, :1], "oracle": GOOD[:, :1]},
        "unlearned must cover at least 1 epoch",
    ),
    ("interclass_confusion", {"classes": (0, 0)}, "classes must be two different labels"),
    ("interclass_confusion", {"classes": 0}, "classes must be two different labels, got 0"),
    ("interclass_confusion", {"classes": (0, 7)}, "classes must occur in y_true, got 7"),
    ("interclass_confusion", {"y_pred": LABELS[1:]}, r"y_pred must be of shape \(6,\) or"),
    ("interclass_confusion", {"oracle_pred": LABELS[1:]}, "oracle_pred must be of shape"),
    ("interclass_confusion", {"y_true": [[0, 1]]}, r"y_true must be of shape \(n_rows,\)"),
    ("prediction_divergence", {"kind": "l1"}, "kind must be one of"),
    ("prediction_divergence", {"oracle": PROBA / 3}, "oracle must sum to 1"),
    ("parameter_distance", {"oracle": ZERO}, "oracle must not hold an all-zero vector, got .*1"),
]


@pytest.mark.parametrize(("name", "changed", "message"), BAD)
def test_message_names_parameter_rule_and_value(name, changed, message):
    call(name)
    with pytest.raises(ValueError, match=message):
        call(name, **changed)


def test_booleans_are_no_numbers():
    with pytest.raises(ValueError, match="n_bins must be an integer"):
        call("klom", n_bins=True)
    with pytest.raises(ValueError, match="delta must be a number"):
        call("forgetting_quality", delta=False)
