"""ROC of a membership attack, with the low false positive rates in view."""

import numpy as np
from sklearn.metrics import roc_auc_score, roc_curve

from sk_unlearn.inspection._style import COLOURS, GREY, new_axes
from sk_unlearn.metrics import logit_margin

__all__ = ["MembershipDisplay"]


class MembershipDisplay:
    """ROC of the loss attack: forgotten against held-out rows.

    A second panel has logarithmic axes, where the rows that are told apart with near
    certainty show. The diagonal is guessing. It is recommended to use
    :meth:`from_estimator`, :meth:`from_scores` or :meth:`from_results`.

    Parameters
    ----------
    fpr, tpr : dict of str to ndarray
        Curve of each model, by name.
    auc : dict of str to float
    n_held_out : int
        Its inverse is the smallest false positive rate that the data can show.

    Attributes
    ----------
    ax_ : list of Axes
        Linear and logarithmic.
    figure_ : Figure
    lines_ : dict of str to list of Line2D

    See Also
    --------
    sk_unlearn.metrics.membership_attack : The numbers, with confidence intervals.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_unlearn.inspection import MembershipDisplay
    >>> rng = np.random.default_rng(0)
    >>> is_forget = np.arange(200) < 100
    >>> display = MembershipDisplay.from_scores(rng.normal(size=200) + is_forget, is_forget)
    >>> len(display.ax_)
    2
    """

    def __init__(self, *, fpr, tpr, auc, n_held_out):
        self.fpr = fpr
        self.tpr = tpr
        self.auc = auc
        self.n_held_out = n_held_out

    @classmethod
    def from_estimator(cls, estimator, X, y, is_forget, *, name=None, ax=None):
        """Attack a fitted classifier by the loss of its rows.

        Parameters
        ----------
        estimator : estimator
            With ``predict_proba`` and ``classes_``.
        X : array-like of shape (n_rows, ...)
            Forgotten and held-out rows.
        y : array-like of shape (n_rows,)
        is_forget : array-like of bool, shape (n_rows,)
        name : str, default=None
            For the legend; the class name if None.
        ax : sequence of two Axes, default=None

        Returns
        -------
        display : MembershipDisplay
        """
        y, proba = np.asarray(y), estimator.predict_proba(X)
        classes = np.union1d(estimator.classes_, y)
        full = np.zeros((len(proba), len(classes)), dtype=proba.dtype)
        full[:, np.searchsorted(classes, estimator.classes_)] = proba
        margins = logit_margin(full, y, kind="proba", labels=classes)
        name = type(estimator).__name__ if name is None else name
        return cls.from_scores({name: margins}, is_forget, ax=ax)

    @classmethod
    def from_scores(cls, scores, is_forget, *, ax=None):
        """Plot scores that are high where a row looks trained on.

        Parameters
        ----------
        scores : ndarray of shape (n_rows,) or (n_models, n_rows), or dict of str to these
            Of several models, the curve is that of their rows together.
        is_forget : array-like of bool, shape (n_rows,)
        ax : sequence of two Axes, default=None

        Returns
        -------
        display : MembershipDisplay

        Raises
        ------
        ValueError
            If shapes differ, or there are no forgotten or no held-out rows.
        """
        scores = scores if isinstance(scores, dict) else {"attack": scores}
        is_forget = np.asarray(is_forget)
        if is_forget.dtype != bool or is_forget.all() or not is_forget.any():
            raise ValueError(
                "is_forget must be a boolean mask with forgotten and held-out rows, got "
                f"dtype {is_forget.dtype} and {is_forget.sum()} of {is_forget.size} rows."
            )
        fpr, tpr, auc = {}, {}, {}
        for name, values in scores.items():
            values = np.atleast_2d(np.asarray(values, dtype=float))
            if values.shape[1:] != is_forget.shape:
                raise ValueError(
                    f"scores[{name!r}] must have {is_forget.size} rows as is_forget has, got "
                    f"shape {values.shape}."
                )
            truth, flat = np.tile(is_forget, len(values)), values.ravel()
            fpr[name], tpr[name], _ = roc_curve(truth, flat)
            auc[name] = float(roc_auc_score(truth, flat))
        n_held_out = int((~is_forget).sum())
        return cls(fpr=fpr, tpr=tpr, auc=auc, n_held_out=n_held_out).plot(ax=ax)

    @classmethod
    def from_results(cls, comparison, forget=None, *, estimators=None, ax=None):
        """Plot the attack on all models of a comparison.

        Parameters
        ----------
        comparison : ForgettingComparison
            Not read from JSON.
        forget : str, default=None
            Forget set; the first if None.
        estimators : list of str, default=None
            Names to show, of controls too; all if None.
        ax : sequence of two Axes, default=None

        Returns
        -------
        display : MembershipDisplay
        """
        if "per_model" not in comparison:
            raise ValueError("comparison must hold per_model, which JSON does not.")
        sets = list(dict.fromkeys(name for name, _ in comparison.per_model))
        forget = sets[0] if forget is None else forget
        if forget not in sets:
            raise ValueError(f"forget must be one of {sets}, got {forget!r}.")
        known = [name for one, name in comparison.per_model if one == forget]
        for name in estimators or ():
            if name not in known:
                raise ValueError(f"estimators must be among {known}, got {name!r}.")
        scores = {}
        for name in estimators or known:
            margins = comparison.per_model[forget, name].margins
            scores[name] = np.hstack([margins["forget"], margins["held_out"]])
        n_forget = margins["forget"].shape[1]
        is_forget = np.arange(n_forget + margins["held_out"].shape[1]) < n_forget
        return cls.from_scores(scores, is_forget, ax=ax)

    def plot(self, *, ax=None):
        """Draw.

        Parameters
        ----------
        ax : sequence of two Axes, default=None

        Returns
        -------
        self : MembershipDisplay
        """
        self.figure_, axes = new_axes(ax, 2, figsize=(11.5, 4.2))
        floor, self.lines_ = 1 / (2 * self.n_held_out), {}
        guess = np.geomspace(floor, 1, 200)
        for axis in axes:
            axis.plot(guess, guess, color=GREY, linestyle=":", label="guessing")
        for i, (name, fpr) in enumerate(self.fpr.items()):
            style = {"color": COLOURS[i % len(COLOURS)], "linestyle": ("-", "--")[i % 2]}
            style |= {"label": f"{name} (AUC {self.auc[name]:.2f})"}  # straight where rows tie
            self.lines_[name] = [axis.plot(fpr, self.tpr[name], **style)[0] for axis in axes]
        linear, low = axes
        linear.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        low.set(xscale="log", yscale="log", xlim=(floor, 1), ylim=(floor, 1.1))
        low.set_title("low false positive rates")
        for axis in axes:
            axis.set(xlabel="held-out rows taken for forgotten", ylabel="forgotten rows found")
            axis.grid(alpha=0.25)
        low.legend(fontsize="small", frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        self.ax_ = axes
        return self
