"""The documents name modules that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("model_store", "training_service", "inference_service", "grpc_runtime", "maas_client")
DOCUMENTS = [
    ROOT / "ARCHITECTURE.md",
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
NAMED = re.compile(r"`([a-z0-9_/]+(?:\.py|/))`")
"""A module or a folder, from the root, or within a package."""


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_modules_that_are_named_exist(document: Path) -> None:
    """From the root, or within some package: `batching/queues.py` is inference_service's."""
    places = [ROOT, *(ROOT / package for package in PACKAGES)]
    missing = [
        name
        for name in NAMED.findall(document.read_text(encoding="utf-8"))
        if not any((place / name).exists() for place in places) and not any(place.rglob(name) for place in places[1:])
    ]
    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    """Each relative link names a file."""
    links = re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []
