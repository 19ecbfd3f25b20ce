"""Paths that begin with `~`, on machines and in containers where a user may have no home folder."""

from __future__ import annotations

from pathlib import Path


def expanded(path: Path, variable: str) -> Path:
    """Return a path with `~` replaced; raise FileNotFoundError naming the variable to set where there is no home."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise FileNotFoundError(
            f"{path} is below a home folder, and there is none for this user: set {variable} to a folder"
        ) from error
