"""
One customer leaves, in milliseconds
====================================

A net was trained once, on rows that nobody will ask back. What it makes of the rows of customers,
its activations, is fed to a model that is a function of sums. When a customer leaves, the sums
lose what the customer's rows had added, to the last bit: no training, and nothing left.
"""

# %%
# A net for everybody, rows of customers
# --------------------------------------
# Half of the digits are public: the net is trained on them alone. The others belong to 60
# customers, some of whom wrote more than others.

import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split

from sk_unlearn import ClosedFormClassifier, RetrainClassifier
from sk_unlearn.nets import default_classifier

X, y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32)
public, private, y_public, y_private = train_test_split(X, y, test_size=0.5, random_state=0)
train, test, y_train, y_test = train_test_split(private, y_private, test_size=200, random_state=0)

net = default_classifier(n_features=64, n_outputs=10, n_rows=len(public))
net.fit(public, y_public)

rng = np.random.default_rng(0)
customer = np.array([f"customer-{i}" for i in np.minimum(rng.geometric(0.05, len(train)), 60)])
ids = np.arange(len(train))

# %%
# Three models that can forget
# ----------------------------
# On the activations of the net, on random Fourier features of the pixels, and, for comparison, a
# net that is trained on the customers' rows and has to be trained again.
#
# Rows that are read again are no training: where a request moves the unit in which columns are
# read, as the one on pixels does here, all sums are taken anew, in one pass. ``forget_cost``
# knows.

models = {
    "closed form on a net's layer": ClosedFormClassifier(FrozenEstimator(net), random_state=0),
    "closed form on random features": ClosedFormClassifier(random_state=0),
    "a net, trained again": RetrainClassifier(random_state=0),
}
leaves, seconds, accuracy = "customer-3", {}, {}
for name, model in models.items():
    model.fit(train, y_train, sample_id=ids, groups=customer)
    cost = model.forget_cost(groups=leaves)
    start = time.perf_counter()
    model.forget(groups=leaves)
    seconds[name] = time.perf_counter() - start
    accuracy[name] = model.score(test, y_test)
    print(
        f"{name}: {cost.n_forgotten} rows left in {seconds[name] * 1e3:.0f} ms, "
        f"{cost.rows_retrained} rows read again, accuracy {accuracy[name]:.3f}"
    )

# %%
# Exact: the model that was never shown the rows
# ----------------------------------------------

stays = customer != leaves
for name, model in models.items():
    fresh = clone(model).fit(
        train[stays], y_train[stays], sample_id=ids[stays], groups=customer[stays]
    )
    same = np.array_equal(model.predict_proba(test), fresh.predict_proba(test))
    print(f"{name}: every bit of every probability is the same: {same}")

# %%
# The customer comes back
# -----------------------
# Rows are added as exactly as they are removed. Model and order of the rows are then those of a
# fit with the customer's rows at the end. A warning names rows that were forgotten and are back:
# here that is meant.

model = models["closed form on a net's layer"]
model.partial_fit(train[~stays], y_train[~stays], sample_id=ids[~stays], groups=customer[~stays])
print(f"{model.score(test, y_test):.3f} with {len(model.receipts_)} receipt")

# %%
# What it costs
# -------------
# Milliseconds do not depend on the number of rows that stay.

figure, axes = plt.subplots(1, 2, figsize=(10, 2.6), sharey=True, layout="constrained")
names = list(models)
axes[0].barh(names, [seconds[name] * 1e3 for name in names])
axes[0].set(xscale="log", xlabel="one customer leaves, milliseconds")
axes[1].barh(names, [accuracy[name] for name in names], color="C1")
axes[1].set(xlim=(0.8, 1), xlabel="accuracy on held-out rows")
axes[0].invert_yaxis()
plt.show()
