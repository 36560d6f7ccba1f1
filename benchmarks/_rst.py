"""Numbers and tables in reStructuredText."""

__all__ = ["controls", "kloms", "number", "percent", "table"]


def number(value):
    """Three significant digits, without exponents for everyday sizes."""
    if isinstance(value, str):
        return value
    if value is None or value != value:
        return ""
    if isinstance(value, int) or (value == int(value) and abs(value) >= 100):
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def percent(share, digits=0):
    """A share, with the space before the sign that the page has."""
    return f"{share:.{digits}%}".replace("%", " %")


def table(heads, rows):
    """Lines of a list-table."""
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in (heads, *rows):
        for i, cell in enumerate(row):
            text = number(cell)
            lines.append(f"   {'* - ' if i == 0 else '  - '}{text}".rstrip())
    return lines


def kloms(quality, kind):
    """KLoM that ``_quality`` found for one kind of models: forgotten, retained, held-out rows."""
    return tuple(f"{value:.2f}" for value in quality[kind]["klom_p95"].values())


def controls(quality, n_columns, prefix=""):
    """Rows of retrained against retrained nets and of nets that forgot nothing, KLoM last."""
    blank = [""] * (n_columns - 4)
    return [(f"{prefix}{kind}", *blank, *kloms(quality, kind)) for kind in ("null", "nothing")]
