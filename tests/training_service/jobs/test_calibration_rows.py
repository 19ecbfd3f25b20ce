"""The rows that versions are calibrated by are their dataset's own, and outlive it."""

from __future__ import annotations

from datetime import timedelta

from model_store.calibration import read_calibration
from model_store.modalities import read_input_spec
from model_store.names import parse_version
from model_store.registry.models import ModelStore
from model_store.upkeep.fsck import Checker
from model_store.upkeep.gc import Collector
from tests.model_store.making import age
from tests.training_service.running import RunningService
from training_service.datasets.manifest import read_manifest

AT_ONCE = timedelta(0)


def test_a_version_keeps_its_rows_and_nothing_else_of_a_deleted_dataset(training_service: RunningService) -> None:
    """All other rows, and the manifest, go with the dataset; the rows go with the last version that names them."""
    blobs, database = training_service.store.blobs, training_service.store._database
    store = ModelStore(database, blobs, kept_for=AT_ONCE)
    job = training_service.await_end(training_service.create().name)
    version = store.get_version(parse_version(job.version, "version"))
    assert version.calibration is not None
    assert version.answers is not None
    manifest = store.manifest(version)
    head, logits = version.stages[-1], version.calibration.logits
    kept_bytes = head.size_bytes + blobs.size(logits) + version.answers.size_bytes
    assert version.added_bytes == kept_bytes + len(manifest.to_json())
    dataset = training_service.datasets.get("photos")
    pack = read_manifest(blobs, dataset.digest).calibration
    assert version.calibration.rows == pack

    def collected() -> set[str]:
        age(blobs)  # type: ignore[arg-type]  a folder's
        Collector(database, blobs).collect()
        assert Checker(database, blobs).check(deep=True).problems == ()
        return set(blobs.missing([dataset.digest, *dataset.packs]))

    training_service.datasets.delete("photos", AT_ONCE)
    assert collected() == {dataset.digest, *dataset.packs} - {pack}
    kept = read_calibration(blobs, version.calibration, read_input_spec(manifest.input_spec), len(manifest.names))
    assert len(kept.rows) == 9
    store.delete_model("flowers", force=True)
    assert collected() == {dataset.digest, *dataset.packs}
