"""Tables of whether an approximate removal can be trusted."""

from _rst import percent, table

SETS = ("forget", "retain", "held_out")
# line of a summary, in words, what is aimed at, and whether it is a share
LINES = (
    ("removals", "Removals", "", False),
    ("within 2 x null on all sets", "Within twice the null on all three sets", "", False),
    ("harm", "Harm", "", False),
    ("unwarned", "Not warned of", "", False),
    ("unwarned, no harm", "... without harm", "95 %", True),
    ("unwarned, 1.5 x worse", "... more than 1.5 times worse than nothing", "0", False),
    ("harm that is warned", "Of those with harm, warned of", "70 %", True),
    ("good that is warned", "Of those within twice the null, warned of", "at most 15 %", True),
    ("AUC of expected_gap for harm", "AUC of expected_gap, for harm", "", False),
    (
        "AUC of expected_gap for beyond 2 x null",
        "... for being beyond twice the null",
        "",
        False,
    ),
    ("removals where nothing >= 5 x null", "Nothing is beyond five times the null", "", False),
    (
        "forget p95 of nothing's there",
        "... KLoM of forgotten rows over nothing's, median",
        "at most 25 %",
        True,
    ),
    (
        "retrain if warned: within 2 x null",
        'on_advice="retrain": within twice the null',
        "90 %",
        True,
    ),
    ("retrain if warned: mean cost", "... mean cost, of a retrain", "", True),
    ("random, up to 5 %", "... for random rows, up to 5 %", "at most 30 %", True),
    ("cost, median", "Cost without retrains, median", "", True),
    (
        "20 requests over one of the same rows",
        "Cost of 20 requests over one for the same rows, median",
        "at most 2",
        False,
    ),
)


def trust(results):
    """Rates on the reported half, beside what is aimed at."""
    found, rows = results["reported"], []
    for name, words, aim, is_share in LINES:
        values = [found[kind][name] for kind in ("default", "1e-3")]
        rows.append((words, aim, *(percent(v) if is_share and v == v else v for v in values)))
    return table(("", "Aim", "Default", "damping=1e-3"), rows)


def trust_removals(results):
    """Each removal of the reported half, by the default."""
    rows = []
    for one in results["removals"]:
        if one["half"] != "reported" or one["variant"] != "default":
            continue
        sets = [" / ".join(f"{one[k][s][1]:.2g}" for k in ("null", "nothing", "after"))
                for s in SETS]  # fmt: skip
        warned = sum(one["warned"]) / len(one["warned"])
        rows.append(
            (one["request"], *sets, f"{one['after']['forget'][2]:+.2f}", percent(warned),
             percent(one["cost"], 1))
        )  # fmt: skip
    heads = ("Removal", "Forgotten", "Retained", "Held out", "Shift", "Warned", "Cost")
    return table(heads, sorted(rows))
