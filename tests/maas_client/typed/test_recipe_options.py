"""From options to a recipe, and a fine-tune that needs none of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from maas.training.v1 import training_pb2 as pb

from maas_client.failures import CommandFailed
from maas_client.typed.recipe_options import recipe_of
from tests.maas_client.running import Maas
from tests.training_service.making import photos, publish_base
from tests.training_service.running import running_service


def test_only_what_was_given_is_sent() -> None:
    """What was left out is the service's to fill in; a zero was given."""
    recipe = recipe_of("full", [], epoch_count=None, optimizer="", find_learning_rate=False, patience=0)
    assert recipe == pb.Recipe(full=pb.Recipe.Full(schedule=pb.ScheduleSpec(patience=0)))
    assert recipe_of("", [], epoch_count=None, precision="") == pb.Recipe()
    assert recipe_of("classic", []) == pb.Recipe(classic=pb.Recipe.Classic())
    sgd = pb.OptimizerSpec(sgd=pb.OptimizerSpec.Sgd())
    expected = pb.Recipe(full=pb.Recipe.Full(epoch_count=3, optimizer=sgd))
    assert recipe_of("full", [], epoch_count=3, optimizer="sgd") == expected


def test_any_field_can_be_set() -> None:
    """By its name in the API, as its kind is written, wherever it lies in the recipe's message."""
    settings = ["mixup_alpha=0.2", "batches_per_step=4", "freeze_batch_norm=false", "schedule=one_cycle"]
    full = pb.Recipe.Full(
        augmentation=pb.AugmentationSpec(mixup_alpha=0.2),
        optimizer=pb.OptimizerSpec(batches_per_step=4),
        freeze_batch_norm=False,
        schedule=pb.ScheduleSpec(kind=pb.SCHEDULE_ONE_CYCLE),
    )
    assert recipe_of("full", settings) == pb.Recipe(full=full)
    balanced = pb.Recipe(auto=pb.Recipe.Auto(class_weights=pb.CLASS_WEIGHTS_BALANCED))
    assert recipe_of("", ["class_weights=balanced"]) == recipe_of("", [], class_weights="balanced") == balanced


def test_a_field_of_one_optimizer_chooses_it() -> None:
    """In whatever order they are given."""
    sgd = pb.Recipe(full=pb.Recipe.Full(optimizer=pb.OptimizerSpec(sgd=pb.OptimizerSpec.Sgd(momentum=0.8))))
    assert recipe_of("full", ["momentum=0.8"]) == recipe_of("full", ["momentum=0.8"], optimizer="sgd") == sgd
    adamw = pb.Recipe(scratch=pb.Recipe.Scratch(optimizer=pb.OptimizerSpec(adamw=pb.OptimizerSpec.AdamW(beta1=0.8))))
    assert recipe_of("scratch", ["beta1=0.8", "optimizer=adamw"]) == adamw


@pytest.mark.parametrize(
    ("recipe", "setting", "text"),
    [
        ("full", "mixup=0.2", "the recipe full has no field 'mixup': it has augmentation, average_decay"),
        ("full", "name=full", "no field 'name'"),
        ("full", "stage_count=2", "the recipe full has no field 'stage_count'"),
        ("full", "mixup_alpha", "must have the form FIELD=VALUE"),
        ("full", "epoch_count=4", "epoch_count is given twice"),
        ("full", "batches_per_step=few", "batches_per_step"),
        ("full", "freeze_batch_norm=maybe", "freeze_batch_norm"),
        ("full", "schedule=linear", "schedule must be one of constant, cosine, one_cycle, not 'linear'"),
        ("full", "optimizer=adam", "optimizer must be one of sgd, adamw, not 'adam'"),
        ("full", "beta1=0.8", "beta1 is a field of optimizer adamw, not of sgd"),
        ("magic", "patience=1", "no recipe 'magic': there are linear_probe, last_stages, full, gradual, classic"),
        ("linear_probe", "view_count=1", "the recipe linear_probe has no field 'epoch_count'"),
        ("", "class_weights=balanced", "epoch_count is a field of last_stages, full, gradual, classic, scratch: name"),
    ],
)
def test_a_wrong_setting_is_explained(recipe: str, setting: str, text: str) -> None:
    """Before anything is uploaded."""
    optimizer = "sgd" if setting == "beta1=0.8" else ""
    with pytest.raises(CommandFailed, match=text):
        recipe_of(recipe, [setting], epoch_count=3, optimizer=optimizer)


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
        assert code == 1
        assert "--base with one of other, squeezenet" in err
        assert len(list(service.training.ListDatasets(pb.ListDatasetsRequest()).datasets)) == 1
