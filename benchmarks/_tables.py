"""A table of reStructuredText from the result of each benchmark, by its place in the page."""

import numpy as np
from _rst import percent, table
from _tables_removal import (
    closed_form,
    closed_form_growth,
    exact_cost,
    growth,
    influences,
    linear_head,
    linear_head_rivals,
    puma,
    puma_in_turn,
    puma_million,
    puma_parts,
)
from _tables_trust import trust, trust_removals


def fit(results):
    rows = [
        (f"{batch}", way, f"{ratio:.2f}", "1.10", *accuracies)
        for batch, way, _, ratio, *accuracies in results["ratios"]
    ]
    heads = ("Batch", "Net", "Times the plain loop", "Aim", "Accuracy", "Of the plain loop")
    return table(heads, rows)


def stacked(results):
    rows = [
        (net, jobs, stack, alone, ratio, *accuracies)
        for net, jobs, stack, alone, ratio, *accuracies in results["ratios"]
    ]
    heads = (
        "Net",
        "Jobs",
        "Side by side, µs a step",
        "One by one",
        "Times faster (aim 1.5, CUDA 8)",
        "Accuracy side by side",
        "One by one",
    )
    return table(heads, rows)


def oracles(results):
    rows = [(f"{size}", backend, wall, "10") for size, backend, wall, _ in results["oracles"]]
    return table(("Rows in a batch", "Two stacks in", "Wall-clock seconds", "Aim"), rows)


def parallel(results):
    heads = ("Shards", "Seconds", "Times faster than one after another", "Accuracy")
    return table(heads, results["ratios"])


def import_(results):
    rows = [
        (f"``{statement}``", float(np.median(r["seconds"])), r["ratio"], str(r["limit"] or ""))
        for statement, r in results.items()
    ]
    return table(("Statement", "CPU seconds", "Times torch and scikit-learn", "Aim"), rows)


def predict(results):
    rows = [
        (
            r["estimator"],
            r["data"],
            r["n_nets"],
            r["n_rows"],
            r["seconds"]["ours"] * 1e3,
            r["ratio"],
            r.get("ratio_labels", ""),
            "1.05" if r["n_rows"] >= 10_000 else "",
            r["accuracy"],
        )
        for r in results
    ]
    proba, labels = "``predict_proba``", "``predict``"
    heads = ("Estimator", "Data", "Nets", "Rows", f"ms of {proba}", "Times the bare nets")
    return table((*heads, f"The same for {labels}", "Aim", "Accuracy"), rows)


def device(results):
    rows = [
        (one["what"], one["ms"], one["over"], one["ratio"], str(one["limit"]))
        for one in results["rows"]
    ]
    rows += [
        (f"accuracy, {what}", value, "", "", "") for what, value in results["accuracy"].items()
    ]
    return table(("What", "ms", "Over", "Ratio", "Aim on two cores"), rows)


def run(results):
    rows = [
        (f"``{name}``", f"{seconds:.0f}", "failed" if status else "")
        for name, seconds, status, *_ in results["seconds"]
    ]
    rows.append(("all", f"{results['total']:.0f}", "aim 900"))
    return table(("Benchmark", "Wall-clock seconds", ""), rows)


def report(results):
    rows = []
    for name, found in results.items():
        for record in found["records"]:
            if record["estimator"] == "nothing" or not record["control"]:
                rows.append((name, record["estimator"], *klom(record), _verdict(record)))
        rows.append((name, "whole report", "", "", "", f"{found['wall']:.0f} s (aim 60)"))
    heads = ("Forget set", "Model", "KLoM p95, forgotten", "Retained", "Held out", "Verdict, time")
    return table(heads, rows)


def compare(results):
    rows = []
    for record in results["records"]:
        if not record["control"]:
            cost, accuracy = record["cost"], record["metrics"]["accuracy_held_out"]["value"]
            values = (cost["seconds"], percent(cost["seconds_share"]), accuracy)
            rows.append((record["estimator"], *values, *klom(record), _verdict(record)))
    rows.append(("all, with controls", results["wall"], "", "", "", "", "", "aim 120 s"))
    heads = (
        "Method",
        "Seconds",
        "Of a retrain",
        "Accuracy",
        "KLoM p95, forgotten",
        "Retained",
        "Held out",
        "Verdict",
    )
    return table(heads, rows)


def klom(record):
    """95th percentiles on forgotten, retained and held-out rows."""
    kinds = ("forget", "retain", "held_out")
    return [record["metrics"][f"klom_p95_{kind}"]["value"] for kind in kinds]


def _verdict(record):
    advised = record["cost"].get("advised") or 0
    return record["verdict"] + (f", advises to retrain: {advised:.0%}" if advised else "")


# place in the page: name of the result, and what makes the table
TABLES = {
    "fit": ("fit", fit),
    "stacked": ("stacked", stacked),
    "oracles": ("stacked", oracles),
    "parallel": ("parallel", parallel),
    "report": ("report", report),
    "compare": ("compare", compare),
    "exact_cost_sisa": ("exact_cost_sisa", exact_cost),
    "exact_cost_arcane": ("exact_cost_arcane", exact_cost),
    "closed_form": ("closed_form", closed_form),
    "closed_form_growth": ("closed_form", closed_form_growth),
    "puma": ("puma", puma),
    "influences": ("influences", influences),
    "growth": ("growth", growth),
    "puma_in_turn": ("puma", puma_in_turn),
    "trust": ("trust_full", trust),
    "trust_removals": ("trust_full", trust_removals),
    "puma_parts": ("puma_parts", puma_parts),
    "puma_million": ("puma_million", puma_million),
    "linear_head": ("linear_head", linear_head),
    "linear_head_rivals": ("linear_head_rivals", linear_head_rivals),
    "import": ("import", import_),
    "predict": ("predict", predict),
    "device": ("device", device),
    "run": ("run", run),
}
