"""What each modality comes to, from examples to answers: accuracy, rates and memory.

    python -m benchmarks.modalities [--quick] [--json FILE] [--only text] [--folder DIR]

Each part is a module in `modality_parts`.
"""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.harness.figures import Part, run_parts
from benchmarks.modality_parts import audio, heads, scale, scoring, tables, text, text_tables

PARTS: Mapping[str, Part] = {
    "audio": audio.audio,
    "heads": heads.heads,
    "scale": scale.scale,
    "scoring": scoring.scoring,
    "tables": tables.tables,
    "text": text.text,
    "text_tables": text_tables.text_tables,
}

if __name__ == "__main__":
    run_parts("modalities", __doc__ or "", PARTS)
