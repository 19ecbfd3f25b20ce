"""Parts of report sections that several tasks have: reliability diagrams and tables of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from model_store.records.metrics import LabelMetrics
from training_service.markup.charts import Bin, reliability_diagram
from training_service.markup.sections import Figure, Meter, Table, TableSection
from training_service.tasks.calibration import NUM_BINS, Confidence

_ROUGH_ROWS = 20 * NUM_BINS
_SPLITS = ("num_train", "num_validation", "num_test")


@dataclass(frozen=True)
class CalibrationSection:
    """Reliability diagrams of `num_rows` confidences, each of one of `what`; rough where there are few for 15 bins."""

    heading: ClassVar[str] = "Calibration"
    template: ClassVar[str] = "tasks/calibration.html"
    num_bins: ClassVar[int] = NUM_BINS
    diagrams: Sequence[Figure]
    temperature: float
    what: str
    num_rows: int

    @property
    def is_rough(self) -> bool:
        """Say whether the bins have few rows each."""
        return self.num_rows < _ROUGH_ROWS


def bins_of(found: Confidence) -> list[Bin]:
    """Return the 15 bins of confidence that the calibration error is made of."""
    counts, sure, correct = (
        np.bincount(found.bins, weights=weights, minlength=NUM_BINS)
        for weights in (None, found.confidence, found.is_right)
    )
    return [
        Bin(int(count), total / max(count, 1), hits / max(count, 1))
        for count, total, hits in zip(counts, sure.tolist(), correct.tolist(), strict=True)
    ]


def calibration_section(plain: Confidence, served: Confidence, temperature: float, what: str) -> CalibrationSection:
    """Return reliability diagrams without the temperature and, where it is not 1, with it.

    `what` is what has one confidence: `rows`, say.
    """
    scalings = [("As served", served)]
    if temperature != 1:
        scalings = [("Before scaling", plain), (f"After, at temperature {temperature:.3f}", served)]
    diagrams = [
        Figure(
            f"{name}: calibration error {found.error:.3f}",
            reliability_diagram(f"Reliability {name.lower()}", bins_of(found), what),
        )
        for name, found in scalings
    ]
    return CalibrationSection(diagrams, temperature, what, len(served.confidence))


def labels_section(labels: Sequence[LabelMetrics], further: Sequence[str] = ()) -> TableSection:
    """Return the quality of each label, the worst first; `further` are attributes of a label's metrics to show too."""
    rows = [_label_row(each, further) for each in sorted(labels, key=lambda each: (each.f1, each.label))]
    titles = [name.replace("_", " ").capitalize() for name in further]
    columns = ("Label", "Precision", "Recall", "F1", *titles, "Rows")
    return TableSection("Labels", Table("Quality by label, the worst first", columns, rows, "labels"))


def label_counts(statistics: Mapping[str, Any]) -> Table:
    """Return for each label of a dataset how many rows of each split have it."""
    labels = statistics["labels"]
    totals = [sum(each[split] for split in _SPLITS) for each in labels]
    most = max([*totals, 1])
    rows: list[list[str | Meter]] = [
        [each["label"], *(f"{each[split]:,}" for split in _SPLITS), Meter(f"{total:,}", total / most)]
        for each, total in zip(labels, totals, strict=True)
    ]
    return Table("Examples by label and split", ("Label", "Train", "Validation", "Test", "All"), rows, "labels")


def _label_row(each: LabelMetrics, further: Sequence[str]) -> list[str | Meter]:
    shares = [f"{share:.3f}" for share in (each.precision, each.recall)]
    more = [_share(getattr(each, name)) for name in further]
    return [each.label, *shares, Meter(f"{each.f1:.3f}", each.f1), *more, str(each.support)]


def _share(value: float | None) -> str:
    return f"{value:.3f}" if value is not None else ""
