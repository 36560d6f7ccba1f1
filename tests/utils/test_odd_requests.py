"""Whatever a request is: it names exactly the rows it says, or it is refused."""

import datetime
import decimal
import random
from array import array
from collections import deque
from copy import deepcopy

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy import sparse
from sklearn.dummy import DummyClassifier

from sk_unlearn import RetrainClassifier
from sk_unlearn.exceptions import ForgetRequestError
from sk_unlearn.utils._digest import state_digest
from sk_unlearn.utils._request import resolve_request

N = 9
X, Y = np.arange(2.0 * N).reshape(N, 2), np.arange(N) % 3
NUMBERS, NAMES = np.arange(N) * 7 + 3, [f"r{i}" for i in range(N)]
TEAMS, WORDS = np.arange(N) % 4, [f"g{i % 4}" for i in range(N)]


class HostileText:
    def __repr__(self):
        raise RuntimeError("no text")


class HostileItems(HostileText):
    def __iter__(self):
        raise RuntimeError("no items")

    def __len__(self):
        return 10**12

    def __getitem__(self, index):
        return 1


class HostileArray(HostileText):
    ndim = 1

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("no array")

    def tolist(self):
        return [1]


class HostileList(list):
    def __iter__(self):
        return iter([0])

    def __len__(self):
        return 1


class HostileInt(int):
    def __eq__(self, other):
        return True

    def __lt__(self, other):
        return False

    def __hash__(self):
        return 0

    def __repr__(self):
        raise RuntimeError("no text")


class HostileStr(str):
    def __eq__(self, other):
        return True

    def __hash__(self):
        return 0


ODD = [
    True,
    np.False_,
    1.0,
    np.float32(2),
    float("nan"),
    float("inf"),
    1j,
    None,
    pd.NA,
    b"r1",
    np.bytes_(b"r1"),
    bytearray(b"1"),
    np.datetime64(3, "ns"),
    np.timedelta64(3, "s"),
    datetime.date(2020, 1, 1),
    pd.Timestamp(3),
    decimal.Decimal(1),
    [1],
    [],
    (1,),
    {1},
    np.array(1),
    np.array([1]),
    torch.tensor(1),
    slice(0, 1),
    Ellipsis,
    object(),
    HostileText(),
    HostileItems(),
    HostileArray(),
    2**64,
    -(2**70),
    -1,
    N * 100,
    "nobody",
    "",
    "\ud800",
]
REFUSED = [
    b"r1",
    bytearray(b"\x01"),
    memoryview(b"\x01"),
    1.0,
    np.float64(1),
    float("nan"),
    2j,
    None.__class__,
    np.array(1),
    np.array("r1"),
    torch.tensor(1),
    np.datetime64(3, "ns"),
    np.timedelta64(3, "s"),
    np.array([1, 2], "datetime64[s]"),
    np.array([1, 2], "timedelta64[s]"),
    pd.to_datetime([3, 4]),
    pd.Series([1, None], dtype="Int64"),
    pd.Series([True, None], dtype="boolean"),
    pd.Series(["r1", None]),
    pl.Series([1, None]),
    np.ma.array([1, 2], mask=[False, True]),
    np.ma.array(["r1", "r2"], mask=[False, True]),
    np.ma.masked,
    np.array([b"r1"]),
    np.array([(1, 2)], dtype="i4,i4"),
    np.array([1 + 0j]),
    np.array([0.0, 1.0]),
    np.ones((2, 2), int),
    np.zeros((0, 2), int),
    [[]],
    [[], []],
    [[1], [2]],
    ((1,),),
    pd.DataFrame({"a": [1]}),
    pl.DataFrame({"a": [1]}),
    sparse.csr_array([[1]]),
    sparse.coo_matrix([[1]]),
    torch.tensor([1.0]),
    torch.tensor([[1]]),
    torch.ones(2, requires_grad=True),
    torch.tensor([1]).to_sparse(),
    range(-3, 2),
    range(10**18),
    range(0, 10**30, 10**29),
    {1: 2},
    iter([1]),
    (i for i in [1]),
    map(int, "1"),
    zip([1], [2], strict=True),
    HostileText(),
    HostileItems(),
    HostileArray(),
    Ellipsis,
    object,
    len,
]


def fitted(ids=None, groups=None, gone=()):
    clf = RetrainClassifier(DummyClassifier(), random_state=0)
    clf.fit(X, Y, sample_id=ids, groups=groups)
    return clf.forget(list(gone)) if gone else clf


@pytest.fixture(scope="module", params=["positions", "numbers", "names"])
def estimator(request):
    ids = {"positions": None, "numbers": NUMBERS, "names": NAMES}[request.param]
    return fitted(ids, WORDS if request.param == "names" else TEAMS, gone=[2])


@pytest.mark.parametrize("name", ["X_idx", "sample_id", "groups"])
@pytest.mark.parametrize("value", [*REFUSED, *([odd] for odd in ODD), [1, True], ["r1", 1]])
def test_odd_values_are_refused_and_change_nothing(estimator, name, value):
    before = state_digest(estimator.__getstate__())
    for ask in (estimator.forget, estimator.forget_cost):
        with pytest.raises(ForgetRequestError):
            ask(**{name: value})
    assert state_digest(estimator.__getstate__()) == before


@pytest.mark.parametrize("value", [value for value in REFUSED if not isinstance(value, type)])
def test_odd_metadata_of_fit_is_refused(value):
    clf = RetrainClassifier(DummyClassifier())
    for name in ("sample_id", "groups", "forget"):
        with pytest.raises(ValueError, match=f"'{name}' parameter of RetrainClassifier.fit"):
            clf.fit(X, Y, **{name: value})
    assert not hasattr(clf, "_rows_")


@pytest.mark.parametrize("odd", ODD)
def test_odd_elements_in_metadata_of_fit_are_refused(odd):
    for name, values in (("sample_id", NUMBERS.tolist()), ("groups", list(WORDS))):
        if type(odd) is type(values[0]) and odd not in (2**64, -(2**70)):
            continue  # a name as good as any
        for wrap in (list, tuple):
            given = wrap([*values[:-1], odd])
            with pytest.raises(ValueError, match=f"'{name}' parameter of RetrainClassifier.fit"):
                RetrainClassifier(DummyClassifier()).fit(X, Y, **{name: given})


def test_hostile_subclasses_are_what_they_hold():
    clf = fitted()
    assert clf._resolve(HostileList([3, 4])).hit.tolist() == [3, 4]
    assert clf._resolve(HostileInt(3)).hit.tolist() == [3]
    assert clf._resolve([HostileInt(3), HostileInt(5)]).hit.tolist() == [3, 5]
    named = fitted(NAMES)
    assert named._resolve(sample_id=[HostileStr("r3")]).hit.tolist() == [3]
    with pytest.raises(ForgetRequestError, match="nobody"):
        named._resolve(sample_id=HostileStr("nobody"))


@pytest.mark.parametrize("kind", [list, np.array, pd.Series, torch.tensor, pl.Series, tuple])
def test_an_indicator_of_integers_is_ambiguous(kind):
    indicator = [0, 1, 0, 0, 0, 1, 0, 0, 0]
    for name in ("X_idx", "sample_id"):
        for values in (indicator, [0] * N, [1] * N):
            with pytest.raises(ForgetRequestError, match=r"9 integers that are 0 or 1.*bool"):
                fitted()._resolve(**{name: kind(values)})
    clf = fitted()
    assert clf._resolve(kind(indicator[:-1])).hit.tolist() == [0, 1]
    assert clf._resolve(kind([0, 1, 0, 0, 0, 1, 0, 0, 2])).hit.tolist() == [0, 1, 2]
    assert clf._resolve(kind([value == 1 for value in indicator])).hit.tolist() == [1, 5]
    two = RetrainClassifier(DummyClassifier()).fit(X[:2], Y[:2])
    with pytest.raises(ForgetRequestError, match="0 or 1"):
        two.forget(kind([0, 0]))
    with pytest.raises(ForgetRequestError, match="covers all 2 rows"):
        two.forget(kind([0, 1]))


WRAPS = {
    "list": list,
    "tuple": tuple,
    "deque": deque,
    "hostile list": HostileList,
    "objects": lambda values: np.fromiter(values, dtype=object, count=len(values)),
    "array": np.array,
    "int8": lambda values: np.array(values, dtype=np.int8),
    "uint64": lambda values: np.array(values, dtype=np.uint64),
    "big endian": lambda values: np.array(values, dtype=">i4"),
    "buffer": lambda values: array("q", values),
    "masked": np.ma.array,
    "series": pd.Series,
    "index": pd.Index,
    "nullable": lambda values: pd.Series(pd.array(values)),
    "category": lambda values: pd.Series(values, dtype="category"),
    "polars": pl.Series,
    "tensor": torch.tensor,
    "set": set,
    "keys": lambda values: dict.fromkeys(values).keys(),
}


def draw(random_, pool):
    """A container and what it holds; None for the contents where it must be refused."""
    how = random_.choice(list(WRAPS))
    content = random_.choices(pool, k=random_.randint(0, N + 2))
    kind = random_.random()
    if kind < 0.15 and how not in ("int8", "uint64", "big endian", "buffer"):
        content = [random_.random() < 0.5 for _ in range(N)]
    elif 0.15 < kind < 0.25:
        content = [random_.randint(0, 1) for _ in range(N)]
    elif 0.25 < kind < 0.45 and content:
        how = random_.choice(["list", "tuple", "deque", "objects", "hostile list"])
        content[random_.randrange(len(content))] = random_.choice(ODD)
    elif 0.45 < kind < 0.5:
        return random_.choice(REFUSED), None
    try:
        return WRAPS[how](content), list(content)
    except Exception:  # this container holds no such values
        return list(content), list(content)


def expected(name, content, value, clf):
    """Positions that a request names, by brute force; None where it must be refused."""
    if content is None:
        return None
    rows = clf._rows_
    plain = [int(c) if type(c) is HostileInt else c for c in content]
    ids = list(range(N)) if rows.sample_id is None else clf.ids
    if name == "X_idx" and isinstance(value, (set, type({}.keys()))):
        return None
    if name == "X_idx" and plain and all(type(c) is bool for c in plain):
        wanted = [i for i, c in enumerate(plain) if c] if len(plain) == N else None
    elif not all(type(c) is int for c in plain) and not all(type(c) is str for c in plain):
        return None
    elif name == "groups":
        wanted = [i for i in range(N) if clf.groups[i] in plain]
        wanted = wanted if all(c in list(clf.groups) for c in plain) else None
    else:
        known = list(range(N)) if name == "X_idx" else ids
        wanted = [known.index(c) for c in plain] if all(c in known for c in plain) else None
        several = len(plain) == N and not isinstance(value, (set, type({}.keys())))
        if several and known == list(range(N)) and set(plain) <= {0, 1}:
            return None
    if wanted is None:
        return None
    left = sorted(set(wanted) & set(rows.position.tolist()))
    return None if len(left) == len(rows) else left


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(10))
def test_random_requests_name_their_rows_or_are_refused(seed):
    random_ = random.Random(seed)
    clf = []
    for ids, groups in ((None, TEAMS), (NUMBERS, TEAMS), (NAMES, WORDS)):
        for gone in ((), (0, 4), (1, 2, 3, 8)):
            clf.append(fitted(ids, groups, gone))
            clf[-1].ids = None if ids is None else list(ids)
            clf[-1].groups = list(groups)
    outcomes = {True: 0, False: 0}
    for trial in range(1000):
        each, name = random_.choice(clf), random_.choice(["X_idx", "sample_id", "groups"])
        names = {"X_idx": range(N), "groups": each.groups, "sample_id": each.ids or range(N)}
        value, content = draw(random_, [c if isinstance(c, str) else int(c) for c in names[name]])
        wanted = expected(name, content, value, each)
        try:
            found = resolve_request(each._rows_, each.receipts_, **{name: value})
        except ForgetRequestError:
            found = None
        outcomes[found is not None] += 1
        rows = None if found is None else each._rows_.position[found.hit].tolist()
        assert rows == wanted, (name, type(value), content)
        if trial % 50 == 0:
            asked = deepcopy(each)
            before = state_digest(asked.__getstate__())
            try:
                asked.forget(**{name: value})
            except ForgetRequestError:
                assert wanted is None
                assert state_digest(asked.__getstate__()) == before
            else:
                remaining = set(each._rows_.position.tolist()) - set(wanted)
                assert set(asked._rows_.position.tolist()) == remaining
    assert min(outcomes.values()) > 200
