"""
Forgetting rows and classes with ARCANE
=======================================

ARCANE keeps one model for each class, which sees the rows of its class only. A row that leaves
concerns one model. A class that leaves takes its model along, and nothing is trained at all.
Training on a selection of each class, in blocks with saved states, makes requests cheaper still.
This example forgets rows and a class of handwritten digits, lets the classifier say that it does
not know the class any more, and switches each ingredient on by itself.
"""

# %%
# The data and the classifier
# ---------------------------
# By default the model of a class is a *density*: a Gaussian of its rows, refined by a mixture. Its
# score is the logarithm of the density, comparable between classes, so that the class with the
# largest score (plus the logarithm of its share of the rows) wins. Pixels are divided by 4, to
# about unit scale, by a number that no training row decides.

import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from sk_unlearn import ArcaneEnsembleClassifier
from sk_unlearn.exact import RandomSelector

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X / 4, y, test_size=0.25, stratify=y, random_state=0
)
clf = ArcaneEnsembleClassifier(n_blocks=5, random_state=0).fit(X_train, y_train)
print(f"test accuracy {clf.score(X_test, y_test):.3f} on {len(clf.classes_)} classes")

# %%
# Three requests
# --------------
# A row, ten rows of different digits, and every picture of a nine. Each class is trained in five
# blocks; trained on again are those from the first one hit on: for one row 60 % of a class on
# average, and all of it for this one, which is in the first block. (By default small classes are
# one block: what is saved is less than what it costs to set up each block.)


def forget(what, rows):
    """Forget rows, print a line about it."""
    receipt = clf.forget(rows).receipts_[-1]
    print(
        f"{what:12}{receipt.n_forgotten:6d}{receipt.solver['models_retrained']:8d}"
        f"{receipt.cost.rows_retrained:15d}{receipt.cost.share_of_retrain:11.1%}"
    )


print(f"{'request':12}{'rows':>6}{'models':>8}{'rows retrained':>15}{'of all':>11}")
forget("one row", [17])
forget("ten rows", [np.flatnonzero(y_train == digit)[3] for digit in range(10)])
forget("all nines", y_train == 9)

# %%
# Not a digit I know
# ------------------
# ``score_samples`` says how well the best class explains a row, in standard deviations from what
# is usual for the rows that this class was trained on. Nobody would be surprised that the nines
# are gone from the answers; the scores show that they are gone from the models, too: most
# pictures of nines are farther from everything known than nearly all known digits are. Rows that
# no model was trained on score lower, known digit or not, so that a threshold has to come from
# such rows: here, the one that turns away 5 % of known digits in one half of the test rows is
# tried on the other half.

scores, is_nine = clf.score_samples(X_test), y_test == 9
half = np.arange(len(y_test)) % 2 == 0
threshold = np.quantile(scores[half & ~is_nine], 0.05)
turned_away = scores[~half] < threshold
stay = ~is_nine
print(f"test accuracy on the other digits {clf.score(X_test[stay], y_test[stay]):.3f}")
print(f"threshold {threshold:.1f}")
print(f"turned away: {turned_away[~is_nine[~half]].mean():.0%} of the known digits, ", end="")
print(f"{turned_away[is_nine[~half]].mean():.0%} of the nines")
print(f"area under the ROC curve, known against nines: {roc_auc_score(~is_nine, scores):.3f}")

# %%
# Each ingredient by itself
# -------------------------
# Four people in five never ask for anything; the others may, with a probability that is known in
# advance. 30 requests of one row are drawn by these probabilities and previewed from the full
# ensemble, by ensembles with and without each ingredient.

rng = np.random.default_rng(0)
forget_proba = np.where(rng.random(len(y_train)) < 0.2, 0.5, 0.001)
requests = rng.choice(len(y_train), 30, p=forget_proba / forget_proba.sum())

SETTINGS = {
    "one model a class": {"n_blocks": 1},
    "5 blocks": {"n_blocks": 5},
    "5 blocks, sorted": {"n_blocks": 5, "sorted": True},
    "a third of the rows": {"n_blocks": 1, "selection": 1 / 3},
    "a third, at random": {"n_blocks": 1, "selection": 1 / 3, "selector": RandomSelector()},
    "a third, 5 blocks, sorted": {"n_blocks": 5, "selection": 1 / 3, "sorted": True},
}
everything = "retrain all classes"
accuracies, work = {}, {everything: len(y_train) - 1}
print(f"{'':27}{'accuracy':>8}{'rows retrained':>16}{'for nothing':>13}")
for name, settings in SETTINGS.items():
    params = {key: value for key, value in settings.items() if key != "sorted"}
    extra = {"forget_proba": forget_proba} if settings.get("sorted") else {}
    model = ArcaneEnsembleClassifier(random_state=0, **params).fit(X_train, y_train, **extra)
    costs = np.array([model.forget_cost(int(row)).rows_retrained for row in requests])
    accuracies[name], work[name] = model.score(X_test, y_test), costs.mean()
    print(f"{name:27}{accuracies[name]:8.3f}{work[name]:16.1f}{np.mean(costs == 0):13.0%}")

# %%
# *For nothing* are the requests for rows that were not selected, and cost nothing but a new
# selection. Sorting puts the rows that are likely to leave into the last block, which holds them
# and few others. In the figure, *retrain all classes* is what training all ten models again costs.

accuracies[everything] = accuracies["one model a class"]
figure, (left, right) = plt.subplots(
    1, 2, figsize=(10, 3.8), layout="constrained", width_ratios=(1, 1.15)
)
bins = np.linspace(-40, 4, 45)
for values, colour, label in (
    (scores[~is_nine], "#0072B2", "digits 0 to 8"),
    (scores[is_nine], "#E69F00", "nines, forgotten"),
):
    left.hist(
        np.clip(values, *bins[[0, -1]]), bins, density=True, alpha=0.7, color=colour, label=label
    )
left.axvline(threshold, color="black", linestyle="--", linewidth=1)
left.set(title="does any class explain the row?", xlabel="score_samples", yticks=[])
left.spines[["top", "right", "left"]].set_visible(False)
left.legend(fontsize="small", loc="upper left")

names = list(work)
right.plot(list(work.values()), names, "o", color="#009E73", markersize=9)
for name, rows in work.items():
    right.text(rows * 1.3, name, f"{rows:.0f}   (accuracy {accuracies[name]:.3f})", va="center")
right.set(
    title="what does a request cost?",
    xlabel="rows trained on again, mean (logarithmic)",
    xscale="log",
    xlim=(5, 30_000),
)
right.grid(axis="x", alpha=0.3)
right.set_xticks([10, 100, 1000], ["10", "100", "1,000"])
right.invert_yaxis()
right.spines[["top", "right"]].set_visible(False)

output = Path(os.environ.get("SK_UNLEARN_OUTPUT", "build"))
output.mkdir(parents=True, exist_ok=True)
figure.savefig(output / "arcane.png", dpi=150)
