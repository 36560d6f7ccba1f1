"""Imports go one way; scikit-learn's private names live in one file."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import sk_unlearn

ROOT = Path(sk_unlearn.__file__).parent
# a layer may import the layers before it; within a layer anything but cycles
LAYERS = [
    ["exceptions", "_state_version"],
    ["utils"],
    ["receipts"],
    ["functional"],
    ["nets"],
    ["mixins", "base"],
    ["exact", "approximate"],
    ["pipeline", "model_selection", "inspection"],
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
METHODS = {"exact", "approximate"}
# metrics and datasets stand beside: they need nothing above functional
RANK |= {"metrics": RANK["functional"], "datasets": RANK["utils"]}
FILES = sorted(ROOT.rglob("*.py"))


def module_name(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path) for path in FILES}


def imported(source, package="sk_unlearn"):
    """Yield ``(module, name)`` of every import, also inside functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, None
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: 1 - node.level or None] if node.level else []
            module = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                yield module, alias.name


def targets(own, source):
    """Modules of ours that a source imports."""
    found = set()
    package = own if (ROOT.parent / own.replace(".", "/")).is_dir() else own.rpartition(".")[0]
    for module, name in imported(source, package):
        if module.split(".")[0] == "sk_unlearn":
            inner = f"{module}.{name}"
            found.add(inner if inner in MODULES else module)
    return found


def part(module):
    return module.split(".")[1] if "." in module else None


def wrong_direction(module, source):
    own = part(module)
    if own is None:
        return []
    return [
        target
        for target in targets(module, source)
        if part(target) is None
        or RANK[part(target)] > RANK[own]
        or (own in METHODS and part(target) in METHODS and part(target) != own)
    ]


def private_names(source):
    found = []
    for module, name in imported(source):
        packages = module.split(".")
        if packages[0] != "sklearn":
            continue
        private = any(package.startswith("_") for package in packages)
        if private or (name or "").startswith("_"):
            found.append(f"{module}.{name}")
    return found


def find_cycle(graph):
    done, path = set(), []

    def visit(node):
        if node in path:
            return path[path.index(node) :]
        if node in done:
            return None
        path.append(node)
        for target in sorted(graph.get(node, ())):
            cycle = visit(target)
            if cycle:
                return cycle
        done.add(path.pop())
        return None

    for node in sorted(graph):
        cycle = visit(node)
        if cycle:
            return cycle
    return None


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_every_file_keeps_the_rules(path):
    module, source = module_name(path), path.read_text()
    assert part(module) is None or part(module) in RANK, "say in LAYERS where this stands"
    assert not wrong_direction(module, source)
    if module != "sk_unlearn.utils._sklearn":
        assert not private_names(source)


def test_no_cycles():
    names = {module_name(path): path.read_text() for path in FILES}
    graph = {name: targets(name, source) - {name} for name, source in names.items()}
    assert graph["sk_unlearn.mixins"] >= {"sk_unlearn.nets"}
    assert find_cycle(graph) is None


def test_the_contract_knows_no_net():
    graph = targets("sk_unlearn.base", (ROOT / "base.py").read_text())
    assert "sk_unlearn.receipts" in graph
    assert not {part(name) for name in graph} & {"nets", "functional", "mixins"}
    assert "torch" not in {name for name, _ in imported((ROOT / "base.py").read_text())}


def test_the_rules_notice_what_they_forbid():
    assert wrong_direction("sk_unlearn.utils.x", "def f():\n    from sk_unlearn import base")
    assert wrong_direction("sk_unlearn.exact._a", "import sk_unlearn.approximate._puma")
    assert wrong_direction("sk_unlearn.base", "from sk_unlearn import RetrainClassifier")
    assert wrong_direction("sk_unlearn.nets._a", "from ..exact import _retrain")
    assert not wrong_direction("sk_unlearn.nets._a", "from ..functional import row_losses")
    assert not wrong_direction("sk_unlearn.exact._a", "from sk_unlearn.nets import prepare")
    assert private_names("from sklearn.utils._tags import Tags")
    assert private_names("from sklearn.base import _fit_context")
    assert not private_names("from sklearn.base import clone")
    assert find_cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c"]
    assert find_cycle({"a": {"b", "c"}, "b": {"c"}}) is None


def optional(source):
    """Yield ``(package, extra)`` of every call of import_optional."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "import_optional":
            options = {word.arg: word.value.value for word in node.keywords}
            yield node.args[0].value.partition(".")[0], options["extra"]


def requirements(path=ROOT.parent / "pyproject.toml"):
    """Packages that are always there, and those of each extra."""
    project = tomllib.loads(path.read_text())["project"]
    sets = {"": project["dependencies"], **project["optional-dependencies"]}
    return {
        name: {re.match(r"[\w-]+", line)[0].replace("scikit-learn", "sklearn") for line in lines}
        for name, lines in sets.items()
    }


@pytest.mark.skipif(not (ROOT.parent / "pyproject.toml").exists(), reason="not in a checkout")
def test_every_package_is_required_or_names_its_extra():
    needs, found = requirements(), []
    allowed = needs[""] | set(sys.stdlib_module_names) | {"sk_unlearn"}
    for path in FILES:
        source, own = path.read_text(), module_name(path)
        packages = {module.partition(".")[0] for module, _ in imported(source, own) if module}
        assert packages <= allowed, f"{own}: import_optional says which extra to install"
        found += optional(source)
    assert {package for package, _ in found} == {"pandas", "matplotlib", "pytest"}
    for package, extra in found:
        assert package in needs[extra]


@pytest.mark.slow
def test_optional_packages_are_imported_late():
    code = (
        "import sys, sk_unlearn, sk_unlearn.utils.estimator_checks;"
        "print({'matplotlib', 'pytest', 'hypothesis'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent
    )
    assert done.stdout.strip() == "set()"
