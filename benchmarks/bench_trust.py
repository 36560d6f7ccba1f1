"""Whether an approximate removal can be trusted: distances to retrained nets, harm, and advice.

Claim: with its defaults PUMA is nowhere much worse than doing nothing without saying so. Each
removal is done by several nets; KLoM (95th percentile over rows, Gaussian) on forgotten, retained
and held-out rows, against nets that were retrained; the null is other retrained nets, "nothing"
the nets before. Shift: median over forgotten rows of how far their margins are above those of
retrained nets, in standard deviations of these. Harm: KLoM p95 on any set above both twice the
null and 1.1 times that of doing nothing. A removal counts as warned if half of its nets advise
retraining. Constants are to be chosen on the development half only (``_trust_cases.py``).

    python benchmarks/bench_trust.py
    python benchmarks/bench_trust.py --full              # the whole battery, 24 nets
    python benchmarks/bench_trust.py --full --half development --ablate  # for constants

What is measured is kept in ``results/trust_measured.json`` and not measured again.
"""

import copy
import json
import warnings
from dataclasses import dataclass

import numpy as np
from _common import RESULTS, parse, print_table, write_json
from _trust_cases import REAL, SCENARIOS, SMALL, estimator_of, load, rows_of
from sklearn.metrics import roc_auc_score

from sk_unlearn.metrics import logit_margin
from sk_unlearn.model_selection import fit_many

SETS = ("forget", "retain", "held_out")
VARIANTS = {"default": {}, "1e-3": {"damping": 1e-3}}
ABLATIONS = {"compensated": {"compensation": "l1"}, "linear step": {"adaptive_damping": False}}


def margins(models, X, y):
    """Of all models, by rows; their predictions where targets are numbers."""
    if y.dtype.kind == "f":
        return np.array([model.predict(X) for model in models])
    found = []
    for model in models:
        proba = np.zeros((len(X), int(y.max()) + 1))
        known = model.classes_ < proba.shape[1]
        proba[:, model.classes_[known]] = model.predict_proba(X)[:, known]
        found.append(logit_margin(np.log(proba + 1e-12), y))
    return np.array(found)


def divergence(models, oracles):
    """KLoM of each row, the Gaussian closed form."""
    mean, variance = oracles.mean(0), oracles.var(0) + 1e-8
    own = models.var(0) + 1e-8
    return 0.5 * (np.log(variance / own) + (own + (models.mean(0) - mean) ** 2) / variance - 1)


def measured(models, oracles, parts, y):
    """KLoM p50 and p95 by set, and the signed shift: toward the target, where it is a number."""
    found = {}
    for name, rows in parts.items():
        each = divergence(models[:, rows], oracles[:, rows])
        spread = oracles[:, rows].std(0) + 1e-4
        shift = (models[:, rows].mean(0) - oracles[:, rows].mean(0)) / spread
        if y.dtype.kind == "f":
            shift = shift * np.sign(y[rows] - oracles[:, rows].mean(0))
        found[name] = [
            float(np.quantile(each, 0.5)),
            float(np.quantile(each, 0.95)),
            float(np.median(shift)),
        ]
    return found


def forgotten(models, requests, params):
    """Copies of the models after requests in turn; shares of a retrain, warnings and signs."""
    moved = [copy.deepcopy(model).set_params(**params) for model in models]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for model in moved:
            for rows in requests:
                model.forget(rows)
    receipts = [list(model.receipts_)[-len(requests) :] for model in moved]
    solvers = [[r.solver for r in each if r.solver and r.solver["steps"]] for each in receipts]
    return moved, {
        "warned": [bool(any(r.advice for r in each)) for each in receipts],
        "cost": float(np.median([sum(r.cost.share_of_retrain for r in c) for c in receipts])),
        "gap": [max((s["expected_gap"] for s in each), default=0.0) for each in solvers],
    }


@dataclass
class Case:
    """Nets before and after a request, as statistics of rows.

    Attributes
    ----------
    requests : list of ndarray of int
    before : list of estimator
    nothing, oracle, null : ndarray of shape (n_models, n_rows)
    X, y : ndarray
        Forgotten rows, some retained ones and the held-out ones.
    parts : dict of str to slice
        Where these are.
    """

    requests: list
    before: list
    nothing: np.ndarray
    oracle: np.ndarray
    null: np.ndarray
    X: np.ndarray
    y: np.ndarray
    parts: dict


def cases(scenario, requests, n_models):
    """What the removals of a scenario are compared with, one after the other."""
    X, y0, X_test, y_test = load(scenario.data, scenario.draw)
    estimator, fitted = estimator_of(scenario, X, y0), {}
    seeds = [1000 * ord(scenario.draw) + k for k in range(3 * n_models)]

    def fit(y):
        key = hash(y.tobytes())
        if key not in fitted:
            fitted[key] = fit_many(estimator, X, y, seeds[:n_models]).estimators
        return fitted[key]

    base = margins(fit(y0)[:3], X, y0).mean(0)
    base = -np.abs(base - y0) if scenario.data in REAL else base
    for request in requests:
        each, y = rows_of(request, X, y0, base, scenario.draw)
        rows = np.sort(np.concatenate(each))
        before, kept = fit(y), np.setdiff1d(np.arange(len(y)), rows)
        others = seeds[n_models:]
        oracles = fit_many(estimator, X[kept], y[kept], others, sample_id=kept).estimators
        some = np.random.RandomState(0).permutation(kept)[:500]
        everything = np.vstack([X[rows], X[some], X_test])
        labels = np.concatenate([y[rows], y[some], y_test])
        ends = np.cumsum([len(rows), len(some), len(X_test)])
        yield (
            request,
            Case(
                each,
                before,
                margins(before, everything, labels),
                margins(oracles[:n_models], everything, labels),
                margins(oracles[n_models:], everything, labels),
                everything,
                labels,
                dict(zip(SETS, map(slice, (0, *ends[:-1]), ends), strict=True)),
            ),
        )


def compared(case, params):
    """KLoM of a removal, of a net retrained where it is warned, of doing nothing, and the null."""

    def from_oracle(models):
        return measured(models, case.oracle, case.parts, case.y)

    moved, report = forgotten(case.before, case.requests, params)
    after = margins(moved, case.X, case.y)
    # a net that is retrained is one more of the null's
    escalated = np.where(np.array(report["warned"])[:, None], case.null, after)
    return {
        **{name: from_oracle(getattr(case, name)) for name in ("null", "nothing")},
        "after": from_oracle(after),
        "escalated": from_oracle(escalated),
        **report,
        "n_forgotten": sum(map(len, case.requests)),
    }


def compare(scenario, requests, variants, n_models, known):
    """Measure what is not known; yields after each removal."""

    def key(request, variant):
        return f"{scenario.name} | {request} | {variant} | {n_models}"

    def asked(request):  # series only of the default, for their time
        return variants if " in " not in request else list(variants)[:1]

    missing = [r for r in requests if any(key(r, v) not in known for v in asked(r))]
    for request, case in cases(scenario, missing, n_models):
        for variant in asked(request):
            params = variants[variant]
            known[key(request, variant)] = {
                **compared(case, params),
                "half": scenario.half,
                "request": f"{scenario.name}: {request}",
                "variant": variant,
                "n_models": n_models,
            }
        yield


def harms(one, factor=1.1):
    """Whether a removal left any set of rows worse than it was."""
    return any(
        one["after"][s][1] > max(2 * one["null"][s][1], factor * one["nothing"][s][1])
        for s in SETS
    )


def succeeds(one, kind="after"):
    """Whether all sets of rows are within twice the null."""
    return all(one[kind][s][1] <= 2 * one["null"][s][1] for s in SETS)


def is_warned(one):
    """Whether half of the nets advise to retrain."""
    return np.mean(one["warned"]) >= 0.5


def escalated_cost(one):
    """Share of a retrain where those that are warned are retrained."""
    return one["cost"] + float(np.mean(one["warned"]))


def is_small_and_random(one):
    """Of at most 5 % of the rows, in one request."""
    return one["request"].endswith(("random 1%", "random 5%"))


def mean(values):
    """NaN where there are none."""
    values = list(values)
    return float(np.mean(values)) if values else float("nan")


def area(of, score):
    """Area under the ROC curve of a score; NaN where all are alike."""
    return float(roc_auc_score(of, score)) if 0 < sum(of) < len(of) else float("nan")


def summary(found):
    """Rates and medians of one variant on one half."""
    quiet = [one for one in found if not is_warned(one)]
    bad, good = [one for one in found if harms(one)], [one for one in found if succeeds(one)]
    mattered = [
        one for one in found if one["nothing"]["forget"][1] >= 5 * one["null"]["forget"][1]
    ]
    falls = [one["after"]["forget"][1] / one["nothing"]["forget"][1] for one in mattered]
    gaps = [float(np.median(one["gap"])) for one in found]
    whole = {one["request"]: one["cost"] for one in found}
    series = [one for one in found if " in " in one["request"]]
    series = [one["cost"] / whole[one["request"].split(" in ")[0]] for one in series
              if one["request"].split(" in ")[0] in whole]  # fmt: skip
    return {
        "removals": len(found),
        "within 2 x null on all sets": len(good),
        "harm": len(bad),
        "unwarned": len(quiet),
        "unwarned, no harm": mean(not harms(one) for one in quiet),
        "unwarned, 1.5 x worse": sum(harms(one, 1.5) for one in quiet),
        "harm that is warned": mean(map(is_warned, bad)),
        "good that is warned": mean(map(is_warned, good)),
        "AUC of expected_gap for harm": area([harms(one) for one in found], gaps),
        "AUC of expected_gap for beyond 2 x null": area([not succeeds(o) for o in found], gaps),
        "removals where nothing >= 5 x null": len(mattered),
        "forget p95 of nothing's there": float(np.median(falls)) if falls else float("nan"),
        "retrain if warned: within 2 x null": mean(succeeds(o, "escalated") for o in found),
        "retrain if warned: mean cost": mean(map(escalated_cost, found)),
        "random, up to 5 %": mean(escalated_cost(o) for o in found if is_small_and_random(o)),
        "cost, median": float(np.median([one["cost"] for one in found])),
        "20 requests over one of the same rows": float(np.median(series)) if series
        else float("nan"),
    }  # fmt: skip


def main():
    args = parse(
        __doc__,
        full={"models": 24, "small": 0},
        models=10,
        small=1,
        half={"choices": ("development", "reported", "both"), "default": "both"},
        only="",
        ablate={"action": "store_true", "help": "parts of the default left out, too"},
        tag="",
    )
    name = f"trust_measured{args.tag}.json"
    path = RESULTS / name
    path.parent.mkdir(exist_ok=True)
    known = json.loads(path.read_text()) if path.exists() else {}
    variants = VARIANTS | (ABLATIONS if args.ablate else {})
    for scenario in SCENARIOS:
        if args.half not in ("both", scenario.half) or args.only not in scenario.name:
            continue
        requests = SMALL.get(scenario.name, ()) if args.small else scenario.requests
        for _ in compare(scenario, requests, variants, args.models, known):
            path.write_text(json.dumps(known))
    found = [one for one in known.values() if one["n_models"] == args.models]
    results = {"removals": found}
    for half in ("development", "reported"):
        if args.half not in ("both", half):
            continue
        rows, table = [], {}
        for variant in variants:
            these = [o for o in found if o["half"] == half and o["variant"] == variant]
            if not these:
                continue
            table[variant] = summary(these)
            for one in these:
                sets = [
                    " / ".join(f"{one[kind][s][1]:.2g}" for kind in ("null", "nothing", "after"))
                    for s in SETS
                ]
                verdict = "harm" if harms(one) else "good" if succeeds(one) else ""
                rows.append(
                    [one["request"], variant, *sets, one["after"]["forget"][2], one["cost"],
                     f"{np.mean(one['warned']):.0%}", verdict]
                )  # fmt: skip
        columns = ("request", "damping", *SETS, "shift", "cost", "warned", "")
        print_table(f"{half}: KLoM p95, null / nothing / after", columns, sorted(rows))
        print_table(
            f"{half}: summary",
            ("", *table),
            [[name, *(t[name] for t in table.values())] for name in next(iter(table.values()))]
            if table else [],
        )  # fmt: skip
        results[half] = table
    write_json("trust" if args.small else "trust_full", results, models=args.models)


if __name__ == "__main__":
    main()
