"""The section of a report that says how examples are prepared for the version, and what was tried before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from training_service.modalities import MODALITIES, TrainingModality
from training_service.reports.facts import JobFacts
from training_service.tasks import TRAINING_TASKS
from training_service.tasks.training_task import Metric
from training_service.training.input_choice import INPUT_CHOICE, InputChoice, TriedInput


@dataclass(frozen=True)
class InputSection:
    """The figures of each variant of the base's input spec that was tried, and why one was chosen."""

    heading: ClassVar[str] = "Input"
    template: ClassVar[str] = "reports/inputs.html"
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    reason: str


def inputs(facts: JobFacts) -> InputSection | None:
    """Return what was tried; None where the service did not choose."""
    found = facts.version.lineage.recipe.get(INPUT_CHOICE) if facts.version is not None else None
    if found is None or facts.manifest is None or facts.manifest.task is None:
        return None
    choice, modality = InputChoice.from_json(found), MODALITIES[str(facts.manifest.input_spec["kind"])]
    task = TRAINING_TASKS[facts.manifest.task.kind]
    metric = task.metrics[task.headline]
    return InputSection(
        caption=f"{modality.VARIANTS_ARE}: what was tried, the base's own first",
        columns=("Variant", metric.title, "Loss", "Below the base's own by", "Standard error", "What it does"),
        rows=[_row(each, choice, metric, modality) for each in choice.tried],
        reason=choice.reason,
    )


def _row(tried: TriedInput, choice: InputChoice, metric: Metric, modality: TrainingModality) -> list[str]:
    name = f"{tried.name}, chosen" if tried.name == choice.name else tried.name
    gain = [f"{tried.gain:.3f}", f"{tried.gain_error:.3f}"] if tried is not choice.tried[0] else ["", ""]
    return [name, metric.text(tried.metric), f"{tried.loss:.3f}", *gain, modality.VARIANTS[tried.name]]
