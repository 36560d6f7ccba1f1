"""PUMA: performance unchanged model augmentation for training-data removal."""

from sk_unlearn.approximate._puma_base import BasePuma
from sk_unlearn.approximate.base import NetClassifierMixin, NetRegressorMixin

__all__ = ["PumaClassifier", "PumaRegressor"]


class PumaClassifier(NetClassifierMixin, BasePuma):
    r"""Classifier that forgets by one linear step, without retraining.

    After Wu et al. 2022 [1]_: the influence of every row on a performance criterion is
    modelled to first order; when rows leave, the retained rows are re-weighted, sparsely,
    so that the criterion does not suffer, and the parameters move by

    .. math:: \delta = -(H + \gamma I)^{-1} \tfrac{1}{N}
              \Bigl[\sum_{j \in R} \lambda_j g_j - \eta \sum_{k \in F} g_k\Bigr].

    Guarantee: approximate. How well it forgot has to be measured. Cost: one curvature
    solve on ``n_curvature_rows`` rows, and one forward pass over all retained rows in the first
    request. A long step adds about three passes over at most 1,024 rows; compensation adds two
    solves, "l2" a forward-mode pass over all rows as well. Each time that damping is raised adds
    as many solves, within half the work of a retrain.

    Parameters
    ----------
    estimator : skorch net or FrozenEstimator of one, default=None
        Cloned for training. None means a multilayer perceptron whose sizes come from the
        data. ``FrozenEstimator(net)`` adopts a trained net, of which a copy is moved.
        Rows that the ``train_split`` of the net holds out become the criterion's.
    eta : float, default=1.0
        How much of the rows' weight is removed; 1 is all. Far above, the Taylor
        expansion breaks down.
    compensation : {"auto", "l1", "l2"} or None, default="auto"
        How retained rows make up for predicted harm: few rows with large weights, all
        with small ones, or not at all, which is plain influence removal. "auto" is "l1" where
        ``damping`` is a number and None where it is "training": there compensation led away
        from retrained nets and gained nothing.
    max_weight : float, default=1.0
        Bound on the absolute change of a row's weight.
    strict : bool, default=False
        Whether to hold the criterion where it was even if the removal improves it.
    curvature : {"gauss_newton", "hessian"}, default="gauss_newton"
        The exact Hessian is for convex nets (linear models): elsewhere it can be
        indefinite, and the solve stops.
    damping : float or "training", default="training"
        :math:`\gamma`. Larger takes shorter, safer steps that remove less. "training"
        takes, for each parameter, what stopping the net's optimiser early amounts
        to: ``1 / sum(lr)`` over the steps for SGD, times the root of the second moment for Adam
        and its kin, as a product of rows and columns in each layer. It follows the rate and the
        epochs of the training. Where training gives none, for other optimisers or for an adopted
        net without the state of its optimiser, it is 0.01. It is taken at the end of ``fit``, so
        that gradients of rows forgotten since have a share.
    adaptive_damping : bool, default=True
        Whether to raise ``damping``, by factors of the root of 10, until the net is nearly
        linear along the step; and, where ``damping`` is "training" and ``n_steps`` is 1, whether
        to correct a step longer than 0.02 of the parameters' norm by what it does to the loss of
        retained rows.
    n_curvature_rows : int, float or None, default=300
        Rows on which curvature is computed, a share of the rows if a float, all if None.
        Where a retrain is cheap fewer are taken, but 128 at least, so that a request takes half
        the work of one at most; all means all. Rows are drawn with probability proportional to
        their own curvature, weighted so that the expectation is the curvature of all.
    tol : float, default=0.1
        Relative residual to which the solves are carried, at most 0.5. What is
        compensated is as accurate as this.
    max_products : int, default=100
        Products with the curvature in one solve, at most. Fewer, but at least 5, where a
        request would take more than half the work of a retrain.
    n_steps : int, default=1
        Parts into which the request is split, with a new expansion for each.
    params : str or list of str, default=None
        Patterns (``fnmatch``) of the names of the parameters to move, such as
        ``"layers.3.*"``; None means all that are trained.
    performance : callable, default=None
        ``performance(module, X, y) -> scalar tensor``, smaller is better, on the held-out
        rows. None means the mean loss.
    validation_fraction : float or None, default=0.1
        Share of each class that is held out of training for the criterion, if the net
        has no ``train_split``. None trains on all rows; then nothing is compensated.
    chunk_size : int or None, default=None
        Rows in one pass; None chooses by the memory that a row takes.
    on_advice : {"warn", "retrain", "raise"}, default="warn"
        What follows where a removal advises to retrain: a warning; the net is trained anew on the
        retained rows, exactly as ``fit`` on these would, and the receipt says "exact" and the full
        cost; or a :class:`~sk_unlearn.exceptions.RetrainAdvisedError`, nothing being forgotten.
    max_drift : float, default=None
        Most that the ``expected_gap`` of the requests since the last training may add up to; a
        request that exceeds it advises to retrain. 1 is what a single request may have. None means
        no bound.
    memory : str, path-like or joblib.Memory, default=None
        Where trained nets are kept, so that in a search over ``eta``, ``damping`` and the
        like each fold trains once. It holds models that saw the forgotten rows: a cache
        for experiments, to be emptied by :meth:`clear_memory`. Needs an int
        ``random_state``. Nets are shared where settings, data, seed and the user's code are the
        same; the user guide says which code is seen.
    random_state : int, RandomState instance or None, default=None
        Seed of training, of the held-out rows and of the curvature rows.
    verbose : int, default=0
        1 shows progress bars over epochs and steps.

    Attributes
    ----------
    estimator_ : skorch.NeuralNetClassifier
        The net; replaced by ``forget``, without optimiser state and history.
    classes_ : ndarray of shape (n_classes,)
        Labels among the retained rows.
    receipts_ : ForgetLedger
        One :class:`~sk_unlearn.receipts.ForgetReceipt` a request; its ``solver`` holds
        the measurements of each step.
    n_features_in_ : int
        Features seen in ``fit``.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Where ``X`` had column names.

    Raises
    ------
    RemovalFailedError
        In ``forget``, if no step could be computed; the estimator stays as it was.

    Warns
    -----
    RetrainAdvisedWarning
        If the loss of the forgotten rows rose by more than 0.3 times the loss on held-out rows,
        the criterion rose by half of its value more than predicted, the net is bent along the
        step, the harm could not be compensated, a solve did not converge, or rows leave that
        were held out of training and acted through early stopping or the like.
    InputScaleWarning
        In ``fit``, if the net reads features of a scale far from 1.

    See Also
    --------
    RetrainClassifier : Exact removal at the cost of a retrain.

    Notes
    -----
    Ours, not the paper's: Gauss-Newton curvature of the retained rows by preconditioned
    conjugate gradients, importance-sampled curvature rows, damping that comes from the training
    and adapts to the step, the correction of long steps, the bound on the weights, the warnings.
    BatchNorm statistics are not moved and keep a trace of the forgotten rows.
    A forgotten class leaves ``classes_``; the weights of its output stay in the net.
    :math:`N` stays the number of rows trained on in ``fit``, so that requests in turn add
    up to one request. "l1" looks for compensation among the ``n_curvature_rows`` rows of
    the largest gradients only. Between requests a cache keeps two numbers for each
    retained row, the sizes of its curvature and of its gradient; it is never pickled, so
    that a request after unpickling samples other rows and differs by that much. The solver
    for the curvature rows is kept too (at most 32 MiB), without the terms of rows that left,
    until a tenth of its rows has left or the parameters have moved by 6 % of their norm.
    Where one linear layer of at most 1,024 parameters moves and nothing follows it, it is
    the inverse in closed form. The solver was computed at the parameters before the request
    that built it, and these could be told from it: it is neither pickled nor copied, and
    ``clear_memory`` drops it. Of large ``X`` blocks of rows are held after the first
    request, so that the next copies only those that hold a row that leaves.

    References
    ----------
    .. [1] G. Wu, M. Hashemi, C. Srinivasa, "PUMA: Performance Unchanged Model
       Augmentation for Training Data Removal", AAAI 2022, arXiv:2203.00846.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sk_unlearn import PumaClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = PumaClassifier(random_state=0).fit(X, y)
    >>> receipt = clf.forget([3, 17]).receipts_[-1]
    >>> receipt.n_forgotten, str(receipt.guarantee)
    (2, 'approximate')
    """


class PumaRegressor(NetRegressorMixin, BasePuma):
    """Regressor that forgets by one linear step, without retraining.

    The method of :class:`PumaClassifier`, which documents it, on real targets.

    Guarantee: approximate. Cost: one curvature solve on ``n_curvature_rows`` rows, one forward
    pass over all retained rows in the first request, and about three passes over at most 1,024
    rows where the step is long.

    Parameters
    ----------
    estimator : skorch net or FrozenEstimator of one, default=None
        None means a multilayer perceptron whose sizes come from the data, which scales inputs
        and targets by powers of two that come from all rows of ``fit`` and stay when rows
        leave, and predicts in the units of ``y``. A net that is given is trained on ``y`` as
        it is.
    eta : float, default=1.0
        How much of the rows' weight is removed; 1 is all.
    compensation : {"auto", "l1", "l2"} or None, default="auto"
        How retained rows make up for predicted harm; see :class:`PumaClassifier`.
    max_weight : float, default=1.0
        Bound on the absolute change of a row's weight.
    strict : bool, default=False
        Whether to hold the criterion where it was even if the removal improves it.
    curvature : {"gauss_newton", "hessian"}, default="gauss_newton"
        The exact Hessian is for convex nets (linear models).
    damping : float or "training", default="training"
        Larger takes shorter, safer steps that remove less; see :class:`PumaClassifier`.
    adaptive_damping : bool, default=True
        Whether to raise ``damping`` until the net is nearly linear along the step, and to correct
        long steps; see :class:`PumaClassifier`.
    n_curvature_rows : int, float or None, default=300
        Rows on which curvature is computed, a share of the rows if a float, all if None.
    tol : float, default=0.1
        Relative residual to which the solves are carried, at most 0.5. What is
        compensated is as accurate as this.
    max_products : int, default=100
        Products with the curvature in one solve, at most.
    n_steps : int, default=1
        Parts into which the request is split, with a new expansion for each.
    params : str or list of str, default=None
        Patterns of the names of the parameters to move; None means all.
    performance : callable, default=None
        ``performance(module, X, y) -> scalar tensor``, smaller is better, on the held-out
        rows. None means the mean loss. The default net's ``y`` are scaled targets.
    validation_fraction : float or None, default=0.1
        Share of the rows held out of training for the criterion.
    chunk_size : int or None, default=None
        Rows in one pass; None chooses by the memory that a row takes.
    on_advice : {"warn", "retrain", "raise"}, default="warn"
        What follows where a removal advises to retrain: a warning; the net is trained anew on the
        retained rows, exactly as ``fit`` on these would, and the receipt says "exact" and the full
        cost; or a :class:`~sk_unlearn.exceptions.RetrainAdvisedError`, nothing being forgotten.
    max_drift : float, default=None
        Most that the ``expected_gap`` of the requests since the last training may add up to; a
        request that exceeds it advises to retrain. 1 is what a single request may have. None means
        no bound.
    memory : str, path-like or joblib.Memory, default=None
        Where trained nets are kept, so that in a search over ``eta``, ``damping`` and the
        like each fold trains once. It holds models that saw the forgotten rows: a cache
        for experiments, to be emptied by :meth:`clear_memory`. Needs an int
        ``random_state``. Nets are shared where settings, data, seed and the user's code are the
        same; the user guide says which code is seen.
    random_state : int, RandomState instance or None, default=None
        Seed of training, of the held-out rows and of the curvature rows.
    verbose : int, default=0
        1 shows progress bars over epochs and steps.

    Attributes
    ----------
    estimator_ : skorch.NeuralNetRegressor
        The net; replaced by ``forget``, without optimiser state and history.
    receipts_ : ForgetLedger
        One :class:`~sk_unlearn.receipts.ForgetReceipt` a request. Losses on it, and
        ``influences``, are of scaled targets for the default net.
    n_features_in_ : int
        Features seen in ``fit``.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Where ``X`` had column names.

    Warns
    -----
    InputScaleWarning, TargetScaleWarning
        In ``fit``, if a net that is given reads numbers of a scale far from 1.

    References
    ----------
    .. [1] G. Wu, M. Hashemi, C. Srinivasa, "PUMA: Performance Unchanged Model
       Augmentation for Training Data Removal", AAAI 2022, arXiv:2203.00846.

    Examples
    --------
    >>> from sklearn.datasets import make_regression
    >>> from sk_unlearn import PumaRegressor
    >>> X, y = make_regression(n_samples=100, n_features=5, random_state=0)
    >>> reg = PumaRegressor(random_state=0).fit(X, y)
    >>> reg.forget(slice(0, 3)).receipts_[-1].n_remaining
    97
    """
