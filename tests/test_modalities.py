"""What differs between modalities stays in their packages: nothing else asks whether something is an image."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.test_import_rules import ROOT, imports, modules

PACKAGES = ("model_store", "training_service", "inference_service", "grpc_runtime", "maas_client")
WORDS = re.compile(r"image|pixel|jpeg|photo", re.IGNORECASE)
MAX_LINES = 60
MODALITIES = ("audio", "image", "table", "text", "values")
IN_A_MODALITY = re.compile(rf"(modalities/\w+|(architectures|bases)/({'|'.join(MODALITIES)}))/")
ONE_MODALITY = {f"model_store/{path}.py" for path in ("architectures/tables", "bases/tables", "bases/tabular")}
"""Packages of one module."""
DICTIONARIES = {f"{package}/modalities/__init__.py" for package in PACKAGES}
"""Where a modality is found by its name."""
CHOICES = {
    "model_store/bases/catalogue.py",
    "model_store/bases/folders.py",
    "model_store/bases/transformers_folders.py",
}
"""Where a base is found by its name or its folder's configuration, and goes to the package of its modality."""


def outside() -> list[Path]:
    """Return the modules that belong to no modality, and not to the demo, which is about photos."""
    found = (path.relative_to(ROOT) for path in modules(*PACKAGES))
    return [
        path
        for path in found
        if not IN_A_MODALITY.search(str(path))
        and str(path) not in DICTIONARIES | ONE_MODALITY
        and path.parts[:2] != ("maas_client", "demo")
    ]


def test_few_lines_name_a_modality() -> None:
    """Help texts, settings and fields of messages may; a line of logic may not."""
    lines = [
        f"{path}:{number}: {line.strip()}"
        for path in outside()
        if str(path) not in CHOICES
        for number, line in enumerate((ROOT / path).read_text().splitlines(), start=1)
        if WORDS.search(line)
    ]
    assert len(lines) < MAX_LINES, "\n".join(lines)


@pytest.mark.parametrize("path", outside(), ids=str)
def test_a_modality_is_reached_through_its_dictionary(path: Path) -> None:
    """No other module imports the package of a modality."""
    if "modalities" in path.parts:
        return
    known = re.compile(rf"\.modalities\.({'|'.join(MODALITIES)})(\.|$)")
    found = {name for name in imports(ROOT / path) if known.search(name)}
    assert not found
