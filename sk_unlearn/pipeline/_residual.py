"""What a plain pipeline keeps of rows that only its last step has forgotten."""

from sk_unlearn.pipeline._steps import is_stateless

__all__ = ["residual_steps"]


def residual_steps(pipe):
    """Names of steps that still hold statistics of rows which the last step has forgotten.

    Parameters
    ----------
    pipe : sklearn.pipeline.Pipeline
        Fitted. Its last step may have forgotten rows (``pipe[-1].forget(...)``).

    Returns
    -------
    names : list of str
        In the order of the steps; empty where nothing was forgotten. Steps that learn nothing
        from rows (``requires_fit`` is False in their tags) and steps that forgot as many rows
        themselves are left out.

    See Also
    --------
    ForgetPipeline : Forgets in every step.

    Notes
    -----
    It compares counts, not contents: a step is named although the rows that left may not have
    changed its statistics. Of a :class:`~sklearn.frozen.FrozenEstimator` it is not known which
    rows it has seen; it is named too.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import Normalizer, StandardScaler
    >>> from sk_unlearn import RetrainClassifier
    >>> from sk_unlearn.pipeline import residual_steps
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = RetrainClassifier(LogisticRegression())
    >>> pipe = make_pipeline(Normalizer(), StandardScaler(), clf).fit(X, y)
    >>> residual_steps(pipe)
    []
    >>> _ = pipe[-1].forget([3, 17])
    >>> residual_steps(pipe)
    ['standardscaler']
    """
    *before, (_, last) = pipe.steps
    n_forgotten = _n_forgotten(last)
    return [
        name
        for name, step in before
        if not is_stateless(step) and _n_forgotten(step) < n_forgotten
    ]


def _n_forgotten(step):
    receipts = getattr(step, "receipts_", ())
    # what it forgot before it was fitted again says nothing of the rows it has now
    return sum(receipt.n_forgotten for receipt in getattr(receipts, "of_last_fit", receipts))
