"""The sections of a report that say how good a version is: figures, confusions, calibration, labels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from model_store.records.metrics import ClassificationDetail, Interval, LabelMetrics, Metrics
from training_service.evaluation.evaluate_version import Evaluation
from training_service.markup.charts import Bin, interval_bar, reliability_diagram
from training_service.markup.elements import Child, Markup, element, joined, long_table, scrolling, table
from training_service.reports.facts import JobFacts
from training_service.tasks.classification.metrics import NUM_BINS, Labels, Logits, confidence_bins, softmax

_MATRIX = "Images of each label, by what they were taken for"
_MATRIX_LABELS = 24
_SHOWN_PAIRS = 20
_PAIRS_BESIDE = 8
_ROUGH_ROWS = 20 * NUM_BINS


def summary(facts: JobFacts) -> Markup:
    """Show the figures that sum a version up, with their intervals."""
    metrics = _metrics(facts)
    if metrics is None:
        return element("p", facts.not_evaluated, class_="note")
    note = f"Measured on the {metrics.num_rows:,} images of the {metrics.split} split, which this job did not train on."
    if facts.evaluated is not None and facts.evaluated.warning:
        note += f" But {facts.evaluated.warning}."
    if facts.not_evaluated:
        note += f" These are the figures of when it was made. {facts.not_evaluated}"
    if metrics.intervals:
        note += " Lines show 95 % confidence intervals: percentiles of 1,000 bootstrap samples."
    return joined([element("div", *_tiles(metrics), class_="tiles"), element("p", note, class_="note")])


def confusions(facts: JobFacts) -> Markup:
    """Show which labels are taken for which: the pairs that are confused most often, and of a few labels all."""
    detail = _detail(facts)
    if detail is None:
        return Markup()
    names = [each.label for each in detail.labels]
    counts = np.array(detail.confusion_matrix)
    if len(names) > _MATRIX_LABELS:
        return _pairs(names, counts, _SHOWN_PAIRS)
    return element("div", _matrix(names, counts), _pairs(names, counts, _PAIRS_BESIDE), class_="beside")


def calibration(facts: JobFacts) -> Markup:
    """Show how often the version is right by how sure it is, without its temperature and, where it has one, with it."""
    if facts.evaluated is None:
        return Markup()
    found = facts.evaluated.evaluation
    figures = [
        element(
            "figure",
            element("figcaption", f"{name}: calibration error {error:.3f}"),
            reliability_diagram(f"Reliability {name.lower()}", reliability(found.logits / temperature, found.labels)),
        )
        for name, temperature, error in _scalings(found)
    ]
    return joined([element("div", *figures, class_="pair"), element("p", *_calibration_note(found), class_="note")])


def labels(facts: JobFacts) -> Markup:
    """Show the quality of each label, the worst first."""
    detail = _detail(facts)
    if detail is None:
        return Markup()
    rows = [_label_row(each) for each in sorted(detail.labels, key=lambda each: (each.f1, each.label))]
    columns = ("Label", "Precision", "Recall", "F1", "Images")
    return long_table(columns, rows, "Quality by label, the worst first", "labels")


def reliability(logits: Logits, own: Labels) -> list[Bin]:
    """Return the 15 bins of confidence that the calibration error is made of."""
    scores = softmax(logits)
    confidence, right = scores.max(axis=1), scores.argmax(axis=1) == own
    bins = confidence_bins(confidence)
    counts, sure, correct = (
        np.bincount(bins, weights=weights, minlength=NUM_BINS) for weights in (None, confidence, right)
    )
    return [
        Bin(int(count), total / max(count, 1), hits / max(count, 1))
        for count, total, hits in zip(counts, sure.tolist(), correct.tolist(), strict=True)
    ]


def _scalings(found: Evaluation) -> Iterator[tuple[str, float, float]]:
    """Yield how the scores were made, with the temperature and the calibration error."""
    if found.temperature == 1:
        yield "As served", 1.0, found.metrics.values["expected_calibration_error"]
        return
    yield "Before scaling", 1.0, found.metrics.values["uncalibrated_error"]
    after = f"After, at temperature {found.temperature:.3f}"
    yield after, found.temperature, found.metrics.values["expected_calibration_error"]


def _calibration_note(found: Evaluation) -> Iterator[Child]:
    yield element("span", class_="key sure")
    yield " is how often images of about one confidence are right, up to how sure the version is of them; "
    yield element("span", class_="key over")
    yield " is how much surer it is than right, "
    yield element("span", class_="key under")
    yield " how much less sure. "
    if found.temperature == 1:
        yield "Logits are not divided: no temperature improved the log loss in cross-validation on validation rows."
    else:
        yield "The temperature was fitted on the validation split, where cross-validation shows that it improves the "
        yield "log loss; it divides the logits wherever the version is served."
    if len(found.labels) < _ROUGH_ROWS:
        yield f" Of {len(found.labels)} images in {NUM_BINS} bins, each has a few: take these errors as rough."


def _metrics(facts: JobFacts) -> Metrics | None:
    """Return what was measured now, else what was measured when the version was made."""
    if facts.evaluated is not None:
        return facts.evaluated.evaluation.metrics
    return facts.version.metrics if facts.version is not None else None


def _detail(facts: JobFacts) -> ClassificationDetail | None:
    metrics = _metrics(facts)
    return metrics.detail if metrics is not None and isinstance(metrics.detail, ClassificationDetail) else None


def _tiles(metrics: Metrics) -> Iterator[Markup]:
    values = metrics.values
    for name, title in (
        ("accuracy", "Accuracy"), ("macro_f1", "Macro F1"), ("top5_accuracy", "Top-5 accuracy"), ("roc_auc", "ROC AUC"),
    ):  # fmt: skip
        if name in values:
            yield _tile(title, values[name], metrics.intervals.get(name))
    if "log_loss" in values:
        yield _tile("Log loss", values["log_loss"], unit="nats")
    before, after = (values.get(name) for name in ("uncalibrated_error", "expected_calibration_error"))
    if after is not None:
        scaled = f"{before:.3f} before scaling" if before is not None and before != after else ""
        yield _tile("Calibration error", after, unit=scaled)


def _tile(name: str, value: float, interval: Interval | None = None, unit: str = "") -> Markup:
    parts = [element("span", name, class_="name"), element("strong", f"{value:.3f}")]
    if interval is not None:
        text = f"{interval.low:.3f} to {interval.high:.3f}"
        parts += [interval_bar(f"{name} {text}", value, interval.low, interval.high), element("small", text)]
    elif unit:
        parts.append(element("small", unit))
    return element("div", *parts, class_="tile")


def _label_row(each: LabelMetrics) -> list[Markup | str]:
    shares = [f"{share:.3f}" for share in (each.precision, each.recall)]
    f1 = element("span", f"{each.f1:.3f}", class_="meter", style=f"--share:{each.f1:.3f}")
    return [each.label, *shares, f1, str(each.support)]


def _matrix(names: list[str], counts: Labels) -> Markup:
    """Write the whole matrix as a table; a cell's colour is its share of the true label's images."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    head = [element("th", "is ↓ taken for →", scope="col", class_="corner")]
    head += [element("th", element("span", name, title=name), scope="col", class_="turned") for name in names]
    rows = [
        element("tr", element("th", name, scope="row"), *(_cell(i, j, counts, shares) for j in range(len(names))))
        for i, name in enumerate(names)
    ]
    parts = element("caption", _MATRIX), element("thead", element("tr", *head)), element("tbody", *rows)
    return scrolling(element("table", *parts, class_="matrix"), _MATRIX)


def _cell(true: int, predicted: int, counts: Labels, shares: Logits) -> Markup:
    share, count = float(shares[true, predicted]), int(counts[true, predicted])
    kind = "right" if true == predicted else "wrong"
    depth = " deep" if share > 0.55 else ""
    return element("td", count or "", class_=kind + depth if count else None, style=f"--share:{share:.3f}")


def _pairs(names: list[str], counts: Labels, most: int) -> Markup:
    wrong = counts * (1 - np.eye(len(names), dtype=np.int64))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [divmod(int(place), len(names)) for place in order]
    rows = [
        (names[true], names[predicted], f"{counts[true, predicted]:,} of {counts[true].sum():,}")
        for true, predicted in pairs
        if wrong[true, predicted]
    ]
    if not rows:
        return element("p", "No label was taken for another.", class_="note")
    return table(("Label", "Taken for", "Images"), rows, "Confused most often", "pairs")
