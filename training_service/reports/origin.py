"""The sections of a report that say what a version was made from: data, recipe, lineage, and how to do it again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from model_store.records.jobs import REMARKS
from model_store.records.resources import ModelVersion
from training_service.markup.elements import Child, Markup, element, joined, table
from training_service.markup.elements import facts as fact_list
from training_service.recipes.recipe import DEFAULTS, Recipe
from training_service.reports.command import finetune_command
from training_service.reports.facts import JobFacts
from training_service.reports.words import size_text, value_text
from training_service.tasks import TRAINING_TASKS

_SHOWN_DIGITS = 12
_SHOWN_FILES = 100


def data(facts: JobFacts) -> Markup:
    """Show the targets of the dataset by split, and what was left out."""
    if facts.dataset is None:
        return element("p", f"datasets/{facts.job.spec.dataset_id} is not there any more.", class_="note")
    summary = facts.dataset.summary
    known = fact_list(
        [
            ("Dataset", facts.dataset.name),
            ("Digest", element("code", facts.dataset.digest)),
            ("Grown from", facts.dataset.parent_name),
            ("Task", str(summary["task"])),
            ("Examples", _examples(summary)),
            ("Near duplicates", _near_duplicates(summary)),
            ("Left out", f"{summary['num_rejected_files']:,} files"),
            ("Encoded", size_text(facts.dataset.size_bytes)),
        ]
    )
    targets = TRAINING_TASKS[summary["task"]].describe_targets(summary["targets"])
    return joined([known, targets, _left_out(summary)])


def _examples(summary: Mapping[str, Any]) -> str:
    counts: Mapping[str, int] = summary["num_rows"]
    return ", ".join(f"{count:,} {split}" for split, count in counts.items())


def recipe(facts: JobFacts) -> Markup:
    """Show every hyperparameter, those that training found out included, and why the recipe was chosen."""
    asked = Recipe.from_json(facts.job.spec.recipe)
    reason = f"chosen by the service: {asked.reason}." if asked.reason else "as it was asked for."
    values = facts.version.lineage.recipe if facts.version is not None else facts.job.spec.recipe
    pairs: list[tuple[str, Child]] = [
        (name, _setting(name, value, asked))
        for name, value in values.items()
        if name not in {"name", "reason", REMARKS}
    ]
    pairs.append(("seed", str(facts.job.spec.seed)))
    note = element("p", element("code", str(asked.name)), ", ", reason, class_="note")
    return joined([note, element("div", fact_list(pairs), class_="columns")])


def lineage(facts: JobFacts) -> Markup:
    """Show what the version was made from, and what it shares with its base."""
    spec, version = facts.job.spec, facts.version
    known: list[tuple[str, Child]] = [
        ("Base", f"{spec.base}{'' if facts.base is not None else ' (not there any more)'}"),
        ("Dataset", f"datasets/{spec.dataset_id}"),
        ("Dataset digest", element("code", facts.dataset.digest) if facts.dataset is not None else ""),
        ("Seed", str(spec.seed)),
        ("Job", facts.job.name),
    ]
    if version is None:
        return fact_list(known)
    shared = {stage.digest for stage in facts.base.stages} if facts.base is not None else set()
    shared_bytes = sum(stage.size_bytes for stage in version.stages if stage.digest in shared)
    known += [
        ("Version", str(version.name)),
        ("Manifest", element("code", version.manifest_digest)),
        ("Architecture", version.architecture),
        ("Size", f"{size_text(version.size_bytes)}, of which {size_text(shared_bytes)} are shared with the base"),
        ("Added to the store", size_text(version.added_bytes)),
    ]
    stages = table(("Stage", "Origin", "Digest", "Size"), _stages(version, shared), "Stages, first to last", "sizes")
    return joined([fact_list(known), stages])


def reproduction(facts: JobFacts) -> Markup:
    """Show the command that does the same again."""
    note = "The dataset and the base never change: on a CPU, the same command gives the same weights."
    command = element("pre", element("code", finetune_command(facts.job.spec)), tabindex=0)
    return joined([command, element("p", note, class_="note")])


def _left_out(summary: Mapping[str, Any]) -> Markup:
    shown = summary["rejected_files"][:_SHOWN_FILES]
    if not shown:
        return Markup()
    some = f"the first {len(shown)} of " if len(shown) < summary["num_rejected_files"] else ""
    rows = [(each["path"], each["reason"]) for each in shown]
    written = table(("File", "Why"), rows, f"Files that were left out: {some}{summary['num_rejected_files']:,}")
    return element("details", element("summary", "Why files were left out"), written)


def _near_duplicates(summary: Mapping[str, Any]) -> str:
    if not summary["num_near_duplicates"]:
        return "none"
    return (
        f"{summary['num_near_duplicates']:,} examples, {summary['num_split_near_duplicates']:,} of them across splits"
    )


def _setting(name: str, value: object, asked: Recipe) -> Markup:
    """Write a hyperparameter, and the recipe's default where that is another."""
    default = DEFAULTS[asked.name].to_json().get(name, value)
    text = element("span", value_text(value), class_="off" if value in {0, "none"} else None)
    return joined([text, element("small", f" default {value_text(default)}")] if default != value else [text])


def _stages(version: ModelVersion, shared: AbstractSet[str]) -> Iterator[Sequence[Child]]:
    for stage in version.stages:
        origin = "shared with the base" if stage.digest in shared else "trained"
        yield stage.name, origin, element("code", stage.digest[:_SHOWN_DIGITS]), size_text(stage.size_bytes)
