"""What a request would do to a net, told before it is made."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sk_unlearn.receipts import ForgetCost

__all__ = ["ForgetPreview"]


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
