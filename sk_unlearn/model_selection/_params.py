"""Metadata of ``cross_validate`` and searches, checked before any training."""

import numpy as np

from sk_unlearn.utils._ids import check_forget_mask, check_keys, check_sample_id
from sk_unlearn.utils._sklearn import num_samples

__all__ = ["forget_params"]


def forget_params(X, *, forget=None, sample_id=None, groups=None, step=None):
    """Check ``forget``, ``sample_id`` and ``groups`` for ``cross_validate`` and searches.

    In a fold an estimator sees a part of the rows and cannot know what all of them look like.
    scikit-learn cuts metadata with the rows where it has one value for each row of `X`, and
    hands it on uncut where it has not: a mask that happens to be as long as the *training part*
    would mark other rows in each fold. An id given to two rows goes unnoticed in each fold that
    trains on one of them only. Here all rows are known, and both are errors.

    Parameters
    ----------
    X : array-like of n_samples rows
        As given to ``cross_validate`` or to the ``fit`` of a search.
    forget : array-like of shape (n_samples,), bool, or of shape (n_forget,), int, default=None
        Rows to forget in each fold that trains on them: a mask, or positions in `X`, which are
        turned into one.
    sample_id : array-like of shape (n_samples,), int or str, default=None
        A distinct name of each row. Rows of one person share a group, not an id.
    groups : array-like of shape (n_samples,), int or str, default=None
        Whose row it is.
    step : str, default=None
        Name of the step that forgets in a plain :class:`~sklearn.pipeline.Pipeline`, for
        metadata as ``step__parameter``: needed with metadata routing off, wrong with it on.

    Returns
    -------
    params : dict of str to ndarray
        What was given, for ``cross_validate(..., params=params)`` or
        ``search.fit(X, y, **params)``.

    Raises
    ------
    ValueError
        If a length is not n_samples, ids repeat, positions are no rows of `X`, or `forget`
        marks no row or all rows.

    See Also
    --------
    make_forgetting_scorer : Scores what is still known of the forgotten rows.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_unlearn.model_selection import forget_params
    >>> X = np.zeros((4, 2))
    >>> forget_params(X, forget=[3], sample_id=["a", "b", "c", "d"])["forget"]
    array([False, False, False,  True])
    """
    n_rows, owner, params = num_samples(X), "forget_params", {}
    if forget is not None:
        params["forget"] = _mask(forget, n_rows, owner)
    if sample_id is not None:
        params["sample_id"] = check_sample_id(sample_id, n_rows, owner=owner)
    if groups is not None:
        params["groups"] = check_keys(groups, n_rows, name="groups", owner=owner)
    return params if step is None else {f"{step}__{key}": params[key] for key in params}


def _mask(forget, n_rows, owner):
    forget = np.asarray(forget)
    if forget.dtype.kind in "iu" and forget.ndim == 1:
        outside = (forget < 0) | (forget >= n_rows)
        if outside.any():
            raise ValueError(
                f"Positions in the 'forget' parameter of {owner} must lie in [0, {n_rows}), the "
                f"rows of X, got {forget[outside][0]}."
            )
        if len(np.unique(forget)) < len(forget):
            hint = " For a mask pass forget.astype(bool)." if len(forget) == n_rows else ""
            raise ValueError(
                f"Positions in the 'forget' parameter of {owner} must be distinct, got "
                f"{forget.tolist()[:10]}.{hint}"
            )
        forget = np.isin(np.arange(n_rows), forget)
    forget = check_forget_mask(forget, n_rows, owner=owner)
    if not forget.any():
        raise ValueError(f"The 'forget' parameter of {owner} marks none of the {n_rows} rows.")
    return forget
