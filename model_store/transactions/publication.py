"""Publishing inside a transaction: the next version number, the rows, and their checks.

Blobs first, row last: a version's row is inserted after its manifest and stages are durable, so that a crash leaves an
orphan blob and never a version that cannot be loaded.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from model_store.database.principals import principal_of
from model_store.errors import AlreadyExists, InvalidInput
from model_store.manifests import Manifest
from model_store.names import VersionName, check_key
from model_store.records.changes import ChangeKind
from model_store.records.jobs import NOT_VALIDATED, Validated
from model_store.records.metrics import Metrics
from model_store.records.resources import CalibrationDigests, Lineage, Notes
from model_store.tables import (
    ANSWERS_ROW_NAME,
    ModelRow,
    ModelTagRow,
    StageRow,
    VersionMetricRow,
    VersionRow,
    VersionTagRow,
    file_row_name,
)
from model_store.transactions.changes import append_change
from model_store.transactions.job_rows import Claim
from model_store.transactions.promotions import Gated
from model_store.transactions.resource_rows import living_model_row


@dataclass(frozen=True)
class Publication:
    """A version before its publication; its blobs are stored already, except the manifest.

    `answers` is the blob of the answers for held-out rows, if any. `new_digests` are the blobs that this publication
    added; `added_bytes` counts them. `metric_values` are numbers of a publisher besides `metrics`. A `claim` ends the
    training job in the same transaction, so a job publishes once or not at all, and keeps how good its result was on
    `validated` rows; the transaction also carries out a `gated` verdict. The `principal` is the publisher; with a
    `claim`, the principal of the job.
    """

    model_id: str
    manifest: Manifest
    lineage: Lineage = field(default_factory=Lineage)
    metrics: Metrics | None = None
    metric_values: Mapping[str, float] = field(default_factory=dict)
    calibration: CalibrationDigests | None = None
    answers: str | None = None
    notes: Notes = field(default_factory=Notes)
    alias: str | None = None
    actor: str = ""
    principal: str = ""
    reason: str = ""
    new_digests: Collection[str] = ()
    request_id: str | None = None
    claim: Claim | None = None
    validated: Validated = NOT_VALIDATED
    gated: Gated | None = None

    @property
    def digests(self) -> tuple[str, ...]:
        """Every blob that the version will name, the manifest left out."""
        calibration = (self.calibration.rows, self.calibration.logits) if self.calibration is not None else ()
        answers = (self.answers,) if self.answers is not None else ()
        return (
            *(stage.digest for stage in self.manifest.stages),
            *self.manifest.files.values(),
            *calibration,
            *answers,
        )

    def with_new_digests(self, digests: Collection[str]) -> Publication:
        """Return the same publication, having added these blobs."""
        return replace(self, new_digests=digests)


def check_metric_values(values: Mapping[str, float], field: str) -> dict[str, float]:
    """Return the metric values; raise InvalidInput for a name or a number that cannot be stored and compared."""
    for name, value in values.items():
        check_key(name, field)
        if not math.isfinite(value):
            raise InvalidInput.of(f"{field}[{name!r}]", f"must be a finite number, not {value}")
    return dict(values)


def published_before(session: Session, publication: Publication) -> VersionRow | None:
    """Return the version that this request id published already; raise AlreadyExists where that differs."""
    if publication.request_id is None:
        return None
    row = session.scalar(select(VersionRow).where(VersionRow.request_id == publication.request_id))
    wanted = (publication.model_id, publication.manifest.digest)
    if row is not None and (row.model_id, row.manifest_digest) != wanted:
        raise AlreadyExists(f"request id {publication.request_id!r} was used to publish something else: take a new one")
    return row


def insert_version(session: Session, publication: Publication, sizes: Mapping[str, int], added: int) -> VersionRow:
    """Insert a version under the model's next number; `sizes` gives the bytes of each of its blobs."""
    now = datetime.now(UTC)
    lineage, manifest, metrics = publication.lineage, publication.manifest, publication.metrics
    calibration = publication.calibration
    values = {**publication.metric_values, **(metrics.values if metrics is not None else {})}
    row = VersionRow(
        model_id=publication.model_id,
        number=_next_number(session, publication.model_id),
        manifest_digest=manifest.digest,
        architecture=manifest.architecture,
        modality=str(manifest.input_spec["kind"]),
        task=None if manifest.task is None else manifest.task.kind,
        num_outputs=len(manifest.names),
        base_model_id=lineage.base.model_id if lineage.base else None,
        base_number=lineage.base.number if lineage.base else None,
        dataset_id=lineage.dataset_id,
        job_id=lineage.job_id,
        recipe=dict(lineage.recipe),
        seed=lineage.seed,
        metrics=metrics.to_json() if metrics is not None else None,
        calibration_rows_digest=calibration.rows if calibration else None,
        calibration_rows_bytes=sizes[calibration.rows] if calibration else None,
        calibration_logits_digest=calibration.logits if calibration else None,
        calibration_logits_bytes=sizes[calibration.logits] if calibration else None,
        added_bytes=added,
        request_id=publication.request_id,
        principal=principal_of(session),
        description=publication.notes.description,
        created_at=now,
        updated_at=now,
        blobs=[
            StageRow(position=position, name=name, digest=digest, size_bytes=sizes[digest])
            for position, (name, digest) in enumerate(named_blobs(publication))
        ],
        tags=[VersionTagRow(key=key, value=value) for key, value in sorted(publication.notes.tags.items())],
        metric_values=[VersionMetricRow(name=name, value=value) for name, value in sorted(values.items())],
    )
    session.add(row)
    append_change(session, ChangeKind.VERSION_PUBLISHED, VersionName(row.model_id, row.number))
    session.flush()
    return row


def named_blobs(publication: Publication) -> list[tuple[str, str]]:
    """Return names and digests of the rows of a version's blobs: stages, files of the input spec, held-out answers."""
    manifest = publication.manifest
    stages = [(stage.name, stage.digest) for stage in manifest.stages]
    files = [(file_row_name(name), digest) for name, digest in sorted(manifest.files.items())]
    return [*stages, *files, *([(ANSWERS_ROW_NAME, publication.answers)] if publication.answers is not None else [])]


def lock_model(session: Session, model_id: str) -> ModelRow:
    """Create a new model, or find it, and lock its row until this transaction ends.

    A purged model is created again, and its version numbers continue. Raises IllegalState for a deleted model.
    """
    now = datetime.now(UTC)
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    values = {"id": model_id, "created_at": now, "updated_at": now}
    fresh = {"last_number": 0, "is_purged": False, "description": "", "revision": 1}
    session.execute(insert(ModelRow).values(values | fresh).on_conflict_do_nothing())
    row = session.get(ModelRow, model_id, with_for_update=True)
    if row is not None and row.is_purged:
        row.is_purged, row.deleted_at, row.purge_at = False, None, None
        row.created_at = row.updated_at = now
    return living_model_row(session, model_id)


def write_notes(row: ModelRow | VersionRow, notes: Notes) -> None:
    """Replace the description and the tags of a row."""
    row.description = notes.description
    kept = {tag.key: tag for tag in row.tags}
    table = ModelTagRow if isinstance(row, ModelRow) else VersionTagRow
    tags = [kept.get(key) or table(key=key) for key in sorted(notes.tags)]
    for tag in tags:
        tag.value = notes.tags[tag.key]
    row.tags = tags  # type: ignore[assignment]  # each row has the tags of its own table


def _next_number(session: Session, model_id: str) -> int:
    """Increment the model's counter in one statement, so that no two publishers get the same number."""
    counted = (
        update(ModelRow)
        .where(ModelRow.id == model_id)
        .values(last_number=ModelRow.last_number + 1)
        .returning(ModelRow.last_number)
    )
    return session.execute(counted).scalar_one()
