"""All rows of versions and datasets that name blobs, read in pages: however many there are, no transaction is long."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

from sqlalchemy import and_, select, tuple_
from sqlalchemy.orm import Session

from model_store.database import Database
from model_store.names import VersionName, dataset_name
from model_store.records import StoredStage
from model_store.tables import DatasetPackRow, DatasetRow, StageRow, VersionRow

_PAGE = 500


@dataclass(frozen=True)
class VersionRows:
    """What the rows say that a version is."""

    name: VersionName
    manifest_digest: str
    architecture: str
    num_labels: int
    stages: tuple[StoredStage, ...]


@dataclass(frozen=True)
class DatasetRows:
    """What the rows say that a dataset is."""

    name: str
    manifest_digest: str
    size_bytes: int
    packs: tuple[str, ...]


def all_versions(database: Database) -> Iterator[list[VersionRows]]:
    """Yield every version, deleted ones too, some at a time."""
    after = VersionName("", 0)
    while True:
        with database.read() as session:
            page = _versions_after(session, after)
        if not page:
            return
        yield page
        after = page[-1].name


def _versions_after(session: Session, name: VersionName) -> list[VersionRows]:
    """Read versions and stages in one statement: of a version that is purged meanwhile, all is seen or nothing."""
    columns = (VersionRow.model_id, VersionRow.number)
    more = (VersionRow.manifest_digest, VersionRow.architecture, VersionRow.num_labels)
    after = tuple_(*columns) > tuple_(name.model_id, name.number)
    page = select(*columns, *more).where(after).order_by(*columns).limit(_PAGE).subquery()
    query = (
        select(page, StageRow.name, StageRow.digest, StageRow.size_bytes)
        .outerjoin(StageRow, and_(StageRow.model_id == page.c.model_id, StageRow.number == page.c.number))
        .order_by(page.c.model_id, page.c.number, StageRow.position)
    )
    found = []
    for version, rows in groupby(session.execute(query), itemgetter(slice(5))):
        model_id, number, manifest_digest, architecture, num_labels = version
        stages = tuple(StoredStage(*row[5:]) for row in rows if row[5] is not None)
        found.append(VersionRows(VersionName(model_id, number), manifest_digest, architecture, num_labels, stages))
    return found


def all_datasets(session: Session) -> list[DatasetRows]:
    """Return every dataset."""
    columns = (DatasetRow.id, DatasetRow.digest, DatasetRow.size_bytes)
    query = select(*columns, DatasetPackRow.digest).outerjoin(DatasetPackRow).order_by(DatasetRow.id)
    return [
        DatasetRows(dataset_name(dataset_id), digest, size_bytes, tuple(row[3] for row in rows if row[3] is not None))
        for (dataset_id, digest, size_bytes), rows in groupby(session.execute(query), itemgetter(slice(3)))
    ]


def still_there(session: Session, name: VersionName) -> bool:
    """Say whether a version has its row."""
    return session.get(VersionRow, (name.model_id, name.number)) is not None


def other_sizes(session: Session, sizes: Mapping[str, int]) -> Iterator[tuple[VersionName, StoredStage]]:
    """Yield the stages that name one of these blobs with another size than here."""
    for row in session.scalars(select(StageRow).where(StageRow.digest.in_(sizes))):
        if row.size_bytes != sizes[row.digest]:
            yield VersionName(row.model_id, row.number), StoredStage(row.name, row.digest, row.size_bytes)
