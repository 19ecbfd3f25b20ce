"""What differs between modalities on this side of the wire: a package for each, found in dictionaries."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from maas.inference.v1.inference_pb2 import Example as Message
from maas.open_inference.v2.open_inference_pb2 import ModelInput

from maas_client.modalities import audio, image, table, text, values
from maas_client.modalities.columns import Filled
from maas_client.modalities.image.datasets import draw_thumbnails

Example = tuple[str, Callable[[], object]]
"""The name of an example, and what reads it for an input spec to open; may raise Unusable."""

EXAMPLES: Mapping[str, Callable[[Path], Sequence[Example]]] = {
    "image": image.images_below,
    "values": values.rows_in,
    "text": text.texts_at,
    "table": table.rows_in,
    "audio": audio.recordings_below,
}
"""The examples at a path, by modality; each may raise Unusable where there is no such thing at all."""
FACTS: Mapping[str, Callable[[Any], Iterable[tuple[str, str]]]] = {
    "image": image.facts,
    "values": values.facts,
    "text": text.facts,
    "table": table.facts,
    "audio": audio.facts,
}
"""What a dataset's summary says, as names and texts, by the field of the summary."""
OBJECTS: Mapping[str, Callable[[Any], Message | None]] = {
    "image": image.example_of,
    "table": table.example_of,
    "audio": audio.example_of,
    "values": values.example_of,
}
"""What makes a message of an object in memory, by modality; None where it is no example of that one."""

COLUMNS: Mapping[str, Callable[[Sequence[ModelInput], Sequence[str], Sequence[str]], Sequence[Filled]]] = {
    "table": table.columns_of,
    "text": text.columns_of,
    "values": values.columns_of,
}
"""Which columns of a table fill which input, by modality: of the columns, and of those that somebody chose."""
SUFFIXES: Mapping[str, tuple[str, ...]] = {"audio": audio.SUFFIXES}
"""The names of files, in folders, by which a modality is known; other folders are of images."""

ROWS: Mapping[str, Callable[[Sequence[Filled], Sequence[str]], Message]] = {
    "table": table.example_of_row,
    "text": text.example_of_row,
}
"""The message of a row whose columns fill the inputs so, by modality; a row of numbers is read by itself."""

__all__ = ["COLUMNS", "EXAMPLES", "FACTS", "OBJECTS", "ROWS", "SUFFIXES", "Example", "draw_thumbnails"]
