"""Shorthand for a pipeline whose steps name themselves."""

from sklearn.pipeline import make_pipeline

from sk_unlearn.pipeline._pipeline import ForgetPipeline

__all__ = ["make_forget_pipeline"]


def make_forget_pipeline(*steps, verbose=False, random_state=None):
    """Make a :class:`ForgetPipeline` whose steps are named by their types.

    Parameters
    ----------
    *steps : estimators
        The last one is an estimator of this package.
    verbose : bool, default=False
        Whether to print each step and its time.
    random_state : int, RandomState instance or None, default=None
        Seeds whatever the steps' own ``random_state=None`` leaves open.

    Returns
    -------
    pipe : ForgetPipeline

    Examples
    --------
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sk_unlearn import PumaClassifier
    >>> from sk_unlearn.pipeline import make_forget_pipeline
    >>> list(make_forget_pipeline(StandardScaler(), PumaClassifier()).named_steps)
    ['standardscaler', 'pumaclassifier']
    """
    named = make_pipeline(*steps).steps
    return ForgetPipeline(named, verbose=verbose, random_state=random_state)
