"""The shape of the code: small files, small folders, and no import cycle between modules."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("model_store", "grpc_runtime", "training_service", "inference_service", "maas_client")
FILES = sorted(
    path.relative_to(ROOT) for folder in (*PACKAGES, "benchmarks", "tests") for path in (ROOT / folder).rglob("*.py")
)
MODULES = {".".join(path.with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}
MAX_MODULES, MAX_LINES = 15, 300


def imported(path: Path) -> Iterator[str]:
    """Yield the modules of these packages that a module imports, at its top or within a function."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from names & MODULES.keys() or {node.module} & MODULES.keys()
        elif isinstance(node, ast.Import):
            yield from {alias.name for alias in node.names} & MODULES.keys()


def test_folders_are_small() -> None:
    """Whoever opens a folder sees at most 15 modules."""
    sizes = Counter(path.parent for path in FILES if path.name != "__init__.py")
    assert {str(folder): size for folder, size in sizes.items() if size > MAX_MODULES} == {}


def test_files_are_small() -> None:
    """A file of more than 300 lines has more than one concern."""
    lengths = {str(path): (ROOT / path).read_text().count("\n") for path in FILES}
    assert {path: length for path, length in lengths.items() if length > MAX_LINES} == {}


def test_no_modules_import_one_another() -> None:
    """Imports within functions count too: a cycle that is put off is a cycle."""
    graph = {name: set(imported(path)) - {name} for name, path in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"an import cycle: {' -> '.join(error.args[1])}")
