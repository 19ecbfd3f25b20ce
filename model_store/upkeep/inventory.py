"""Reads the rows of versions and datasets that name blobs, in pages, so that no transaction is long."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

from sqlalchemy import and_, or_, select, tuple_
from sqlalchemy.orm import Session

from model_store.database.engine import Database
from model_store.names import VersionName, dataset_name
from model_store.records.resources import StoredCalibration
from model_store.tables import (
    CALIBRATION_COLUMNS,
    DatasetPackRow,
    DatasetRow,
    StageRow,
    VersionBlobs,
    VersionRow,
    blobs_of,
    stored_calibration,
)

_PAGE = 500


@dataclass(frozen=True)
class NamedBlob:
    """A blob that a version's row names, and its size by that row."""

    name: str
    digest: str
    size_bytes: int


@dataclass(frozen=True)
class VersionRows:
    """A version by its rows."""

    name: VersionName
    manifest_digest: str
    architecture: str
    num_outputs: int
    kept: VersionBlobs
    calibration: StoredCalibration | None

    @property
    def blobs(self) -> tuple[NamedBlob, ...]:
        """Its blobs without the manifest."""
        return (*_named(self.kept), *_calibration_blobs(self.calibration))


@dataclass(frozen=True)
class DatasetRows:
    """A dataset by its rows."""

    name: str
    manifest_digest: str
    size_bytes: int
    packs: tuple[str, ...]


def all_versions(database: Database) -> Iterator[list[VersionRows]]:
    """Yield pages of all versions, deleted ones included."""
    after = VersionName("", 0)
    while True:
        with database.read() as session:
            page = _versions_after(session, after)
        if not page:
            return
        yield page
        after = page[-1].name


def _versions_after(session: Session, name: VersionName) -> list[VersionRows]:
    """Read versions and stages in one statement, so that a version purged meanwhile is read whole or not at all."""
    columns = (VersionRow.model_id, VersionRow.number)
    more = (VersionRow.manifest_digest, VersionRow.architecture, VersionRow.num_outputs, *CALIBRATION_COLUMNS)
    after = tuple_(*columns) > tuple_(name.model_id, name.number)
    page = select(*columns, *more).where(after).order_by(*columns).limit(_PAGE).subquery()
    query = (
        select(page, StageRow.name, StageRow.digest, StageRow.size_bytes)
        .outerjoin(StageRow, and_(StageRow.model_id == page.c.model_id, StageRow.number == page.c.number))
        .order_by(page.c.model_id, page.c.number, StageRow.position)
    )
    found = []
    for version, rows in groupby(session.execute(query), itemgetter(slice(9))):
        model_id, number, manifest_digest, architecture, num_outputs, *calibration = version
        kept = blobs_of(row[9:] for row in rows if row[9] is not None)
        name = VersionName(model_id, number)
        found.append(
            VersionRows(name, manifest_digest, architecture, num_outputs, kept, stored_calibration(calibration))
        )
    return found


def _named(blobs: VersionBlobs) -> Iterator[NamedBlob]:
    for what, each in (("stage", blobs.stages), ("file", blobs.files)):
        yield from (NamedBlob(f"{what} {blob.name}", blob.digest, blob.size_bytes) for blob in each)
    if blobs.answers is not None:
        yield NamedBlob("answers for held-out rows", blobs.answers.digest, blobs.answers.size_bytes)


def _calibration_blobs(calibration: StoredCalibration | None) -> tuple[NamedBlob, ...]:
    if calibration is None:
        return ()
    rows = NamedBlob("calibration rows", calibration.rows, calibration.rows_bytes)
    return rows, NamedBlob("calibration logits", calibration.logits, calibration.logits_bytes)


def all_datasets(session: Session) -> list[DatasetRows]:
    """Return every dataset, deleted ones too."""
    columns = (DatasetRow.id, DatasetRow.digest, DatasetRow.size_bytes)
    query = select(*columns, DatasetPackRow.digest).outerjoin(DatasetPackRow).order_by(DatasetRow.id)
    query = query.where(DatasetRow.is_purged.is_(False))
    return [
        DatasetRows(dataset_name(dataset_id), digest, size_bytes, tuple(row[3] for row in rows if row[3] is not None))
        for (dataset_id, digest, size_bytes), rows in groupby(session.execute(query), itemgetter(slice(3)))
    ]


def still_there(session: Session, name: VersionName) -> bool:
    """Say whether a version has its row."""
    return session.get(VersionRow, (name.model_id, name.number)) is not None


def other_sizes(session: Session, sizes: Mapping[str, int]) -> Iterator[tuple[VersionName, NamedBlob]]:
    """Yield each version that names one of these blobs with another size."""
    for row in session.scalars(select(StageRow).where(StageRow.digest.in_(sizes))):
        if row.size_bytes != sizes[row.digest]:
            (blob,) = _named(blobs_of([(row.name, row.digest, row.size_bytes)]))
            yield VersionName(row.model_id, row.number), blob
    columns = VersionRow.model_id, VersionRow.number, *CALIBRATION_COLUMNS
    is_one = or_(VersionRow.calibration_rows_digest.in_(sizes), VersionRow.calibration_logits_digest.in_(sizes))
    for model_id, number, *calibration in session.execute(select(*columns).where(is_one)):
        for blob in _calibration_blobs(stored_calibration(calibration)):
            if blob.size_bytes != sizes.get(blob.digest, blob.size_bytes):
                yield VersionName(model_id, number), blob
