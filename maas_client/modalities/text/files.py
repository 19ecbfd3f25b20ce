"""The texts at a path: a file of one text, or a folder of such files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from maas_client.files.tables import Unusable


def texts_at(path: Path) -> Sequence[tuple[str, Callable[[], bytes]]]:
    """Return the name of each text and what reads it; raise Unusable where there is none."""
    files = sorted(path.rglob("*.txt")) if path.is_dir() else [path]
    if not files:
        raise Unusable(f"there are no texts (.txt) in {path}")
    return [(str(file), file.read_bytes) for file in files]
