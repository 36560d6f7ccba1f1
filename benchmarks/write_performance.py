"""Write the tables of ``docs/performance.rst`` from the results of the benchmarks.

The page is prose with marked places; each place gets the table of one benchmark, from
``benchmarks/results/*.json``, and says on what machine and with which versions it ran. A
result that is missing leaves its table as it is.

    make bench && python benchmarks/write_performance.py
"""

import json
import re

import numpy as np
from _common import RESULTS, ROOT

PAGE = ROOT / "docs" / "performance.rst"
PLACE = re.compile(r"(\.\. table-of: (\w+)\n)(.*?)(\n\.\. end-of-table\n)", re.DOTALL)


def number(value):
    """Three significant digits, without exponents for everyday sizes."""
    if isinstance(value, str):
        return value
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
    rows = [(f"{size}", backend, wall, "10") for size, backend, wall, _ in results["oracles"]]
    return table(("Rows in a batch", "Two stacks in", "Wall-clock seconds", "Aim"), rows)


TABLES = {
    "fit": fit,
    "stacked": stacked,
    "parallel": parallel,
    "puma": puma,
    "influences": influences,
    "growth": growth,
    "linear_head": linear_head,
    "import": import_,
    "predict": predict,
}


def rendered(name, old):
    path = RESULTS / f"{name}.json"
    if not path.exists():
        print(f"{name}: no result, its table is left as it is")
        return old
    record = json.loads(path.read_text())
    machine, versions = record["machine"], record["versions"]
    where = (
        f"{machine['processor']}, {machine['cores']} cores; "
        + ", ".join(f"{library} {version}" for library, version in versions.items())
        + f"; {record['time'][:10]}."
    )
    return "\n".join(["", *TABLES[name](record["results"]), "", where, ""])


def main():
    page = PAGE.read_text()
    found = {match[2] for match in PLACE.finditer(page)}
    if found != set(TABLES):
        raise SystemExit(f"{PAGE.name} has places for {sorted(found)}, not {sorted(TABLES)}.")
    new = PLACE.sub(lambda m: m[1] + rendered(m[2], m[3]) + m[4], page)
    PAGE.write_text(new)
    print(f"Written to {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
