"""A table of reStructuredText from the result of each benchmark."""

import numpy as np


def number(value):
    """Three significant digits, without exponents for everyday sizes."""
    if isinstance(value, str):
        return value
    if value is None or value != value:
        return ""
    if isinstance(value, int) or (value == int(value) and abs(value) >= 100):
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(heads, rows):
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in (heads, *rows):
        for i, cell in enumerate(row):
            text = number(cell)
            lines.append(f"   {'* - ' if i == 0 else '  - '}{text}".rstrip())
    return lines


def fit(results):
    rows = [
        (f"{batch}", way, f"{ratio:.2f}", "1.10") for batch, way, _, ratio in results["ratios"]
    ]
    return table(("Batch", "Net", "Times the plain loop", "Aim"), rows)


def puma(results):
    aims = {"retrain": "", "first": "8 %", "next": "2 %"}
    rows = [
        (
            name,
            float(np.median(results["seconds"][name])),
            f"{results[name]['share_of_retrain']:.1%}".replace("%", " %"),
            aim,
            results[name]["forget_loss"],
            results[name]["accuracy"],
            *_kloms(results["quality"], {"retrain": "retrained"}.get(name, "PUMA")),
        )
        for name, aim in aims.items()
    ]
    rows.append(("null", "", "", "", "", "", *_kloms(results["quality"], "null")))
    rows.append(("nothing", "", "", "", "", "", *_kloms(results["quality"], "nothing")))
    heads = (
        "Request",
        "Seconds",
        "Of a retrain",
        "Aim",
        "Loss on the forgotten rows",
        "Accuracy",
        "KLoM on digits, forgotten",
        "Retained",
        "Held out",
    )
    return table(heads, rows)


def _kloms(quality, kind):
    return tuple(f"{value:.2f}" for value in quality[kind]["klom_p95"].values())


def influences(results):
    rows = []
    for r in results["influences"]:
        what = f"Influences of all rows, {r['net']}, forward passes"
        rows.append((what, r["forward_passes"], "" if rows else "2"))
        rows.append(("... by products", r["by_products"], ""))
    aims = {"0.01": "8", "0.001": "15"}
    for damping, solve in results["solves"].items():
        rows.append((f"Products to 1e-2, damping {damping}", solve["products"], aims[damping]))
        rows.append(("... without preconditioner", solve["products_plain"], ""))
        rows.append(("... set-up, gradient passes", solve["set_up_gradient_passes"], "2"))
    return table(("What", "Measured", "Aim"), rows)


def growth(results):
    first = results[0]["seconds"]["next"]
    rows = [
        (
            r["n_rows"],
            r["seconds"]["first"],
            sum(r["floor"].values()),
            r["seconds"]["next"],
            r["seconds"]["next"] / first,
            r["extra_mib"]["next"] / r["data_mib"],
            r["accuracy_before"],
            r["accuracy_after"],
        )
        for r in results
    ]
    heads = (
        "Rows",
        "First request, s",
        "Verify, copy, forward, s",
        "Next, s",
        "Over the smallest (aim 2)",
        "Memory over the data",
        "Accuracy before",
        "After",
    )
    return table(heads, rows)


def linear_head(results):
    rows = [
        (
            r["data"],
            r["n_parameters"],
            r["seconds"]["refit"],
            r["seconds"]["next"],
            r["speed_up"]["first"],
            r["speed_up"]["next"],
            f"{r['step_against_cg']:.0e}",
            r["accuracy"]["after"],
            r["accuracy"]["refit"],
        )
        for r in results
    ]
    heads = (
        "Data",
        "Parameters",
        "Refit, s",
        "Next request, s",
        "Times faster, first",
        "Next (aim 100)",
        "Step against CG",
        "Accuracy after",
        "Refit",
    )
    return table(heads, rows)


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


def parallel(results):
    rows = [(way, seconds, ratio) for way, seconds, ratio in results["ratios"]]
    return table(("Shards", "Seconds", "Times faster than one after another"), rows)


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
            values = (cost["seconds"], f"{cost['seconds_share']:.0%}".replace("%", " %"), accuracy)
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


def exact_cost(results):
    rows = []
    for model, found in results["summary"].items():
        for request in ("one row", "1 %"):
            if request not in found:
                continue
            one, naive = found[request], model == "naive"
            rows.append(
                (
                    "retrain" if naive else model,
                    "any" if naive else request,
                    f"{one['share']:.1%}".replace("%", " %"),
                    one["cpu"]["seconds"],
                    f"{one['wall']['ratio']:.2f} / {one['cpu']['ratio']:.2f}",
                    f"{one['wall']['ratio_own']:.2f} / {one['cpu']['ratio_own']:.2f}",
                    one["cpu"]["speed_up"],
                    found["accuracy"],
                    found.get("accuracy_after", ""),
                )
            )
    heads = (
        "Model",
        "Request",
        "Share of row passes",
        "CPU s",
        "Time over share (aim 1.10)",
        "... of its own fit",
        "Times faster than a retrain",
        "Accuracy",
        "After",
    )
    return table(heads, rows)


def puma_million(results):
    requests, accuracy = results["requests"], results["accuracy"]
    rows = [
        (
            name,
            results["n_rows"],
            one["seconds"],
            one["peak_mib"] / requests["fit"]["peak_mib"],
            accuracy["before" if name == "fit" else "after"],
        )
        for name, one in requests.items()
    ]
    heads = ("", "Rows", "Seconds (aim 1)", "Peak of memory over fit (aim 1.3)", "Accuracy")
    return table(heads, rows)


def device(results):
    rows = [
        (one["what"], one["ms"], one["over"], one["ratio"], str(one["limit"]))
        for one in results["rows"]
    ]
    rows += [
        (f"accuracy, {what}", value, "", "", "") for what, value in results["accuracy"].items()
    ]
    return table(("What", "ms", "Over", "Ratio", "Aim"), rows)


def linear_head_rivals(results):
    rows = [
        (rival["data"], way, one["seconds"], one["steps"], one["accuracy"], one["distance"])
        for rival in results
        for way, one in rival["ways"].items()
    ]
    return table(("Data", "Way", "CPU s", "Steps", "Accuracy", "Distance left"), rows)


def run(results):
    rows = [
        (f"``{name}``", f"{seconds:.0f}", "failed" if status else "")
        for name, seconds, status in results["seconds"]
    ]
    rows.append(("all", f"{results['total']:.0f}", "aim 900"))
    return table(("Benchmark", "Wall-clock seconds", ""), rows)


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
    "puma": ("puma", puma),
    "influences": ("influences", influences),
    "growth": ("growth", growth),
    "puma_million": ("puma_million", puma_million),
    "linear_head": ("linear_head", linear_head),
    "linear_head_rivals": ("linear_head_rivals", linear_head_rivals),
    "import": ("import", import_),
    "predict": ("predict", predict),
    "device": ("device", device),
    "run": ("run", run),
}
