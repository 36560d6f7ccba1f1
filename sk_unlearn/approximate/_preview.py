"""What a request would do to a net, told before it is made."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sk_unlearn.base import Removal
from sk_unlearn.functional import row_losses
from sk_unlearn.nets import rowwise_model
from sk_unlearn.nets._criteria import weighs_classes
from sk_unlearn.receipts import ForgetCost
from sk_unlearn.utils._generators import without_draws
from sk_unlearn.utils._transaction import on_snapshot

__all__ = ["ForgetPreview", "ForgetPreviewMixin"]


@dataclass(frozen=True)
class ForgetPreview:
    """How much a net depends on some rows, and whether their removal can be trusted.

    Attributes
    ----------
    cost : ForgetCost
        What the removal takes. With ``on_advice="retrain"`` a retrain comes on top where
        ``may_retrain`` is True.
    expected_gap : float
        1 or more: retraining is advised.
    advice : tuple of str
        The reasons; empty where there is none.
    position : ndarray of shape (n_rows,), int
        Those of the rows that the net was trained on, in the ``X`` of ``fit``.
    loss : ndarray of shape (n_rows,)
        Of each row, as the net is.
    loss_after : ndarray of shape (n_rows,)
        As it would be without all of these rows.

    See Also
    --------
    sk_unlearn.PumaClassifier.forget_preview : Makes one.
    """

    cost: ForgetCost
    expected_gap: float
    advice: tuple[str, ...]
    position: np.ndarray
    loss: np.ndarray
    loss_after: np.ndarray

    @property
    def may_retrain(self) -> bool:
        """Whether retraining would be advised."""
        return bool(self.advice)

    @property
    def memorisation(self) -> np.ndarray:
        """By how much the loss of each row would rise: what the net knows of it by heart."""
        return self.loss_after - self.loss

    def ranked(self) -> np.ndarray:
        """Positions, those that the net knows best by heart first."""
        return self.position[np.argsort(-self.memorisation, kind="stable")]


class ForgetPreviewMixin:
    """An estimator that tells what a request would do, by making it on the side."""

    @on_snapshot
    def forget_preview(self, X_idx=None, *, sample_id=None, groups=None):
        """Tell what a request would do, without making it; changes nothing.

        Parameters
        ----------
        X_idx, sample_id, groups
            As in :meth:`forget`.

        Returns
        -------
        preview : ForgetPreview
            How much the net depends on the rows, one by one and together, whether retraining
            would be advised, and why.

        Notes
        -----
        The removal is made on the side and thrown away, so that this costs what it costs.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sk_unlearn import PumaClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> clf = PumaClassifier(random_state=0).fit(X, y)
        >>> preview = clf.forget_preview([3, 17, 106])
        >>> int(preview.ranked()[0]), len(clf.receipts_)
        (106, 0)
        """
        check_is_fitted(self)
        self._validate_params()
        request = self._resolve(X_idx, sample_id=sample_id, groups=groups)
        told = self._as_told()
        told.on_advice = "warn"
        removal, after = Removal(ForgetCost(0, 0, 0.0, 0.0)), told
        if len(request.hit):
            self._check_remaining(request.hit)
            self._rows_.verify(type(self).__name__)
            after, removal = told._without(request.hit)
        rows = self._rows_.take(request.hit[self._trained_[request.hit]])
        before, later = (told._row_losses(each.estimator_, rows) for each in (told, after))
        return ForgetPreview(
            removal.cost, told._expected_gap(removal), removal.advice, rows.position, before, later
        )

    def _row_losses(self, net, rows):
        if not len(rows):
            return np.zeros(0)
        y = self._objective_targets() if weighs_classes(net) else None
        model = rowwise_model(net, y=y, params=self.params)
        batch = self._net_rows(net, rows).take(range(len(rows)))
        with without_draws():
            losses = row_losses(model, model.parameters(), batch.X, batch.y)
        return losses.double().cpu().numpy()
