"""Time to import the package, over what it stands on.

Claim: ``import sk_unlearn`` takes at most 1.05 times the import of torch and scikit-learn.
Public names are looked up when they are first used, so the estimators are timed too: they
also load skorch, which loads scikit-learn's metrics and model selection.

CPU time of fresh processes with warm bytecode, from their start. Each imports one after the other
and says when; so a ratio compares times of the same process.

    python benchmarks/bench_import.py
"""

import os
import subprocess
import sys
import tempfile

import numpy as np
from _common import ROOT, parse, print_table, ratio, write_json

REFERENCE = "import torch, sklearn"
# what a process imports in turn, by the whole of what it has imported then, and limits
STATEMENTS = {
    REFERENCE: (REFERENCE, None),
    f"{REFERENCE}, sk_unlearn": ("import sk_unlearn", 1.05),
    f"{REFERENCE}; from sk_unlearn import PumaClassifier": (
        "from sk_unlearn import PumaClassifier",
        None,
    ),
}


def cpu_seconds(environment):
    """CPU time of a fresh interpreter after each of the statements."""
    lines = ["from time import process_time as now"]
    lines += [f"{statement}; print(now())" for statement, _ in STATEMENTS.values()]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    return [float(line) for line in done.stdout.split()]


def public_names():
    """Names that ``dir`` shows without any of them being loaded."""
    script = "import sys, sk_unlearn as s; assert 'torch' not in sys.modules; print(*dir(s))"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, cwd=ROOT
    )
    return done.stdout.decode().split()


def main():
    repeats = parse(__doc__, repeats=5).repeats
    seconds = {statement: [] for statement in STATEMENTS}
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache, "OMP_NUM_THREADS": "1"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for round_ in range(repeats + 1):
            taken = cpu_seconds(environment)
            if round_:  # the first compiles and reads the disk
                for statement, one in zip(STATEMENTS, taken, strict=True):
                    seconds[statement].append(one)
    rows, record = [], {}
    for statement, (_, limit) in STATEMENTS.items():
        share = ratio(seconds, statement, REFERENCE)
        record[statement] = {"ratio": share, "limit": limit, "seconds": seconds[statement]}
        rows.append((statement, float(np.median(seconds[statement])), share, limit or ""))
    heads = ("statement", "CPU seconds", "x torch and sklearn", "limit")
    print_table("Import in a fresh process", heads, rows)
    names = public_names()
    print(f"\ndir(sk_unlearn) shows {len(names)} names before anything is loaded")
    write_json("import", record, repeats=repeats, names=names)


if __name__ == "__main__":
    main()
