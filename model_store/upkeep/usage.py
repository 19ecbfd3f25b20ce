"""Disk usage of a store: bytes of models and datasets, shared bytes, and the bytes that deleting each would free."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from model_store.blobs import BlobStore
from model_store.database.engine import Database
from model_store.names import dataset_name, job_name, model_name
from model_store.tables import DatasetPackRow, DatasetRow, JobCheckpointRow, ModelRow, StageRow, VersionRow
from model_store.upkeep.gc import DEFAULT_GRACE_SECONDS
from model_store.upkeep.references import VERSION_COLUMNS


@dataclass(frozen=True)
class Share:
    """The blobs of one model or dataset: `own_bytes` are named by it alone, `shared_bytes` by others too."""

    own_bytes: int
    shared_bytes: int


@dataclass(frozen=True)
class ModelUsage:
    """A model; `logical_bytes` is the size of its versions without any sharing."""

    name: str
    num_versions: int
    num_deleted_versions: int
    logical_bytes: int
    stored: Share


@dataclass(frozen=True)
class DatasetUsage:
    """A dataset."""

    name: str
    stored: Share


Owner = TypeVar("Owner", ModelUsage, DatasetUsage)


@dataclass(frozen=True)
class Usage:
    """A whole store, the largest first.

    `stored_bytes` counts every blob, `model_bytes` the blobs of models. `deleted_bytes` become garbage when deleted
    resources are purged. Garbage is orphan blobs and temporary files; of it, `young_bytes` are within the grace period
    and kept for now. `quarantined_bytes` are corrupt blobs in quarantine, which `stored_bytes` leaves out.
    """

    models: tuple[ModelUsage, ...]
    datasets: tuple[DatasetUsage, ...]
    logical_bytes: int
    model_bytes: int
    stored_bytes: int
    num_deleted_versions: int
    deleted_bytes: int
    num_garbage: int
    garbage_bytes: int
    young_bytes: int
    quarantined_bytes: int

    @property
    def ratio(self) -> float:
        """Return logical bytes over stored bytes of the models."""
        return self.logical_bytes / self.model_bytes if self.model_bytes else 1.0


@dataclass(frozen=True)
class _Named:
    """One blob that a model, a dataset or a job names; `is_living` where an active resource names it."""

    owner: str
    digest: str
    is_living: bool


def usage_of(database: Database, blobs: BlobStore, *, grace_seconds: float = DEFAULT_GRACE_SECONDS) -> Usage:
    """Compute the usage in one pass over the rows and one over the blobs."""
    with database.read() as session:
        named, models = list(_named(session)), list(_models(session))
        kept = select(DatasetRow.id).where(DatasetRow.is_purged.is_(False))
        datasets = [dataset_name(dataset_id) for dataset_id in session.scalars(kept)]
    found, unfinished, oldest = list(blobs.all()), list(blobs.unfinished()), time.time() - grace_seconds
    sizes = {blob.digest: blob.size_bytes for blob in found}
    stored = _shares(named, sizes)
    needed = {each.digest for each in named}
    garbage = sizes.keys() - needed
    young = [blob.size_bytes for blob in found if blob.digest in garbage and blob.put_at >= oldest]
    young += [each.size_bytes for each in unfinished if each.started_at >= oldest]
    return Usage(
        models=_largest_first(ModelUsage(*model, stored[model[0]]) for model in models),
        datasets=_largest_first(DatasetUsage(name, stored[name]) for name in datasets),
        logical_bytes=sum(logical_bytes for *_, logical_bytes in models),
        model_bytes=_sum(sizes, {each.digest for each in named if each.owner.startswith("models/")}),
        stored_bytes=sum(sizes.values()),
        num_deleted_versions=sum(num_deleted for _, _, num_deleted, _ in models),
        deleted_bytes=_sum(sizes, needed - {each.digest for each in named if each.is_living}),
        num_garbage=len(garbage) + len(unfinished),
        garbage_bytes=_sum(sizes, garbage) + sum(each.size_bytes for each in unfinished),
        young_bytes=sum(young),
        quarantined_bytes=sum(each.size_bytes for each in blobs.quarantined()),
    )


def _named(session: Session) -> Iterator[_Named]:
    """Yield every blob that a model, a dataset or a job names, once for each of them."""
    is_living = func.sum(case((VersionRow.deleted_at.is_(None), 1), else_=0)) > 0
    for query, digest in (
        (select(VersionRow.model_id, StageRow.digest, is_living).join(StageRow), StageRow.digest),
        *((select(VersionRow.model_id, column, is_living), column) for column in VERSION_COLUMNS),
    ):
        grouped = query.where(digest.is_not(None)).group_by(VersionRow.model_id, digest)
        for model_id, named, living in session.execute(grouped):
            yield _Named(model_name(model_id), named, living)
    for column in (DatasetRow.digest, DatasetPackRow.digest):
        blobs = select(DatasetRow.id, column, DatasetRow.deleted_at).where(DatasetRow.is_purged.is_(False))
        blobs = blobs.join(DatasetPackRow) if column is DatasetPackRow.digest else blobs
        for dataset_id, blob, deleted_at in session.execute(blobs):
            yield _Named(dataset_name(dataset_id), blob, is_living=deleted_at is None)
    for job_id, blob in session.execute(select(JobCheckpointRow.job_id, JobCheckpointRow.digest)):
        yield _Named(job_name(job_id), blob, is_living=True)


def _models(session: Session) -> Iterator[tuple[str, int, int, int]]:
    """Yield each model's name, its numbers of active and deleted versions, and their logical bytes."""
    logical: Counter[str] = Counter()
    calibration = func.sum(VersionRow.calibration_rows_bytes + VersionRow.calibration_logits_bytes)
    for query in (
        select(StageRow.model_id, func.sum(StageRow.size_bytes)).group_by(StageRow.model_id),
        select(VersionRow.model_id, calibration).group_by(VersionRow.model_id),
    ):
        for model_id, size_bytes in session.execute(query):
            logical[model_id] += int(size_bytes or 0)
    versions = (
        select(ModelRow.id, func.count(VersionRow.number), func.count(VersionRow.deleted_at))
        .outerjoin(VersionRow, VersionRow.model_id == ModelRow.id)
        .where(ModelRow.is_purged.is_(False))
        .group_by(ModelRow.id)
    )
    for model_id, num_versions, num_deleted in session.execute(versions):
        yield model_name(model_id), num_versions - num_deleted, num_deleted, logical[model_id]


def _shares(named: Sequence[_Named], sizes: Mapping[str, int]) -> defaultdict[str, Share]:
    """Return the own and shared bytes of each owner."""
    digests: dict[str, set[str]] = defaultdict(set)
    for each in named:
        digests[each.owner].add(each.digest)
    num_owners = Counter(digest for of_one in digests.values() for digest in of_one)
    shares = defaultdict(lambda: Share(0, 0))
    for owner, of_one in digests.items():
        own = _sum(sizes, {digest for digest in of_one if num_owners[digest] == 1})
        shares[owner] = Share(own, _sum(sizes, of_one) - own)
    return shares


def _sum(sizes: Mapping[str, int], digests: Iterable[str]) -> int:
    return sum(sizes.get(digest, 0) for digest in digests)


def _largest_first(usages: Iterable[Owner]) -> tuple[Owner, ...]:
    return tuple(sorted(usages, key=lambda each: (-each.stored.own_bytes, each.name)))
