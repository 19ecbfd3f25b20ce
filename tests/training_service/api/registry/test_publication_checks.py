"""What a publication may say: kept as it was said, or refused with its field."""

from __future__ import annotations

import json
import math
from pathlib import Path

import grpc
import pytest
import torch
from maas.model_store.v1 import model_store_pb2 as pb

from maas_client.transfers.publish import publish_base
from model_store.bases.catalogue import LoadedBase
from model_store.blobs.local import LocalBlobs
from model_store.calibration import read_calibration
from model_store.manifests import Manifest
from model_store.modalities.image.decoding import decode_image
from model_store.modalities.image.spec import PIXELS, ImageInputSpec, to_pixels
from model_store.records.resources import CalibrationDigests
from model_store.tensors.example_pack import pack_header
from model_store.tensors.stages import write_stage
from tests.training_service.making import picture
from tests.training_service.publications import chunks, download, header
from tests.training_service.registry_running import RunningRegistry
from tests.training_service.running import refused


def test_what_a_publisher_says_is_kept(registry: RunningRegistry, local: tuple[Manifest, LocalBlobs]) -> None:
    """Metrics, more numbers, description, tags, recipe and seed come back as they were sent."""
    manifest, blobs = local
    label = pb.LabelMetrics(label="0", precision=0.5, recall=1.0, f1=2 / 3, support=2)
    detail = pb.ClassificationDetail(labels=[label], confusion_matrix=[{"counts": [2, 1]}], temperature=2)
    metrics = pb.Metrics(
        split="test",
        row_count=3,
        values={"accuracy": 2 / 3},
        intervals={"accuracy": pb.Interval(low=0.1, high=0.9)},
        classification=detail,
    )
    said = header(
        manifest, metrics=metrics, metric_values={"top5": 0.99}, description="Ours.", tags={"a": "b"}, seed=2**62
    )
    said.header.recipe.update({"name": "ours", "nested": {"rate": 0.1}})
    version = registry.client.registry.PublishModelVersion(
        iter([said, *chunks(blobs, [stage.digest for stage in manifest.stages])])
    )
    assert (version.metrics, version.description, dict(version.tags)) == (metrics, "Ours.", {"a": "b"})
    assert (version.lineage.recipe, version.lineage.seed) == (said.header.recipe, 2**62)
    assert dict(version.metric_values) == {"top5": 0.99, "accuracy": 2 / 3}


def test_a_calibration_comes_back_as_it_was_published(
    registry: RunningRegistry, base: LoadedBase, tmp_path: Path
) -> None:
    """Sixty-four of a folder's images, whatever else is in it, and what the weights answer to them."""
    folder = tmp_path / "photos/deep"
    folder.mkdir(parents=True)
    for number in range(100):
        (folder / f"{number:03}.PNG").write_bytes(picture("red", number))
    (folder / "notes.txt").write_text("no image")
    published = publish_base(registry.client, "a", base, calibrate_by=tmp_path / "photos")
    version, blobs = download(registry, published.name)
    digests = version.calibration.rows_digest, version.calibration.logits_digest
    assert list(blobs)[-2:] == list(digests)
    assert version.added_bytes == sum(map(len, blobs.values())) + len(version.manifest_json)
    sizes = version.calibration.rows_size_bytes, version.calibration.logits_size_bytes
    assert sizes == tuple(len(blobs[digest]) for digest in digests)
    assert isinstance(base.input_spec, ImageInputSpec)
    kept = read_calibration(registry.blobs, CalibrationDigests(*digests), base.input_spec, 3)
    assert kept.logits.shape == (64, 3)
    last = to_pixels(decode_image(picture("red", 99), max_pixels=10**6), base.input_spec)
    assert abs(kept.rows.arrays[PIXELS][-1].astype(int) - last).mean() < 10


def test_a_calibration_that_does_not_fit_is_refused_with_its_field(
    registry: RunningRegistry, local: tuple[Manifest, LocalBlobs]
) -> None:
    """A digest that is none, a blob that was not sent, and blobs that are something else; nothing is registered."""
    manifest, blobs = local
    for each in manifest.stages:
        registry.blobs.put([blobs.read(each.digest)])
    rows = write_stage(blobs, {"000": torch.zeros(10, dtype=torch.uint8)}).digest
    logits = write_stage(blobs, {"logits": torch.zeros(1, 3)}).digest

    def publish(*digests: str) -> pb.ModelVersion:
        calibration = pb.Calibration(rows_digest=digests[0], logits_digest=digests[1])
        sent = chunks(blobs, [digest for digest in digests if blobs.has(digest)])
        return registry.client.registry.PublishModelVersion(iter([header(manifest, calibration=calibration), *sent]))

    with refused(grpc.StatusCode.INVALID_ARGUMENT, fields=["header.calibration.logits_digest"]):
        registry.client.registry.PublishModelVersion(
            iter([header(manifest, calibration=pb.Calibration(rows_digest=rows, logits_digest="../x"))])
        )
    with refused(grpc.StatusCode.FAILED_PRECONDITION, f"neither stored nor sent: {'0' * 64}"):
        publish(rows, "0" * 64)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, f"{rows}: 000 is no image", fields=["header.calibration"]):
        publish(rows, logits)
    large = picture(size=(300, 220))
    pack = blobs.put([pack_header([len(large)]), large]).digest
    with refused(
        grpc.StatusCode.INVALID_ARGUMENT, "example000 cannot be used: 300 x 220", fields=["header.calibration"]
    ):
        publish(pack, logits)
    assert list(registry.client.models()) == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"metric_values": {"accuracy": math.nan}}, "header.metric_values['accuracy']"),
        ({"metrics": pb.Metrics(values={"accuracy": math.inf})}, "header.metrics.values['accuracy']"),
        ({"metrics": pb.Metrics(intervals={"a": {"low": math.nan}})}, "header.metrics.intervals['a']['low']"),
        (
            {"metrics": pb.Metrics(classification={"labels": [{"f1": math.nan}]})},
            "header.metrics.classification.labels[0]['f1']",
        ),
        (
            {"metrics": pb.Metrics(regression={"targets": [{"target": "t", "r2": math.nan}]})},
            "header.metrics.regression.targets[0]['r2']",
        ),
        ({"metrics": pb.Metrics(multi_label={"temperature": math.nan})}, "header.metrics.multi_label['temperature']"),
        ({"recipe": {"rate": math.nan}}, "header.recipe"),
        ({"seed": -1}, "header.seed"),
        ({"tags": {"-": "x"}}, "header.tags['-']"),
        ({"base": "models/a"}, "header.base"),
        ({"manifest_json": "[" * 200_000}, "header.manifest_json"),
        ({"manifest_json": "9" * 5000}, "header.manifest_json"),
        ({"labels": ["\ud800", "b", "c"]}, "header.manifest_json"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_its_field(
    registry: RunningRegistry, local: tuple[Manifest, LocalBlobs], change: dict[str, object], field: str
) -> None:
    """Whatever a publisher sends is either kept or answered with INVALID_ARGUMENT, never a fault of the service."""
    manifest, _ = local
    message = header(manifest)
    if "labels" in change:
        values = {**json.loads(manifest.to_json()), **change}
        message.header.manifest_json = json.dumps(values)
    elif "recipe" in change:
        message.header.recipe.update(change["recipe"])
    else:
        message = header(manifest, **change) if "manifest_json" not in change else message
        message.header.manifest_json = change.get("manifest_json", message.header.manifest_json)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, fields=[field]):
        registry.client.registry.PublishModelVersion(iter([message]))
    assert list(registry.client.models()) == []
