"""Paths that begin with `~`, also on machines and in containers where a user has no home folder."""

from __future__ import annotations

from pathlib import Path


def expanded(path: Path, variable: str) -> Path:
    """Return a path with `~` replaced; without a home folder raise FileNotFoundError naming the variable to set."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise FileNotFoundError(
            f"{path} is below a home folder, and there is none for this user: set {variable} to a folder"
        ) from error
