"""The command in a report is one that `maas finetune` takes, and asks for what the job was asked for."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import typer
from maas.training.v1 import training_pb2 as pb

from grpc_runtime.leaf_fields import leaf_fields
from maas_client.__main__ import app
from maas_client.typed.recipe_fields import recipe_field_types
from maas_client.typed.recipes import recipe_of
from model_store.names import VersionName
from model_store.records.jobs import JobSpec
from model_store.records.promotion import PromotionSpec, Requirement
from training_service.recipes.recipe import DEFAULTS, ENUMS, OPTIMIZER_FIELDS, Recipe, RecipeName
from training_service.reports.command import finetune_command

SPEC = JobSpec("flowers", VersionName("base", 1), "photos", DEFAULTS[RecipeName.FULL].to_json(), 7, None)


OPTIMIZERS = {field: optimizer for optimizer, fields in OPTIMIZER_FIELDS.items() for field in fields}


def understood(spec: JobSpec) -> dict[str, Any]:
    """Return what the command line makes of a job's command."""
    program, name, *arguments = shlex.split(finetune_command(spec))
    assert (program, name) == ("maas", "finetune")
    group = typer.main.get_command(app)
    return group.commands[name].make_context(name, arguments).params  # type: ignore[attr-defined]


def another(name: str, value: object) -> object:
    """Return a value of a hyperparameter that is not this one."""
    if name in ENUMS:
        return next(each for each in ENUMS[name] if each != value)  # type: ignore[attr-defined]
    if name == "fit":  # one of the modality's words; empty, the service chooses
        return "pad"
    if value is None:  # what a fit chooses on validation rows
        return 7 if "int" in str(Recipe.__dataclass_fields__[name].type) else 0.3
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else 0.1 + float(value) / 3  # type: ignore[arg-type]


def choices() -> Iterator[Any]:
    """Every hyperparameter of every recipe."""
    for recipe in RecipeName:
        for name in leaf_fields(type(getattr(pb.Recipe(), recipe))):
            yield pytest.param(recipe, name, id=f"{recipe}-{name}")


def test_what_is_default_is_left_out() -> None:
    """A command is as short as it can be."""
    assert finetune_command(SPEC) == (
        "maas finetune datasets/photos --base models/base/versions/1 --model flowers --recipe full --seed 7"
    )


@pytest.mark.parametrize(("name", "field"), list(choices()))
def test_every_hyperparameter_can_be_chosen_again(name: RecipeName, field: str) -> None:
    """Whoever types the command chooses exactly that value, and no other."""
    default = DEFAULTS[name]
    chosen: Recipe = replace(default, **{field: another(field, getattr(default, field))})
    if optimizer := OPTIMIZERS.get(field):
        chosen = replace(chosen, optimizer=optimizer)
    found = understood(replace(SPEC, recipe=chosen.to_json()))
    recipe = recipe_of(found["recipe"], {each: found[each] for each in recipe_field_types()})
    message = getattr(recipe, name)
    leaves = {key: leaf.read(message) for key, leaf in leaf_fields(type(message)).items()}
    asked = {key: value for key, value in leaves.items() if value is not None}
    assert asked.pop(field) == getattr(chosen, field)
    for kind in {"head", "select"} - {field}:  # a hyperparameter of one kind of head, or of one score, says which
        asked.pop(kind, None)
    assert asked in ({}, {"optimizer": OPTIMIZERS.get(field)})


def test_the_gate_is_asked_for_too() -> None:
    """With all that it goes by."""
    spec = replace(SPEC, promote=PromotionSpec("production", "log_loss", 0.5, 0.01, 60.0, 7, 8, Requirement.BETTER))
    found = understood(spec)
    options = ("promote", "metric", "threshold", "min_delta", "shadow_for", "min_rows", "shadow_min_rows", "require")
    assert [found[each] for each in options] == ["production", "log_loss", 0.5, 0.01, 60.0, 7, 8, "better"]
    assert understood(replace(SPEC, alias="staging"))["alias"] == "staging"
