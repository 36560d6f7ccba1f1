"""Write the tables of ``docs/performance.rst`` from the results of the benchmarks.

The page is prose with marked places; each place gets the table of one benchmark, from
``benchmarks/results/*.json``, and says on what machine, with which versions and seeds it ran,
and how to repeat it. A result of a CUDA device (``name-cuda.json``) is a second table with the
name of the device. A result that is missing leaves its table as it is.

    make bench && python benchmarks/write_performance.py
"""

import json
import re

from _common import RESULTS, ROOT
from _tables import TABLES

PAGE = ROOT / "docs" / "performance.rst"
PLACE = re.compile(r"(\.\. table-of: (\w+)\n)(.*?)(\n\.\. end-of-table\n)", re.DOTALL)
# places whose benchmarks run on CUDA devices too
ON_CUDA = {"stacked", "influences", "puma_million", "device"}


def rendered(place, old):
    """Tables of the results that there are, the CPU's first; what was there if there is none."""
    name, make = TABLES[place]
    lines = []
    for suffix in ("", "-cuda") if place in ON_CUDA else ("",):
        path = RESULTS / f"{name}{suffix}.json"
        if path.exists():
            record = json.loads(path.read_text())
            lines += ["", *make(record["results"]), "", where(record), ""]
    if not lines:
        print(f"{place}: no result, its table is left as it is")
        return old
    return "\n".join(lines)


def where(record):
    """Machine, versions, seeds, date and command of a result."""
    machine, seed = record["machine"], record.get("seed", 0)
    seeds = f"seeds {seed[0]} to {seed[-1]}" if isinstance(seed, list) else f"seed {seed}"
    device = f"{machine['gpu']}; " if machine["gpu"] else ""
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    return (
        f"{device}{machine['processor']}, {machine['cores']} cores; {versions}; {seeds}; "
        f"{record['time'][:10]}; {runs(record)}``{record['command']}``."
    )


def runs(record):
    """What to say of the command where the lines of a result come from several runs."""
    results = record["results"]
    several = results.get("n_runs", 1) if isinstance(results, dict) else 1
    return f"lines of {several} runs, the latest " if several > 1 else ""


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
