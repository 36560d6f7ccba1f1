"""
Forgetting a person with SISA
=============================

A network learns to read handwritten digits from many people, one of whom asks to be forgotten.
SISA answers exactly, without training everything again: it keeps several networks, each of which
saw its own *shard* of the rows, and saves their states along the way. This example forgets a
person from such an ensemble, with the states as files on disk, and shows what the number of
shards does to accuracy and to the price of a request.
"""

# %%
# The data
# --------
# The digits do not come with their writers, so the example makes some up: each 25 rows in a row
# are one person's. Pixels are divided by 16, a number that no training row decides: a
# ``StandardScaler`` in front of the ensemble would keep a trace of the rows that leave.

import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sk_unlearn import SisaClassifier
from sk_unlearn.nets import default_classifier

X, y = load_digits(return_X_y=True)
person = np.array([f"person {i // 25:02d}" for i in range(len(y))])
X_train, X_test, y_train, y_test, person, _ = train_test_split(
    X / 16, y, person, test_size=0.25, stratify=y, random_state=0
)
people = np.unique(person)
print(f"{len(X_train)} training rows of {len(people)} people, {len(X_test)} rows for the test")

# %%
# Shards on disk
# --------------
# Five shards, each trained in five steps on a growing part of its rows. After each step but the
# last the state is saved: 5 × 4 files. ``groups`` says whose row it is, and puts all rows of a
# person into one shard, and there into one slice: they will leave together. The network is the
# default one with larger and fewer steps, to be done sooner.

folder = tempfile.TemporaryDirectory()
net = default_classifier(n_features=64, n_outputs=10, n_rows=len(X_train))
net.set_params(lr=1e-2, max_epochs=15)


def sisa(n_shards, **params):
    """Ensemble of this many copies of the network."""
    return SisaClassifier(net, n_shards=n_shards, random_state=0, **params)


clf = sisa(5, checkpoints=folder.name).fit(X_train, y_train, groups=person)
accuracy = {5: clf.score(X_test, y_test)}
files = sorted(Path(folder.name).rglob("*.safetensors"))
size = sum(path.stat().st_size for path in files) / len(files)
print(f"{len(files)} files of {size / 1024:.0f} KiB; test accuracy {accuracy[5]:.3f}")

# %%
# The answer to a request is known before it is made. Six people go, one after the other. Half
# way through somebody deletes every file of the ensemble: what it costs is time. The next
# request trains the shard that it hits from the beginning, and saves its states anew.


def show(*cells):
    """Print a line of the table."""
    print("{:11}{:>6}{:>9}{:>10}{:>7}{:>6}{:>8}{:>8}".format(*cells))


show("request", "rows", "preview", "retrained", "steps", "used", "lost", "seconds")
for count, name in enumerate(people[:6]):
    if count == 3:
        for path in Path(folder.name).rglob("*.safetensors"):
            path.unlink()
        print("(all files deleted)")
    preview = clf.forget_cost(groups=[name])
    receipt = clf.forget(groups=[name]).receipts_[-1]
    solver = receipt.solver
    show(
        name,
        receipt.n_forgotten,
        f"{preview.share_of_retrain:.1%}",
        f"{receipt.cost.share_of_retrain:.1%}",
        solver["steps_retrained"],
        solver["checkpoints_used"],
        solver["checkpoints_lost"],
        f"{receipt.seconds:.2f}",
    )

# %%
# *Preview* and *retrained* are shares of training all shards again. They differ only where files
# were lost, which a preview does not look for. *Steps* counts those that were trained again,
# *used* and *lost* the saved states.
#
# Exact means exact: an ensemble that was never shown these people gives the same numbers, to the
# last bit.

stay = ~np.isin(person, people[:6])
fresh = sisa(5).fit(
    X_train[stay], y_train[stay], sample_id=np.flatnonzero(stay), groups=person[stay]
)
same = np.array_equal(clf.predict_proba(X_test), fresh.predict_proba(X_test))
print(f"same bits as a fresh fit without the six: {same}")
folder.cleanup()

# %%
# How many shards?
# ----------------
# Each network sees fewer rows the more shards there are, and reads worse. Each request costs
# less, as long as it hits few shards. Three requests are previewed: the rows of one person; as
# many rows, scattered over everybody; and the rows of ten people.

SHARDS = (1, 5, 10, 20)
rng = np.random.default_rng(0)
n_rows = len(person) // len(people)
scattered = [rng.choice(len(person), n_rows, replace=False) for _ in range(8)]
tens = [rng.choice(people, 10, replace=False) for _ in range(8)]

shares = {"one person": [], "as many scattered rows": [], "ten people": []}
for n_shards in SHARDS:
    clf = sisa(n_shards).fit(X_train, y_train, groups=person)
    accuracy[n_shards] = clf.score(X_test, y_test)
    requests = {
        "one person": [{"groups": [name]} for name in people[::6]],
        "as many scattered rows": [{"X_idx": rows} for rows in scattered],
        "ten people": [{"groups": names} for names in tens],
    }
    for kind, many in requests.items():
        found = [clf.forget_cost(**request).share_of_retrain for request in many]
        shares[kind].append(np.mean(found))

print(f"{'shards':>6}{'accuracy':>10}{'one person':>12}{'scattered':>11}{'ten people':>12}")
for n_shards, *row in zip(SHARDS, *shares.values(), strict=True):
    one, spread, ten = (f"{share:.0%}" for share in row)
    print(f"{n_shards:6d}{accuracy[n_shards]:10.3f}{one:>12}{spread:>11}{ten:>12}")

# %%
# One person costs about ``2/3 + 1/(3 · 5)`` of one shard. As many scattered rows hit most shards
# at an early step and cost several times as much: tell ``fit`` who leaves together. Requests of
# many people at once hit many shards as well. From about three independent requests a shard on,
# hardly a shard is spared, and the accuracy was given away for nothing.

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
places = np.arange(len(SHARDS))
left.plot(places, [accuracy[n] for n in SHARDS], "o-", color="black")
for place, n_shards in zip(places, SHARDS, strict=True):
    left.annotate(
        f"{accuracy[n_shards]:.3f}",
        (place, accuracy[n_shards]),
        xytext=(7, 5),
        textcoords="offset points",
    )
left.set(title="what shards cost", ylabel="test accuracy", ylim=(0.88, 1.0))
STYLES = (("#0072B2", "o-"), ("#E69F00", "s--"), ("#009E73", "^:"))
for (kind, values), (colour, style) in zip(shares.items(), STYLES, strict=True):
    right.plot(places, 100 * np.array(values), style, color=colour, label=kind)
right.set(title="what a request costs", ylabel="% of training everything again", ylim=(0, 105))
right.legend(fontsize="small")
for axes in (left, right):
    axes.set(xlabel="shards", xlim=(-0.4, len(SHARDS) - 0.4))
    axes.set_xticks(places, SHARDS)
    axes.grid(alpha=0.3)

output = Path(os.environ.get("SK_UNLEARN_OUTPUT", "build"))
output.mkdir(parents=True, exist_ok=True)
figure.savefig(output / "sisa.png", dpi=150)
