"""A model that is a function of exact sums: it forgets by subtracting."""

import numbers

import numpy as np
import torch
from scipy import sparse
from tqdm.auto import tqdm

from sk_unlearn.base import Removal
from sk_unlearn.exact._closed_form_checks import MOST_FEATURES, check_new_rows
from sk_unlearn.exact._embedding import is_trained_here
from sk_unlearn.exact._frame import Frame
from sk_unlearn.exact._heads import HEADS
from sk_unlearn.exact._maps import FourierMap, LinearMap
from sk_unlearn.exact._moments import ColumnMoments
from sk_unlearn.exact._more_rows import with_more
from sk_unlearn.exact._public import asks_for_public, cost_of_training, warn_of_training
from sk_unlearn.exact._read_rows import BaseReadRows
from sk_unlearn.exact._sample import Sample
from sk_unlearn.exact._sums import Sums
from sk_unlearn.receipts import ForgetCost, Guarantee
from sk_unlearn.utils._digest import state_digest
from sk_unlearn.utils._seeding import derive_seed
from sk_unlearn.utils._sklearn import Interval, StrOptions
from sk_unlearn.utils._transaction import transaction
from sk_unlearn.utils._warn import warn_user

__all__ = ["BaseClosedForm"]

_GAMMA = 0.2  # over the number of columns
_CHUNK = 2**21  # numbers at a time
_MOST_CUT = 0.01


class BaseClosedForm(BaseReadRows):
    """Sums of integer features, and a head computed from them."""

    guarantee = Guarantee("exact")
    estimator = None  # nothing is wrapped
    head = "ridge"
    _instead_of_steps = (
        "leave out the steps that scale, which it does by itself, and keep those that learn "
        "nothing from rows, or that were fitted on others: it then forgets by subtracting"
    )

    _parameter_constraints: dict = {
        "features": "no_validation",
        "alpha": [
            Interval(numbers.Real, 0, None, closed="neither"),
            StrOptions({"auto"}),
            "array-like",
        ],
        "n_components": [Interval(numbers.Integral, 1, MOST_FEATURES, closed="both"), None],
        "gamma": [Interval(numbers.Real, 0, None, closed="neither"), None],
        "layer": [str, None],
        "scaling": [StrOptions({"auto", "common", "columns"}), None],
        "keep": [StrOptions({"features", "inputs"})],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    __metadata_request__fit = {
        "sample_id": True,
        "groups": True,
        "forget": True,
        "public": True,
        "sample_weight": None,
    }
    __metadata_request__partial_fit = {"sample_id": True, "groups": True, "sample_weight": None}

    def partial_fit(
        self,
        X,
        y,
        *,
        sample_id=None,
        groups=None,
        sample_weight=None,
        classes=None,
        on_return="warn",
    ):
        """Add rows, as exactly as :meth:`forget` removes them.

        Whatever the order of additions and removals, the model is that of one ``fit`` on the
        rows that are there. Labels may be new ones. Without a ``fit`` before it is one.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
        sample_id : array-like of shape (n_samples,), int or str, default=None
            Of the new rows, where ``fit`` was given ids; else they are numbered on.
        groups : array-like of shape (n_samples,), int or str, default=None
            Where ``fit`` was given groups.
        sample_weight : array-like of shape (n_samples,), int, default=None
            How often each row counts.
        classes : array-like, default=None
            Not needed: for callers who give all labels to the first call, as to other
            estimators.
        on_return : {"warn", "raise"}, default="warn"
            What to do with rows that were forgotten and are here again under the same ids or
            groups; see :meth:`fit`.

        Returns
        -------
        self : object
        """
        if not self.__sklearn_is_fitted__():
            given = {} if sample_weight is None else {"sample_weight": sample_weight}
            return self.fit(X, y, sample_id=sample_id, groups=groups, on_return=on_return, **given)
        with transaction(self) as change:
            self._validate_params()
            draft = self._as_told()
            with draft._computing():
                with_more(draft, X, y, sample_id, groups, sample_weight, on_return)
            draft._set_as(self)
            change.publish(draft)
        return self

    def _fit_rows(self, rows):
        if is_trained_here(self.features):
            self._train_features(rows)
        kept = self._kept(rows)
        example = kept.take(rows.position[:1])
        n_columns, self._is_sparse_ = example.shape[1], sparse.issparse(example)
        if self.features is None:
            gamma = _GAMMA / n_columns if self.gamma is None else float(self.gamma)
            seed = derive_seed(self._seed_, "features")
            self._map_ = FourierMap(n_columns, self._n_features(n_columns), gamma, seed)
        else:
            self._map_ = LinearMap(n_columns)
        self._map_digest_ = state_digest((self._map_.digest, vars(self).get("features_")))
        self._moments_ = ColumnMoments.none(n_columns)
        for slots, part in kept.chunks(max(1, _CHUNK // n_columns)):
            self._moments_ += ColumnMoments.of(part, rows.weights(slots))
        self._start_targets(rows)
        self._frame_ = self._input_frame(self._moments_), self._target_frame()
        self._accumulate(rows)
        self._sample_ = Sample.draw(
            self._seed_, rows.position, rows.ids, lambda slots: self._features_of(rows, slots)
        )
        self._fit_head(rows)

    def _forget_rows(self, rows, retained, hit):
        if asks_for_public(rows, hit):
            warn_of_training(type(self).__name__, rows, hit)
            cost = self._removal_cost(rows, hit, warn=False)
            self._fit_rows(retained)
            return Removal(cost, {"features": "trained anew", "alpha": self.alpha_})
        moved = self._subtract(rows, retained, rows.position[hit])
        self._fit_head(retained)
        cost = self._cost(len(hit), len(retained), moved)
        return Removal(cost, {"accumulated_anew": moved, "alpha": self.alpha_})

    def _subtract(self, rows, retained, slots):
        """Bring the sums to where they are without some rows; whether all were taken anew."""
        X, y, weights = self._kept(rows).take(slots), rows.y.take(slots), rows.weights(slots)
        self._moments_ -= ColumnMoments.of(X, weights)
        self._leave_targets(y, weights)
        if "_made_" in vars(self):
            self._made_ = self._made_.without(slots, retained.position)
        moved = self._move_frame()
        if moved:
            self._accumulate(retained)
        else:
            features, n_cut = self._map_(X, self._frame_[0])
            targets = self._target_numbers(y)
            self._sums_ = self._sums_.plus(features, targets, _tensor(weights), n_cut, sign=-1)
        self._restrict_targets()

        def features_of(wanted):
            return self._features_of(retained, wanted)

        self._sample_ = self._sample_.without(
            self._seed_, slots, retained.position, retained.ids, features_of
        )
        if moved:
            self._sample_ = self._sample_.renewed(features_of)
        return moved

    def _move_frame(self):
        """Set the frame that the moments ask for; whether it is another one."""
        before = self._frame_
        self._frame_ = self._input_frame(self._moments_), self._target_frame()
        return self._frame_ != before

    def _removal_cost(self, rows, hit, *, warn=True):
        slots, n_retained = rows.position[hit], len(rows) - len(hit)
        if asks_for_public(rows, hit):
            if warn:
                warn_of_training(type(self).__name__, rows, hit)
            passes = cost_of_training(self.features_.estimator, rows, hit)
            return ForgetCost(len(hit), n_retained, passes, 1.0)
        weights = rows.weights(slots)
        without = self._moments_ - ColumnMoments.of(self._kept(rows).take(slots), weights)
        frame = self._input_frame(without), self._target_frame(rows.y.take(slots), weights)
        return self._cost(len(hit), n_retained, frame != self._frame_)

    def _cost(self, n_forgotten, n_retained, moved):
        """Work in multiplications: features and sums of some rows, and the head."""
        width, columns = self._map_.n_features, self._map_.n_columns
        a_row = width * (width + (columns if self.features is None else 0))
        head = width**3 / 3
        part = (n_forgotten * a_row + head) / (n_retained * a_row + head)
        share = 1.0 if moved else min(1.0, part)
        return ForgetCost(n_forgotten, n_retained if moved else 0, 0.0, share)

    def _input_frame(self, moments):
        return Frame.of(moments, self.scaling, centred=not self._is_sparse_)

    def _accumulate(self, rows):
        """Sums of all rows, from their features in the present frame."""
        width, naive = self._map_.n_features, self.head == "naive_bayes"
        # with a net on a GPU, where its features were made
        device = self._embedding_.device
        sums = Sums.none(width, self._n_targets(), gram=not naive, squares=naive, device=device)
        chunks = self._kept(rows).chunks(max(1, _CHUNK // max(width, self._map_.n_columns)))
        if self.verbose:
            chunks = tqdm(chunks, desc="summing", unit="chunk", leave=False)
        for slots, part in chunks:
            features, n_cut = self._map_(part, self._frame_[0])
            targets = self._target_numbers(rows.y.take(slots))
            sums = sums.add(features, targets, _tensor(rows.weights(slots)), n_cut)
        self._sums_ = sums.to("cpu")

    def _features_of(self, rows, slots):
        return self._map_(self._kept(rows).take(slots), self._frame_[0])[0]

    def _fit_head(self, rows):
        owner = type(self).__name__
        self._sums_.check_exact(owner, self._target_power())
        slots = self._sample_.slots
        counts = rows.weights(slots)
        counts = np.ones(len(slots)) if counts is None else counts
        sample = self._sample_.features, self._target_numbers(rows.y.take(slots)), _tensor(counts)
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
        if self.cut_share_ > _MOST_CUT:
            warn_user(
                f"{self.cut_share_:.1%} of the numbers that {owner} reads are more than 32 units "
                "from their centre and count as 32. Take scaling='columns', or bring the columns "
                "to about one unit.",
                UserWarning,
            )

    def _outputs(self, X, score=None):
        """What ``score`` says of the features of new rows, discriminants if None, in chunks."""
        self._check_is_fitted()
        score = self._score if score is None else score
        told = self._as_told()
        rows = told._read(check_new_rows(told, X))
        if rows.shape[1] != self._map_.n_columns:
            raise ValueError(
                f"{type(self).__name__} was fitted on {self._map_.n_columns} numbers a row from "
                f"features=, got {rows.shape[1]}."
            )
        step = max(1, _CHUNK // max(self._map_.n_features, self._map_.n_columns))
        parts = [rows[start : start + step] for start in range(0, rows.shape[0], step)]
        return np.concatenate([score(self._map_(part, self._frame_[0])[0]) for part in parts])

    def _score(self, features):
        return self._fitted_(features).numpy()

    def _model_state(self):
        frames = [None if frame is None else frame.state for frame in self._frame_]
        model = {**super()._model_state(), "frames": frames, "map": self._map_digest_}
        model.pop("features_", None)  # it is in the digest of the map
        return {**model, **self._fitted_.state}

    def _exact_state(self):
        rows, state = self._rows_, dict(vars(self))
        del state["receipts_"]
        state["_rows_"] = (
            np.asarray(rows.X),
            *(rows.y[:], rows.sample_id, rows.groups, rows.fit_params),
        )
        if "_made_" in state:
            state["_made_"] = self._made_[:]
        order = {slot: row for row, slot in enumerate(rows.position.tolist())}
        chosen = [rows.ids[order[slot]] for slot in self._sample_.slots.tolist()]
        state["_sample_"] = (chosen, self._sample_.features)
        return state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _tensor(values):
    return None if values is None else torch.as_tensor(values).to(torch.float64)
