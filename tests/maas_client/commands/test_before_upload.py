"""What the command knows of data before it is uploaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from maas_client.commands.training.before_upload import Data, describe_data
from tests.training_service.making import tar_of, zip_of
from tests.training_service.registry_running import RunningRegistry

FILES = {"hum/notes.txt": b"what was played", "hum/1.FLAC": b"fLaC"}


def folder_of(files: Mapping[str, bytes], folder: Path) -> Path:
    """Write files below a folder; return it."""
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def file_of(data: bytes, path: Path) -> Path:
    """Write a file; return its path."""
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "write",
    [
        lambda files, path: folder_of(files, path / "folder"),
        lambda files, path: file_of(zip_of(files), path / "data.zip"),
        lambda files, path: file_of(tar_of(files, gzipped=True), path / "data.tar.gz"),
    ],
    ids=["folder", "zip", "tar.gz"],
)
def test_recordings_are_known_by_the_endings_of_their_names(
    registry: RunningRegistry, tmp_path: Path, write: Callable[[Mapping[str, bytes], Path], Path]
) -> None:
    """In a folder and in an archive; where none is known, there are images. What the caller says goes first."""
    recordings = str(write(FILES, tmp_path))
    assert describe_data(registry.client, recordings, modality="", task="") == Data("audio")
    assert describe_data(registry.client, recordings, modality="image", task="") == Data("image")
    (tmp_path / "other").mkdir()
    pictures = str(write({"daisy/1.png": b""}, tmp_path / "other"))
    assert describe_data(registry.client, pictures, modality="", task="") == Data("image")
