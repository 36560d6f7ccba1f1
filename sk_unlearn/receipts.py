"""What was forgotten, how, at what cost and under which guarantee."""

import json
import platform
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch

from sk_unlearn._state_version import VersionedState
from sk_unlearn.utils._optional import import_optional
from sk_unlearn.utils._values import plain_scalar, read_values

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


def _now():
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True)
class ForgetReceipt(VersionedState):
    """Record of one request.

    Attributes
    ----------
    method : str
        Class name of the estimator; of a pipeline also that of its last step, as in
        "ForgetPipeline(PumaClassifier)".
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
    versions, versions_at_fit : dict of str to str
        Of Python, the libraries and the processor, when the request was answered and when the
        model was fitted.
    caveat : str or None
        What limits the guarantee: versions that changed between the two.
    time : str
        When the result was there, in UTC: ISO 8601.
    note : str or None
        As given to ``forget``, for example the number of a ticket.
    groups : tuple of str
        Keyed hashes of the groups that were asked for, as in ``sample_id``.
    parameters : dict
        Of the estimator, when the request was answered: plain values as they are, anything
        else by its kind.
    epoch : int
        The fit that the model is of, counted from 1; see :class:`ForgetLedger`.
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
    versions_at_fit: dict[str, str] | None = None
    caveat: str | None = None
    time: str = field(default_factory=_now)
    note: str | None = None
    groups: tuple[str, ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict)
    epoch: int = 1

    def __str__(self):
        lines = [
            f"{self.method} forgot {self.n_forgotten} of {self.n_requested} rows asked for "
            f"({self.n_already_forgotten} were forgotten before); {self.n_remaining} remain.",
            f"guarantee: {self.guarantee}; {self.seconds:.3g} s, "
            f"{self.cost.gradient_passes:.3g} gradient passes, "
            f"{self.cost.share_of_retrain:.1%} of a retrain",
            f"{self.time[:19].replace('T', ' ')} UTC" + (f"; {self.note}" if self.note else ""),
            *([self.caveat] if self.caveat else []),
            *self.advice,
        ]
        return "\n".join(lines)

    def to_dict(self):
        """Plain Python types only, ready for JSON."""
        return json.loads(json.dumps(asdict(self), default=_plain))


@cache
def library_versions():
    """Versions of everything that can change the bits of a result, the processor's too."""
    names = ("sk-unlearn", "torch", "skorch", "scikit-learn", "numpy", "scipy")
    return {
        "python": platform.python_version(),
        **{name: _version(name) for name in names},
        # libraries choose their kernels by it
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
    }


def changed_versions(versions_at_fit):
    """What to say where the versions now differ from those at ``fit``; None where not.

    Parameters
    ----------
    versions_at_fit : dict of str to str

    Returns
    -------
    caveat : str or None
    """
    now = library_versions()
    changed = [
        f"{name} {versions_at_fit.get(name, 'unknown')} -> {now.get(name, 'unknown')}"
        for name in {**versions_at_fit, **now}
        if versions_at_fit.get(name) != now.get(name)
    ]
    if not changed:
        return None
    return (
        f"since fit, versions have changed ({', '.join(changed)}): what is trained now may differ "
        "in its last bits from what was trained then, and a guarantee of exactness holds up to "
        "that. Fit again for it to hold bit for bit."
    )


def _version(name):
    try:
        return version(name)
    except PackageNotFoundError:  # on the path, but not installed
        return "unknown"


@dataclass(frozen=True)
class ForgetLedger(VersionedState, Sequence):
    """The receipts of an estimator, oldest first.

    A sequence of :class:`ForgetReceipt`. It also remembers, as keyed hashes, which ids and
    groups left, so that asking for them again is recognised as a no-op.

    A new ``fit`` keeps the ledger and starts its next *epoch*: receipts of earlier ones stay, and
    say by their ``epoch`` which fit they are of. Ids and groups forgotten earlier stay known, so
    that ``fit`` can name those that come back (``on_return``). Positions mean rows of one fit
    only, and cannot be known in the next. A clone starts with an empty ledger.

    Attributes
    ----------
    receipts : tuple of ForgetReceipt
    epoch : int
        Number of fits, the one that the estimator is of included.
    versions : dict of str to str
        Of Python, the libraries and the processor at that fit.
    parameters : dict of str to object
        Of the estimator and of what it wraps at that fit, as plain values.

    Examples
    --------
    >>> from sk_unlearn.receipts import ForgetLedger
    >>> ledger = ForgetLedger()
    >>> len(ledger), ledger.covers("r-0042")
    (0, False)
    >>> ledger.covers(["r-0042", "r-0043"])
    array([False, False])
    """

    receipts: tuple[ForgetReceipt, ...] = ()
    epoch: int = 1
    versions: dict[str, str] = field(default_factory=lambda: dict(library_versions()), repr=False)
    parameters: dict = field(default_factory=dict, repr=False)
    # by hash: the epoch in which an id was forgotten last; rows lost by a group since its last fit
    _ids: dict[str, int] = field(default_factory=dict, repr=False)
    _groups: dict[str, int] = field(default_factory=dict, repr=False)
    # groups of which no row remained, and what of the forgotten is in the training data again
    _erased: frozenset = field(default=frozenset(), repr=False)
    _back: frozenset = field(default=frozenset(), repr=False)
    _by_position: bool = field(default=False, repr=False)  # no ids were given to the last fit
    _key: bytes = field(default_factory=lambda: secrets.token_bytes(16), repr=False)

    def __len__(self):
        return len(self.receipts)

    def __getitem__(self, index):
        return self.receipts[index]

    def __repr__(self):
        n_rows = sum(receipt.n_forgotten for receipt in self)
        fits = f" in {self.epoch} fits" if self.epoch > 1 else ""
        return f"<ForgetLedger: {len(self)} receipts, {n_rows} rows forgotten{fits}>"

    @property
    def of_last_fit(self):
        """tuple of ForgetReceipt: those of the fit that the estimator is of."""
        return tuple(receipt for receipt in self if receipt.epoch == self.epoch)

    def covers(self, sample_id=None, *, groups=None):
        """Whether rows, or all rows of groups, were forgotten and are still out of the model.

        What a later ``fit`` was given again, under the same ids or groups, is not covered until
        it is forgotten again.

        Parameters
        ----------
        sample_id : int, str or array-like of shape (n_keys,)
            As given to ``fit``; positions in the last ``fit`` if it was given no ids.
        groups : int, str or array-like of shape (n_keys,)
            As given to ``fit``; covered where no row of the group remained. One of the two.

        Returns
        -------
        covered : bool, or ndarray of shape (n_keys,), bool

        Raises
        ------
        ValueError
            If not one of the two is given, or it holds anything but int and str.
        """
        if (sample_id is None) == (groups is None):
            raise ValueError("covers takes one of sample_id and groups, got both or none of them.")
        if sample_id is None:
            (keys, single), covers = _keys(groups, "groups"), self._covers_group
        else:
            (keys, single), covers = _keys(sample_id, "sample_id"), self._covers_row
        covered = [covers(key) for key in keys]
        return covered[0] if single else np.array(covered, dtype=bool)

    def _covers_row(self, key):
        hashed, is_position = self.hash(key), self._by_position and not isinstance(key, str)
        if hashed in self._ids and not is_position:
            return ("sample_id", hashed) not in self._back
        return not isinstance(key, str) and any(key in r.sample_id for r in self.of_last_fit)

    def _covers_group(self, key):
        hashed = self.hash(key)
        return hashed in self._erased and ("groups", hashed) not in self._back

    def knows_id(self, sample_id, *, this_epoch=False):
        """Whether an id given to ``fit`` was forgotten, at any time or since the last ``fit``."""
        epoch = self._ids.get(self.hash(sample_id))
        return epoch == self.epoch if this_epoch else epoch is not None

    def rows_of_group(self, group):
        """Number of rows of a group that were forgotten since the last ``fit`` that had it."""
        return self._groups.get(self.hash(group), 0)

    def returned(self, rows, forget=None):
        """Forgotten ids and erased groups that new training data holds.

        Parameters
        ----------
        rows : TrainingRows
            Of the new fit.
        forget : ndarray of shape (n_rows,), bool, default=None
            Rows that are forgotten at once, and do not count.

        Returns
        -------
        returned : dict of str to list
            Keys under "sample_id" and "groups", in the order of the rows; without empty ones.
        """
        known = {"sample_id": (rows.sample_id, self._ids), "groups": (rows.groups, self._erased)}
        found = {}
        for name, (keys, forgotten) in known.items():
            if keys is not None and forgotten:
                keys = keys if forget is None else keys[~forget]
                keys = [key for key in dict.fromkeys(keys.tolist()) if self.hash(key) in forgotten]
                found |= {name: keys} if keys else {}
        return found

    def next_epoch(self, rows, returned):
        """Ledger of a new fit on ``rows``, of which :meth:`returned` found some."""
        groups = dict(self._groups)
        if groups and rows.groups is not None:  # these are counted anew
            for key in set(rows.groups.tolist()):
                groups.pop(self.hash(key), None)
        return replace(
            self,
            epoch=self.epoch + 1,
            versions=dict(library_versions()),
            _groups=groups,
            _back=self._hashes(returned),
            _by_position=rows.sample_id is None,
        )

    def readmit(self, returned):
        """Ledger of the same fit, to which rows were added that :meth:`returned` found."""
        return replace(self, _back=self._back | self._hashes(returned))

    def _hashes(self, returned):
        return frozenset((name, self.hash(key)) for name, keys in returned.items() for key in keys)

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
        ids, groups, erased = dict(self._ids), dict(self._groups), set()
        if rows.sample_id is not None:
            ids |= dict.fromkeys(self.labels(rows, hit), self.epoch)
        if rows.groups is not None and len(hit):
            remain = set(np.delete(rows.groups, hit).tolist())
            for key, n_rows in Counter(rows.groups[hit].tolist()).items():
                hashed = self.hash(key)
                groups[hashed] = groups.get(hashed, 0) + n_rows
                erased |= set() if key in remain else {hashed}
        gone = {("groups", key) for key in erased}
        if rows.sample_id is not None:
            gone |= {("sample_id", key) for key in self.labels(rows, hit)}
        return replace(
            self,
            receipts=(*self.receipts, receipt),
            _ids=ids,
            _groups=groups,
            _erased=self._erased | erased,
            _back=self._back - gone,
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


def _keys(values, name):
    """The keys of an array-like or the only one, as a request reads them, and which of the two."""
    single = plain_scalar(values) is not None
    if single:
        values = [values]
    elif isinstance(values, (np.ndarray, torch.Tensor)) and values.ndim == 0:
        values, single = values.reshape(1), True
    keys = read_values(values, name)
    if keys.dtype == bool:
        raise ValueError(f"{name} must hold int or str, got {bool(keys[0])} of type bool.")
    return keys.tolist(), single
