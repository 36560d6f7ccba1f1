"""
Did it really forget?
=====================

A model that has forgotten rows should behave like one that never saw them. Accuracy cannot show
this. :func:`~sk_unlearn.model_selection.compare_forgetting` asks the questions that can: many
networks are trained and made to forget, and are compared row by row with networks that were
retrained without these rows. Two controls keep the comparison honest. Networks that did *nothing*
must be found out, and *retrained* ones must not.
"""

# %%
# What is forgotten, and by whom
# ------------------------------
# Digits, a small network, and two sets of rows to forget: rows drawn at random, of which a
# network depends little on any, and the rows that a trained network finds hardest, which it has
# learned by heart.

import os
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from sk_unlearn import PumaClassifier
from sk_unlearn.inspection import MembershipDisplay
from sk_unlearn.model_selection import compare_forgetting
from sk_unlearn.nets import default_classifier

X, y = load_digits(return_X_y=True)
X, y = (X[:820] / 16).astype(np.float32), y[:820]
net = default_classifier(n_features=64, n_outputs=10, n_rows=600, device="cpu", hidden=(32,))
net.set_params(max_epochs=40)

# %%
# PUMA, with and without compensation, and with half the step. They differ in how they forget, not
# in what they train, so that they share their networks.

estimators = {
    "PUMA": PumaClassifier(net, damping=1e-2),
    "PUMA, half the step": PumaClassifier(net, damping=1e-2, eta=0.5),
    "plain influence": PumaClassifier(net, damping=1e-2, compensation=None),
}
comparison = compare_forgetting(
    estimators,
    X,
    y,
    forget=["random", "hard"],
    forget_size=0.03,
    n_models=10,
    random_state=0,
)
print(comparison)

# %%
# Look at the controls first. Where "nothing" is not found out, no verdict means anything, and
# the table says "undecided". Then at the accuracies: they hardly tell the rows of the table
# apart. KLoM does, the distance between the distributions of each row's margin among networks that
# forgot and among retrained ones. Two independent sets of retrained networks give its null: with
# so few networks perfect twins are far from zero, too.
#
# A verdict of "fails" says that a difference from retraining was found, not that it is large.
# The column "left" has the size: the distance beyond the null, as a share of what doing nothing
# leaves.

# %%
# Quality against cost
# --------------------

output = Path(os.environ.get("SK_UNLEARN_OUTPUT", "build"))
output.mkdir(parents=True, exist_ok=True)
comparison.plot().figure_.savefig(output / "did_it_really_forget.png", dpi=150)

# %%
# Times are shares of a retrain, which takes a fraction of a second here: the overhead of a
# removal weighs more than it would for a large network. ``cost="share_of_retrain"`` counts
# work instead.
#
# Can one row be told?
# --------------------
# The simplest attack ranks rows by their loss. On hard rows it points the wrong way, since even
# forgotten they are harder than others: compare with the curve of the retrained networks, not
# with the diagonal. That the attack finds nothing is therefore weak evidence.

display = MembershipDisplay.from_results(
    comparison, "random", estimators=["nothing", "PUMA", "retrained"]
)
display.figure_.savefig(output / "did_it_really_forget_roc.png", dpi=150)
