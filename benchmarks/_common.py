"""What every benchmark shares: options, interleaved timing, a table, JSON, local data sets."""

import argparse
import gzip
import json
import os
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def parse(doc, *, full=None, on_devices=False, **options):
    """Options of the command line.

    Parameters
    ----------
    doc : str
        Docstring of the script.
    full : dict, default=None
        Defaults under ``--full``, for the numbers of the user guide; without it all
        benchmarks together take a quarter of an hour.
    on_devices : bool, default=False
        Whether there is ``--device``: the CPU and CUDA where there is one, or one of them.
    **options : value, or dict
        Default of ``--name``, whose type is that of the default; a dict is passed to
        ``ArgumentParser.add_argument``.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, option in options.items():
        if not isinstance(option, dict):
            option = {"default": option, "type": type(option)}
        parser.add_argument(f"--{name.replace('_', '-')}", **option)
    if full is not None:
        parser.add_argument("--full", action="store_true", help="as in the user guide; slow")
    if on_devices:
        parser.add_argument("--device", choices=("cpu", "cuda"), help="default: all there are")
    if full is not None and parser.parse_args().full:
        parser.set_defaults(**full)  # options that are given still win
    return parser.parse_args()


def devices(wanted=None):
    """The CPU and CUDA where there is one; or what ``--device`` says, if it is there."""
    import torch

    found = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    if "cuda" not in found:
        print("No CUDA device here: its rows are left out.")
    return [device for device in found if wanted in (None, device)]


def clock_of(device, cpu=time.perf_counter):
    """Clock that waits for what the device has been asked to do; ``cpu`` on the CPU."""
    import torch

    if device == "cpu":
        return cpu

    def clock():
        torch.cuda.synchronize()
        return time.perf_counter()

    return clock


class PeakMemory:
    """By how much a block raises the peak of memory, in MiB; NaN where nobody counts it.

    Attributes
    ----------
    mib : float
        Peak over what was held before: of torch's allocator on CUDA, of resident memory of the
        process on Linux.
    held : float
        Before.
    """

    def __init__(self, device="cpu"):
        self.device, self.mib, self.held = device, float("nan"), float("nan")

    def __enter__(self):
        self.held = self._reset()
        return self

    def __exit__(self, *error):
        self.mib = self._peak() - self.held

    def _reset(self):
        import torch

        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            return torch.cuda.memory_allocated() / 2**20
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            return float("nan")
        return self._status("VmRSS")

    def _peak(self):
        import torch

        if self.device == "cuda":
            return torch.cuda.max_memory_allocated() / 2**20
        return self._status("VmHWM")

    @staticmethod
    def _status(field):
        status = Path("/proc/self/status")
        if not status.exists():
            return float("nan")
        line = next(x for x in status.read_text().splitlines() if x.startswith(field))
        return int(line.split()[1]) / 1024


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


def write_json(name, results, *, seed=0, device="cpu", command=None, **settings):
    """Write results with the machine, the versions, seeds and settings that produced them.

    Parameters
    ----------
    name : str
        Of the file, ``results/name.json``, or ``results/name-cuda.json``.
    results : JSON
    seed : int or list of int, default=0
        Of data, splits and training.
    device : {"cpu", "cuda"}, default="cpu"
        What the times were taken on.
    command : str, default=None
        That repeats it; None is what was called.
    **settings : JSON
    """
    import sklearn
    import skorch
    import torch

    called = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    record = {
        "benchmark": name,
        "command": command or called,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "system": platform.platform(),
            "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
            "torch_threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name(0) if device == "cuda" else None,
        },
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scikit-learn": sklearn.__version__,
            "skorch": skorch.__version__,
            "torch": torch.__version__,
        },
        "seed": seed,
        "settings": settings,
        "results": results,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / (f"{name}.json" if device == "cpu" else f"{name}-{device}.json")
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
