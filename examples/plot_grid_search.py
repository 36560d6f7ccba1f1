"""
Choosing how to forget: a grid search
=====================================

How far should one step of PUMA go? Too short a step leaves the rows in the network, too long a
step takes out more than they ever put in and harms everything else. Stock
:class:`~sklearn.model_selection.GridSearchCV` finds out: each fold trains, forgets and is scored,
by accuracy and by what the network still shows of the forgotten rows.
"""

# %%
# Data and a request
# ------------------
# Digits and a small network. The rows to forget are drawn from those that a plain model finds
# hard: a network that has learned them by heart differs most from one that never saw them.

import os
import tempfile
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedKFold,
    cross_val_predict,
    cross_validate,
)

from sk_unlearn import PumaClassifier, RetrainClassifier
from sk_unlearn.exceptions import RetrainAdvisedWarning
from sk_unlearn.model_selection import (
    best_within_bounds,
    forget_params,
    make_forgetting_scorer,
)
from sk_unlearn.nets import default_classifier

X, y = load_digits(return_X_y=True)
X, y = (X[:750] / 16).astype(np.float32), y[:750]
ids = np.arange(len(y))
easy = cross_val_predict(LogisticRegression(), X, y, cv=3, method="predict_proba")[ids, y]
hard = easy.argsort()[:80]
request = np.random.default_rng(0).choice(hard, 40, replace=False)
net = default_classifier(n_features=64, n_outputs=10, n_rows=500, device="cpu", hidden=(32,))
net.set_params(max_epochs=40)

# %%
# ``forget_params`` turns the request into what scikit-learn cuts with the rows: a mask, and ids by
# which the scorers find the rows again. It refuses what would name other rows in each fold.

params = forget_params(X, forget=request, sample_id=ids)
scoring = {
    "accuracy": "accuracy",
    "forget_loss": make_forgetting_scorer("forget_loss", X, y, sample_id=ids),
    "cost": make_forgetting_scorer("cost", X, y, sample_id=ids),
}
cv = StratifiedKFold(3)

# %%
# What is wanted
# --------------
# Retraining says where to go. The loss on rows that a model never saw is higher than on those it
# was trained on, but not without limit: a removal that goes beyond it can be told from retraining
# just as well as one that does too little.

retrained = cross_validate(
    RetrainClassifier(net, random_state=0), X, y, cv=cv, scoring=scoring, params=params
)
target = retrained["test_forget_loss"].mean()
print(
    f"retrained: loss of the forgotten rows {target:.2f}, "
    f"accuracy {retrained['test_accuracy'].mean():.3f}"
)

# %%
# The search
# ----------
# Twelve candidates, three folds, and three trainings: candidates that differ only in how they
# forget share one training a fold through ``memory``, and the last one is that of ``refit``. The
# rule for ``refit`` asks for the most accurate candidate whose loss is within 15 % of the
# target, at no more than a fifth of the price of retraining.
#
# The folder of ``memory`` holds networks that saw the rows to be forgotten. It belongs to the
# experiment: ``clear_memory`` empties it, and here the folder is deleted too.
#
# Some candidates go much too far, and each of them says so: these warnings are left out.

warnings.simplefilter("ignore", RetrainAdvisedWarning)
rule = best_within_bounds(
    "accuracy", {"forget_loss": (0.85 * target, 1.15 * target), "cost": (None, 0.2)}
)
with tempfile.TemporaryDirectory() as folder:
    search = GridSearchCV(
        # the search looks for the damping: it is held where a candidate has it
        PumaClassifier(net, adaptive_damping=False, memory=folder, random_state=0),
        {"eta": [0.0, 0.5, 1.0, 2.0], "damping": [1e-3, 1e-2, 1e-1]},
        cv=cv,
        scoring=scoring,
        refit=rule,
    ).fit(X, y, **params)
    search.best_estimator_.clear_memory()

results = search.cv_results_
accuracy, loss, cost = (results[f"mean_test_{name}"] for name in scoring)
print(f"{'eta':>5}{'damping':>9}{'accuracy':>10}{'forget loss':>13}{'cost':>7}")
for i, candidate in enumerate(results["params"]):
    mark = "  <- chosen" if i == search.best_index_ else ""
    print(
        f"{candidate['eta']:5.1f}{candidate['damping']:9.3f}{accuracy[i]:10.3f}{loss[i]:13.2f}"
        f"{cost[i]:7.0%}{mark}"
    )

# %%
# The network that is kept has forgotten too: the mask went to the last training as well.

receipt = search.best_estimator_.receipts_[-1]
print(f"best_estimator_ forgot {receipt.n_forgotten} rows, {receipt.n_remaining} remain")

# %%
# The picture
# -----------
# Left, the loss of the forgotten rows grows with ``eta``, the faster the smaller the damping.
# Right, accuracy against that loss, larger dots for dearer removals: near the target accuracy is
# what it was before the removal, far beyond it the step does harm. Among the candidates in the
# grey band accuracy differs by less than its noise, so that the cheapest would do as well:
# ``best_within_bounds("cost", ..., greater_is_better=False)``.

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
etas = np.array([candidate["eta"] for candidate in results["params"]])
dampings = np.array([candidate["damping"] for candidate in results["params"]])
STYLES = (("#D55E00", "o"), ("#0072B2", "s"), ("#009E73", "^"))
left.axhline(target, color="black", linewidth=1, label="retrained")
left.axhspan(0.85 * target, 1.15 * target, color="0.9")
right.axvspan(0.85 * target, 1.15 * target, color="0.9")
best = target, retrained["test_accuracy"].mean()
right.plot(*best, "*", color="black", markersize=10)
for damping, (colour, marker) in zip(np.unique(dampings), STYLES, strict=True):
    own = dampings == damping
    left.plot(etas[own], loss[own], marker + "-", color=colour, label=f"damping {damping:g}")
    right.plot(loss[own], accuracy[own], color=colour, linewidth=1, alpha=0.5)
    right.scatter(loss[own], accuracy[own], 15 + 500 * cost[own], color=colour, marker=marker)
chosen = loss[search.best_index_], accuracy[search.best_index_]
right.scatter(*chosen, 260, facecolor="none", edgecolor="black")
right.annotate(
    "chosen", chosen, xytext=(-12, -70), textcoords="offset points", arrowprops={"arrowstyle": "-"}
)
right.annotate("retrained", best, xytext=(8, 6), textcoords="offset points")
left.set(xlabel="eta", ylabel="loss of forgotten rows", yscale="log", title="how far a step goes")
right.set(xlabel="loss of forgotten rows", ylabel="accuracy", xscale="log", title="what it costs")
for axis in (left.yaxis, right.xaxis):
    axis.set_ticks((0.5, 1, 2, 4), labels=("0.5", "1", "2", "4"))
    axis.set_ticks((), minor=True)
left.set_xticks((0, 0.5, 1, 2))
right.set_ylim(top=0.89)
left.legend(fontsize="small")
for axes in (left, right):
    axes.grid(alpha=0.3)

output = Path(os.environ.get("SK_UNLEARN_OUTPUT", "build"))
output.mkdir(parents=True, exist_ok=True)
figure.savefig(output / "grid_search.png", dpi=150)
