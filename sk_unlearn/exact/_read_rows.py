"""The rows of a closed-form model: how they are checked, read as numbers, and kept."""

from copy import deepcopy

import numpy as np

from sk_unlearn.base import BaseForgetEstimator
from sk_unlearn.exact._closed_form_checks import (
    check_alpha,
    check_inputs,
    check_public,
    check_training_rows,
    check_weights,
    check_width,
)
from sk_unlearn.exact._embedding import (
    EmbeddedRows,
    Embedding,
    check_features,
    is_plain,
    is_trained_here,
)
from sk_unlearn.exact._public import train_on_public
from sk_unlearn.exact._row_blocks import BlockedRows, RowBlocks, slots_of
from sk_unlearn.exceptions import ForgetRequestError
from sk_unlearn.utils._ids import check_forget_mask, check_keys, check_sample_id
from sk_unlearn.utils._sklearn import num_samples
from sk_unlearn.utils._threads import reproducible_threads

__all__ = ["BaseReadRows"]

# Columns, beyond which more components are worth their time. How many: on splits 100 to 103 of
# images 1,536 were less accurate than the default net by .4 points, 2,048 took half of its time.
_WIDE = 256
_FEW, _MANY = 1024, 1792


class BaseReadRows(BaseForgetEstimator):
    """Rows that are read by a feature map, and kept as read or as they came.

    Subclasses have the parameters ``features``, ``layer`` and ``keep`` of
    :class:`~sk_unlearn.ClosedFormClassifier`.
    """

    def _check_training_data(self, X, y):
        """Validate; return rows as they are kept, and targets."""
        X, y = check_training_rows(self, X, y)
        if is_trained_here(self.features):
            return X, y
        self._embed(X)
        return check_inputs(X, type(self).__name__) if self._keeps_inputs else self._read(X), y

    def _check_fit(self, X, y, sample_id, groups, forget, fit_params):
        owner = type(self).__name__
        fit_params = {name: value for name, value in fit_params.items() if value is not None}
        public, weights = fit_params.pop("public", None), fit_params.pop("sample_weight", None)
        self._check_fit_params(fit_params)
        check_features(self.features, owner, public=public is not None)
        check_alpha(self.alpha, self.head, owner)
        if not is_plain(self.features) and public is None:
            self.features_ = deepcopy(self.features)  # what it is to others may change
        X, y = self._check_training_data(X, y)
        n_rows, params = num_samples(X), {}
        if sample_id is not None:
            sample_id = check_sample_id(sample_id, n_rows, owner=owner)
        if groups is not None:
            groups = check_keys(groups, n_rows, name="groups", owner=owner)
        if weights is not None:
            params["sample_weight"] = check_weights(weights, n_rows, f"{owner}.fit")
        if public is not None:
            params["public"] = check_public(public, n_rows, owner)
        rows = BlockedRows(
            RowBlocks.of(X),
            RowBlocks.of(y),
            n_rows,
            sample_id=sample_id,
            groups=groups,
            fit_params=params,
            per_row=frozenset(params),
            position=slots_of(n_rows),
        )
        mask = None if forget is None else check_forget_mask(forget, n_rows, owner=owner)
        return rows, mask

    def _embed(self, X):
        """Set how rows are read from now on."""
        with reproducible_threads():
            self._embedding_ = Embedding(vars(self).get("features_", self.features), self.layer, X)

    def _read_again(self, X):
        """Rows that change the model, of which others were read before."""
        self._embedding_.check_device(type(self).__name__)
        return self._read(X)

    def _read(self, X):
        """Rows as numbers, after ``features``."""
        with reproducible_threads():
            rows = self._embedding_(X)
        check_width(self._n_features(rows.shape[1]), type(self).__name__)
        return rows

    def _n_features(self, n_columns):
        if self.features is not None:
            return n_columns
        return self.n_components or (_MANY if n_columns > _WIDE else _FEW)

    def _train_features(self, rows):
        """Train the net on the public rows, and read all rows through it, once or at need."""

        def encode(y):
            return np.searchsorted(np.unique(y), y) if self._classification else self._encode(y)

        self.features_ = train_on_public(self.features, self._seed_, rows, encode)
        self._embed(rows.X[:])
        if self.keep == "features":
            made = self._read(rows.X[:])
            placed = np.zeros((rows.position[-1] + 1, *made.shape[1:]), dtype=made.dtype)
            placed[rows.position] = made
            whole = RowBlocks.of(placed)
            self._made_ = RowBlocks(whole.blocks, rows.position, whole.size)

    def _kept(self, rows):
        """The rows as they are read."""
        if "_made_" in vars(self):
            return self._made_
        return EmbeddedRows(rows.X, self._read_again) if self._keeps_inputs else rows.X

    @property
    def _keeps_inputs(self):
        anew = self.keep == "inputs" and not is_plain(self.features)
        return anew or is_trained_here(self.features)

    def _check_remaining(self, hit):
        params = self._rows_.fit_params
        for name, least, what in (
            ("sample_weight", 1, "with a sample_weight above 0"),
            ("public", 2, "that are public, on which the net of features= is trained"),
        ):
            if name in params and np.count_nonzero(np.delete(params[name], hit)) < least:
                raise ForgetRequestError(
                    f"The request leaves fewer than {least} rows {what}. Fit again without them."
                )
