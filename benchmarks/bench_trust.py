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
    python benchmarks/bench_trust.py --half development  # what constants are chosen on

What is measured is kept in ``results/trust_measured.json`` and not measured again.
"""

import copy
import json
import warnings

import numpy as np
from _common import RESULTS, parse, print_table, write_json
from _trust_cases import SCENARIOS, SMALL, load, net_of, rows_of

from sk_unlearn import PumaClassifier
from sk_unlearn.approximate import _puma_base
from sk_unlearn.metrics import logit_margin
from sk_unlearn.model_selection import fit_many

SETS = ("forget", "retain", "held_out")
SIGNS = (
    "step_ratio",
    "nonlinearity",
    "damping_factor",
    "forget_loss_before",
    "forget_loss",
    "forget_loss_predicted",
    "criterion_before",
    "criterion",
    "criterion_change_predicted",
    "expected_gap",
    "drift",
    "signs",
)


def margins(models, X, y):
    """Of all models, by rows."""
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


def measured(models, oracles, parts):
    """KLoM p50 and p95 by set, and the signed shift."""
    found = {}
    for name, rows in parts.items():
        each = divergence(models[:, rows], oracles[:, rows])
        spread = oracles[:, rows].std(0) + 1e-4
        shift = (models[:, rows].mean(0) - oracles[:, rows].mean(0)) / spread
        found[name] = [
            float(np.quantile(each, 0.5)),
            float(np.quantile(each, 0.95)),
            float(np.median(shift)),
        ]
    return found


def forgotten(models, rows, params):
    """Copies of the models after a request; its share of a retrain, warnings and signs."""
    params, usual = dict(params), _puma_base.TRAINING_FACTOR
    _puma_base.TRAINING_FACTOR = params.pop("factor", usual)
    moved = [copy.deepcopy(model).set_params(**params) for model in models]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for model in moved:
                model.forget(rows)
    finally:
        _puma_base.TRAINING_FACTOR = usual
    receipts = [model.receipts_[-1] for model in moved]
    steps = [r.solver["steps"][0] for r in receipts if r.solver and r.solver["steps"]]
    return moved, {
        "warned": float(np.mean([bool(r.advice) for r in receipts])),
        "cost": float(np.median([r.cost.share_of_retrain for r in receipts])),
        "signs": [{name: step.get(name) for name in SIGNS} for step in steps],
    }


def compare(scenario, requests, variants, n_models, known):
    """Measure what is not known; yields after each removal."""
    X, y0, X_test, y_test = load(scenario.data, scenario.draw)
    fitted = {}

    def keys(request):
        return {v: f"{scenario.name} | {request} | {v} | {n_models}" for v in variants}

    for request in requests:
        if all(key in known for key in keys(request).values()):
            continue
        net = net_of(scenario.net, X, y0)
        seeds = [1000 * ord(scenario.draw) + k for k in range(3 * n_models)]
        clf = PumaClassifier(net)

        def fit(y, net=clf, seeds=seeds):
            key = hash(y.tobytes())
            if key not in fitted:
                fitted[key] = fit_many(net, X, y, seeds[:n_models]).estimators
            return fitted[key]

        base = margins(fit(y0)[:3], X, y0).mean(0)
        rows, y = rows_of(request, X, y0, base, scenario.draw)
        before, kept = fit(y), np.setdiff1d(np.arange(len(y)), rows)
        oracles = fit_many(clf, X[kept], y[kept], seeds[n_models:], sample_id=kept).estimators
        some = np.random.RandomState(0).permutation(kept)[:500]
        everything = np.vstack([X[rows], X[some], X_test])
        labels = np.concatenate([y[rows], y[some], y_test])
        ends = np.cumsum([len(rows), len(some), len(X_test)])
        parts = dict(zip(SETS, map(slice, (0, *ends[:-1]), ends), strict=True))
        of = {
            "oracle": margins(oracles[:n_models], everything, labels),
            "null": margins(oracles[n_models:], everything, labels),
            "nothing": margins(before, everything, labels),
        }
        controls = {name: measured(of[name], of["oracle"], parts) for name in ("null", "nothing")}
        for variant, key in keys(request).items():
            if key in known:
                continue
            moved, report = forgotten(before, rows, variants[variant])
            after = margins(moved, everything, labels)
            known[key] = {
                **controls,
                "after": measured(after, of["oracle"], parts),
                **report,
                "half": scenario.half,
                "request": f"{scenario.name}: {request}",
                "variant": variant,
                "n_models": n_models,
                "n_forgotten": len(rows),
            }
        yield


def harms(one, factor=1.1):
    """Whether a removal left any set of rows worse than it was."""
    return any(
        one["after"][s][1] > max(2 * one["null"][s][1], factor * one["nothing"][s][1])
        for s in SETS
    )


def succeeds(one):
    """Whether all sets of rows are within twice the null."""
    return all(one["after"][s][1] <= 2 * one["null"][s][1] for s in SETS)


def summary(found):
    """Rates and medians of one variant on one half."""
    warned = [one["warned"] >= 0.5 for one in found]
    bad, good = [harms(one) for one in found], [succeeds(one) for one in found]
    quiet = [one for one, w in zip(found, warned, strict=True) if not w]
    mattered = [
        one for one in found if one["nothing"]["forget"][1] >= 5 * one["null"]["forget"][1]
    ]
    falls = [one["after"]["forget"][1] / one["nothing"]["forget"][1] for one in mattered]

    def share(of, among):
        chosen = [o for o, a in zip(of, among, strict=True) if a]
        return float(np.mean(chosen)) if chosen else float("nan")

    return {
        "removals": len(found),
        "within 2 x null on all sets": int(sum(good)),
        "harm": int(sum(bad)),
        "unwarned": len(quiet),
        "unwarned harm": int(sum(map(harms, quiet))),
        "unwarned, 1.5 x worse": int(sum(harms(one, 1.5) for one in quiet)),
        "harm warned": share(warned, bad),
        "good warned": share(warned, good),
        "forget p95 of nothing's where >= 5 x null": float(np.median(falls)) if falls else None,
        "median cost": float(np.median([one["cost"] for one in found])),
    }


def main():
    args = parse(
        __doc__,
        full={"models": 24, "small": 0},
        models=10,
        small=1,
        half={"choices": ("development", "reported", "both"), "default": "both"},
        factors={"nargs": "*", "default": [], "help": "other factors of the term to try"},
        only="",
        tag="",
    )
    name = f"trust_measured{args.tag}.json"
    path = RESULTS / name
    path.parent.mkdir(exist_ok=True)
    known = json.loads(path.read_text()) if path.exists() else {}
    variants = {"training": {}, "1e-3": {"damping": 1e-3}}
    if args.factors:
        variants |= {f"training x {f}": {"factor": float(f)} for f in args.factors}
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
                rows.append(
                    [one["request"], variant, *sets, one["after"]["forget"][2], one["cost"],
                     f"{one['warned']:.0%}", "harm" if harms(one) else ""]
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
    write_json("trust", results, models=args.models)


if __name__ == "__main__":
    main()
