"""Which module may import what: the rules that `lint-imports` cannot say by package."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SERVICES = ("training_service", "inference_service", "grpc_runtime")
ON_THE_WIRE = {
    "grpc_runtime/server.py",
    "training_service/server.py",
    "training_service/background_worker.py",  # writes the message that the service sends on
    "training_service/promotion/serving_state.py",  # asks inference services
    "inference_service/server.py",
    "inference_service/open_inference/convert.py",
    "inference_service/open_inference/infer_convert.py",
    "inference_service/open_inference/servicer.py",
    "inference_service/open_inference/shared_memory_servicer.py",
}
"""Modules beside those of `api/` that know the generated messages."""


def imports(path: Path) -> Iterator[str]:
    """Yield the full names that a module imports, wherever it does."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def modules(*packages: str) -> list[Path]:
    """Return the modules of these packages."""
    return sorted(path for package in packages for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", modules(*SERVICES), ids=lambda path: str(path.relative_to(ROOT)))
def test_messages_stay_at_the_edge(path: Path) -> None:
    """Generated messages are known to servers, servicers and their conversions only."""
    known = any(name.startswith("maas.") for name in imports(path))
    place = path.relative_to(ROOT)
    assert not known or place.parts[1] == "api" or str(place) in ON_THE_WIRE


def test_nothing_unpickles() -> None:
    """Only the module that reads a packaged pickle imports pickle to load with it; others name its errors."""
    paths = modules("model_store", "maas_client", *SERVICES)
    knowing = {str(path.relative_to(ROOT)) for path in paths if "pickle" in set(imports(path))}
    assert knowing <= {f"model_store/bases/{name}.py" for name in ("image/packaged", "weights_files")}


def test_modules_are_run_without_the_current_folder() -> None:
    """Only the one module whose command has `-P` starts modules in an interpreter of their own."""
    running = {path.name for path in modules("model_store", "maas_client", *SERVICES) if '"-m"' in path.read_text()}
    assert running == {"child_process.py"}
