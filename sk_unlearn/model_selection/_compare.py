"""Compare removal methods with retraining and with doing nothing."""

from functools import partial

from joblib import Parallel, delayed
from tqdm.auto import tqdm

from sk_unlearn.metrics._validation import check_count, check_real
from sk_unlearn.model_selection._comparison import ForgettingComparison
from sk_unlearn.model_selection._measure import METRICS, MIN_MODELS, Models, measure
from sk_unlearn.model_selection._models import (
    forget_all,
    retrain,
    time_removal,
    time_retrain,
)
from sk_unlearn.model_selection._plan import CONTROLS, Plan
from sk_unlearn.model_selection._records import add_controls, cost_of, make_record
from sk_unlearn.model_selection._training import run_many

__all__ = ["compare_forgetting"]


def compare_forgetting(
    estimators,
    X,
    y,
    *,
    forget="random",
    forget_size=0.05,
    n_models=20,
    test_size=0.25,
    sample_id=None,
    groups=None,
    metrics=METRICS,
    max_rows=2000,
    confidence_level=0.95,
    n_resamples=200,
    random_state=None,
    n_jobs=None,
    verbose=0,
):
    """Measure how well estimators forget, beside retraining and doing nothing.

    For each seed an estimator is fitted, forgets, and is compared with *oracles*: fresh fits
    of the same estimator, with other seeds, on the retained rows. What two independent sets
    of oracles show against each other is the null. Two controls are in every table:
    "nothing", the fitted models before they forget, and "retrained", a third set of oracles.

    Parameters
    ----------
    estimators : dict of str to estimator, or list of estimator
        Classifiers with ``forget`` and ``predict_proba``. Left untouched. Those that train
        the same model and differ only in how they forget share fits and oracles.
    X : array-like of shape (n_samples, n_features) or (n_samples, ...)
    y : array-like of shape (n_samples,)
    forget : str, array-like, list of str, or dict of str to str or array-like, \
            default="random"
        What to forget: a boolean mask or row numbers of `X`, or a kind; several of them by
        name. Each set is forgotten on its own, by fresh copies. Kinds:

        - "random": rows drawn at random;
        - "hard": the rows of the highest loss under a probe, the first estimator fitted once;
        - "class": all rows trained on of one class, drawn at random; of one group if
          `groups` is given;
        - "mislabelled": random rows whose labels are changed to another class before
          training, and which are measured under the changed labels.
    forget_size : float or int, default=0.05
        Of "random", "hard" and "mislabelled": share, or number, of the rows trained on.
    n_models : int, default=20
        Models of each kind: fitted, oracles, and oracles for the null and the control.
    test_size : float, int or array-like of bool, default=0.25
        Share or number of rows held out, from each class in proportion, or a mask of them.
        Never rows that `forget` marks.
    sample_id : array-like of shape (n_samples,), int or str, default=None
        Given to ``fit`` where it takes ids; positions in `X` if None.
    groups : array-like of shape (n_samples,), int or str, default=None
        Whose row it is.
    metrics : sequence of {"klom", "u_lira", "mia", "tug_of_war"}, default=all
    max_rows : int or None, default=2000
        Most retained, and most held-out, rows on which models are measured, drawn at random.
    confidence_level : float, default=0.95
        Of the intervals, and so of the verdict.
    n_resamples : int, default=200
        Bootstrap samples of models.
    random_state : int, RandomState instance or None, default=None
        Seed of the draws of rows and of all models.
    n_jobs : int, default=None
        Fits at a time, as joblib understands it. Only measured seconds depend on it.
    verbose : int, default=0
        1 shows progress bars.

    Returns
    -------
    comparison : ForgettingComparison

    Raises
    ------
    ValueError
        If there are too few models for a metric, or rows to forget are never trained on.
    TypeError
        If an estimator has no ``forget`` or no ``predict_proba``.

    See Also
    --------
    make_forgetting_scorer : A metric of forgetting for ``cross_validate``.

    Notes
    -----
    *Verdict.* KLoM (95th percentile over forgotten, retained and held-out rows) fails if it is
    above what random deals of the unlearned and the null models into two sets give, at
    `confidence_level` for the three together: a permutation test of "distributed as
    retrained models". U-LiRA, tug of war and the loss attack fail if the confidence intervals
    of value and null are disjoint and the value lies on the side that betrays the forgotten
    rows: above for U-LiRA (and above 0.5), below for tug of war, either for the attack. An
    estimator *passes* if no metric fails. Where the control "nothing" passes too, the
    comparison has no power and the verdict is "undecided". To pass is no guarantee: more
    models, or rows that are harder to forget, tell more. To fail says that a difference was
    found, not that it is large: see ``trace_left``. By chance about one perfect removal in
    twenty fails.

    *Cost* of a removal: gradient passes and share of a retrain as its receipts state them, and
    wall-clock seconds as a share of one ordinary fit on the retained rows in the same run.

    Models retrained on fewer rows can differ for reasons that have nothing to do with the rows
    that are missing: a last batch of a single row in each epoch slows a net's training down, for
    example. KLoM on retained and held-out rows shows this for the control "nothing" already.

    A forgotten class has probability zero in every model that no longer knows it, so that
    its margins are constant there, and KLoM of "nothing" is huge.

    Cost: n_models fits of each distinct training, and 3 n_models fits for each forget set.
    Nets of :class:`~sk_unlearn.PumaClassifier` and :class:`~sk_unlearn.RetrainClassifier` are
    trained side by side, see :func:`fit_many`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from sk_unlearn import RetrainClassifier
    >>> from sk_unlearn.model_selection import compare_forgetting
    >>> X, y = load_iris(return_X_y=True)
    >>> tree = DecisionTreeClassifier(min_samples_leaf=5, max_features=1)
    >>> comparison = compare_forgetting(
    ...     {"retrain": RetrainClassifier(tree)}, X, y, n_models=5, random_state=0
    ... )
    >>> [record["estimator"] for record in comparison.records]
    ['nothing', 'retrained', 'retrain']
    """
    metrics = _check_metrics(metrics, n_models)
    settings = {
        "n_resamples": check_count("n_resamples", n_resamples, 20),
        "confidence_level": check_real("confidence_level", confidence_level, 0, 1),
    }
    plan = Plan(
        estimators,
        X,
        y,
        forget=forget,
        forget_size=forget_size,
        test_size=test_size,
        sample_id=sample_id,
        groups=groups,
        max_rows=max_rows,
        random_state=random_state,
    )
    work = {"n_jobs": n_jobs, "verbose": verbose}
    models, oracles, costs, notes = {}, {}, {}, []
    for training in plan.trainings:
        for cases in plan.batches:
            _train(plan, training, cases, n_models, models, oracles, costs, notes, work)
    entries = [
        (case.name, training, name)
        for case in plan.cases
        for training in plan.trainings
        for name in (*CONTROLS, *training.members)
    ]
    found = Parallel(n_jobs=n_jobs, return_as="generator")(
        delayed(measure)(
            models[name, training.label, entry],
            *oracles[name, training.label],
            metrics=metrics,
            **settings,
        )
        for name, training, entry in entries
    )
    found = tqdm(found, total=len(entries), desc="measuring", leave=False, disable=not verbose)
    records, per_model = [], {}
    for (name, training, entry), results in zip(entries, found, strict=True):
        control = entry if entry in CONTROLS else None
        shown = training.control(entry) if control else entry
        records.append(
            make_record(
                name,
                shown,
                control=control,
                training=training.label,
                results=results,
                cost=costs.get((name, entry)),
            )
        )
        per_model[name, shown] = models[name, training.label, entry]
    settings |= {
        "n_models": n_models,
        "n_train": len(plan.train),
        "n_held_out": len(plan.held_out),
        "n_forgotten": {case.name: len(case.rows) for case in plan.cases},
    }
    return ForgettingComparison(
        records=records,
        notes=[*add_controls(records), *dict.fromkeys(notes)],
        settings=settings,
        per_model=per_model,
        forget_sets={case.name: case.rows for case in plan.cases},
        held_out=plan.held_out,
    )


def _train(plan, training, cases, n_models, models, oracles, costs, notes, work):
    """Fit, forget and retrain; what is found goes into the dicts."""
    estimator, y = training.estimator, cases[0].y
    probe, places = plan.probe(cases)
    data = plan.data(estimator, plan.train, y)
    shared = {name: data[name] for name in ("X", "y", "fit_params")}
    positions = {case.name: plan.train.searchsorted(case.rows) for case in cases}
    requests = list(positions.items())
    names = ", ".join(training.members)
    fitted = run_many(
        partial(forget_all, **shared, members=training.members, probe=probe, requests=requests),
        plan.seeds("model", n_models),
        title=f"{names}: fitting and forgetting",
        **work,
    )
    if fitted.reason is not None:
        notes.append(f"{names}: trained one by one, since {fitted.reason}.")
    for case in cases:
        where = case.name, training.label
        rows = places[case.name]
        retained = plan.data(estimator, plan.retained(case), y)
        seeds = plan.seeds(f"oracle of {case.name}", 3 * n_models)
        observed = run_many(
            partial(retrain, **retained, probe=probe),
            seeds,
            title=f"{names}: retraining without {case.name!r}",
            **work,
        ).results
        parts = [observed[k * n_models : (k + 1) * n_models] for k in range(3)]
        oracle, null, held_out = (Models.collect(part, rows) for part in parts)
        oracles[where] = oracle, null
        models[*where, "retrained"] = held_out
        models[*where, "nothing"] = Models.collect([m for m, _ in fitted.results], rows)
        seconds = time_retrain(seeds[0], **retained)
        for name, member in training.members.items():
            after = [removed[case.name, name] for _, removed in fitted.results]
            models[*where, name] = Models.collect([one.observation for one in after], rows)
            alone = None
            if fitted.n_stacked > 1:  # the removals trained nets side by side
                data_of = {**data, "estimator": member}
                alone = time_removal(seeds[0], **data_of, positions=positions[case.name])
            costs[case.name, name] = cost_of(after, alone, seconds)


def _check_metrics(metrics, n_models):
    metrics = (metrics,) if isinstance(metrics, str) else tuple(metrics)
    unknown = [name for name in metrics if name not in METRICS]
    if unknown or not metrics:
        raise ValueError(f"metrics must be some of {list(METRICS)}, got {unknown or metrics!r}.")
    n_models = check_count("n_models", n_models, 1)
    short = {name: MIN_MODELS[name] for name in metrics if n_models < MIN_MODELS[name]}
    if short:
        needs = ", ".join(f"{name} needs {number}" for name, number in short.items())
        raise ValueError(f"n_models={n_models} is too few: {needs}.")
    return metrics
