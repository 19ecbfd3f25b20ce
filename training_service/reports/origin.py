"""The sections of a report that say what a version was made from: data, recipe, lineage, and how to do it again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from model_store.records.jobs import BASE_CHOICE, REMARKS
from training_service.markup.sections import Table
from training_service.recipes.recipe import DEFAULTS, Recipe
from training_service.reports.command import finetune_command
from training_service.reports.facts import JobFacts
from training_service.tasks import TRAINING_TASKS
from training_service.training.input_choice import INPUT_CHOICE

_SHOWN_DIGITS = 12
_SHOWN_FILES = 100
_NOT_SETTINGS = frozenset({"name", "reason", REMARKS, INPUT_CHOICE, BASE_CHOICE})
_OF_CLASSES = frozenset({"label_smoothing", "class_weights"})
_FACTORS_OF_1 = frozenset({"batches_per_step", "backbone_learning_rate_factor", "stage_learning_rate_factor"})


@dataclass(frozen=True)
class DataSection:
    """The targets of the dataset by split, and the first of the files that were left out, with the reason of each."""

    heading: ClassVar[str] = "Data"
    template: ClassVar[str] = "reports/data.html"
    targets: Table | None = None
    left_out: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Setting:
    """A hyperparameter, and the recipe's default where that is another."""

    name: str
    value: object
    default: object

    @property
    def is_off(self) -> bool:
        """Say whether it does nothing."""
        return self.value in (0, "none") or (self.value == 1 and self.name in _FACTORS_OF_1)


@dataclass(frozen=True)
class RecipeSection:
    """The hyperparameters that had an effect, those that training found out included, and why the recipe was chosen.

    One that is off had none; it is there where the recipe's default is another.
    """

    heading: ClassVar[str] = "Recipe"
    template: ClassVar[str] = "reports/recipe.html"
    name: str
    reason: str
    settings: Sequence[Setting]


@dataclass(frozen=True)
class StageRow:
    """A stage of the version, and whether it is the base's."""

    name: str
    is_shared: bool
    digest: str
    size_bytes: int


@dataclass(frozen=True)
class LineageSection:
    """The stages of the version, and how many bytes of them it shares with its base."""

    heading: ClassVar[str] = "Lineage"
    template: ClassVar[str] = "reports/lineage.html"
    stages: Sequence[StageRow]

    @property
    def shared_bytes(self) -> int:
        """The size of the stages that are the base's."""
        return sum(stage.size_bytes for stage in self.stages if stage.is_shared)


@dataclass(frozen=True)
class Reproduction:
    """The command that does the same again."""

    heading: ClassVar[str] = "How to reproduce"
    template: ClassVar[str] = "reports/reproduction.html"
    command: str


def data(facts: JobFacts) -> DataSection:
    """Return what the summary of the dataset says."""
    if facts.dataset is None:
        return DataSection()
    summary = facts.dataset.summary
    targets = TRAINING_TASKS[summary["task"]].describe_targets(summary["targets"])
    left_out = [(each["path"], each["reason"]) for each in summary["rejected_files"][:_SHOWN_FILES]]
    return DataSection(targets, left_out)


def recipe(facts: JobFacts) -> RecipeSection:
    """Return the settings of the version's recipe, else of the one that was asked for."""
    asked = Recipe.from_json(facts.job.spec.recipe)
    values = facts.version.lineage.recipe if facts.version is not None else facts.job.spec.recipe
    settings = used_settings(values, has_classes=facts.task is None or facts.task.has_classes)
    return RecipeSection(str(asked.name), asked.reason, list(settings))


def used_settings(values: Mapping[str, Any], *, has_classes: bool) -> Iterator[Setting]:
    """Yield those of a recipe's values, and of those that training found out, that had an effect."""
    asked = Recipe.from_json(values)
    defaults = DEFAULTS[asked.name].to_json()
    # A value without a default that the recipe does not read was found out: the strength of a probe.
    unused = (asked.unused & defaults.keys()) | _NOT_SETTINGS | (frozenset() if has_classes else _OF_CLASSES)
    for name, value in values.items():
        setting = Setting(name, value, defaults.get(name, value))
        is_left_off = name in defaults and setting.is_off and setting.default == value
        if name not in unused and value != "" and not is_left_off:
            yield setting


def lineage(facts: JobFacts) -> LineageSection:
    """Return the stages; none where there is no version."""
    stages = facts.version.stages if facts.version is not None else ()
    shared = {stage.digest for stage in facts.base.stages} if facts.base is not None else set()
    return LineageSection(
        [
            StageRow(stage.name, stage.digest in shared, stage.digest[:_SHOWN_DIGITS], stage.size_bytes)
            for stage in stages
        ]
    )


def reproduction(facts: JobFacts) -> Reproduction:
    """Return the command of the job."""
    return Reproduction(finetune_command(facts.job.spec))
