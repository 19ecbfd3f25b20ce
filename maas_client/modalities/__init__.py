"""What differs between modalities on this side of the wire: a package for each, found in dictionaries."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from maas.inference.v1.inference_pb2 import Example as Message

from maas_client.modalities import image, table, text, values
from maas_client.modalities.image.datasets import draw_thumbnails

Example = tuple[str, Callable[[], object]]
"""The name of an example, and what reads it for an input spec to open; may raise Unusable."""

EXAMPLES: Mapping[str, Callable[[Path], Sequence[Example]]] = {
    "image": image.images_below,
    "values": values.rows_in,
    "text": text.texts_at,
    "table": table.rows_in,
}
"""The examples at a path, by modality; each may raise Unusable where there is no such thing at all."""
FACTS: Mapping[str, Callable[[Any], Iterable[tuple[str, str]]]] = {
    "image": image.facts,
    "values": values.facts,
    "text": text.facts,
    "table": table.facts,
}
"""What a dataset's summary says, as names and texts, by the field of the summary."""
OBJECTS: Mapping[str, Callable[[Any], Message | None]] = {
    "image": image.example_of,
    "table": table.example_of,
    "values": values.example_of,
}
"""What makes a message of an object in memory, by modality; None where it is no example of that one."""

__all__ = ["EXAMPLES", "FACTS", "OBJECTS", "Example", "draw_thumbnails"]
