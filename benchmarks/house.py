"""How large the package is, and how far one call travels through it.

``python benchmarks/house.py``: files and lines by folder; the files of ours that ``forget([3])``
enters, and how deep its calls go. ``--list`` names the files.
"""

import argparse
import ast
import io
import sys
import tokenize
import warnings
from collections import Counter
from pathlib import Path

import torch
from sklearn.datasets import load_digits

import sk_unlearn
from sk_unlearn import PumaClassifier, SisaClassifier

ROOT = Path(sk_unlearn.__file__).parent


def code_lines(source):
    """Lines that hold code: no docstrings, comments, blank lines or imports."""
    skipped = set()
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            skipped.update(range(node.lineno, node.end_lineno + 1))
        elif isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(
            node, clean=False
        ):
            skipped.update(range(body[0].lineno, body[0].end_lineno + 1))
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in silent and token.type != tokenize.ENDMARKER:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - skipped)


def sizes():
    """Files, lines and lines of code by folder; files of more than 300 lines of code."""
    table, long = {}, []
    for path in sorted(ROOT.rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        code = code_lines(source)
        where = "/".join(path.relative_to(ROOT).parts[:-1]) or "."
        table.setdefault(where, Counter()).update(files=1, lines=source.count("\n"), code=code)
        if code > 300:
            long.append((code, str(path.relative_to(ROOT))))
    return table, sorted(long, reverse=True)


def trip(call):
    """Files of ours that a call enters, and how deep calls of ours go at most."""
    entered, deepest, depth = set(), 0, 0

    def watch(frame, event, _):
        nonlocal deepest, depth
        if not frame.f_code.co_filename.startswith(str(ROOT)):
            return
        if event == "call":
            depth += 1
            deepest = max(deepest, depth)
            entered.add(str(Path(frame.f_code.co_filename).relative_to(ROOT)))
        elif event == "return":
            depth -= 1

    sys.setprofile(watch)
    try:
        call()
    finally:
        sys.setprofile(None)
    return sorted(entered), deepest


def main():
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", action="store_true", help="name the files that are entered")
    options = parser.parse_args()
    table, long = sizes()
    print(f"{'folder':<24}{'files':>8}{'lines':>8}{'code':>8}")
    for where, row in sorted(table.items()):
        print(f"{where:<24}{row['files']:>8}{row['lines']:>8}{row['code']:>8}")
    total = sum(table.values(), Counter())
    print(f"{'all':<24}{total['files']:>8}{total['lines']:>8}{total['code']:>8}\n")
    print("over 300 lines of code:", ", ".join(f"{name} {n}" for n, name in long) or "none", "\n")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    X, y = load_digits(return_X_y=True)
    X, y = X[:500] / 16, y[:500]
    print(f"{'forget([3])':<24}{'files':>8}{'depth':>8}")
    for model in (PumaClassifier(random_state=0), SisaClassifier(random_state=0)):
        model.fit(X, y)
        entered, deepest = trip(lambda model=model: model.forget([3]))
        print(f"{type(model).__name__:<24}{len(entered):>8}{deepest:>8}")
        if options.list:
            print("   " + "\n   ".join(entered))


if __name__ == "__main__":
    main()
