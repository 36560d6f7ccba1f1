"""A model that is a function of exact sums: it forgets by subtracting."""

import numbers

import numpy as np
import torch
from scipy import sparse
from sklearn.utils import column_or_1d, indexable
from sklearn.utils.validation import validate_data
from tqdm.auto import tqdm

from sk_unlearn.base import BaseForgetEstimator, Removal
from sk_unlearn.exact._embedding import check_features, embed, is_plain
from sk_unlearn.exact._frame import Frame
from sk_unlearn.exact._heads import HEADS
from sk_unlearn.exact._maps import FourierMap, LinearMap
from sk_unlearn.exact._moments import ColumnMoments
from sk_unlearn.exact._row_blocks import BlockedRows, RowBlocks
from sk_unlearn.exact._sample import Sample
from sk_unlearn.exact._sums import Sums
from sk_unlearn.exceptions import ForgetRequestError
from sk_unlearn.nets import is_net
from sk_unlearn.nets._inspect import keeps_integers
from sk_unlearn.receipts import ForgetCost, Guarantee
from sk_unlearn.utils._ids import check_forget_mask, check_keys, check_sample_id
from sk_unlearn.utils._inputs import (
    check_labels,
    check_net_input,
    check_net_training_data,
    check_targets,
)
from sk_unlearn.utils._seeding import derive_seed
from sk_unlearn.utils._sklearn import Interval, StrOptions, num_samples
from sk_unlearn.utils._threads import reproducible_threads

__all__ = ["BaseClosedForm"]

_GAMMA = 0.25  # over the number of columns
_WIDE = 256  # columns, beyond which twice as many components are worth their time
_MOST_FEATURES = 2**14  # of which the sums of products take 2 GiB
_CHUNK = 2**21  # numbers at a time


class BaseClosedForm(BaseForgetEstimator):
    """Sums of integer features, and a head computed from them."""

    guarantee = Guarantee("exact")
    estimator = None  # nothing is wrapped

    _parameter_constraints: dict = {
        "features": "no_validation",
        "alpha": [
            Interval(numbers.Real, 0, None, closed="neither"),
            StrOptions({"auto"}),
            "array-like",
        ],
        "n_components": [Interval(numbers.Integral, 1, _MOST_FEATURES, closed="both"), None],
        "gamma": [Interval(numbers.Real, 0, None, closed="neither"), None],
        "layer": [str, None],
        "scaling": [StrOptions({"auto", "common", "columns"}), None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    __metadata_request__fit = {
        "sample_id": True,
        "groups": True,
        "forget": True,
        "sample_weight": None,
    }

    head = "ridge"

    def _check_training_data(self, X, y):
        """Validate; return rows as they are read, and targets."""
        owner = type(self).__name__
        check_features(self.features, owner)
        self._check_alpha()
        if y is None:
            raise ValueError(f"{owner} requires y to be passed, but the target y is None")
        if is_plain(self.features) and sparse.issparse(X):
            X, y = self._check_sparse(X, y)
        elif is_plain(self.features) or is_net(self._frozen()):
            net = None if is_plain(self.features) else self._frozen()
            X, y = check_net_training_data(
                self,
                X,
                y,
                classification=self._classification,
                keep_integers=net is not None and keeps_integers(net, X),
            )
        else:
            check_targets(y, owner=owner, classification=self._classification)
            X, y = indexable(X, np.asarray(y))
            if self._classification:
                y = column_or_1d(y, warn=True)
                check_labels(y)
        with reproducible_threads():
            rows = embed(self.features, self.layer, X)
        n_features = self._n_features(rows.shape[1])
        if n_features > _MOST_FEATURES:
            raise ValueError(
                f"{owner} keeps sums of products of all pairs of features, at most "
                f"{_MOST_FEATURES} of them, got {n_features}. Take features=None with "
                "n_components, or reduce the columns, for example HashingVectorizer(n_features="
                "2**12)."
            )
        return rows, y

    def _check_sparse(self, X, y):
        check_targets(y, owner=type(self).__name__, classification=self._classification)
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse="csr",
            dtype=(np.float32, np.float64),
            multi_output=not self._classification,
            y_numeric=not self._classification,
        )
        if self._classification:
            check_labels(y)
        self._row_shape_, self._integer_rows_ = X.shape[1:], False
        return X, y

    def _check_alpha(self):
        alpha = self.alpha
        if isinstance(alpha, (str, numbers.Real)):
            return
        where = f"The 'alpha' parameter of {type(self).__name__}"
        if self.head != "ridge":
            raise ValueError(f"{where} must be a number or 'auto' with head={self.head!r}.")
        values = np.asarray(alpha, dtype=object)
        if values.ndim != 1 or not len(values):
            raise ValueError(f"{where} must be a number, 'auto' or a list, got {alpha!r}.")
        for value in values:
            if not isinstance(value, numbers.Real) or not 0 < value < float("inf"):
                raise ValueError(f"{where} must hold positive numbers, got {value!r}.")

    def _check_fit(self, X, y, sample_id, groups, forget, fit_params):
        X, y = self._check_training_data(X, y)
        n_rows, owner = num_samples(X), type(self).__name__
        if sample_id is not None:
            sample_id = check_sample_id(sample_id, n_rows, owner=owner)
        if groups is not None:
            groups = check_keys(groups, n_rows, name="groups", owner=owner)
        fit_params = {name: value for name, value in fit_params.items() if value is not None}
        weights = fit_params.pop("sample_weight", None)
        self._check_fit_params(fit_params)
        params = {} if weights is None else {"sample_weight": _whole(weights, n_rows, owner)}
        rows = BlockedRows(
            RowBlocks.of(X),
            RowBlocks.of(y),
            n_rows,
            sample_id=sample_id,
            groups=groups,
            fit_params=params,
            per_row=frozenset(params),
            position=np.arange(n_rows),
        )
        mask = None if forget is None else check_forget_mask(forget, n_rows, owner=owner)
        return rows, mask

    def _frozen(self):
        """The trained object behind ``features``."""
        return getattr(self.features, "estimator", self.features)

    def _n_features(self, n_columns):
        if self.features is not None:
            return n_columns
        return self.n_components or (2048 if n_columns > _WIDE else 1024)

    def _fit_rows(self, rows):
        n_columns = rows.X.shape[1]
        if self.features is None:
            gamma = _GAMMA / n_columns if self.gamma is None else float(self.gamma)
            seed = derive_seed(self._seed_, "features")
            self._map_ = FourierMap(n_columns, self._n_features(n_columns), gamma, seed)
        else:
            self._map_ = LinearMap(n_columns)
        self._map_digest_ = self._map_.digest
        self._moments_ = ColumnMoments.none(n_columns)
        for slots, part in rows.X.chunks(_CHUNK // n_columns):
            self._moments_ += ColumnMoments.of(part, _weights(rows, slots))
        self._start_targets(rows)
        self._frame_ = self._new_frame(rows)
        self._accumulate(rows)
        self._sample_ = Sample.draw(
            self._seed_, rows.position, rows.ids, lambda slots: self._features_of(rows, slots)
        )
        self._fit_head(rows)

    def _forget_rows(self, rows, retained, hit):
        slots = rows.position[hit]
        moved = self._subtract(rows, retained, slots)
        self._fit_head(retained)
        cost = self._cost(len(hit), len(retained), moved)
        return Removal(cost, {"accumulated_anew": moved, "alpha": self.alpha_})

    def _check_remaining(self, hit):
        weights = self._rows_.fit_params.get("sample_weight")
        if weights is not None and not np.delete(weights, hit).any():
            raise ForgetRequestError(
                "The request leaves only rows with sample_weight 0, which say nothing; at least "
                "one that counts must remain."
            )

    def _subtract(self, rows, retained, slots):
        """Bring the sums to where they are without some rows; whether all were taken anew."""
        before = self._frame_
        frame = self._frame_without(rows, slots)
        leave = (rows.X.take(slots), rows.y.take(slots), _weights(rows, slots))
        self._moments_ -= ColumnMoments.of(leave[0], leave[2])
        self._leave_targets(leave[1], leave[2])
        self._frame_ = frame
        moved = frame != before

        def features_of(wanted):
            return self._features_of(retained, wanted)

        if moved:
            self._accumulate(retained)
        else:
            features, n_cut = self._map_(leave[0], frame[0])
            targets, counts = self._target_numbers(leave[1]), _tensor(leave[2])
            self._sums_ = self._sums_.plus(features, targets, counts, n_cut, sign=-1)
        self._restrict_targets()
        self._sample_ = self._sample_.without(
            self._seed_, slots, retained.position, retained.ids, features_of
        )
        if moved:
            self._sample_ = self._sample_.renewed(features_of)
        return moved

    def _removal_cost(self, rows, hit):
        slots = rows.position[hit]
        moved = self._frame_without(rows, slots) != self._frame_
        return self._cost(len(hit), len(rows) - len(hit), moved)

    def _cost(self, n_forgotten, n_retained, moved):
        """Work in multiplications: features and sums of some rows, and the head."""
        width, columns = self._map_.n_features, self._map_.n_columns
        a_row = width * (width + (columns if self.features is None else 0))
        head = width**3 / 3
        whole = n_retained * a_row + head
        share = 1.0 if moved else min(1.0, (n_forgotten * a_row + head) / whole)
        return ForgetCost(n_forgotten, n_retained if moved else 0, float("nan"), share)

    def _frame_without(self, rows, slots):
        moments = self._moments_ - ColumnMoments.of(rows.X.take(slots), _weights(rows, slots))
        leave = rows.y.take(slots), _weights(rows, slots)
        return self._input_frame(moments, rows), self._target_frame(*leave)

    def _new_frame(self, rows):
        return self._input_frame(self._moments_, rows), self._target_frame()

    def _input_frame(self, moments, rows):
        return Frame.of(moments, self.scaling, centred=not rows.X.is_sparse)

    def _accumulate(self, rows):
        """Sums of all rows, from their features in the present frame."""
        width = self._map_.n_features
        sums = Sums.none(
            width,
            self._n_targets(),
            gram=self.head != "naive_bayes",
            squares=self.head == "naive_bayes",
        )
        chunks = rows.X.chunks(_CHUNK // max(width, self._map_.n_columns))
        if self.verbose:
            chunks = tqdm(chunks, desc="summing", unit="chunk", leave=False)
        for slots, part in chunks:
            features, n_cut = self._map_(part, self._frame_[0])
            targets = self._target_numbers(rows.y.take(slots))
            sums = sums.add(features, targets, _tensor(_weights(rows, slots)), n_cut)
        self._sums_ = sums

    def _features_of(self, rows, slots):
        return self._map_(rows.X.take(slots), self._frame_[0])[0]

    def _fit_head(self, rows):
        self._sums_.check_exact(type(self).__name__, self._target_power())
        slots = self._sample_.slots
        counts = _weights(rows, slots)
        counts = torch.ones(len(slots), dtype=torch.float64) if counts is None else counts
        sample = (
            self._sample_.features,
            self._target_numbers(rows.y.take(slots)),
            _tensor(counts),
        )
        alpha = self.alpha if isinstance(self.alpha, (str, numbers.Real)) else list(self.alpha)
        self._fitted_ = HEADS[self.head](
            self._sums_,
            self._map_.penalty_unit,
            alpha,
            sample,
            classification=self._classification,
        )
        self.alpha_ = self._fitted_.alpha
        self.cut_share_ = self._sums_.n_cut / (len(rows) * self._map_.n_columns)

    def _outputs(self, X, score=None):
        """What ``score`` says of the features of new rows, discriminants if None, in chunks."""
        score = self._score if score is None else score
        rows = self._read(X)
        step = max(1, _CHUNK // max(self._map_.n_features, self._map_.n_columns))
        parts = [rows[start : start + step] for start in range(0, rows.shape[0], step)]
        return np.concatenate([score(self._map_(part, self._frame_[0])[0]) for part in parts])

    def _score(self, features):
        return self._fitted_(features).numpy()

    def _read(self, X):
        """New rows as they are read, after the checks that fit made of its own."""
        if is_plain(self.features):
            if sparse.issparse(X):
                X = validate_data(
                    self, X, accept_sparse="csr", dtype=(np.float32, np.float64), reset=False
                )
                return X if self._rows_.X.is_sparse else X.toarray()
            X = check_net_input(self, X)
        elif is_net(self._frozen()):
            X = check_net_input(self, X)
        with reproducible_threads():
            rows = embed(self.features, self.layer, X)
        if rows.shape[1] != self._map_.n_columns:
            raise ValueError(
                f"{type(self).__name__} was fitted on {self._map_.n_columns} features from "
                f"features=, got {rows.shape[1]}."
            )
        return rows

    def _model_state(self):
        model = super()._model_state()
        frames = [None if frame is None else frame.state for frame in self._frame_]
        return {**model, **self._fitted_.state, "frames": frames, "map": self._map_digest_}

    def _exact_state(self):
        rows, state = self._rows_, dict(vars(self))
        del state["receipts_"]
        weights = rows.fit_params.get("sample_weight")
        state["_rows_"] = (rows.X[:], rows.y[:], rows.sample_id, rows.groups, weights)
        order = {slot: row for row, slot in enumerate(rows.position.tolist())}
        chosen = [rows.ids[order[slot]] for slot in self._sample_.slots.tolist()]
        state["_sample_"] = (chosen, self._sample_.features)
        return state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _weights(rows, slots):
    """Weights of the rows at some slots; None where all count once."""
    weights = rows.fit_params.get("sample_weight")
    return None if weights is None else weights[np.searchsorted(rows.position, slots)]


def _tensor(values):
    return None if values is None else torch.as_tensor(values).to(torch.float64)


def _whole(weights, n_rows, owner):
    """Weights that say how often each row counts."""
    where = f"The 'sample_weight' parameter of {owner}.fit"
    weights = np.asarray(weights)
    if weights.shape != (n_rows,):
        raise ValueError(
            f"{where} must have shape (n_samples,) = ({n_rows},), got shape {weights.shape}."
        )
    if weights.dtype.kind not in "fiu" or not np.isfinite(weights).all():
        raise ValueError(f"{where} must hold integers, got dtype {weights.dtype}.")
    odd = (weights != np.rint(weights)) | (weights < 0) | (weights > 2**20)
    if odd.any():
        raise ValueError(
            f"{where} must hold integers from 0 to 2^20, which say how often a row counts: sums "
            f"of others would not be exact. Got {weights[odd][0]!r}. Multiply all by a factor "
            "that makes them whole."
        )
    if not weights.any():
        raise ValueError(f"{where} must hold a positive number, all are 0.")
    return weights.astype(np.int64)
