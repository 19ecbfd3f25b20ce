"""Metrics as a person reads them: a table of labels, and one line that sums it up."""

from __future__ import annotations

from collections.abc import Iterator

from maas.model_store.v1 import model_store_pb2 as pb

from maas_client.views.output import as_text, out, print_table


def show_metrics(title: str, metrics: pb.Metrics, is_remembered: bool = False) -> None:  # noqa: FBT001, FBT002  reads as a sentence
    """Print how good a version is; of rows that it learned from, only how well it remembers them, without intervals."""
    if is_remembered:
        out.print(as_text(title), style="bold", soft_wrap=True)
        out.print(f"remembers {metrics.accuracy:.1%} of them: that is no accuracy on other images", highlight=False)
        return
    rows = [
        (each.label, f"{each.precision:.3f}", f"{each.recall:.3f}", f"{each.f1:.3f}", each.support)
        for each in metrics.labels
    ]
    out.print(as_text(title), style="bold", soft_wrap=True)  # longer than the table is wide
    print_table("", ["label", "precision", "recall", "F1", "images"], rows, "")
    out.print("  ".join(_summary(metrics)), highlight=False)


def _summary(metrics: pb.Metrics) -> Iterator[str]:
    yield f"accuracy {metrics.accuracy:.3f}{_interval(metrics, 'accuracy_interval')}"
    yield f"macro F1 {metrics.macro_f1:.3f}{_interval(metrics, 'macro_f1_interval')}"
    for field, name in (("top5_accuracy", "top 5"), ("roc_auc", "ROC AUC"), ("log_loss", "log loss")):
        if metrics.HasField(field):
            yield f"{name} {getattr(metrics, field):.3f}"
    yield f"calibration error {metrics.expected_calibration_error:.3f}{_before_scaling(metrics)}"


def _interval(metrics: pb.Metrics, field: str) -> str:
    interval = getattr(metrics, field)
    return f" ({interval.low:.3f} to {interval.high:.3f})" if metrics.HasField(field) else ""


def _before_scaling(metrics: pb.Metrics) -> str:
    """Say what the temperature is good for, where there is one."""
    if not metrics.HasField("temperature") or metrics.temperature == 1:
        return ""
    return f" (temperature {metrics.temperature:.2f}; {metrics.uncalibrated_error:.3f} without)"
