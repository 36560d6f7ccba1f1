"""What every benchmark shares: interleaved timing, a printed table, JSON, local data sets."""

import gzip
import json
import os
import platform
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def time_interleaved(alternatives, *, repeats=7, warmup=1, clock=time.perf_counter):
    """Time functions in turn, so that a busy machine slows all of them alike.

    Parameters
    ----------
    alternatives : dict of str to callable
        Called without arguments.
    repeats : int, default=7
        Timed rounds.
    warmup : int, default=1
        Rounds before these that are not timed.
    clock : callable, default=time.perf_counter
        ``time.process_time`` leaves out what other processes take of a shared machine;
        right for work on one thread only.

    Returns
    -------
    seconds : dict of str to list of float
        One value a round, rounds in the same order for every alternative.
    """
    seconds = {name: [] for name in alternatives}
    names = list(alternatives)
    for round_ in range(warmup + repeats):
        # rotate the order: the first after a pause runs on a faster clock
        for name in names[round_ % len(names) :] + names[: round_ % len(names)]:
            start = clock()
            alternatives[name]()
            if round_ >= warmup:
                seconds[name].append(clock() - start)
    return seconds


def ratio(seconds, name, reference):
    """Median over rounds of the time of ``name`` in units of ``reference`` in that round."""
    return float(np.median(np.array(seconds[name]) / np.array(seconds[reference])))


def print_table(title, columns, rows):
    """Print rows of strings and numbers under their headings, aligned."""
    cells = [[f"{c:.3g}" if isinstance(c, float) else str(c) for c in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    print(f"\n{title}")
    for row in (columns, *cells):
        print("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())


def write_json(name, results, **settings):
    """Write results with the machine, the versions and the settings that produced them."""
    import sklearn
    import skorch
    import torch

    record = {
        "benchmark": name,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "system": platform.platform(),
            "torch_threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        },
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scikit-learn": sklearn.__version__,
            "skorch": skorch.__version__,
            "torch": torch.__version__,
        },
        "settings": settings,
        "results": results,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(record, indent=2) + "\n")
    print(f"\nWritten to {path.relative_to(ROOT)}")
    return path


def _processor():
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def load_images():
    """MNIST from local idx files, else scikit-learn's digits.

    The folder is the environment variable ``SK_UNLEARN_DATA``, or ``../shared/data`` beside
    the repository.

    Returns
    -------
    name : str
    X : ndarray of shape (n, n_pixels), float32 in [0, 1]
    y : ndarray of shape (n,), int64
    """
    images = _find("t10k-images-idx3-ubyte.gz")
    if images is None:
        from sklearn.datasets import load_digits

        X, y = load_digits(return_X_y=True)
        return "digits", (X / 16).astype(np.float32), y.astype(np.int64)
    X = _read_idx(images).reshape(-1, 784)
    y = _read_idx(images.with_name("t10k-labels-idx1-ubyte.gz"))
    return "mnist-10k", X.astype(np.float32) / 255, y.astype(np.int64)


def load_letters():
    """UCI Letter Recognition from a local file, standardised, else scikit-learn's digits.

    Returns
    -------
    name : str
    X : ndarray of shape (n, 16), float32
    y : ndarray of shape (n,), int64 in 0 ... 25
    """
    path = _find("letter-recognition.data.gz")
    if path is None:
        return load_images()
    with gzip.open(path, "rt") as file:
        rows = [line.strip().split(",") for line in file][1:]
    X = np.array([row[1:] for row in rows], dtype=np.float32)
    y = np.array([ord(row[0]) - ord("A") for row in rows], dtype=np.int64)
    return "letter", (X - X.mean(0)) / X.std(0), y


def _find(name):
    folders = [os.environ.get("SK_UNLEARN_DATA"), ROOT.parent / "shared" / "data"]
    paths = [Path(folder) / name for folder in folders if folder]
    return next((path for path in paths if path.exists()), None)


def _read_idx(path):
    with gzip.open(path) as file:
        head = file.read(4)
        shape = [int.from_bytes(file.read(4), "big") for _ in range(head[3])]
        return np.frombuffer(file.read(), np.uint8).reshape(shape)
