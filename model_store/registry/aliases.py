"""The aliases of models: each call is one transaction."""

from __future__ import annotations

from sqlalchemy.orm import Session

from model_store.database.engine import Database
from model_store.database.paging import Page, PageRequest, cut, decode_token
from model_store.errors import Conflict, VersionNotFound
from model_store.names import AliasName, VersionName
from model_store.records.aliases import NO_SPLIT, Alias, AliasMove, Target, Traffic
from model_store.tables import AliasMoveRow, AliasRow
from model_store.transactions.aliases import check_target, end_alias, move_alias, roll_back_alias
from model_store.transactions.resource_rows import (
    alias_row,
    check_etag,
    living_model_row,
    living_version_row,
    model_row,
    moves_of,
)


class AliasStore:
    """Aliases of models in one database; safe to share between threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get_alias(self, name: AliasName) -> Alias:
        """Return one alias; raise ModelNotFound, AliasNotFound, or IllegalState where the model was deleted."""
        with self._database.read() as session:
            living_model_row(session, name.model_id)
            return alias_row(session, name).record()

    def set_alias(
        self,
        name: AliasName,
        version: VersionName,
        traffic: Traffic = NO_SPLIT,
        *,
        actor: str = "",
        reason: str = "",
        etag: str | None = None,
        principal: str = "",
    ) -> Alias:
        """Point an alias at a version of its model, and give other versions of it a share of its requests, or none.

        Raises VersionNotFound, IllegalState where a version was deleted, InvalidInput where requests cannot be split
        like this, and Conflict where the alias has moved since it had the etag.
        """
        if version.model_id != name.model_id:
            raise VersionNotFound(
                f"{version} is not a version of models/{name.model_id}: an alias stays within its model"
            )
        target = Target(version.number, traffic)
        check_target(target)
        with self._database.write(principal) as session:
            living_model_row(session, name.model_id, lock=True)
            for number in (version.number, *sorted(target.numbers - {version.number})):
                living_version_row(session, VersionName(name.model_id, number))
            _check_alias_etag(session, name, etag)
            return move_alias(session, name, target, actor, reason).record()

    def roll_back_alias(
        self, name: AliasName, *, actor: str = "", reason: str = "", etag: str | None = None, principal: str = ""
    ) -> Alias:
        """Point an alias back at its previous version, the shares of other versions included.

        Raises AliasNotFound, Conflict as `set_alias` does, and IllegalState for an alias without a previous move, or if
        a version no longer exists.
        """
        with self._database.write(principal) as session:
            living_model_row(session, name.model_id, lock=True)
            check_etag(alias_row(session, name), name, etag)
            return roll_back_alias(session, name, actor, reason or "rolled back").record()

    def delete_alias(
        self, name: AliasName, *, actor: str = "", reason: str = "", etag: str | None = None, principal: str = ""
    ) -> None:
        """Delete an alias, and keep its history; raise AliasNotFound, or Conflict as `set_alias` does."""
        with self._database.write(principal) as session:
            living_model_row(session, name.model_id, lock=True)
            row = alias_row(session, name)
            check_etag(row, name, etag)
            end_alias(session, row, actor, reason)

    def list_alias_history(self, name: AliasName, request: PageRequest) -> Page[AliasMove]:
        """Return a page of an alias's history, newest first; raise ModelNotFound."""
        listing = f"history of {name}"
        before = decode_token(listing, request.token, int)
        query = moves_of(name).order_by(AliasMoveRow.sequence.desc()).limit(request.limit + 1)
        if before is not None:
            query = query.where(AliasMoveRow.sequence < before)
        with self._database.read() as session:
            model_row(session, name.model_id)
            rows = list(session.scalars(query))
            if not rows and before is None:
                alias_row(session, name)
        return cut(listing, [row.record() for row in rows], [row.sequence for row in rows], request.limit)


def _check_alias_etag(session: Session, name: AliasName, etag: str | None) -> None:
    row = session.get(AliasRow, (name.model_id, name.alias))
    if row is None and etag:
        raise Conflict(f"{name} was deleted meanwhile: look again, then decide")
    if row is not None:
        check_etag(row, name, etag)
