"""What was forgotten, how, at what cost and under which guarantee."""

import json
import platform
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from sk_unlearn.utils._optional import import_optional

__all__ = ["ForgetCost", "ForgetLedger", "ForgetReceipt", "Guarantee"]


@dataclass(frozen=True)
class Guarantee:
    """What a removal method promises about its result.

    Parameters
    ----------
    kind : {"exact", "certified", "approximate"}
        "exact": the state equals a fresh fit on the retained rows. "certified": it is
        (epsilon, delta)-indistinguishable from one. "approximate": close to one, by how
        much has to be measured.
    epsilon, delta : float or None
        Of a certified removal.

    Examples
    --------
    >>> from sk_unlearn.receipts import Guarantee
    >>> print(Guarantee("exact"), Guarantee("certified", 1.0, 1e-5))
    exact certified(epsilon=1.0, delta=1e-05)
    """

    kind: str
    epsilon: float | None = None
    delta: float | None = None

    def __str__(self):
        if self.kind == "certified":
            return f"certified(epsilon={self.epsilon}, delta={self.delta})"
        return self.kind


@dataclass(frozen=True)
class ForgetCost:
    """Work that a request takes, before or after it is done.

    Attributes
    ----------
    n_forgotten : int
        Training rows that leave.
    rows_retrained : int
        Distinct rows that training passes over again.
    gradient_passes : float
        Work in gradient passes over all rows of the last state ("ge"): one epoch of
        training is one. NaN where training is not by gradient.
    share_of_retrain : float
        Work as a share of a full retrain on the retained rows. NaN where unknown. On a receipt
        of an approximate method it is counted, pass by pass, while the work is done; before,
        it is what is expected.
    share_low, share_high : float
        What ``share_of_retrain`` may turn out to be. Both are equal to it on receipts, and
        before a request to methods that know their work.
    """

    n_forgotten: int
    rows_retrained: int
    gradient_passes: float
    share_of_retrain: float
    share_low: float | None = None
    share_high: float | None = None

    def __post_init__(self):
        for name in ("share_low", "share_high"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, self.share_of_retrain)


@dataclass(frozen=True)
class ForgetReceipt:
    """Record of one request.

    Attributes
    ----------
    method : str
        Class name of the estimator.
    guarantee : Guarantee
    n_requested, n_forgotten, n_already_forgotten, n_remaining : int
        Distinct rows asked for; rows that left now; rows that had left before; rows that
        are still part of the training set.
    sample_id : tuple of int or str
        Of the rows that left now. Positions where ``fit`` was given no ids; otherwise
        keyed hashes of the ids, since an id can be personal data: check one with
        :meth:`ForgetLedger.covers`.
    cost : ForgetCost
    seconds : float
        Wall-clock time of the request.
    solver : dict or None
        What the method reports about its own computation: iterations, residuals, sizes
        of steps, predicted and actual effects. Losses are means over the rows that left:
        after a request for one row, that row's own.
    advice : tuple of str
        Messages of :class:`~sk_unlearn.exceptions.RetrainAdvisedWarning`.
    digest_before, digest_after : str
        SHA-256 of the model's state.
    versions : dict
        Of Python and the libraries that computed the result.
    """

    method: str
    guarantee: Guarantee
    n_requested: int
    n_forgotten: int
    n_already_forgotten: int
    n_remaining: int
    sample_id: tuple
    cost: ForgetCost
    seconds: float
    digest_before: str
    digest_after: str
    solver: dict[str, Any] | None = None
    advice: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=lambda: dict(library_versions()))

    def __str__(self):
        lines = [
            f"{self.method} forgot {self.n_forgotten} of {self.n_requested} rows asked for "
            f"({self.n_already_forgotten} were forgotten before); {self.n_remaining} remain.",
            f"guarantee: {self.guarantee}; {self.seconds:.3g} s, "
            f"{self.cost.gradient_passes:.3g} gradient passes, "
            f"{self.cost.share_of_retrain:.1%} of a retrain",
            *self.advice,
        ]
        return "\n".join(lines)

    def to_dict(self):
        """Plain Python types only, ready for JSON."""
        return json.loads(json.dumps(asdict(self), default=_plain))


@cache
def library_versions():
    """Versions of everything that can change the bits of a result."""
    names = ("sk-unlearn", "torch", "skorch", "scikit-learn", "numpy", "scipy")
    return {"python": platform.python_version(), **{name: _version(name) for name in names}}


def _version(name):
    try:
        return version(name)
    except PackageNotFoundError:  # on the path, but not installed
        return "unknown"


@dataclass(frozen=True)
class ForgetLedger(Sequence):
    """The receipts of an estimator since its last ``fit``, oldest first.

    A sequence of :class:`ForgetReceipt`. It also remembers, as keyed hashes, which ids
    and groups left, so that asking for them again is recognised as a no-op.

    Examples
    --------
    >>> from sk_unlearn.receipts import ForgetLedger
    >>> ledger = ForgetLedger()
    >>> len(ledger), ledger.covers("r-0042")
    (0, False)
    """

    receipts: tuple[ForgetReceipt, ...] = ()
    _ids: frozenset = field(default=frozenset(), repr=False)
    _groups: dict[str, int] = field(default_factory=dict, repr=False)
    _key: bytes = field(default_factory=lambda: secrets.token_bytes(16), repr=False)

    def __len__(self):
        return len(self.receipts)

    def __getitem__(self, index):
        return self.receipts[index]

    def __repr__(self):
        n_rows = sum(receipt.n_forgotten for receipt in self)
        return f"<ForgetLedger: {len(self)} receipts, {n_rows} rows forgotten>"

    def covers(self, sample_id):
        """Whether the row with this id was forgotten.

        Parameters
        ----------
        sample_id : int or str
            As given to ``fit``; a position if ``fit`` was given no ids.

        Returns
        -------
        covered : bool
        """
        return self.knows_id(sample_id) or any(sample_id in r.sample_id for r in self)

    def knows_id(self, sample_id):
        """Whether an id given to ``fit`` was forgotten."""
        return self.hash(sample_id) in self._ids

    def rows_of_group(self, group):
        """Number of rows of a group that were forgotten."""
        return self._groups.get(self.hash(group), 0)

    def hash(self, key):
        """Keyed hash under which this ledger lists an id or a group."""
        if isinstance(key, np.generic):
            key = key.item()  # equal keys are listed once, whatever their type in NumPy
        text = f"{type(key).__name__}:{key}".encode("utf-8", "surrogatepass")
        return blake2b(text, digest_size=16, key=self._key).hexdigest()

    def labels(self, rows, hit):
        """Names of rows on a receipt: positions, or hashes of ids given to ``fit``."""
        if rows.sample_id is None:
            return tuple(rows.position[hit].tolist())
        return tuple(self.hash(key) for key in rows.sample_id[hit].tolist())

    def add(self, receipt, rows, hit):
        """Ledger with one more receipt.

        Parameters
        ----------
        receipt : ForgetReceipt
        rows : TrainingRows
            Before the request.
        hit : ndarray of int
            Rows that left.

        Returns
        -------
        ledger : ForgetLedger
        """
        ids = set() if rows.sample_id is None else set(self.labels(rows, hit))
        groups = dict(self._groups)
        if rows.groups is not None:
            for key in rows.groups[hit].tolist():
                hashed = self.hash(key)
                groups[hashed] = groups.get(hashed, 0) + 1
        return replace(
            self, receipts=(*self.receipts, receipt), _ids=self._ids | ids, _groups=groups
        )

    def to_json(self, **options):
        """Receipts as a JSON array; ``options`` go to :func:`json.dumps`."""
        return json.dumps([receipt.to_dict() for receipt in self], **options)

    def to_frame(self):
        """One row a receipt, as a pandas DataFrame (extra "plot")."""
        pd = import_optional("pandas", extra="plot", needed_for="A table of receipts")

        return pd.json_normalize([receipt.to_dict() for receipt in self])


def _plain(value):
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} in a receipt is not serialisable")
