"""A prediction as a line of text, by its task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from maas.inference.v1.inference_pb2 import Classification, MultiLabel, Prediction, Regression


def prediction_text(prediction: Prediction) -> str:
    """Write labels with their scores, best first, or targets with their values."""
    kind = prediction.WhichOneof("result")
    return _WRITERS[kind](getattr(prediction, kind)) if kind else ""


def _classification(found: Classification) -> str:
    return "  ".join(f"{each.label} {each.score:.3f}" for each in found.scores)


def _label_set(found: MultiLabel) -> str:
    assigned = [f"{each.label} {each.score:.3f}" for each in found.labels if each.assigned]
    return "  ".join(assigned) or "no label"


def _values(found: Regression) -> str:
    return "  ".join(f"{each.target} {each.value:.6g}" for each in found.targets)


_WRITERS: Mapping[str, Callable[[Any], str]] = {
    "classification": _classification,
    "multi_label": _label_set,
    "regression": _values,
}
