"""Run benchmarks one after the other, each in a process of its own; print the time of each.

    python benchmarks/run.py                     all, at most 15 minutes on two quiet cores
    python benchmarks/run.py puma growth         some
    python benchmarks/run.py --full puma_quality with the settings of the user guide
    python benchmarks/run.py --device cuda       what can run on a CUDA device, there only

A benchmark that fails does not keep the others from running: it is named at the end, and the
exit status is 1.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from _common import RESULTS, print_table, write_json

FOLDER = Path(__file__).parent
LIMIT = 15 * 60


def scripts(names):
    """Paths by name, all of them where none is named; an unknown name ends the program."""
    found = {path.stem.removeprefix("bench_"): path for path in sorted(FOLDER.glob("bench_*.py"))}
    unknown = [name for name in names if name not in found]
    if unknown:
        sys.exit(f"There is no benchmark {unknown[0]!r}. There are: {', '.join(found)}.")
    return {name: found[name] for name in names or found}


def command_of(path, options):
    """Command line and environment; None for a script that knows no wanted device."""
    text, environment = path.read_text(), dict(os.environ)
    command = [sys.executable, str(path)]
    if options.full and "full=" in text:
        command.append("--full")
    if "on_devices=True" not in text:
        if options.device == "cuda":
            return None, environment
        environment["CUDA_VISIBLE_DEVICES"] = ""  # it measures the CPU
    elif options.device:
        command += ["--device", options.device]
    return command, environment


def write_times(rows, started):
    """Add the times of these benchmarks to those known of the others, which stay as they are.

    Every line keeps the time at which its run started, so that the page can say whether one run
    of all gave the sum.
    """
    path = RESULTS / "run.json"
    known = json.loads(path.read_text())["results"]["seconds"] if path.exists() else []
    known = {name: (name, *rest) for name, *rest in known if name in scripts([])}
    known |= {name: (name, *rest, started) for name, *rest in rows}
    every = [known[name] for name in sorted(known)]
    runs = {row[3] if len(row) > 3 else None for row in every}
    results = {"seconds": every, "total": sum(row[1] for row in every), "n_runs": len(runs)}
    complete = len(runs) == 1 and len(every) == len(scripts([]))
    write_json("run", results, limit=LIMIT, command="make bench" if complete else None)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="name", help="default: all")
    parser.add_argument("--full", action="store_true", help="settings of the user guide")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: all there are")
    options = parser.parse_args()
    rows, failed, started = [], [], datetime.now(UTC).isoformat(timespec="seconds")
    for name, path in scripts(options.names).items():
        command, environment = command_of(path, options)
        if command is None:
            print(f"{name} measures the CPU only: left out")
            continue
        print(f"\n== {name}", flush=True)
        start = time.perf_counter()
        status = subprocess.run(command, env=environment).returncode
        rows.append((name, round(time.perf_counter() - start, 1), status))
        if status:
            failed.append(name)
    total = sum(row[1] for row in rows)
    print_table(
        f"Time of the benchmarks: {total / 60:.1f} minutes",
        ("benchmark", "wall s", "result"),
        [
            (name, f"{taken:.0f}", f"failed, {status}" if status else "")
            for name, taken, status in rows
        ],
    )
    if not (options.full or options.device):
        write_times(rows, started)
    if failed:
        sys.exit(f"\nFailed: {', '.join(failed)}.")


if __name__ == "__main__":
    main()
