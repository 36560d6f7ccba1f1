"""A comparison as text."""

import textwrap

__all__ = ["text_of"]

WIDTH = 99
# heading, metric
COLUMNS = (
    ("KLoM F", "klom_p95_forget"),
    ("R", "klom_p95_retain"),
    ("V", "klom_p95_held_out"),
    ("U-LiRA", "u_lira"),
    ("MIA", "mia_auc"),
    ("acc F", "accuracy_forget"),
    ("R", "accuracy_retain"),
    ("V", "accuracy_held_out"),
    ("ToW", "tug_of_war"),
)
LEGEND = (
    "KLoM: 95th percentile over forgotten (F), retained (R) and held-out (V) rows. U-LiRA: "
    "balanced accuracy. MIA: AUC of the loss attack. ToW: tug of war. left: share of the trace "
    "that doing nothing leaves. ge, share: gradient passes and share of a retrain by the "
    "receipts; time: measured, as a share of a measured retrain. *: the metric fails: it is not "
    "what models retrained without the rows may show."
)


def text_of(comparison):
    """Tables of all forget sets, a legend and the notes."""
    settings, parts = comparison.settings, []
    for name in dict.fromkeys(record["forget"] for record in comparison.records):
        records = [record for record in comparison.records if record["forget"] == name]
        parts.append(
            f"{name}: {settings['n_forgotten'][name]} of {settings['n_train']} rows forgotten, "
            f"{settings['n_held_out']} held out, {settings['n_models']} models of each kind\n"
            + _table(records)
        )
    parts.append(textwrap.fill(LEGEND, WIDTH))
    parts += [textwrap.fill(f"Note: {note}", WIDTH) for note in comparison.notes]
    return "\n\n".join(parts)


def _table(records):
    columns = [column for column in COLUMNS if column[1] in records[0]["metrics"]]
    heads = ["", *(head for head, _ in columns), "left", "ge", "share", "time", "verdict"]
    lines = [heads]
    for training in dict.fromkeys(record["training"] for record in records):
        own = [record for record in records if record["training"] == training]
        null = [_number(own[0]["metrics"][name]["null"]) + " " for _, name in columns]
        lines += [_line(record, columns) for record in own]
        lines.append([f"null ({training})" if training else "null", *null, *[""] * 5])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    # a star stands behind its number, so headings end one place earlier
    heads[1 : 1 + len(columns)] = [head + " " for head in heads[1 : 1 + len(columns)]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i in (0, len(heads) - 1) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _line(record, columns):
    cells = [record["estimator"]]
    for _, name in columns:
        entry = record["metrics"][name]
        cells.append(_number(entry["value"]) + ("*" if entry["passes"] is False else " "))
    cost, verdict = record["cost"], record["verdict"]
    if cost["advised"]:
        verdict += f" (advises to retrain: {cost['advised']:.0%})"
    return [
        *cells,
        _percent(record["trace_left"]),
        _number(cost["gradient_passes"]),
        _percent(cost["share_of_retrain"]),
        _percent(cost["seconds_share"]),
        verdict,
    ]


def _number(value):
    if value is None:
        return "-"
    if abs(value) >= 1000:
        return f"{value:.0e}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _percent(value):
    if value is None:
        return "-"
    return f"{value:.0%}" if abs(value) >= 0.1 else f"{value:.1%}"
