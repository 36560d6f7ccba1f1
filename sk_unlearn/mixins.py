"""What classifiers and regressors add to the contract: labels in, labels out."""

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import get_tags

from sk_unlearn.exceptions import UnsupportedNetError
from sk_unlearn.nets import GridScale, class_settings, default_regressor
from sk_unlearn.nets._scale_warnings import warn_of_inputs, warn_of_scales

__all__ = ["ForgetClassifierMixin", "ForgetRegressorMixin", "adopted_columns", "restrict_columns"]


def adopted_columns(classes):
    """Outputs of an already trained net that stand for the classes: their own values.

    Raises
    ------
    UnsupportedNetError
        If labels are not the integers that a net is trained on.
    """
    if classes.dtype.kind not in "iub" or classes.min() < 0:
        raise UnsupportedNetError(
            "A trained net is adopted with the labels it was trained on, integers from 0 that "
            f"number its outputs, got labels {classes[:3]}... Encode y the way the net was "
            "trained, or pass the net without FrozenEstimator so that it is trained here."
        )
    return classes.astype(np.int64)


def restrict_columns(proba, columns):
    """Probabilities of some classes, given that the row belongs to one of them.

    Parameters
    ----------
    proba : ndarray of shape (n_rows, n_outputs)
    columns : ndarray of int
        Distinct, ascending.

    Returns
    -------
    restricted : ndarray of shape (n_rows, len(columns))
        Rows sum to one; uniform where the kept columns hold nothing.
    """
    if len(columns) == proba.shape[1]:
        return proba if columns[-1] == len(columns) - 1 else proba[:, columns]
    kept = proba[:, columns]
    total = kept.sum(axis=1, keepdims=True)
    return np.where(total > 0, kept / np.where(total > 0, total, 1), 1 / len(columns))


class ForgetClassifierMixin(ClassifierMixin):
    """Labels of any kind, encoded here, so that a net only ever sees 0 ... K-1."""

    _classification = True

    def _warn_of_scales(self, X, y):
        if self.estimator is None:
            warn_of_inputs(self, X)
        elif not self._is_adopted:
            warn_of_scales(self, self.estimator, X)

    def _encode(self, y):
        """Positions of labels in ``classes_``, shape (n_rows,), int64."""
        return np.searchsorted(self.classes_, y).astype(np.int64)

    def _set_classes(self, y):
        """Set ``classes_`` to the labels that the rows have."""
        self.classes_ = np.unique(y)

    def _set_outputs(self, *, adopted):
        """Set which output of the net stands for each class."""
        self._columns_ = adopted_columns(self.classes_) if adopted else self._encode(self.classes_)

    def _restrict_classes(self, y):
        """Drop the classes that no row has any more, and their outputs."""
        kept = np.isin(self.classes_, y)
        self.classes_, self._columns_ = self.classes_[kept], self._columns_[kept]

    def _net_target(self, y):
        """Labels as numbers of the net's outputs."""
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise ValueError(f"y holds {unknown[0]!r}, which is not among the classes of fit.")
        return self._columns_[self._encode(y)]

    def _check_class_numbers(self, estimator, classes, sizes):
        """Refuse settings by the number of a class where numbers would not be those of fit.

        Nets see the classes as 0 ... K-1. In a fold that lacks a class, or after one has left,
        entry k of a setting is no longer that of class k, unless the labels are these numbers.
        With one class nothing is left to weigh.

        Parameters
        ----------
        estimator : estimator
        classes : ndarray of shape (K,)
        sizes : set of int
            Entries that such settings have.
        """
        n_classes = len(classes)
        sizes = sizes - {n_classes}
        if n_classes == 1 or not sizes or classes.tolist() == list(range(n_classes)):
            return
        names = class_settings(estimator, sizes)
        if names:
            raise UnsupportedNetError(
                f"{names[0]} of the net in {type(self).__name__}(estimator=...) speaks of "
                f"{max(sizes)} classes by their numbers, and the rows would be of "
                f"{n_classes} classes, numbered from 0: others would take their places. Fit on "
                f"these rows with a setting for {n_classes} classes and as many outputs of the "
                "module, or without it. Only labels that are 0, 1, 2, ... keep their numbers "
                "where the last ones are missing."
            )


class ForgetRegressorMixin(RegressorMixin):
    """Real targets, one or several a row; nets always see two dimensions.

    The default nets see them scaled, and predict in the units of ``y``. A net of the user's
    own sees them as they are: its loss, its last layer and what it reports are made for these.

    Whether several are promised is what the tags of the wrapped estimator say; the default
    nets take them.
    """

    _classification = False
    _target_scale_ = None  # of the one net that was trained on all rows, if it has one

    def _warn_of_scales(self, X, y):
        if self.estimator is not None and not self._is_adopted:
            warn_of_scales(self, self.estimator, X, y)

    def _encode(self, y):
        """Targets of shape (n_rows, n_targets), in the units of the net."""
        y = _columns_of(y)
        return y if self._target_scale_ is None else self._target_scale_.apply(y)

    def _net_target(self, y):
        return self._encode(y)

    def _set_classes(self, y):
        self._target_ndim_ = np.ndim(y)
        self._target_scale_ = None

    def _set_outputs(self, *, adopted):
        self._columns_ = None

    def _restrict_classes(self, y):
        """Nothing to do: targets are not labels."""

    def _decode(self, prediction):
        """Predictions of a net as float64, in the shape that ``y`` had."""
        prediction = prediction.astype(np.float64)
        return prediction.reshape(-1) if self._target_ndim_ == 1 else prediction

    def _default_net(self, X, y, size):
        """Default net for some rows, and the scale of the targets that it is trained on.

        Parameters
        ----------
        X : ndarray of shape (n_rows, ...)
        y : ndarray of n_rows rows
            In the user's units.
        size : int
            Number of rows that sizes and epochs follow from.
        """
        y = _columns_of(y)
        targets = GridScale.of_targets(y)
        net = default_regressor(
            n_features=X[0].size,
            n_outputs=y.shape[1],
            n_rows=size,
            inputs=GridScale.of_inputs(X),
            targets=targets,
        )
        return net, targets

    def _default_estimator(self, rows):
        """Default net for all rows; sets the scale of their targets."""
        net, self._target_scale_ = self._default_net(rows.X, rows.y, len(rows))
        return net

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = self._inner_estimator()
        known = None if inner is None else get_tags(inner).target_tags
        tags.target_tags.multi_output = known is None or known.multi_output
        tags.target_tags.single_output = known is None or known.single_output
        return tags


def _columns_of(y):
    y = np.asarray(y)
    return y[:, None] if y.ndim == 1 else y
