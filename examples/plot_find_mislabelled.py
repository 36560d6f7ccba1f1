"""
Find wrong labels, then forget them
===================================

Which training rows make a network worse? PUMA answers this on the way to a removal: the
*influence* of a row says how much the loss on other rows rises when the row counts a little
more. Rows with a wrong label should be among those that do most harm.

Two kinds of mistakes are planted in 3 % of the labels of a set of handwritten digits:
*scattered* ones, where any digit becomes any other, and *one-sided* ones, where somebody took
fours for nines. Influence is compared with the simplest alternative: rank by the loss that the
trained network has on a row. A hundred rows with labels that somebody checked serve as
yardstick for the influences.
"""

# %%
# Data and ranking
# ----------------

import os
import textwrap
import warnings
from copy import deepcopy
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from sk_unlearn import PumaClassifier, RetrainClassifier
from sk_unlearn.exceptions import RetrainAdvisedWarning

X, y = load_digits(return_X_y=True)
X = StandardScaler().fit_transform(X)
X_train, X, y_train, y = train_test_split(X, y, train_size=1000, stratify=y, random_state=0)
X_clean, X_test, y_clean, y_test = train_test_split(
    X, y, train_size=100, stratify=y, random_state=0
)
N_WRONG = 30


def plant(kind, seed):
    """Labels with mistakes, and which of them are wrong."""
    rng, labels = np.random.default_rng(seed), y_train.copy()
    if kind == "scattered":
        wrong = rng.choice(len(labels), N_WRONG, replace=False)
        labels[wrong] = (labels[wrong] + rng.integers(1, 10, N_WRONG)) % 10
    else:
        wrong = rng.choice(np.flatnonzero(labels == 4), N_WRONG, replace=False)
        labels[wrong] = 9
    return labels, np.isin(np.arange(len(labels)), wrong)


def suspicion(clf, labels):
    """Rankings of the training rows; more suspicious rows have larger values."""
    proba = clf.predict_proba(X_train)[np.arange(len(labels)), labels]
    return {
        "loss of the row": -np.log(np.maximum(proba, 1e-12)),
        "influence, damping 1e-3": clf.influences(X_clean, y_clean),
        "influence, damping 1": deepcopy(clf).set_params(damping=1).influences(X_clean, y_clean),
    }


# %%
# How many of the most suspicious rows are wrong?
# -----------------------------------------------
# Means over two draws. ``validation_fraction`` is left at its default: a tenth of the rows is
# not trained on, and ranked like the others.

KINDS = ("scattered", "one-sided")
found, kept = {}, None
for kind in KINDS:
    for seed in range(2):
        labels, is_wrong = plant(kind, seed)
        clf = PumaClassifier(damping=1e-3, random_state=0).fit(X_train, labels)
        for name, score in suspicion(clf, labels).items():
            order = np.argsort(-score)
            found.setdefault((kind, name), []).append(np.cumsum(is_wrong[order[:60]]))
    kept = clf, labels, is_wrong  # the last one is cleaned up below

at = (10, 20, N_WRONG)
print(f"{'share of wrong labels among the first':38}" + "".join(f"{k:>6}" for k in at))
for (kind, name), counts in found.items():
    precision = np.mean(counts, axis=0) / np.arange(1, 61)
    print(f"{kind:10} {name:27}" + "".join(f"{precision[k - 1]:6.2f}" for k in at))

figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
styles = {
    "loss of the row": ("#000000", "--"),
    "influence, damping 1e-3": ("#E69F00", "-."),
    "influence, damping 1": ("#0072B2", "-"),
}
for ax, kind in zip(axes, KINDS, strict=True):
    for name, (colour, line) in styles.items():
        ax.plot(
            np.arange(1, 61),
            np.mean(found[kind, name], axis=0),
            color=colour,
            linestyle=line,
            linewidth=2,
            label=name,
        )
    ax.plot([0, N_WRONG, 60], [0, N_WRONG, N_WRONG], color="0.75", zorder=0, label="perfect")
    ax.set(title=f"{kind} mistakes", xlabel="rows looked at, most suspicious first")
    ax.grid(alpha=0.3)
axes[0].set_ylabel(f"wrong labels found, of {N_WRONG}")
axes[1].legend(loc="lower right")

output = Path(os.environ.get("SK_UNLEARN_OUTPUT", "build"))
output.mkdir(parents=True, exist_ok=True)
figure.savefig(output / "find_mislabelled.png", dpi=150)

# %%
# For scattered mistakes the loss is hard to beat, except at the very top of the list: a single
# wrong label stands out against its neighbours, and nothing but the trained network is needed to
# see it. One-sided mistakes agree
# with each other; the network learns them as a rule, their loss becomes small, and the ranking
# fails. Influence asks other rows, with labels that are known to be right, and finds them.
#
# The ranking is better with much more damping than a removal wants. Large damping asks which
# rows pull against the checked ones; small damping weighs the answer by directions in which the
# network hardly resists, where rows that are merely unusual are loud, too.

# %%
# Forget what was found
# ---------------------
# Now the most suspicious rows of the last draw are removed. Wrong labels are what a network
# has to learn by heart, and each of them has moved the weights far. A linear step may not reach
# back, and ``RetrainAdvisedWarning`` says so. PUMA raises its damping until the step is one along
# which the network is nearly linear; held where it is, it would overshoot.

clf, labels, is_wrong = kept
suspects = np.argsort(-suspicion(clf, labels)["influence, damping 1"])[:N_WRONG]


def report(name, model):
    """Print test accuracy, the share of fours taken for nines, and any advice."""
    fours = X_test[y_test == 4]
    taken = np.mean(model.predict(fours) == 9)
    print(f"{name:32} {model.score(X_test, y_test):8.3f} {taken:15.1%}")
    if len(model.receipts_) and model.receipts_[-1].advice:
        for message in model.receipts_[-1].advice:
            print(textwrap.fill(message, 80, initial_indent="    ", subsequent_indent="    "))


print(f"{is_wrong[suspects].mean():.0%} of the {len(suspects)} suspects are wrong\n")
print(f"{'':32} {'accuracy':>8} {'fours as nines':>15}")
report("as trained", clf)
for name, adaptive in (("PUMA", True), ("PUMA, damping held at 0.001", False)):
    moved = deepcopy(clf).set_params(adaptive_damping=adaptive)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RetrainAdvisedWarning)  # the receipt keeps it
        moved.forget(suspects)
    report(name, moved)
retrained = RetrainClassifier(random_state=0).fit(X_train, labels).forget(suspects)
report("retrained without the suspects", retrained)
corrected = RetrainClassifier(random_state=0).fit(X_train, y_train)
report("trained on the true labels", corrected)

# %%
# What to do when the warning comes: retrain, if you can. If you cannot, take a smaller step
# (fewer rows in a request, lower ``eta`` or more ``damping``) and see on rows that were not
# used for anything else what it did, as in the table. The absence of a warning says that the
# step was short enough for the approximation, not that everything was forgotten: the safer step
# also removes less. And a wrong label that can be put right is worth more corrected than
# forgotten.
