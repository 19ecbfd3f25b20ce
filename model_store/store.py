"""The registry: models, their immutable versions, and the aliases that point at them.

Blobs first, row last: a version's row is inserted only after its manifest and every stage it names are durable, so a
crash leaves an unused blob and never a version that cannot be loaded.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session, selectinload

from model_store.aliases import alias_row, before_last_move, move_alias, moves_of
from model_store.blobs import BlobStore
from model_store.changes import append_change, take_turn
from model_store.database import Database
from model_store.errors import (
    AlreadyExists,
    Conflict,
    IllegalState,
    ModelNotFound,
    VersionNotFound,
)
from model_store.jobs import Claim, finish_in, hold
from model_store.manifests import Manifest
from model_store.names import AliasName, ModelName, VersionName
from model_store.paging import Page, PageRequest, cut, decode_token
from model_store.records import Alias, AliasMove, Lineage, Metrics, Model, ModelVersion
from model_store.tables import AliasMoveRow, AliasRow, ModelRow, StageRow, VersionRow

PRODUCTION = "production"
"""The alias that answers requests which name no version."""


@dataclass(frozen=True)
class Publication:
    """Everything about a version that is about to be published; its stages' blobs are stored already.

    `new_digests` are the blobs that this publication added: what `added_bytes` counts. A `claim` ends the training job
    in the same transaction, so that a job publishes once or not at all.
    """

    model_id: str
    manifest: Manifest
    lineage: Lineage = field(default_factory=Lineage)
    metrics: Metrics | None = None
    alias: str | None = None
    actor: str = ""
    new_digests: Collection[str] = ()
    request_id: str | None = None
    claim: Claim | None = None

    def with_new_digests(self, digests: Collection[str]) -> Publication:
        """Return the same publication, having added these blobs."""
        return replace(self, new_digests=digests)


class ModelStore:
    """Models, versions and aliases in one database with one blob store; safe to share between threads."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self.blobs = blobs

    def publish(self, publication: Publication) -> ModelVersion:
        """Register a version under the model's next number, and move the alias if one is named.

        Returns the version of the first success when `request_id` was used before. Raises MissingBlob where a stage's
        blob is not stored, VersionNotFound where the base does not exist, and LeaseLost where the claim ran out.
        """
        manifest = publication.manifest
        stored = self.blobs.put([manifest.to_json()], manifest.digest)
        with self._database.write() as session:
            # The job's row before the model's, here as in every other transaction: no two can wait for one another.
            if publication.claim is not None:
                hold(session, publication.claim)
            _lock_model(session, publication.model_id)
            if (earlier := _published_before(session, publication)) is not None:
                return earlier.record()
            if publication.lineage.base is not None:
                _version_row(session, publication.lineage.base)
            # Looked at while no collector can run: what is there now stays there, as the rows will name it.
            take_turn(session)
            sizes = {stage.digest: self.blobs.size(stage.digest) for stage in manifest.stages}
            self.blobs.path(manifest.digest)
            added = stored.added_bytes + sum(sizes[digest] for digest in publication.new_digests)
            row = _insert_version(session, publication, sizes, added)
            if publication.alias is not None:
                name = AliasName(publication.model_id, publication.alias)
                move_alias(session, name, row.number, publication.actor, f"published {row.number}")
            if publication.claim is not None:
                finish_in(session, publication.claim, row.number)
            session.flush()
            session.refresh(row, ["aliases"])
            return row.record()

    def get_model(self, model_id: str) -> Model:
        """Return one model; raise ModelNotFound."""
        with self._database.read() as session:
            return _model_row(session, model_id).record()

    def list_models(self, request: PageRequest) -> Page[Model]:
        """Return a page of models by id."""
        after = decode_token("models", request.token, str)
        query = select(ModelRow).order_by(ModelRow.id).limit(request.limit + 1).options(selectinload(ModelRow.aliases))
        if after is not None:
            query = query.where(ModelRow.id > after)
        with self._database.read() as session:
            models = [row.record() for row in session.scalars(query)]
        return cut("models", models, [model.id for model in models], request.limit)

    def get_version(self, name: VersionName) -> ModelVersion:
        """Return one version; raise ModelNotFound or VersionNotFound."""
        with self._database.read() as session:
            return _version_row(session, name).record()

    def resolve(self, target: ModelName | AliasName | VersionName) -> VersionName:
        """Return the version that a name stands for: for a model its `production` alias, else its newest version."""
        if isinstance(target, VersionName):
            return self.get_version(target).name
        if isinstance(target, AliasName):
            return self.get_alias(target).version
        model = self.get_model(target.model_id)
        aliased = [alias.version for alias in model.aliases if alias.name.alias == PRODUCTION]
        return aliased[0] if aliased else VersionName(model.id, model.newest_version)

    def list_versions(self, model_id: str, request: PageRequest) -> Page[ModelVersion]:
        """Return a page of a model's versions, newest first; raise ModelNotFound."""
        listing = f"versions of {model_id}"
        before = decode_token(listing, request.token, int)
        query = (
            select(VersionRow)
            .where(VersionRow.model_id == model_id)
            .order_by(VersionRow.number.desc())
            .limit(request.limit + 1)
            .options(selectinload(VersionRow.stages), selectinload(VersionRow.aliases))
        )
        if before is not None:
            query = query.where(VersionRow.number < before)
        with self._database.read() as session:
            _model_row(session, model_id)
            versions = [row.record() for row in session.scalars(query)]
        return cut(listing, versions, [version.name.number for version in versions], request.limit)

    def manifest(self, version: ModelVersion) -> Manifest:
        """Return a version's manifest, verified; raise MissingBlob or CorruptBlob."""
        return Manifest.from_json(self.blobs.read(version.manifest_digest))

    def get_alias(self, name: AliasName) -> Alias:
        """Return one alias; raise ModelNotFound or AliasNotFound."""
        with self._database.read() as session:
            _model_row(session, name.model_id)
            return alias_row(session, name).record()

    def set_alias(
        self,
        name: AliasName,
        version: VersionName,
        *,
        actor: str = "",
        reason: str = "",
        expected: VersionName | None = None,
    ) -> Alias:
        """Point an alias at a version of its model; raise Conflict where it does not point at `expected`."""
        if version.model_id != name.model_id:
            raise VersionNotFound(
                f"{version} is not a version of models/{name.model_id}: an alias stays within its model"
            )
        with self._database.write() as session:
            _model_row(session, name.model_id, lock=True)
            _version_row(session, version)
            current = session.get(AliasRow, (name.model_id, name.alias))
            if expected is not None and (current is None or current.number != expected.number):
                now = f"points at version {current.number}" if current is not None else "does not exist"
                raise Conflict(f"{name} {now}, not at {expected}: look again, then decide")
            return move_alias(session, name, version.number, actor, reason).record()

    def roll_back_alias(self, name: AliasName, *, actor: str = "", reason: str = "") -> Alias:
        """Point an alias back at the version it named before its last move; raise IllegalState on its first version."""
        with self._database.write() as session:
            _model_row(session, name.model_id, lock=True)
            alias_row(session, name)
            earlier = before_last_move(session.scalars(moves_of(name).order_by(AliasMoveRow.sequence)))
            if earlier is None:
                raise IllegalState(f"{name} has no earlier version to roll back to; point it somewhere with SetAlias")
            reason = reason or "rolled back"
            return move_alias(session, name, earlier, actor, reason, rolls_back=True).record()

    def list_alias_moves(self, name: AliasName, request: PageRequest) -> Page[AliasMove]:
        """Return a page of an alias's history, newest first; raise ModelNotFound or AliasNotFound."""
        listing = f"moves of {name}"
        before = decode_token(listing, request.token, int)
        query = moves_of(name).order_by(AliasMoveRow.sequence.desc()).limit(request.limit + 1)
        if before is not None:
            query = query.where(AliasMoveRow.sequence < before)
        with self._database.read() as session:
            _model_row(session, name.model_id)
            alias_row(session, name)
            rows = list(session.scalars(query))
        return cut(listing, [row.record() for row in rows], [row.sequence for row in rows], request.limit)


def _published_before(session: Session, publication: Publication) -> VersionRow | None:
    if publication.request_id is None:
        return None
    row = session.scalar(select(VersionRow).where(VersionRow.request_id == publication.request_id))
    same = row is None or (row.model_id, row.manifest_digest) == (
        publication.model_id,
        publication.manifest.digest,
    )
    if not same:
        raise AlreadyExists(f"request id {publication.request_id!r} was used to publish something else: take a new one")
    return row


def _insert_version(session: Session, publication: Publication, sizes: dict[str, int], added: int) -> VersionRow:
    now = datetime.now(UTC)
    lineage, manifest = publication.lineage, publication.manifest
    number = _next_number(session, publication.model_id)
    stages = [
        StageRow(position=position, name=stage.name, digest=stage.digest, size_bytes=sizes[stage.digest])
        for position, stage in enumerate(manifest.stages)
    ]
    row = VersionRow(
        model_id=publication.model_id,
        number=number,
        manifest_digest=manifest.digest,
        architecture=manifest.architecture,
        base_model_id=lineage.base.model_id if lineage.base else None,
        base_number=lineage.base.number if lineage.base else None,
        dataset_id=lineage.dataset_id,
        job_id=lineage.job_id,
        recipe=dict(lineage.recipe),
        seed=lineage.seed,
        metrics=publication.metrics.to_json() if publication.metrics else None,
        added_bytes=added,
        request_id=publication.request_id,
        created_at=now,
        stages=stages,
    )
    session.add(row)
    append_change(session, "version_published", VersionName(publication.model_id, number))
    session.flush()
    return row


def _lock_model(session: Session, model_id: str) -> None:
    """Create the model where it is new, and keep other publishers of it waiting until this transaction ends."""
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    values = {"id": model_id, "newest_version": 0, "created_at": datetime.now(UTC)}
    session.execute(insert(ModelRow).values(values).on_conflict_do_nothing())
    _model_row(session, model_id, lock=True)


def _next_number(session: Session, model_id: str) -> int:
    """Count the model's versions up by one, in one statement: no two publishers can take the same number."""
    counted = (
        update(ModelRow)
        .where(ModelRow.id == model_id)
        .values(newest_version=ModelRow.newest_version + 1)
        .returning(ModelRow.newest_version)
    )
    return session.execute(counted).scalar_one()


def _model_row(session: Session, model_id: str, *, lock: bool = False) -> ModelRow:
    row = session.get(ModelRow, model_id, with_for_update=True if lock else None)
    if row is None:
        raise ModelNotFound(f"models/{model_id} does not exist; `maas models` lists those that do")
    return row


def _version_row(session: Session, name: VersionName) -> VersionRow:
    _model_row(session, name.model_id)
    row = session.get(VersionRow, (name.model_id, name.number))
    if row is None:
        raise VersionNotFound(f"{name} does not exist; `maas versions {name.model_id}` lists those that do")
    return row
