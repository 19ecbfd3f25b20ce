"""What differs between modalities on this side of the wire: a package for each, found in one dictionary."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from maas_client.modalities.image.files import images_below
from maas_client.modalities.values.rows import rows_in

Example = tuple[str, Callable[[], object]]
"""The name of an example, and what reads it for an input spec to open; may raise Unusable."""

EXAMPLES: Mapping[str, Callable[[Path], Sequence[Example]]] = {"image": images_below, "values": rows_in}
"""The examples at a path, by modality; each may raise Unusable where there is no such thing at all."""
