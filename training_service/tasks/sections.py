"""Parts of report sections that several tasks have: reliability diagrams and tables of labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from model_store.records.metrics import LabelMetrics
from training_service.markup.charts import Bin, reliability_diagram
from training_service.markup.elements import Child, Markup, element, joined, long_table
from training_service.tasks.calibration import NUM_BINS, Confidence

_ROUGH_ROWS = 20 * NUM_BINS
_SPLITS = ("num_train", "num_validation", "num_test")


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


def calibration_section(plain: Confidence, served: Confidence, temperature: float, what: str) -> Markup:
    """Show how often scores are right by how sure they are, without the temperature and, where there is one, with it.

    `what` is what has one confidence: `rows`, say.
    """
    scalings = [("As served", served)]
    if temperature != 1:
        scalings = [("Before scaling", plain), (f"After, at temperature {temperature:.3f}", served)]
    figures = [
        element(
            "figure",
            element("figcaption", f"{name}: calibration error {found.error:.3f}"),
            reliability_diagram(f"Reliability {name.lower()}", bins_of(found), what),
        )
        for name, found in scalings
    ]
    note = _note(len(served.confidence), temperature, what)
    return joined([element("div", *figures, class_="pair"), element("p", *note, class_="note")])


def labels_section(labels: Sequence[LabelMetrics], further: Sequence[str] = ()) -> Markup:
    """Show the quality of each label, the worst first; `further` are attributes of a label's metrics to show too."""
    rows = [_label_row(each, further) for each in sorted(labels, key=lambda each: (each.f1, each.label))]
    titles = [name.replace("_", " ").capitalize() for name in further]
    columns = ("Label", "Precision", "Recall", "F1", *titles, "Rows")
    return long_table(columns, rows, "Quality by label, the worst first", "labels")


def label_counts(statistics: Mapping[str, Any]) -> Markup:
    """Show for each label of a dataset how many rows of each split have it."""
    labels = statistics["labels"]
    totals = [sum(each[split] for split in _SPLITS) for each in labels]
    most = max(totals, default=1)
    rows: list[list[Child]] = [
        [each["label"], *(f"{each[split]:,}" for split in _SPLITS), _meter(total, most)]
        for each, total in zip(labels, totals, strict=True)
    ]
    return long_table(("Label", "Train", "Validation", "Test", "All"), rows, "Examples by label and split", "labels")


def _label_row(each: LabelMetrics, further: Sequence[str]) -> list[Markup | str]:
    shares = [f"{share:.3f}" for share in (each.precision, each.recall)]
    f1 = element("span", f"{each.f1:.3f}", class_="meter", style=f"--share:{each.f1:.3f}")
    return [each.label, *shares, f1, *(_share(getattr(each, name)) for name in further), str(each.support)]


def _share(value: Any) -> str:  # noqa: ANN401  an attribute by name
    return f"{value:.3f}" if value is not None else ""


def _note(num_rows: int, temperature: float, what: str) -> Iterator[Child]:
    yield element("span", class_="key sure")
    yield f" is how often {what} of about one confidence are right, up to how sure the version is of them; "
    yield element("span", class_="key over")
    yield " is how much surer it is than right, "
    yield element("span", class_="key under")
    yield " how much less sure. "
    if temperature == 1:
        yield "Outputs are not divided: no temperature improved the log loss in cross-validation on validation rows."
    else:
        yield "The temperature was fitted on the validation split, where cross-validation shows that it improves the "
        yield "log loss; it divides the outputs wherever the version is served."
    if num_rows < _ROUGH_ROWS:
        yield f" Of {num_rows} {what} in {NUM_BINS} bins, each has a few: take these errors as rough."


def _meter(count: int, most: int) -> Markup:
    return element("span", f"{count:,}", class_="meter", style=f"--share:{count / max(most, 1):.3f}")
