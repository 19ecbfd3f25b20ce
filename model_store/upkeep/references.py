"""Which rows name which blobs: the marks of the collector, and the owners of a damaged blob."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import Select, select, union
from sqlalchemy.orm import InstrumentedAttribute, Session

from model_store.names import VersionName, dataset_name, job_name
from model_store.tables import DatasetPackRow, DatasetRow, JobCheckpointRow, StageRow, VersionRow

T = TypeVar("T")
VERSION_COLUMNS: tuple[InstrumentedAttribute[Any], ...] = (
    VersionRow.manifest_digest,
    VersionRow.calibration_rows_digest,
    VersionRow.calibration_logits_digest,
)
"""The columns of a version's own row that name blobs; some may be empty."""
_COLUMNS = (*VERSION_COLUMNS, StageRow.digest, DatasetRow.digest, DatasetPackRow.digest, JobCheckpointRow.digest)


def naming(column: InstrumentedAttribute[Any]) -> Select[Any]:
    """Select the digests of one column, purged datasets left out: their rows stay and name nothing."""
    query = select(column)
    return query.where(DatasetRow.is_purged.is_(False)) if column is DatasetRow.digest else query


def named_blobs(session: Session) -> set[str]:
    """Return the digest of every blob that a row names."""
    return set(session.scalars(union(*(naming(column) for column in _COLUMNS)))) - {None}


def named_among(session: Session, digests: Collection[str]) -> set[str]:
    """Return those of a few digests that a row names."""
    return set(session.scalars(union(*(naming(column).where(column.in_(digests)) for column in _COLUMNS))))


def owners(session: Session, digests: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Return the names of the versions (deleted ones included), datasets and jobs that name each blob."""
    versions: dict[str, set[VersionName]] = defaultdict(set)
    for column, model_id, number in (
        *((column, VersionRow.model_id, VersionRow.number) for column in VERSION_COLUMNS),
        (StageRow.digest, StageRow.model_id, StageRow.number),
    ):
        for found in session.execute(select(column, model_id, number).where(column.in_(digests))):
            versions[found[0]].add(VersionName(found[1], found[2]))
    datasets: dict[str, set[str]] = defaultdict(set)
    for column, dataset_id in (
        (DatasetRow.digest, DatasetRow.id),
        (DatasetPackRow.digest, DatasetPackRow.dataset_id),
    ):
        for digest, found_id in session.execute(naming(column).add_columns(dataset_id).where(column.in_(digests))):
            datasets[digest].add(dataset_name(found_id))
    jobs: dict[str, set[str]] = defaultdict(set)
    checkpoints = select(JobCheckpointRow.digest, JobCheckpointRow.job_id).where(JobCheckpointRow.digest.in_(digests))
    for digest, found_id in session.execute(checkpoints):
        jobs[digest].add(job_name(found_id))
    return {
        digest: (*(str(name) for name in sorted(versions[digest])), *sorted(datasets[digest]), *sorted(jobs[digest]))
        for digest in digests
    }


def batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield the items in batches, because statements take a bounded number of values and transactions must be short."""
    return (items[start : start + size] for start in range(0, len(items), size))
