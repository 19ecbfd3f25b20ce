"""What differs between modalities stays in their packages: nothing else asks whether something is an image."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.test_import_rules import ROOT, imports, modules

PACKAGES = ("model_store", "training_service", "inference_service", "grpc_runtime", "maas_client")
WORDS = re.compile(r"image|pixel|jpeg|photo", re.IGNORECASE)
MAX_LINES = 60
IN_A_MODALITY = re.compile(r"modalities/\w+/")
DICTIONARIES = {f"{package}/modalities/__init__.py" for package in PACKAGES}
"""Where a modality is found by its name."""
PUBLISHED_WEIGHTS = {
    f"model_store/bases/{name}.py"
    for name in ("catalogue", "audio/packaged", "packaged_weights", "tabular", "timm_models", "transformers_folders")
}
"""Where each set of weights that others have trained is described, with the input spec that goes with it."""


def outside() -> list[Path]:
    """Return the modules that belong to no modality, and not to the demo, which is about photos."""
    found = (path.relative_to(ROOT) for path in modules(*PACKAGES))
    return [
        path
        for path in found
        if not IN_A_MODALITY.search(str(path))
        and str(path) not in DICTIONARIES
        and path.parts[:2] != ("maas_client", "demo")
    ]


def test_few_lines_name_a_modality() -> None:
    """Help texts, settings and fields of messages may; a line of logic may not."""
    lines = [
        f"{path}:{number}: {line.strip()}"
        for path in outside()
        if str(path) not in PUBLISHED_WEIGHTS
        for number, line in enumerate((ROOT / path).read_text().splitlines(), start=1)
        if WORDS.search(line)
    ]
    assert len(lines) < MAX_LINES, "\n".join(lines)


@pytest.mark.parametrize("path", outside(), ids=str)
def test_a_modality_is_reached_through_its_dictionary(path: Path) -> None:
    """No other module imports the package of a modality."""
    if str(path) in DICTIONARIES | PUBLISHED_WEIGHTS or "modalities" in path.parts:
        return
    found = {name for name in imports(ROOT / path) if re.search(r"\.modalities\.(audio|image|values)(\.|$)", name)}
    assert not found
