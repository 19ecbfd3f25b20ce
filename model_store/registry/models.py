"""Models and their immutable versions: each call is one transaction."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import Session

from model_store.blobs import BlobStore
from model_store.database.engine import Database
from model_store.database.paging import Page, cut
from model_store.database.principals import act_for
from model_store.errors import AlreadyExists, IllegalState
from model_store.manifests import Manifest
from model_store.names import AliasName, DatasetName, JobName, ModelName, VersionName
from model_store.records.aliases import Target
from model_store.records.changes import ChangeKind
from model_store.records.resources import Model, ModelVersion, Notes
from model_store.registry.aliases import AliasStore
from model_store.registry.comparison import Comparison, compare
from model_store.tables import AliasRow, ModelRow, VersionRow
from model_store.transactions import deletion
from model_store.transactions.aliases import move_alias
from model_store.transactions.changes import append_change, take_writer_lock
from model_store.transactions.job_rows import claimed_row, finish
from model_store.transactions.lineage import MAX_NODES, LineageGraph, family_of
from model_store.transactions.listings import ListRequest, models_listing, versions_listing
from model_store.transactions.promotions import carry_out
from model_store.transactions.publication import Publication, insert_version, lock_model, published_before, write_notes
from model_store.transactions.resource_rows import (
    alias_row,
    check_etag,
    living_model_row,
    living_version_row,
    model_row,
    newest_living,
    version_row,
    versions_named,
)
from model_store.transactions.tombstones import check_kept, look_at

NotesChange = Callable[[Notes], Notes]
PRODUCTION = "production"
"""The alias that answers requests which name no version."""


class ModelStore(AliasStore):
    """Models, their versions and their aliases, in one database with one blob store; thread-safe.

    A transaction that writes to a model locks its row, then the writer lock of the database. A condition that it checks
    under the writer lock cannot change before it commits.
    """

    def __init__(self, database: Database, blobs: BlobStore, *, kept_for: timedelta = deletion.KEPT_FOR) -> None:
        """`kept_for`: the time for which a deleted resource can be undeleted."""
        super().__init__(database)
        self._kept_for = kept_for
        self.blobs = blobs

    def publish(self, publication: Publication) -> ModelVersion:
        """Register a version under the model's next number, and move the named alias, if any.

        Returns the version of the first success when `request_id` was used before. Raises MissingBlob if a blob is not
        stored, VersionNotFound if the base does not exist, IllegalState if the model or the base was deleted, LeaseLost
        if the claim ran out, AliasMoved if a verdict compared with another version, and Conflict while a blob is being
        collected.
        """
        manifest = publication.manifest
        stored = self.blobs.put([manifest.to_json()], manifest.digest)
        # Before the transaction: others do not wait while an object store answers.
        seen = look_at(self._database, self.blobs, [manifest.digest, *publication.digests])
        with self._database.write(publication.principal) as session:
            # The job's row before the model's, here as in every other transaction: no two can wait for one another.
            if publication.claim is not None:
                act_for(session, claimed_row(session, publication.claim).principal)
            lock_model(session, publication.model_id)
            if (earlier := published_before(session, publication)) is not None:
                return earlier.record()
            take_writer_lock(session)
            check_kept(session, seen)
            if publication.lineage.base is not None:
                living_version_row(session, publication.lineage.base)
            added = sum(seen.sizes[digest] for digest in publication.new_digests)
            row = insert_version(session, publication, seen.sizes, stored.added_bytes + added)
            if publication.alias is not None:
                name = AliasName(publication.model_id, publication.alias)
                reason = publication.reason or f"published {row.number}"
                move_alias(session, name, Target(row.number), publication.actor, reason)
            if publication.claim is not None:
                finished = finish(session, publication.claim, row.number, publication.validated)
                if finished.search_job_id is not None:
                    deletion.hide_trial(session, row)
                if publication.gated is not None:
                    carry_out(session, finished, row.name, publication.gated)
            session.refresh(row, ["aliases"])
            return row.record()

    def create_model(self, model_id: str, notes: Notes, *, principal: str = "") -> Model:
        """Create a model that has no version yet; raise AlreadyExists, unless the same was created before."""
        with self._database.write(principal) as session:
            existing = session.get(ModelRow, model_id)
            if existing is not None and not existing.is_purged:
                if existing.last_number or existing.deleted_at is not None or existing.record().notes != notes:
                    raise AlreadyExists(f"{ModelName(model_id)} exists already: update it, or choose another id")
                return existing.record()
            row = lock_model(session, model_id)
            write_notes(row, notes)
            append_change(session, ChangeKind.MODEL_CREATED, ModelName(model_id))
            return row.record()

    def get_model(self, model_id: str) -> Model:
        """Return one model, a deleted one too; raise ModelNotFound."""
        with self._database.read() as session:
            return model_row(session, model_id).record()

    def list_models(self, request: ListRequest) -> Page[Model]:
        """Return a page of models, by id where nothing else is asked; raise InvalidInput."""
        listing = models_listing(request)
        with self._database.read() as session:
            rows = list(session.scalars(listing.query))
            models = [row.record() for row in rows]
            return cut(listing.name, models, [listing.keys(row) for row in rows], request.page.limit)

    def update_model(
        self, model_id: str, change: NotesChange, etag: str | None = None, *, principal: str = ""
    ) -> Model:
        """Change a model's notes; raise ModelNotFound, IllegalState, or Conflict where the etag is another."""
        with self._database.write(principal) as session:
            row = living_model_row(session, model_id, lock=True)
            check_etag(row, ModelName(model_id), etag)
            _update(session, row, change, ChangeKind.MODEL_UPDATED, ModelName(model_id))
            return row.record()

    def delete_model(
        self, model_id: str, *, force: bool = False, etag: str | None = None, principal: str = ""
    ) -> Model:
        """Hide a model, with `force` also its versions, until it is undeleted or purged.

        Raises ModelNotFound, Conflict, and IllegalState naming the resources that need it.
        """
        with self._database.write(principal) as session:
            row = living_model_row(session, model_id, lock=True)
            take_writer_lock(session)
            check_etag(row, ModelName(model_id), etag)
            deletion.delete_model(session, row, self._kept_for, force=force)
            return row.record()

    def undelete_model(self, model_id: str, *, principal: str = "") -> Model:
        """Bring a deleted model back, with the versions that went with it; raise ModelNotFound or IllegalState."""
        with self._database.write(principal) as session:
            row = model_row(session, model_id, lock=True)
            take_writer_lock(session)
            if row.deleted_at is None:
                raise IllegalState(f"{ModelName(model_id)} was not deleted")
            deletion.undelete_model(session, row)
            return row.record()

    def get_version(self, name: VersionName) -> ModelVersion:
        """Return one version, a deleted one too; raise ModelNotFound or VersionNotFound."""
        with self._database.read() as session:
            return version_row(session, name).record()

    def get_versions(self, names: Collection[VersionName]) -> dict[VersionName, ModelVersion]:
        """Return the existing ones of these versions, in one transaction."""
        with self._database.read() as session:
            return {row.name: row.record() for row in session.scalars(versions_named(names))}

    def resolve(self, target: ModelName | AliasName | VersionName) -> VersionName:
        """Return the version that a name stands for: for a model its `production` alias, else its newest version.

        Raises ModelNotFound, VersionNotFound or AliasNotFound, and IllegalState where it was deleted.
        """
        with self._database.read() as session:
            if isinstance(target, VersionName):
                return living_version_row(session, target).name
            living_model_row(session, target.model_id)
            if isinstance(target, AliasName):
                return alias_row(session, target).record().version
            production = session.get(AliasRow, (target.model_id, PRODUCTION))
            return production.record().version if production is not None else newest_living(session, target.model_id)

    def list_versions(self, model_id: str, request: ListRequest) -> Page[ModelVersion]:
        """Return a page of a model's versions, newest first where nothing else is asked.

        Raises ModelNotFound, or InvalidInput where the filter, the order or the token cannot be read.
        """
        listing = versions_listing(model_id, request)
        with self._database.read() as session:
            model_row(session, model_id)
            rows = list(session.scalars(listing.query))
            versions = [row.record() for row in rows]
            return cut(listing.name, versions, [listing.keys(row) for row in rows], request.page.limit)

    def update_version(
        self, name: VersionName, change: NotesChange, etag: str | None = None, *, principal: str = ""
    ) -> ModelVersion:
        """Change a version's notes; raise VersionNotFound, IllegalState, or Conflict where the etag is another."""
        with self._database.write(principal) as session:
            living_model_row(session, name.model_id, lock=True)
            row = living_version_row(session, name)
            check_etag(row, name, etag)
            _update(session, row, change, ChangeKind.VERSION_UPDATED, name)
            return row.record()

    def delete_version(self, name: VersionName, etag: str | None = None, *, principal: str = "") -> ModelVersion:
        """Hide a version until it is undeleted or purged.

        Raises VersionNotFound, Conflict, and IllegalState naming the aliases, versions or jobs that need it.
        """
        with self._database.write(principal) as session:
            living_model_row(session, name.model_id, lock=True)
            take_writer_lock(session)
            row = living_version_row(session, name)
            check_etag(row, name, etag)
            deletion.delete_version(session, row, self._kept_for)
            return row.record()

    def undelete_version(self, name: VersionName, *, principal: str = "") -> ModelVersion:
        """Bring a deleted version back; raise VersionNotFound or IllegalState."""
        with self._database.write(principal) as session:
            model_row(session, name.model_id, lock=True)
            take_writer_lock(session)
            row = version_row(session, name)
            if row.deleted_at is None:
                raise IllegalState(f"{name} was not deleted")
            deletion.undelete_version(session, row)
            return row.record()

    def manifest(self, version: ModelVersion) -> Manifest:
        """Return a version's manifest, verified; raise MissingBlob or CorruptBlob."""
        return Manifest.from_json(self.blobs.read(version.manifest_digest))

    def compare(self, first: VersionName, second: VersionName) -> Comparison:
        """Return the differences between two versions of any models; raise VersionNotFound."""
        versions = [self.get_version(name) for name in (first, second)]
        manifests = [self.manifest(version) for version in versions]
        return compare(versions[0], manifests[0], versions[1], manifests[1])

    def lineage(
        self,
        name: VersionName | DatasetName | JobName,
        *,
        num_up: int = 10,
        num_down: int = 10,
        max_nodes: int = MAX_NODES,
    ) -> LineageGraph:
        """Return the ancestors and descendants of a version, dataset or job, up to this number of generations.

        Raises VersionNotFound, DatasetNotFound or JobNotFound.
        """
        with self._database.read() as session:
            return family_of(session, name, num_up=num_up, num_down=num_down, max_nodes=max_nodes)


def _update(session: Session, row: ModelRow | VersionRow, change: NotesChange, kind: ChangeKind, name: object) -> None:
    write_notes(row, change(row.record().notes))
    row.revision += 1
    row.updated_at = datetime.now(UTC)
    append_change(session, kind, name)
