"""What takes room: every byte is counted once for who needs it alone, and as shared for who does not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from model_store.blobs.local import LocalBlobs
from model_store.database.engine import Database
from model_store.records.resources import Dataset, ModelVersion
from model_store.registry.datasets import DatasetStore
from model_store.registry.models import ModelStore
from model_store.upkeep.gc import Collector, Young
from model_store.upkeep.usage import DatasetUsage, ModelUsage, Share, usage_of
from tests.model_store.making import age, calibrated, publication


def test_an_empty_store_takes_nothing(database: Database, blobs: LocalBlobs) -> None:
    """No division by nothing."""
    usage = usage_of(database, blobs)
    assert (usage.models, usage.datasets, usage.stored_bytes, usage.ratio) == ((), (), 0, 1.0)


def test_own_and_shared_bytes(store: ModelStore, database: Database, blobs: LocalBlobs) -> None:
    """A stage that two models have is shared by both; one that two versions of a model have is its own, and once."""
    first = store.publish(publication(store, "flowers", (1, 2)))
    second = store.publish(publication(store, "flowers", (1, 2, 3)))
    bird = store.publish(publication(store, "birds", (1, 4)))
    manifest, pack = (blobs.put([data]).digest for data in (b"the manifest", b"pack"))
    DatasetStore(database, store.blobs).register(Dataset("daisies", manifest, (pack,), 1, 4, {}, datetime.now(UTC)))
    blobs.put([b"orphan"])
    usage = usage_of(database, blobs)

    stage = first.stages[0].size_bytes
    assert {each.size_bytes for version in (first, second, bird) for each in version.stages} == {stage}
    flowers_own = 2 * stage + sum(blobs.size(version.manifest_digest) for version in (first, second))
    birds_own = stage + blobs.size(bird.manifest_digest)
    assert usage.models == (
        ModelUsage("models/flowers", 2, 0, 5 * stage, Share(flowers_own, stage)),
        ModelUsage("models/birds", 1, 0, 2 * stage, Share(birds_own, stage)),
    )
    assert usage.datasets == (DatasetUsage("datasets/daisies", Share(len(b"the manifest") + 4, 0)),)
    assert (usage.num_garbage, usage.garbage_bytes, usage.young_bytes) == (1, len(b"orphan"), len(b"orphan"))
    assert usage.logical_bytes == 7 * stage
    assert usage.model_bytes == flowers_own + birds_own + stage
    assert usage.stored_bytes == sum(blob.size_bytes for blob in blobs.all())
    assert usage.stored_bytes == usage.model_bytes + usage.datasets[0].stored.own_bytes + usage.garbage_bytes
    assert usage.ratio == usage.logical_bytes / usage.model_bytes


def test_a_calibration_takes_room_as_stages_do(store: ModelStore, database: Database, blobs: LocalBlobs) -> None:
    """Its rows are shared, its logits a model's own, and what each version would take for itself counts both."""
    versions = [store.publish(calibrated(store, model_id, (1, 2))) for model_id in ("flowers", "birds")]
    rows, logits = (list(version.calibration.sizes.values()) for version in versions if version.calibration)
    usage = usage_of(database, blobs)
    assert rows == logits
    assert usage.logical_bytes == 2 * (versions[0].size_bytes + sum(rows))
    assert usage.model_bytes == usage.stored_bytes
    assert [model.stored.shared_bytes for model in usage.models] == [usage.stored_bytes] * 2
    assert [version.added_bytes for version in versions] == [usage.stored_bytes, 0]


def test_own_bytes_are_what_deleting_a_model_sets_free(
    store: ModelStore, database: Database, blobs: LocalBlobs
) -> None:
    """What it says is what a collector then frees; and before the purge, what it says of the deleted."""
    store.publish(publication(store, "flowers", (1, 2)))
    store.publish(publication(store, "birds", (1, 3)))
    (own,) = (each.stored.own_bytes for each in usage_of(database, blobs).models if each.name == "models/birds")
    ModelStore(database, blobs, kept_for=timedelta(0)).delete_model("birds", force=True)
    usage = usage_of(database, blobs)
    assert (usage.num_deleted_versions, usage.deleted_bytes, usage.garbage_bytes) == (1, own, 0)
    age(blobs)
    assert Collector(database, blobs, grace_seconds=60).collect().size_bytes == own
    usage = usage_of(database, blobs)
    assert [model.name for model in usage.models] == ["models/flowers"]
    assert (usage.num_deleted_versions, usage.deleted_bytes, usage.models[0].stored.shared_bytes) == (0, 0, 0)


def test_a_stage_of_a_living_version_is_not_deleted(store: ModelStore, database: Database, blobs: LocalBlobs) -> None:
    """Only what the deleted version has alone counts as deleted, within one model too."""
    versions: list[ModelVersion] = [store.publish(publication(store, seeds=seeds)) for seeds in ((1, 2), (1, 3))]
    store.delete_version(versions[0].name)
    usage = usage_of(database, blobs)
    assert usage.models[0].num_versions == usage.models[0].num_deleted_versions == 1
    assert usage.deleted_bytes == versions[0].stages[1].size_bytes + blobs.size(versions[0].manifest_digest)


def test_what_is_being_written_counts_as_garbage(database: Database, blobs: LocalBlobs) -> None:
    """As a collector sees it: until the writer is done."""
    with blobs.writer() as writer:
        writer.write(b"half a blob")
        usage = usage_of(database, blobs)
    assert usage.num_garbage == 1


def test_du_and_gc_agree_on_garbage(database: Database, blobs: LocalBlobs) -> None:
    """What the one counts and the other leaves alone is young, and both say so."""
    blobs.put([b"old orphan"])
    age(blobs)
    blobs.put([b"young"])
    damaged = blobs.put([b"damaged"]).digest
    blobs.quarantine(damaged)
    usage, garbage = usage_of(database, blobs), Collector(database, blobs).find()
    assert (usage.garbage_bytes, usage.young_bytes, usage.quarantined_bytes) == (15, 5, 7)
    assert (garbage.size_bytes, garbage.young) == (10, Young(1, 5))
    assert usage.garbage_bytes == garbage.size_bytes + garbage.young.size_bytes
