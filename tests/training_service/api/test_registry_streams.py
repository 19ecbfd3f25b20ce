"""Versions as streams of blobs: published again after a break, and downloaded byte by byte."""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import grpc
import pytest
import torch
from maas.model_store.v1 import model_store_pb2 as pb

from maas_client.transfers.publish import publish_base
from model_store.bases.catalogue import LoadedBase, load_random
from model_store.blobs.local import LocalBlobs
from model_store.calibration import read_calibration
from model_store.manifests import Manifest, ManifestStage
from model_store.modalities.image.decoding import decode_image
from model_store.modalities.image.spec import ImageInputSpec, to_pixels
from model_store.names import VersionName
from model_store.records.resources import CalibrationDigests
from model_store.tensors.stages import write_stage
from tests.model_store.making import publication
from tests.training_service.making import picture
from tests.training_service.registry_running import TIMEOUT, RunningRegistry, running_registry
from tests.training_service.running import refused, until

MEBIBYTE = 1024 * 1024


@pytest.fixture(scope="module")
def base() -> LoadedBase:
    """A small network with random weights and three labels."""
    return load_random("squeezenet1_1", seed=0, num_labels=3)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[RunningRegistry]:
    """A server on an empty store."""
    with running_registry(tmp_path / "home") as running:
        yield running


@pytest.fixture
def local(tmp_path: Path, base: LoadedBase) -> tuple[Manifest, LocalBlobs]:
    """The manifest and the blobs of the network, not published yet."""
    blobs = LocalBlobs(tmp_path / "local")
    names = base.chain.stage_names
    stages = tuple(ManifestStage(name, write_stage(blobs, base.chain.stage_tensors(name)).digest) for name in names)
    return Manifest("squeezenet1_1", {}, stages, base.input_spec.to_json(), base.labels, base.head.to_json()), blobs


def header(manifest: Manifest, **more: object) -> pb.PublishVersionRequest:
    """Return the first message of a publication."""
    made = pb.PublishVersionRequest.Header(parent="models/a", manifest_json=manifest.to_json().decode(), **more)
    return pb.PublishVersionRequest(header=made)


def chunks(blobs: LocalBlobs, digests: Iterable[str], size: int = MEBIBYTE) -> Iterator[pb.PublishVersionRequest]:
    """Yield the later messages."""
    for digest in digests:
        data = bytes(blobs.read(digest))
        for start in range(0, len(data), size):
            chunk = pb.PublishVersionRequest.BlobChunk(digest=digest, data=data[start : start + size])
            yield pb.PublishVersionRequest(blob_chunk=chunk)


def download(
    registry: RunningRegistry, name: str, known: Iterable[str] = ()
) -> tuple[pb.ModelVersion, dict[str, bytes]]:
    """Return what DownloadVersion sends: the version, and its blobs in the order they come."""
    request = pb.DownloadVersionRequest(name=name, known_digests=known)
    messages = registry.client.registry.DownloadVersion(request)
    blobs: dict[str, bytes] = {}
    version = next(messages).version
    for message in messages:
        blobs[message.blob_chunk.digest] = blobs.get(message.blob_chunk.digest, b"") + message.blob_chunk.data
        assert len(message.blob_chunk.data) <= MEBIBYTE
    return version, blobs


def test_a_version_comes_back_as_it_was_published(registry: RunningRegistry, base: LoadedBase) -> None:
    """Every byte of every stage, by number and by alias; what the caller has is not sent."""
    published = publish_base(registry.client, "a", base, alias="live")
    version, blobs = download(registry, "models/a/aliases/live")
    assert version == published
    assert list(blobs) == list(dict.fromkeys(stage.digest for stage in published.stages))
    assert all(hashlib.sha256(data).hexdigest() == digest for digest, data in blobs.items())
    assert {digest: len(data) for digest, data in blobs.items()} == {
        stage.digest: stage.size_bytes for stage in published.stages
    }
    known = [stage.digest for stage in published.stages[1:]]
    _, rest = download(registry, published.name, [*known, "0" * 64])
    assert set(rest) == set(blobs) - set(known)


def test_a_download_of_what_is_gone_or_damaged_says_so(registry: RunningRegistry) -> None:
    """NOT_FOUND, INVALID_ARGUMENT with its field, FAILED_PRECONDITION for a deleted version, and DATA_LOSS."""
    store = registry.store
    for seeds in ((1, 2), (3, 4), (5, 6)):
        store.publish(publication(store, "a", seeds))
    with refused(grpc.StatusCode.NOT_FOUND, "models/a/versions/9"):
        download(registry, "models/a/versions/9")
    with refused(grpc.StatusCode.INVALID_ARGUMENT, fields=["name"]):
        download(registry, "models/a")
    with refused(grpc.StatusCode.INVALID_ARGUMENT, fields=["known_digests[0]"]):
        download(registry, "models/a/versions/1", ["x"])
    store.delete_version(VersionName("a", 3))
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "undelete it first"):
        download(registry, "models/a/versions/3")
    gone, damaged = (registry.blobs.path(store.get_version(VersionName("a", n)).stages[1].digest) for n in (1, 2))
    gone.unlink()
    damaged.chmod(0o600)
    damaged.write_bytes(bytes(damaged.stat().st_size))
    for number, path in ((1, gone), (2, damaged)):
        with refused(grpc.StatusCode.DATA_LOSS, path.name):
            download(registry, f"models/a/versions/{number}")


def test_a_caller_who_leaves_a_download_leaves_nothing_open(
    registry: RunningRegistry, base: LoadedBase, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The file that was being sent is closed, and nothing is logged as a fault."""
    name = publish_base(registry.client, "a", base).name
    folder = str(tmp_path / "home/blobs")
    for _ in range(20):
        call = registry.client.registry.DownloadVersion(pb.DownloadVersionRequest(name=name))
        next(call)
        next(call)
        call.cancel()
    until(lambda: not any(str(path).startswith(folder) for path in _open_files()))
    assert "request_failed" not in "".join(capfd.readouterr())


def test_a_broken_publication_goes_on_with_what_is_missing(
    registry: RunningRegistry, local: tuple[Manifest, LocalBlobs]
) -> None:
    """Blobs that had arrived whole are not asked for again; the repeat of a request registers nothing new."""
    manifest, blobs = local
    digests = list(dict.fromkeys(stage.digest for stage in manifest.stages))
    arrived, cut = digests[:2], digests[2]
    broke = threading.Event()

    def broken() -> Iterator[pb.PublishVersionRequest]:
        yield header(manifest, request_id="r")
        yield from chunks(blobs, [*arrived])
        yield next(chunks(blobs, [cut], 100))
        broke.wait(TIMEOUT)

    call = registry.client.registry.PublishVersion.future(broken())
    # A blob is stored once the first chunk of the next one has come.
    until(lambda: registry.blobs.has(arrived[-1]))
    call.cancel()
    broke.set()
    wanted = pb.FindMissingBlobsRequest(digests=digests)
    missing = list(registry.client.registry.FindMissingBlobs(wanted).missing_digests)
    assert missing == digests[2:]
    assert list(registry.client.models()) == []
    message = [header(manifest, request_id="r"), *chunks(blobs, missing)]
    version = registry.client.registry.PublishVersion(iter(message))
    assert version.name == "models/a/versions/1"
    assert registry.client.registry.PublishVersion(iter(message[:1])) == version
    other = header(
        Manifest.from_json(json.dumps({**json.loads(manifest.to_json()), "labels": ["x", "y", "z"]}).encode())
    )
    other.header.request_id = "r"
    with refused(grpc.StatusCode.ALREADY_EXISTS, "take a new one"):
        registry.client.registry.PublishVersion(iter([other]))


def test_a_chunk_of_more_than_three_mebibytes_is_refused(
    registry: RunningRegistry, local: tuple[Manifest, LocalBlobs]
) -> None:
    """One byte more than allowed is too much, and what was sent of the blob is not kept."""
    manifest, _ = local
    digest = manifest.stages[0].digest
    for num_bytes, text in ((3 * MEBIBYTE + 1, "at most 3145728 bytes"), (3 * MEBIBYTE, "send them again")):
        chunk = pb.PublishVersionRequest.BlobChunk(digest=digest, data=bytes(num_bytes))
        with refused(grpc.StatusCode.INVALID_ARGUMENT, text):
            registry.client.registry.PublishVersion(
                iter([header(manifest), pb.PublishVersionRequest(blob_chunk=chunk)])
            )
    assert not registry.blobs.has(digest)


def test_what_a_publisher_says_is_kept(registry: RunningRegistry, local: tuple[Manifest, LocalBlobs]) -> None:
    """Metrics, more numbers, description, tags, recipe and seed come back as they were sent."""
    manifest, blobs = local
    label = pb.LabelMetrics(label="0", precision=0.5, recall=1.0, f1=2 / 3, support=2)
    detail = pb.ClassificationDetail(labels=[label], confusion_matrix=[{"counts": [2, 1]}], temperature=2)
    metrics = pb.Metrics(
        split="test",
        num_rows=3,
        values={"accuracy": 2 / 3},
        intervals={"accuracy": pb.Interval(low=0.1, high=0.9)},
        classification=detail,
    )
    said = header(
        manifest, metrics=metrics, metric_values={"top5": 0.99}, description="Ours.", tags={"a": "b"}, seed=2**62
    )
    said.header.recipe.update({"name": "ours", "nested": {"rate": 0.1}})
    version = registry.client.registry.PublishVersion(
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
    assert abs(kept.rows[-1].astype(int) - last).mean() < 10


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
        return registry.client.registry.PublishVersion(iter([header(manifest, calibration=calibration), *sent]))

    with refused(grpc.StatusCode.INVALID_ARGUMENT, fields=["header.calibration.logits_digest"]):
        registry.client.registry.PublishVersion(
            iter([header(manifest, calibration=pb.Calibration(rows_digest=rows, logits_digest="../x"))])
        )
    with refused(grpc.StatusCode.FAILED_PRECONDITION, f"neither stored nor sent: {'0' * 64}"):
        publish(rows, "0" * 64)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, f"{rows}: 000 is no image", fields=["header.calibration"]):
        publish(rows, logits)
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
        registry.client.registry.PublishVersion(iter([message]))
    assert list(registry.client.models()) == []


def _open_files() -> list[Path]:
    found = []
    for each in Path("/proc/self/fd").iterdir():
        try:
            found.append(each.readlink())
        except FileNotFoundError:
            continue
    return found
