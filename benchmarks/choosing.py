"""How well the service chooses a model on the user's own data, and how honest it is about that.

    python -m benchmarks.choosing [--quick] [--json FILE] [--only drift gate] [--folder DIR]

Each part is a module in `choosing_parts`.
"""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.choosing_parts import drift, gate, labels, recommend, width
from benchmarks.harness.figures import Part, run_parts

PARTS: Mapping[str, Part] = {
    "drift": drift.drift,
    "gate": gate.gate,
    "labels": labels.labels,
    "recommend": recommend.recommend,
    "width": width.width,
}

if __name__ == "__main__":
    run_parts("choosing", __doc__ or "", PARTS)
