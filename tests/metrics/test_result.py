import json
import pickle
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from sk_unlearn.metrics import Interval, MetricResult


@pytest.fixture
def result():
    inner = MetricResult("KLoM p50", np.float64(0.2), None, 0.1)
    return MetricResult(
        "KLoM p95",
        1.5,
        Interval(1.0, 2.0),
        0.3,
        Interval(0.2, 0.4),
        0.9,
        np.array([1.0, 2.0]),
        {"p50": inner, "n_models": [3, 4], "gaps": np.array([0.5]), "ratio": 0.123456},
    )


def test_prints_value_interval_and_null(result):
    assert str(result).splitlines() == [
        "KLoM p95: 1.5 (90 % interval 1 to 2), null 0.3 (0.2 to 0.4)",
        "  KLoM p50: 0.2, null 0.1",
        "  n_models: [3, 4]",
        "  ratio: 0.1235",
    ]


def test_to_dict_is_plain_and_complete(result):
    record = result.to_dict()
    assert json.loads(json.dumps(record)) == record
    assert record["value"] == 1.5
    assert record["interval"] == [1.0, 2.0]
    assert record["per_row"] == [1.0, 2.0]
    assert record["details"]["p50"]["value"] == 0.2
    assert record["details"]["gaps"] == [0.5]


def test_is_frozen_a_float_and_survives_a_pickle(result):
    with pytest.raises(FrozenInstanceError):
        result.value = 2.0
    assert float(result) == 1.5
    copy = pickle.loads(pickle.dumps(result))
    assert copy.to_dict() == result.to_dict()
    assert copy.interval.high == 2.0


def test_refuses_to_write_what_json_cannot_hold():
    with pytest.raises(TypeError, match="object in a result"):
        MetricResult("x", 1.0, details={"y": object()}).to_dict()
