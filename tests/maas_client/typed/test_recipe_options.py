"""From options to a recipe, and a fine-tune that needs none of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from maas.training.v1 import training_pb2 as pb

from maas_client.failures import CommandFailed
from maas_client.typed.recipe_options import recipe_of
from tests.maas_client.running import Maas
from tests.training_service.making import photos, publish_base, publish_mlp
from tests.training_service.running import running_service


def test_only_what_was_given_is_sent() -> None:
    """What was left out is the service's to fill in; a zero was given."""
    recipe = recipe_of("", [], num_epochs=None, optimizer="", find_learning_rate=False, patience=0, weight_decay=0.0)
    assert recipe == pb.Recipe(patience=0, weight_decay=0.0)
    assert recipe.HasField("patience")
    assert recipe_of("full", [], num_epochs=3, optimizer="sgd") == pb.Recipe(name="full", num_epochs=3, optimizer="sgd")


def test_any_field_can_be_set() -> None:
    """By its name in the API, as its kind is written."""
    settings = ["mixup_alpha=0.2", "accumulated_batches=4", "freeze_batch_norm=false", "schedule=one_cycle"]
    expected = pb.Recipe(mixup_alpha=0.2, accumulated_batches=4, freeze_batch_norm=False, schedule="one_cycle")
    assert recipe_of("", settings) == expected


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("mixup=0.2", "no field 'mixup': it has accumulated_batches, augmentation"),
        ("name=full", "no field 'name'"),
        ("mixup_alpha", "must have the form FIELD=VALUE"),
        ("num_epochs=4", "num_epochs is given twice"),
        ("accumulated_batches=few", "accumulated_batches"),
        ("freeze_batch_norm=maybe", "freeze_batch_norm"),
    ],
)
def test_a_wrong_setting_is_explained(setting: str, text: str) -> None:
    """Before anything is uploaded."""
    with pytest.raises(CommandFailed, match=text):
        recipe_of("", [setting], num_epochs=3)


def test_a_fine_tune_needs_no_option(maas: Maas, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The base is the only one that takes images, the recipe is the service's choice, and both are told."""
    for path, data in photos(4).items():
        (tmp_path / "shapes" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "shapes" / path).write_bytes(data)
    with running_service(tmp_path / "home", num_concurrent_jobs=0) as service:
        monkeypatch.setenv("MAAS_TRAINING_ADDRESS", (tmp_path / "home/address").read_text())
        command = ("finetune", str(tmp_path / "shapes"), "--detach")
        code, _, err = maas(*command)
        assert code == 1
        assert "there is no model to start from" in err
        publish_mlp(service.store, "numbers")
        publish_base(service.store, "squeezenet")
        code, _, err = maas(*command)
        assert code == 0, err
        assert "base: squeezenet, the only one there is" in err
        assert "linear_probe: 2 training rows a label" in err
        (job,) = service.training.ListTrainingJobs(pb.ListTrainingJobsRequest()).training_jobs
        assert (job.base, job.model, job.recipe.name) == (
            "models/squeezenet/versions/1",
            "models/shapes",
            "linear_probe",
        )
        publish_base(service.store, "other")
        code, _, err = maas(*command)
        assert code == 1
        assert "--base with one of other, squeezenet" in err
        assert len(list(service.training.ListDatasets(pb.ListDatasetsRequest()).datasets)) == 1
