"""Aliases and their moves."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, ForeignKeyConstraint, Index
from sqlalchemy.orm import Mapped, mapped_column

from model_store.names import AliasName, VersionName
from model_store.records.aliases import NO_SPLIT, Alias, AliasMove, Target, Traffic
from model_store.tables.base import CheckedText, CutText, Json, Row, Sequence, version_name
from model_store.texts import MAX_ACTOR, MAX_PRINCIPAL, MAX_REASON


class AliasRow(Row):
    """Where an alias points now."""

    __tablename__ = "aliases"
    __table_args__ = (ForeignKeyConstraint(["model_id", "number"], ["versions.model_id", "versions.number"]),)

    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"), primary_key=True)
    alias: Mapped[str] = mapped_column(CheckedText(63), primary_key=True)
    number: Mapped[int]
    traffic: Mapped[dict[str, Any] | None] = mapped_column(Json())
    revision: Mapped[int] = mapped_column(BigInteger)
    """The sequence of its last move, which no other move has."""
    updated_at: Mapped[datetime]

    @property
    def name(self) -> AliasName:
        """Resource name."""
        return AliasName(self.model_id, self.alias)

    @property
    def target(self) -> Target:
        """All that it points at."""
        return Target(self.number, _traffic(self.traffic))

    def record(self) -> Alias:
        """Return the alias."""
        version = VersionName(self.model_id, self.number)
        return Alias(self.name, version, self.updated_at, self.target.traffic, str(self.revision))


class AliasMoveRow(Row):
    """One move of an alias, a refusal of a gate, or the end of the alias; rows are only added."""

    __tablename__ = "alias_moves"
    __table_args__ = (Index("ix_alias_moves_alias", "model_id", "alias", "sequence"),)

    sequence: Mapped[int] = mapped_column(Sequence, primary_key=True, autoincrement=True)
    model_id: Mapped[str] = mapped_column(CheckedText(63))
    alias: Mapped[str] = mapped_column(CheckedText(63))
    from_number: Mapped[int | None]
    to_number: Mapped[int | None]
    traffic: Mapped[dict[str, Any] | None] = mapped_column(Json())
    rolls_back: Mapped[bool]
    is_refused: Mapped[bool] = mapped_column(default=False)
    actor: Mapped[str] = mapped_column(CutText(MAX_ACTOR))
    principal: Mapped[str] = mapped_column(CheckedText(MAX_PRINCIPAL), default="")
    reason: Mapped[str] = mapped_column(CutText(MAX_REASON))
    created_at: Mapped[datetime]

    @property
    def target(self) -> Target | None:
        """All that the alias points at since; None where it was deleted."""
        return Target(self.to_number, _traffic(self.traffic)) if self.to_number is not None else None

    def record(self) -> AliasMove:
        """Return the move."""
        return AliasMove(
            name=AliasName(self.model_id, self.alias),
            from_version=version_name(self.model_id, self.from_number),
            to_version=version_name(self.model_id, self.to_number),
            traffic=_traffic(self.traffic),
            actor=self.actor,
            reason=self.reason,
            created_at=self.created_at,
            is_refused=self.is_refused,
            principal=self.principal,
        )


def _traffic(values: dict[str, Any] | None) -> Traffic:
    return Traffic.from_json(values) if values is not None else NO_SPLIT
