"""A file that an input spec names, such as a tokenizer, is kept, checked and counted as a stage is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import delete, update

from model_store.blobs.local import LocalBlobs
from model_store.database.engine import Database
from model_store.errors import InvalidManifest, MissingBlob
from model_store.manifests import Manifest
from model_store.records.resources import ModelVersion, StoredStage
from model_store.registry.models import ModelStore
from model_store.tables import StageRow, file_row_name
from model_store.upkeep.findings import Kind
from model_store.upkeep.fsck import Checker
from model_store.upkeep.gc import Collector
from model_store.upkeep.paced_writes import PacedWrites
from model_store.upkeep.usage import usage_of
from tests.model_store.making import age, publication
from tests.model_store.upkeep.damage import flip_byte, only

WORDS = b"all the words"


@pytest.fixture
def digest(store: ModelStore) -> str:
    """A stored file."""
    return store.blobs.put([WORDS]).digest


@pytest.fixture
def version(store: ModelStore, digest: str) -> ModelVersion:
    """A version whose input spec names the file."""
    given = publication(store, "tickets")
    spec = {"kind": "text", "files": {"tokenizer": digest}}
    return store.publish(replace(given, manifest=replace(given.manifest, input_spec=spec)))


def test_a_version_lists_its_files(store: ModelStore, version: ModelVersion, digest: str) -> None:
    """They are no stages, and their bytes are the version's."""
    assert version.files == (StoredStage("tokenizer", digest, len(WORDS)),)
    assert [stage.name for stage in version.stages] == ["stage0", "stage1"]
    assert version.blob_sizes[digest] == len(WORDS)
    assert version.size_bytes == sum(version.blob_sizes.values())
    assert store.get_version(version.name).files == version.files


def test_a_file_must_be_stored_first(store: ModelStore) -> None:
    """As every blob of a version."""
    given = publication(store, "tickets")
    spec = {"kind": "text", "files": {"tokenizer": "0" * 64}}
    with pytest.raises(MissingBlob):
        store.publish(replace(given, manifest=replace(given.manifest, input_spec=spec)))


@pytest.mark.usefixtures("version")
def test_the_collector_keeps_it_as_long_as_a_version_names_it(
    store: ModelStore, database: Database, blobs: LocalBlobs, digest: str
) -> None:
    """And removes it with the last one."""
    collector = Collector(database, blobs, grace_seconds=60, writes=PacedWrites(database, lambda _: None))
    age(blobs)
    collector.collect()
    assert blobs.has(digest)
    with database.write() as session:
        session.execute(delete(StageRow).where(StageRow.digest == digest))
    assert store.blobs.has(digest)
    collector.collect()
    assert not blobs.has(digest)


def test_the_check_finds_it_damaged_and_unlike_its_manifest(
    database: Database, blobs: LocalBlobs, version: ModelVersion, digest: str
) -> None:
    """A changed byte, a wrong size and another name are problems of the version."""
    checker = Checker(database, blobs)
    assert checker.check(deep=True).is_clean
    flip_byte(blobs.path(digest))
    found = only(checker.check(deep=True))
    assert (found.kind, found.needed_by) == (Kind.CORRUPT_BLOB, (str(version.name),))
    flip_byte(blobs.path(digest))
    row = update(StageRow).where(StageRow.digest == digest)
    with database.write() as session:
        session.execute(row.values(size_bytes=3))
    found = only(checker.check(deep=True))
    assert (found.kind, "file tokenizer has 3 bytes" in found.text) == (Kind.WRONG_SIZE, True)
    with database.write() as session:
        session.execute(row.values(size_bytes=len(WORDS), name=file_row_name("vocabulary")))
    found = only(checker.check())
    assert (found.kind, "differ in files" in found.text) == (Kind.WRONG_MANIFEST, True)


@pytest.mark.usefixtures("version")
def test_two_models_share_it(store: ModelStore, database: Database, blobs: LocalBlobs, digest: str) -> None:
    """Its bytes are counted once in the store, and as shared by both."""
    alone = usage_of(database, blobs)
    given = publication(store, "mails")
    spec = {"kind": "text", "files": {"tokenizer": digest}}
    store.publish(replace(given, manifest=replace(given.manifest, input_spec=spec)))
    both = usage_of(database, blobs)
    assert both.model_bytes == alone.model_bytes
    assert all(model.stored.shared_bytes >= len(WORDS) for model in both.models)


@pytest.mark.parametrize(
    "files",
    [[], {"Tokenizer": "0" * 64}, {"tokenizer": 5}, {"tokenizer": "../x"}, {f"f{n}": "0" * 64 for n in range(17)}],
)
def test_impossible_files_are_refused(store: ModelStore, files: object) -> None:
    """A manifest from elsewhere names at most 16 files, by their digests."""
    made = replace(publication(store).manifest, input_spec={"kind": "text", "files": files})
    with pytest.raises(InvalidManifest, match=r"input_spec\.files"):
        Manifest.from_json(made.to_json())
