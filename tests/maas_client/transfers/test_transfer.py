"""Versions carried from one store to another as files, between real services."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from maas.inference.v1 import inference_pb2
from maas.model_store.v1 import model_store_pb2 as pb

from maas_client.client import Client
from maas_client.failures import CommandFailed
from maas_client.files.version_archive import InvalidArchive
from maas_client.transfers.publish import publish_base
from model_store.architectures import build, initialise_head
from model_store.bases.catalogue import LoadedBase, load_random
from model_store.names import VersionName
from tests.inference_service.making import photo
from tests.inference_service.running import running_service
from tests.maas_client.archives import members_of, summed
from tests.training_service.making import tar_of
from tests.training_service.registry_running import RunningRegistry, running_registry
from tests.training_service.running import refused, until

ARCHITECTURE = "resnet18"
METRICS = pb.Metrics(
    split="test",
    num_rows=3,
    values={"accuracy": 2 / 3},
    intervals={"accuracy": pb.Interval(low=0.3, high=1.0)},
    classification=pb.ClassificationDetail(confusion_matrix=[pb.ConfusionRow(counts=[2, 1])], temperature=1.5),
)


@pytest.fixture(scope="module")
def base() -> LoadedBase:
    """A network of three labels for small images, with random weights."""
    loaded = load_random("squeezenet1_1", seed=0, num_labels=3)
    return replace(loaded, input_spec=replace(loaded.input_spec, resize_size=72, crop_size=64))


@pytest.fixture(scope="module")
def tuned(base: LoadedBase) -> LoadedBase:
    """The same backbone under another head."""
    chain = build(base.architecture, {}, base.head)
    chain.load_state_dict_torchvision(
        {name: each.clone() for name, each in base.chain.state_dict_torchvision().items()}
    )
    initialise_head(chain, seed=7)
    return replace(base, chain=chain.eval(), labels=("rose", "tulip", "daisy"))


@pytest.fixture
def here(tmp_path: Path) -> Iterator[RunningRegistry]:
    """The store that versions come from."""
    with running_registry(tmp_path / "here") as running:
        yield running


@pytest.fixture
def there(tmp_path: Path) -> Iterator[RunningRegistry]:
    """The store that they are carried to, empty at first."""
    with running_registry(tmp_path / "there") as running:
        yield running


@pytest.fixture
def flowers(here: RunningRegistry, base: LoadedBase, tuned: LoadedBase) -> pb.ModelVersion:
    """A version with all that can be said of one, and a base."""
    publish_base(here.client, "base", base)
    about: dict[str, Any] = {"metrics": METRICS, "metric_values": {"top2": 0.9}, "description": "Ours.", "seed": 7}
    recipe = {"name": "head", "rate": 0.1}
    tags = {"team": "vision", "stage": "release"}
    return publish_base(
        here.client, "flowers", tuned, recipe, base="models/base/versions/1", alias="production", tags=tags, **about
    )


@dataclass
class Counted:
    """A client's publications, and the bytes of blobs that they sent."""

    client: Client
    sent: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        call = self.client.registry.PublishVersion

        def publish(messages: Iterator[pb.PublishVersionRequest]) -> pb.ModelVersion:
            self.sent.append(0)
            return call(self._counted(messages))

        self.client.registry.PublishVersion = publish

    def _counted(self, messages: Iterator[pb.PublishVersionRequest]) -> Iterator[pb.PublishVersionRequest]:
        for message in messages:
            self.sent[-1] += len(message.blob_chunk.data)
            yield message


def test_a_version_is_the_same_in_another_store(
    here: RunningRegistry, there: RunningRegistry, flowers: pb.ModelVersion, tmp_path: Path
) -> None:
    """Its content, its numbers, its description; and where it was is remembered, but not a base that is not there."""
    here.client.export("flowers", tmp_path / "flowers.maas")
    found = there.client.import_archive(tmp_path / "flowers.maas", alias="production")
    assert (found.name, found.manifest_digest) == ("models/flowers/versions/1", flowers.manifest_digest)
    assert list(found.aliases) == ["production"]
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
        "num_labels",
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
    assert answers[0].scores == answers[1].scores
    assert {score.label for score in answers[0].scores} == {"rose", "tulip", "daisy"}


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
        there.client.registry.DeleteVersion(pb.DeleteVersionRequest(name=name))
    assert there.client.import_archive(tmp_path / "flowers").lineage.base == ""


def test_importing_again_changes_nothing_but_the_alias(
    here: RunningRegistry, there: RunningRegistry, flowers: pb.ModelVersion, tmp_path: Path
) -> None:
    """One version for one content and model; another model, or other words, make another version."""
    here.client.export(flowers.name, tmp_path / "flowers")
    first = there.client.import_archive(tmp_path / "flowers")
    assert there.client.import_archive(tmp_path / "flowers") == first
    assert list(there.client.import_archive(tmp_path / "flowers", alias="canary").aliases) == ["canary"]
    assert there.client.import_archive(tmp_path / "flowers", model="roses").name == "models/roses/versions/1"
    here.client.registry.UpdateVersion(pb.UpdateVersionRequest(version=pb.ModelVersion(name=flowers.name)))
    here.client.export(flowers.name, tmp_path / "retold")
    assert there.client.import_archive(tmp_path / "retold").name == "models/flowers/versions/2"
    there.client.registry.DeleteVersion(pb.DeleteVersionRequest(name="models/flowers/versions/2"))
    with pytest.raises(CommandFailed, match=r"versions/2 .* was deleted: undelete it first"):
        there.client.import_archive(tmp_path / "retold")


def test_an_import_that_broke_goes_on(
    here: RunningRegistry, there: RunningRegistry, flowers: pb.ModelVersion, tmp_path: Path
) -> None:
    """What had arrived whole is not sent again, and the version is there once."""
    here.client.export(flowers.name, tmp_path / "flowers")
    call = there.client.registry.PublishVersion
    digests = list(dict.fromkeys(stage.digest for stage in flowers.stages))
    arrived, cut = digests[:2], digests[2]

    def broken(messages: Iterator[pb.PublishVersionRequest]) -> pb.ModelVersion:
        def until_the_third_blob() -> Iterator[pb.PublishVersionRequest]:
            for message in messages:
                if message.blob_chunk.digest != cut:
                    yield message
                    continue
                message.blob_chunk.data = message.blob_chunk.data[:100]
                yield message
                until(lambda: all(there.blobs.has(digest) for digest in arrived))
                raise ConnectionResetError

        return call(until_the_third_blob())

    there.client.registry.PublishVersion = broken
    with pytest.raises(grpc.RpcError):
        there.client.import_archive(tmp_path / "flowers")
    assert list(there.client.models()) == []
    there.client.registry.PublishVersion = call
    counted = Counted(there.client)
    there.client.import_archive(tmp_path / "flowers")
    assert counted.sent == [sum(stage.size_bytes for stage in flowers.stages if stage.digest not in arrived)]
    assert [version.name for version in there.client.versions("flowers")] == ["models/flowers/versions/1"]


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


@pytest.mark.parametrize("damage", ["cut", "bytes", "more"])
def test_a_damaged_archive_registers_nothing(
    here: RunningRegistry, there: RunningRegistry, flowers: pb.ModelVersion, tmp_path: Path, damage: str
) -> None:
    """Not one blob of it reaches the store."""
    path = tmp_path / "flowers"
    here.client.export(flowers.name, path)
    data = path.read_bytes()
    path.write_bytes(
        {
            "cut": data[:-2000],
            "bytes": data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :],
            "more": tar_of(summed({**members_of(data), "blobs/sha256/../../x": b"x"})),
        }[damage]
    )
    with pytest.raises(InvalidArchive, match=str(path)):
        there.client.import_archive(path)
    assert (list(there.client.models()), list(there.blobs.all())) == ([], [])


def test_an_archive_of_blobs_that_are_no_stages_registers_nothing(
    here: RunningRegistry, there: RunningRegistry, flowers: pb.ModelVersion, tmp_path: Path
) -> None:
    """Checksums that are right do not make a model: the service holds the stages to their architecture."""
    path = tmp_path / "flowers"
    here.client.export(flowers.name, path)
    members, blob = members_of(path.read_bytes()), b"no tensors"
    old, new = flowers.stages[0].digest, hashlib.sha256(blob).hexdigest()
    del members[f"blobs/sha256/{old}"]
    manifest = members["manifest.json"].replace(old.encode(), new.encode())
    version = json.loads(members["version.json"].replace(old.encode(), new.encode()))
    version["manifest_digest"] = hashlib.sha256(manifest).hexdigest()
    version["stages"][0]["size_bytes"] = len(blob)
    changed = {"manifest.json": manifest, "version.json": json.dumps(version).encode(), f"blobs/sha256/{new}": blob}
    path.write_bytes(tar_of(summed({**members, **changed})))
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "safetensors"):
        there.client.import_archive(path)
    assert list(there.client.models()) == []


def test_an_export_that_fails_leaves_no_file(here: RunningRegistry, flowers: pb.ModelVersion, tmp_path: Path) -> None:
    """Neither a part of one nor a temporary one; a file that was there stays as it was."""
    path = tmp_path / "out" / "flowers"
    path.parent.mkdir()
    path.write_bytes(b"older")
    blob = here.blobs.path(flowers.stages[-1].digest)
    blob.chmod(0o600)
    blob.write_bytes(bytes(blob.stat().st_size))
    with refused(grpc.StatusCode.DATA_LOSS, flowers.stages[-1].digest):
        here.client.export(flowers.name, path)
    assert [(each.name, each.read_bytes()) for each in path.parent.iterdir()] == [("flowers", b"older")]


def test_the_same_version_is_exported_to_the_same_file(
    here: RunningRegistry, flowers: pb.ModelVersion, tmp_path: Path
) -> None:
    """Also after its aliases moved, and over an older file; `on_bytes` hears of every byte of the blobs."""
    here.client.export(flowers.name, tmp_path / "first")
    here.client.registry.DeleteAlias(pb.DeleteAliasRequest(name="models/flowers/aliases/production"))
    (tmp_path / "second").write_bytes(b"older")
    told: list[int] = []
    here.client.export(flowers.name, tmp_path / "second", on_bytes=told.append)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    assert sum(told) == flowers.size_bytes
