"""
A customer asks to be forgotten
===============================

A shop predicts which of its customers will leave. Its data is what such data is: numbers with
gaps, categories with gaps, a line of text. Imputer, scaler, encoder and model are a pipeline, and
all of them learn from the rows of a customer. This example forgets a customer in every step,
checks that nothing is left, and compares what three models behind the same columns ask for it.
"""

# %%
# The data
# --------
# Made up, with a fixed seed: 300 customers with a row for each of four quarters. One of them is
# the only one in Sao Tome.

import os
import pickle
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, GroupShuffleSplit, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sk_unlearn import PumaClassifier, RetrainClassifier, SisaClassifier
from sk_unlearn.exceptions import RetrainAdvisedWarning
from sk_unlearn.model_selection import forget_params, make_forgetting_scorer
from sk_unlearn.nets import default_classifier
from sk_unlearn.pipeline import make_forget_pipeline, residual_steps

CITIES = ("Berlin", "Lagos", "Lima", "Osaka")
PLANS = ("basic", "family", "premium")
PRAISE, COMPLAINT = "friendly quick helpful thanks", "late broken refund again"


def make_customers(n_customers=300, n_quarters=4, random_state=0):
    """Rows of customers, one a quarter, and whether the customer left afterwards."""
    rng = np.random.default_rng(random_state)
    who = np.repeat(np.arange(n_customers), n_quarters)
    n_rows = len(who)
    age = rng.integers(18, 80, n_customers)[who].astype(float)
    city = np.array(CITIES, dtype=object)[rng.integers(len(CITIES), size=n_customers)]
    city[42] = "Sao Tome"
    plan = rng.integers(len(PLANS), size=n_customers)[who]
    visits = rng.poisson(6 - 2 * (plan == 0)).astype(float)
    spent = np.round(np.exp(rng.normal(3.5 + 0.3 * plan, 0.6)), 2)
    unhappy = rng.normal(size=n_rows) + 0.6 * (plan == 0) > 0.8
    left = rng.normal(size=n_rows) + 1.5 * unhappy - 0.25 * (visits - 5) - 0.01 * (age - 45) > 0.6
    messages = [rng.choice((COMPLAINT if bad else PRAISE).split(), 2) for bad in unhappy]
    frame = pd.DataFrame(
        {
            "age": np.where(rng.random(n_rows) < 0.1, np.nan, age),
            "visits": visits,
            "spent": np.where(rng.random(n_rows) < 0.05, np.nan, spent),
            "city": np.where(rng.random(n_rows) < 0.02, None, city[who]),
            "plan": np.array(PLANS, dtype=object)[plan],
            "message": [" ".join(words) for words in messages],
        }
    )
    return frame, np.where(left, "left", "stayed"), np.array([f"c-{i:04d}" for i in who])


X, y, customer = make_customers()
train, test = next(GroupShuffleSplit(1, test_size=0.25, random_state=2).split(X, y, customer))
print(X.head(4).to_string(index=False))
print(f"{len(train)} rows for training; {np.mean(y == 'left'):.0%} left")

# %%
# What a plain pipeline keeps
# ---------------------------
# Only the last step of a plain pipeline forgets. The imputer and the scaler keep the share of the
# customer in their means, and the encoder keeps the name of the city, readable in each pickle.


def columns(**encoding):
    """Numbers, categories and text side by side, as numbers."""
    return ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), [*X.columns[:3]]),
            ("categories", OneHotEncoder(handle_unknown="ignore", **encoding), ["city", "plan"]),
            ("text", HashingVectorizer(n_features=32, alternate_sign=False), "message"),
        ],
        sparse_threshold=0,
    )


rows, labels, names = X.iloc[train], y[train], customer[train]
plain = make_pipeline(columns(), RetrainClassifier(LogisticRegression()))
plain.fit(rows, labels, retrainclassifier__groups=names)
plain[-1].forget(groups="c-0042")
print(f"steps that still know the customer: {residual_steps(plain)}")
print(f"the city is in the pickle: {b'Sao Tome' in pickle.dumps(plain)}")

# %%
# Forgetting in every step
# ------------------------
# ``make_forget_pipeline`` takes the same steps. Requests go to the pipeline, by customer.

pipe = make_forget_pipeline(columns(), RetrainClassifier(LogisticRegression()), random_state=0)
pipe.fit(rows, labels, groups=names).forget(groups="c-0042")
receipt = pipe.receipts_[-1]
print(f"{receipt.n_forgotten} rows forgotten, guarantee: {receipt.guarantee}")
for step, outcome in receipt.solver["steps"].items():
    print(f"  {step}: {outcome}")
print(f"the city is in the pickle: {b'Sao Tome' in pickle.dumps(pipe)}")

stay = names != "c-0042"
fresh = make_forget_pipeline(columns(), RetrainClassifier(LogisticRegression()), random_state=0)
fresh.fit(rows[stay], labels[stay], sample_id=np.flatnonzero(stay), groups=names[stay])
same = np.array_equal(pipe.predict_proba(X.iloc[test]), fresh.predict_proba(X.iloc[test]))
print(f"same bits as a pipeline that never saw the customer: {same}")

# %%
# Three models
# ------------
# Retraining a network, an ensemble of five networks each of which has its own columns step (SISA),
# and one linear step (PUMA) behind columns that are fitted anew. A network reads a fixed number of
# columns. So that none leaves with a customer, the encoder is told its categories; another city
# becomes zeros. One customer asks first, then thirty at once.

net = default_classifier(n_features=42, n_outputs=2, n_rows=900, device="cpu", hidden=(32,))
net.set_params(lr=1e-2, max_epochs=12)
named = columns(categories=[CITIES, PLANS])
models = {
    "retraining": make_forget_pipeline(named, RetrainClassifier(net), random_state=0),
    "SISA": SisaClassifier(make_pipeline(named, net), n_shards=5, random_state=0),
    "PUMA": make_forget_pipeline(named, PumaClassifier(net, damping=1e-2), random_state=0),
}
requests = {"one customer": names[:1], "thirty customers": np.unique(names)[50:80]}

warnings.simplefilter("ignore", RetrainAdvisedWarning)  # the receipt keeps it
price = {}
print(
    f"{'':12}{'guarantee':>12}{'request':>18}{'rows':>6}{'price':>7}{'seconds':>9}{'accuracy':>10}"
)
for name, model in models.items():
    model.fit(rows, labels, groups=names)
    price[name] = []
    for what, who in requests.items():
        receipt = model.forget(groups=who).receipts_[-1]
        accuracy = model.score(X.iloc[test], y[test])
        price[name].append(receipt.cost.share_of_retrain)
        print(
            f"{name:12}{receipt.guarantee!s:>12}{what:>18}{receipt.n_forgotten:6d}"
            f"{price[name][-1]:7.0%}{receipt.seconds:9.2f}{accuracy:10.3f}"
        )
    if "input_change" in (receipt.solver or {}):
        change = receipt.solver["input_change"]
        print(f"{'':12}inputs of the network moved by {change:.3f} standard deviations")

# %%
# Is the removal as good in each fold?
# ------------------------------------
# ``cross_validate`` trains, forgets and scores in each fold, and no customer is in two folds. The
# scorers find the forgotten rows by their ids. The attack ranks rows by their loss, to tell
# forgotten from held-out rows: 0.5 is chance, and what it makes of retraining is the yardstick.
# A step of length zero forgets nothing, and has to be found out.

ids = np.array([f"row-{i}" for i in range(len(X))])
params = forget_params(X, forget=np.isin(customer, requests["thirty customers"]), sample_id=ids)
scoring = {
    "accuracy": "accuracy",
    "mia_auc": make_forgetting_scorer("mia_auc", X, y, sample_id=ids),
}
idle = clone(models["PUMA"]).set_params(pumaclassifier__eta=0)
attack = {}
print(f"{'':12}{'accuracy':>10}{'loss attack':>13}")
for name in ("nothing", "PUMA", "retraining"):
    scores = cross_validate(
        models.get(name, idle),
        X,
        y,
        cv=GroupKFold(3),
        groups=customer,
        params=params,
        scoring=scoring,
    )
    attack[name] = scores["test_mia_auc"]
    print(f"{name:12}{scores['test_accuracy'].mean():10.3f}{attack[name].mean():13.3f}")

# %%
# The choice
# ----------
# Accuracy on 300 rows of other customers hardly tells the models apart. The price does: the
# networks of the ensemble see a fifth of the rows each, which makes small requests cheap, but
# thirty customers hit every one of them. PUMA asks the same for both, and is approximate: the
# attack finds less after it than after doing nothing. Its folds differ more than the models do:
# compare the models fold by fold.

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
COLOURS = ("#0072B2", "#E69F00")
places = np.arange(len(price))[::-1]
for k, (what, colour) in enumerate(zip(requests, COLOURS, strict=True)):
    values = [100 * shares[k] for shares in price.values()]
    bars = left.barh(places + 0.2 - 0.4 * k, values, 0.38, color=colour, label=what)
    left.bar_label(bars, fmt="%.0f %%", padding=3)
left.set_yticks(places, price)
left.set(xlabel="price, % of retraining", xlim=(0, 119), title="what a request costs")
left.legend(fontsize="small", loc="lower right")
right.axvline(0.5, color="0.3", linewidth=1)
right.plot(np.array(list(attack.values())), places, "o-", color="0.7", markersize=5, linewidth=1)
for place, values in zip(places, attack.values(), strict=True):
    right.scatter(values.mean(), place, 80, color="#0072B2", marker="D")
right.set_yticks(places, attack)
right.set(xlabel="AUC of the loss attack (grey: folds)", title="what thirty customers leave")
right.set_ylim(-0.6, 2.6)
for axes in (left, right):
    axes.grid(alpha=0.3, axis="x")
    axes.set_axisbelow(True)

output = Path(os.environ.get("SK_UNLEARN_OUTPUT", "build"))
output.mkdir(parents=True, exist_ok=True)
figure.savefig(output / "customer_pipeline.png", dpi=150)
