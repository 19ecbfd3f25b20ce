"""From options to a recipe, and a fine-tune that needs none of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from google.protobuf.descriptor import FieldDescriptor
from maas.training.v1 import training_pb2 as pb

from grpc_runtime.leaf_fields import LeafField, leaf_fields
from maas_client.__main__ import app
from maas_client.errors import InvalidArgument
from maas_client.typed.recipe_fields import recipe_field_types
from maas_client.typed.recipes import RECIPES, recipe_of
from tests.maas_client.running import Maas
from tests.training_service.making import photos, publish_base
from tests.training_service.running import running_service


def leaves() -> dict[str, LeafField]:
    """Every field of every recipe, by its flat name."""
    return {name: leaf for message in RECIPES.values() for name, leaf in leaf_fields(message).items()}


def kind_of(leaf: LeafField) -> Any:
    """Return the type of a field's keyword."""
    if leaf.words or leaf.field is None:
        return str
    kinds = {FieldDescriptor.CPPTYPE_BOOL: bool, FieldDescriptor.CPPTYPE_DOUBLE: float}
    return kinds.get(leaf.field.cpp_type, int) | None


def test_every_field_of_a_recipe_is_a_keyword() -> None:
    """Of the type that the field has, and no other keyword is; a field that is added to the proto fails here."""
    keywords = {name: get_args(each)[0] for name, each in recipe_field_types().items()}
    assert keywords == {name: kind_of(leaf) for name, leaf in leaves().items()}


@pytest.mark.parametrize("name", leaves())
def test_every_field_of_a_recipe_is_an_option(name: str) -> None:
    """By its own name; what is typed arrives in the field."""
    leaf = leaves()[name]
    recipe = next(each for each, message in RECIPES.items() if name in leaf_fields(message))
    typed: dict[Any, tuple[list[str], Any]] = {
        str: ([leaf.words[-1]] if leaf.words else [], leaf.words[-1:] and leaf.words[-1]),
        bool | None: ([], True),
        float | None: (["0.5"], 0.5),
        int | None: (["3"], 3),
    }
    words, value = typed[kind_of(leaf)]
    command = typer.main.get_command(app).commands["finetune"]  # type: ignore[attr-defined]
    arguments = ["data", "--recipe", recipe, f"--{name.replace('_', '-')}", *words]
    found = command.make_context("finetune", arguments).params
    made = recipe_of(found["recipe"], {each: found[each] for each in recipe_field_types()})
    assert leaf_fields(RECIPES[recipe])[name].read(getattr(made, recipe)) == value


def test_only_what_was_given_is_sent() -> None:
    """What was left out is the service's to fill in; a zero was given."""
    recipe = recipe_of("full", {"epoch_count": None, "optimizer": "", "find_learning_rate": None, "patience": 0})
    assert recipe == pb.Recipe(full=pb.Recipe.Full(schedule=pb.ScheduleSpec(patience=0)))
    assert recipe_of("", {"epoch_count": None, "precision": ""}) == pb.Recipe(auto=pb.Recipe.Auto())
    assert recipe_of("classic", {}) == pb.Recipe(classic=pb.Recipe.Classic())
    sgd = pb.OptimizerSpec(sgd=pb.OptimizerSpec.Sgd())
    expected = pb.Recipe(full=pb.Recipe.Full(epoch_count=3, optimizer=sgd))
    assert recipe_of("full", {"epoch_count": 3, "optimizer": "sgd"}) == recipe_of(expected, {}) == expected


def test_a_field_may_lie_anywhere_in_the_message() -> None:
    """It is named by its own name, as its kind is written."""
    fields = {"mixup_alpha": 0.2, "batches_per_step": 4, "freeze_batch_norm": False, "schedule": "one_cycle"}
    full = pb.Recipe.Full(
        augmentation=pb.AugmentationSpec(mixup_alpha=0.2),
        optimizer=pb.OptimizerSpec(batches_per_step=4),
        freeze_batch_norm=False,
        schedule=pb.ScheduleSpec(kind=pb.SCHEDULE_ONE_CYCLE),
    )
    assert recipe_of("full", fields) == pb.Recipe(full=full)
    balanced = pb.Recipe(auto=pb.Recipe.Auto(class_weights=pb.CLASS_WEIGHTS_BALANCED))
    assert recipe_of("", {"class_weights": "balanced"}) == balanced
    selected = pb.Recipe(auto=pb.Recipe.Auto(select=pb.SelectionSpec(variance={"select_threshold": 0.1})))
    assert recipe_of("", {"select_threshold": 0.1}) == selected


def test_a_head_chooses_its_recipe() -> None:
    """It is a field of one recipe alone."""
    spec = pb.HeadSpec(gaussian_nb=pb.HeadSpec.GaussianNb(), smoothing=0.1)
    expected = pb.Recipe(fit_head=pb.Recipe.FitHead(head=spec))
    assert recipe_of("", {"head": "gaussian_nb", "smoothing": 0.1}) == expected
    assert recipe_of("fit_head", {"head": "gaussian_nb", "smoothing": 0.1}) == expected


def test_a_field_of_one_optimizer_chooses_it() -> None:
    """In whatever order they are given."""
    sgd = pb.Recipe(full=pb.Recipe.Full(optimizer=pb.OptimizerSpec(sgd=pb.OptimizerSpec.Sgd(momentum=0.8))))
    assert recipe_of("full", {"momentum": 0.8}) == recipe_of("full", {"momentum": 0.8, "optimizer": "sgd"}) == sgd
    adamw = pb.Recipe(scratch=pb.Recipe.Scratch(optimizer=pb.OptimizerSpec(adamw=pb.OptimizerSpec.AdamW(beta1=0.8))))
    assert recipe_of("scratch", {"beta1": 0.8, "optimizer": "adamw"}) == adamw


@pytest.mark.parametrize(
    ("recipe", "field", "text"),
    [
        ("", {"head": "perceptron"}, "head must be one of logistic_regression"),
        ("", {"strength": 0.1}, "strength is a field of fit_head: name one of them with --recipe"),
        ("full", {"mixup": 0.2}, "the recipe full has no field 'mixup': it has augmentation, average_decay"),
        ("full", {"name": "full"}, "no field 'name'"),
        ("full", {"stage_count": 2}, "the recipe full has no field 'stage_count'"),
        ("full", {"schedule": "linear"}, "schedule must be one of constant, cosine, one_cycle, not 'linear'"),
        ("full", {"optimizer": "adam"}, "optimizer must be one of sgd, adamw, not 'adam'"),
        ("full", {"beta1": 0.8, "optimizer": "sgd"}, "beta1 is a field of optimizer adamw, not of sgd"),
        ("magic", {"patience": 1}, "no recipe 'magic': there are linear_probe, last_stages, full, gradual, classic"),
        ("", {"epoch_count": 3}, "epoch_count is a field of last_stages, full, gradual, classic, scratch: name"),
        (pb.Recipe(full={}), {"patience": 1}, "patience goes with a recipe by its name"),
    ],
)
def test_a_wrong_field_is_explained(recipe: str | pb.Recipe, field: dict[str, Any], text: str) -> None:
    """Before anything is uploaded."""
    with pytest.raises(InvalidArgument, match=text):
        recipe_of(recipe, field)


def test_a_fine_tune_needs_no_option(maas: Maas, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The base is the only one there is, the recipe is the service's choice, and both are told."""
    for path, data in photos(4).items():
        (tmp_path / "shapes" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "shapes" / path).write_bytes(data)
    with running_service(tmp_path / "home", num_concurrent_jobs=0) as service:
        monkeypatch.setenv("MAAS_TRAINING_ADDRESS", (tmp_path / "home/address").read_text())
        command = ("finetune", str(tmp_path / "shapes"), "--detach")
        code, _, err = maas(*command)
        assert code == 1
        assert "there is no model to start from" in err
        publish_base(service.store, "squeezenet")
        code, _, err = maas(*command)
        assert code == 0, err
        assert "base: squeezenet, the only one there is" in err
        assert "linear_probe: 2 training rows a label" in err
        (job,) = service.training.ListTrainingJobs(pb.ListTrainingJobsRequest()).training_jobs
        assert (job.base, job.model, job.recipe.WhichOneof("recipe")) == (
            "models/squeezenet/versions/1",
            "models/shapes",
            "linear_probe",
        )
        publish_base(service.store, "other")
        code, _, err = maas(*command)
        assert code == 2
        assert "--base with one of other, squeezenet" in err
        assert len(list(service.training.ListDatasets(pb.ListDatasetsRequest()).datasets)) == 1
