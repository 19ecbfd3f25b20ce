"""Versions carried from one store to another as files, between real services."""

from __future__ import annotations

from pathlib import Path

import pytest
from maas.inference.v1 import inference_pb2
from maas.model_store.v1 import model_store_pb2 as pb

from maas_client.errors import FailedPrecondition
from maas_client.transfers.publish import publish_base
from model_store.bases.catalogue import LoadedBase
from model_store.calibration import read_calibration, write_logits
from model_store.errors import InvalidInput
from model_store.names import VersionName
from model_store.records.resources import CalibrationDigests
from model_store.tensors.example_pack import pack_header
from model_store.transactions.publication import Publication
from tests.answers import alike
from tests.inference_service.making import photo
from tests.inference_service.running import running_service
from tests.maas_client.transfers.counting import Counted
from tests.model_store.audio_models import audio_base
from tests.model_store.modalities.recordings import file_of, noise
from tests.training_service.registry_running import RunningRegistry

ARCHITECTURE = "resnet18"


def test_a_version_is_the_same_in_another_store(
    here: RunningRegistry, there: RunningRegistry, flowers: pb.ModelVersion, tmp_path: Path
) -> None:
    """Its content, its numbers, its description; and where it was is remembered, but not a base that is not there."""
    here.client.export("flowers", tmp_path / "flowers.maas")
    found = there.client.import_archive(tmp_path / "flowers.maas", alias="production")
    assert (found.name, found.manifest_digest) == ("models/flowers/versions/1", flowers.manifest_digest)
    assert list(found.aliases) == ["models/flowers/aliases/production"]
    for stage in flowers.stages:
        assert there.blobs.read(stage.digest) == here.blobs.read(stage.digest)
    for same in (
        "stages",
        "manifest_json",
        "labels",
        "metrics",
        "metric_values",
        "description",
        "tags",
        "output_count",
        "calibration",
    ):
        assert getattr(found, same) == getattr(flowers, same), same
    assert (found.lineage.base, found.lineage.seed) == ("", 7)
    assert found.lineage.recipe["rate"] == 0.1
    origin = {"name": flowers.name, "manifest_digest": flowers.manifest_digest, "base": "models/base/versions/1"}
    assert dict(found.lineage.recipe["imported_from"]) == origin


def test_a_calibration_travels_with_its_version(
    here: RunningRegistry, there: RunningRegistry, tuned: LoadedBase, tmp_path: Path
) -> None:
    """Both blobs arrive in the other store; torchvision's format leaves them out."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/one.jpg").write_bytes(photo())
    version = publish_base(here.client, "flowers", tuned, calibrate_by=tmp_path / "photos")
    assert version.calibration.logits_size_bytes
    here.client.export("flowers", tmp_path / "flowers.maas")
    found = there.client.import_archive(tmp_path / "flowers.maas")
    assert found.calibration == version.calibration
    for digest in (found.calibration.rows_digest, found.calibration.logits_digest):
        assert there.blobs.read(digest) == here.blobs.read(digest)


def test_a_version_of_recordings_travels_with_what_it_is_calibrated_by(
    here: RunningRegistry, there: RunningRegistry, tmp_path: Path
) -> None:
    """A folder of recordings of several lengths gives its rows; what is no recording is named."""
    base, folder = audio_base(), tmp_path / "recordings"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.flac").write_bytes(file_of(noise(number, 1.0 + number), kind="FLAC"))
    version = publish_base(here.client, "sounds", base, calibrate_by=folder)
    here.client.export("sounds", tmp_path / "sounds.maas")
    found = there.client.import_archive(tmp_path / "sounds.maas")
    assert (found.manifest_digest, found.calibration) == (version.manifest_digest, version.calibration)
    digests = CalibrationDigests(found.calibration.rows_digest, found.calibration.logits_digest)
    assert len(read_calibration(there.blobs, digests, base.input_spec, 2).rows) == 3
    (folder / "broken.wav").write_bytes(b"no sound")
    with pytest.raises(InvalidInput, match=r"broken\.wav: not a recording in one of the formats"):
        publish_base(here.client, "sounds", base, calibrate_by=folder)


@pytest.mark.usefixtures("flowers")
def test_rows_that_are_a_datasets_travel_without_it(
    here: RunningRegistry, there: RunningRegistry, tuned: LoadedBase, tmp_path: Path
) -> None:
    """The pack of the dataset's examples goes with the version, which can be calibrated where the dataset is not."""
    image = photo()
    pack = here.blobs.put([pack_header([len(image)]), image]).digest
    written = write_logits(here.blobs, tuned.chain, pack, tuned.input_spec)
    manifest = here.store.manifest(here.store.get_version(VersionName("flowers", 1)))
    here.store.publish(Publication("flowers", manifest, calibration=written))
    here.client.export("models/flowers/versions/2", tmp_path / "flowers.maas")
    found = there.client.import_archive(tmp_path / "flowers.maas").calibration
    digests = CalibrationDigests(found.rows_digest, found.logits_digest)
    assert digests == CalibrationDigests(pack, written.logits)
    assert read_calibration(there.blobs, digests, tuned.input_spec, 3).rows.num_rows == 1


def test_an_imported_version_answers_as_the_original(
    here: RunningRegistry, there: RunningRegistry, flowers: pb.ModelVersion, tmp_path: Path
) -> None:
    """The same scores for the same photo, from an inference service on either store."""
    here.client.export(flowers.name, tmp_path / "flowers.maas")
    imported = there.client.import_archive(tmp_path / "flowers.maas", model="roses", alias="production")
    assert imported.name == "models/roses/versions/1"
    answers = []
    for folder, name in ((tmp_path / "here", flowers.name), (tmp_path / "there", imported.name)):
        with running_service(folder) as service:
            service.await_state(VersionName(name.split("/")[1], 1), inference_pb2.VERSION_STATE_READY)
            answers.append(service.predict(name, photo()).predictions[0])
    assert alike(*answers)
    assert {score.label for score in answers[0].classification.scores} == {"rose", "tulip", "daisy"}


def test_only_what_is_missing_is_sent(
    here: RunningRegistry, there: RunningRegistry, flowers: pb.ModelVersion, tmp_path: Path
) -> None:
    """Where the base is there already the head is sent, and the base is linked; a repeat sends nothing at all."""
    counted = Counted(there.client)
    for name in ("base", "flowers"):
        here.client.export(name, tmp_path / name)
        there.client.import_archive(tmp_path / name)
    head = flowers.stages[-1].size_bytes
    assert counted.sent == [flowers.size_bytes, head]
    assert 0 < head < flowers.size_bytes / 100
    found = there.client.version("flowers/1")
    assert found.lineage.base == "models/base/versions/1"
    assert there.client.import_archive(tmp_path / "flowers") == found
    assert counted.sent[2:] == [0]
    assert found.added_bytes == head + len(found.manifest_json)


@pytest.mark.parametrize("kind", ["other content", "deleted"])
def test_another_base_of_the_same_name_is_not_taken_for_it(
    here: RunningRegistry,
    there: RunningRegistry,
    flowers: pb.ModelVersion,
    base: LoadedBase,
    tuned: LoadedBase,
    kind: str,
    tmp_path: Path,
) -> None:
    """Only the very same content is the base, and one that was not deleted."""
    here.client.export(flowers.name, tmp_path / "flowers")
    name = publish_base(there.client, "base", tuned if kind == "other content" else base).name
    assert name == flowers.lineage.base
    if kind == "deleted":
        there.client.registry.DeleteModelVersion(pb.DeleteModelVersionRequest(name=name))
    assert there.client.import_archive(tmp_path / "flowers").lineage.base == ""


def test_importing_again_changes_nothing_but_the_alias(
    here: RunningRegistry, there: RunningRegistry, flowers: pb.ModelVersion, tmp_path: Path
) -> None:
    """One version for one content and model; another model, or other words, make another version."""
    here.client.export(flowers.name, tmp_path / "flowers")
    first = there.client.import_archive(tmp_path / "flowers")
    assert there.client.import_archive(tmp_path / "flowers") == first
    assert list(there.client.import_archive(tmp_path / "flowers", alias="canary").aliases) == [
        "models/flowers/aliases/canary"
    ]
    assert there.client.import_archive(tmp_path / "flowers", model="roses").name == "models/roses/versions/1"
    here.client.registry.UpdateModelVersion(
        pb.UpdateModelVersionRequest(model_version=pb.ModelVersion(name=flowers.name))
    )
    here.client.export(flowers.name, tmp_path / "retold")
    assert there.client.import_archive(tmp_path / "retold").name == "models/flowers/versions/2"
    there.client.registry.DeleteModelVersion(pb.DeleteModelVersionRequest(name="models/flowers/versions/2"))
    with pytest.raises(FailedPrecondition, match=r"versions/2 .* was deleted: undelete it first"):
        there.client.import_archive(tmp_path / "retold")


def test_a_chain_of_imports_remembers_each_store(
    here: RunningRegistry, there: RunningRegistry, flowers: pb.ModelVersion, tmp_path: Path
) -> None:
    """What was imported before it is exported again says so."""
    here.client.export(flowers.name, tmp_path / "first")
    there.client.import_archive(tmp_path / "first", model="roses")
    there.client.export("roses", tmp_path / "second")
    found = here.client.import_archive(tmp_path / "second").lineage.recipe["imported_from"]
    assert found["name"] == "models/roses/versions/1"
    assert found["imported_from"]["name"] == flowers.name
