"""Tables of what a removal costs, and what it was reached at."""

import numpy as np
from _rst import controls, kloms, percent, table


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
                    percent(one["share"], 1),
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


def puma(results):
    aims = {"retrain": "", "first": "8 %", "next": "2 %"}
    kinds = {"retrain": "retrained", "first": "PUMA"}
    rows = [
        (
            name,
            float(np.median(results["seconds"][name])),
            percent(results[name]["share_of_retrain"], 1),
            aim,
            results[name]["forget_loss"],
            results[name]["accuracy"],
            # what a later request is reached at is in the table of requests in turn
            *(kloms(results["quality"], kinds[name]) if name in kinds else [""] * 3),
        )
        for name, aim in aims.items()
    ]
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
    return table(heads, rows + controls(results["quality"], len(heads)))


def puma_in_turn(results):
    names = ("curvature kept", "curvature anew", "retrained", "null", "nothing")
    quality = results["in_turn"]
    rows = [(name, *kloms(quality, name), quality[name]["accuracy"]) for name in names]
    return table(("Models", "KLoM, forgotten", "Retained", "Held out", "Accuracy"), rows)


def puma_parts(results):
    seconds = sorted(results["seconds"].items(), key=lambda item: -item[1])
    seconds.append(("products of matrices alone", results["floor"]))
    whole = results["seconds"]["all"]
    return table(("Part", "ms", "Of all"), [(n, 1e3 * s, percent(s / whole)) for n, s in seconds])


def influences(results):
    rows = []
    for r in results["influences"]:
        what, distance = f"Influences of all rows, {r['net']}", f"{r['finite_differences']:.0e}"
        rows.append(
            (f"{what}, forward passes", r["forward_passes"], "" if rows else "2", distance)
        )
        rows.append(("... by products", r["by_products"], "", ""))
    aims = {"0.01": "8", "0.001": "15"}
    for damping, solve in results["solves"].items():
        what, residual = f"Products to 1e-2, damping {damping}", f"{solve['residual']:.0e}"
        rows.append((what, solve["products"], aims[damping], residual))
        rows.append(("... without preconditioner", solve["products_plain"], "", ""))
        rows.append(("... set-up, gradient passes", solve["set_up_gradient_passes"], "2", ""))
    rows.append(("Accuracy, 784-128-10", results["accuracy_held_out"], "", ""))
    return table(("What", "Measured", "Aim", "Distance to finite differences, residual"), rows)


def growth(results):
    sizes, quality = results["sizes"], results["quality"]
    first = sizes[0]["seconds"]["next"]
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
            *kloms(quality, "PUMA"),
        )
        for r in sizes
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
        f"KLoM at {sizes[0]['n_rows']:,} rows, forgotten",
        "Retained",
        "Held out",
    )
    return table(heads, rows + controls(quality, len(heads)))


def puma_million(results):
    requests, accuracy, quality = results["requests"], results["accuracy"], results["quality"]
    kinds = {"fit": "nothing", "first": "PUMA"}
    rows = [
        (
            name,
            results["n_rows"],
            one["seconds"],
            one["peak_mib"] / requests["fit"]["peak_mib"],
            accuracy["before" if name == "fit" else "after"],
            *(kloms(quality, kinds[name]) if name in kinds else [""] * 3),
        )
        for name, one in requests.items()
    ]
    heads = (
        "",
        "Rows",
        "Seconds (aim 1)",
        "Peak of memory over fit (aim 1.3)",
        "Accuracy",
        f"KLoM at {results['quality_rows']:,} rows, forgotten",
        "Retained",
        "Held out",
    )
    return table(heads, rows + controls(quality, len(heads))[:1])


def linear_head(results):
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
        "KLoM at 2,000 rows, forgotten",
        "Retained",
        "Held out",
    )
    rows = []
    for r in results:
        rows.append(
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
                *kloms(r["quality"], "PUMA"),
            )
        )
        rows += controls(r["quality"], len(heads), prefix="... ")
    return table(heads, rows)


def linear_head_rivals(results):
    rows = [
        (rival["data"], way, one["seconds"], one["steps"], one["accuracy"], one["distance"])
        for rival in results
        for way, one in rival["ways"].items()
    ]
    return table(("Data", "Way", "CPU s", "Steps", "Accuracy", "Distance left"), rows)


def closed_form(results):
    rows = []
    for name, found in results["sets"].items():
        net, own = found["net"], found["closed form"]
        first = [
            f"{own['first'][n]:.3f} / {net['first'][n]:.3f}" for n in ("accuracy", "log_loss")
        ]
        one, part = found["requests"]["one"], found["requests"]["part"]
        rows.append(
            (
                name,
                f"{own['accuracy']:.3f} / {net['accuracy']:.3f}",
                len(net["runs"]),
                f"{own['log_loss']:.3f} / {net['log_loss']:.3f}",
                ", ".join(first),
                f"{found['lda']['log_loss']:.3f}, {found['naive_bayes']['log_loss']:.3f}",
                own["fit"]["cpu"] / net["fit"]["cpu"],
                one["cpu"],
                part["cpu"] / one["cpu"],
            )
        )
    heads = (
        "Rows",
        "Accuracy / of the default net",
        "Splits",
        "Log-loss / of the net",
        "Both, the first three splits alone",
        "Log-loss of linear discriminants, of naive Bayes",
        "Fit, of the net's (aim 0.5)",
        "One row, ms (aim 40)",
        "1 % over one row (aim 1.3)",
    )
    return table(heads, rows)


def closed_form_growth(results):
    rows = [
        (
            f"{found['n_rows']:,}",
            f"{found['components']} components" if found["components"] else "as they are",
            found["fit"]["cpu"],
            found["requests"]["one"]["cpu"],
            found["requests"]["part"]["cpu"],
            found["requests"]["part"]["wall"],
            f"{found['peak_mib']:.0f}, {found['process_mib']:.0f} / {found['data_mib']:.0f}",
        )
        for found in results["growth"]
    ]
    heads = (
        "Rows of 100 columns",
        "Features",
        "Fit, s",
        "One row, ms",
        "1,000 rows, ms",
        "... by the wall clock",
        "Peak of memory, of fit, of the process / the data, MiB",
    )
    return table(heads, rows)
