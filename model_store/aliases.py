"""Aliases inside a transaction: where one points, and its append-only history."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from model_store.changes import append_change
from model_store.errors import AliasNotFound
from model_store.names import AliasName
from model_store.tables import AliasMoveRow, AliasRow


def move_alias(
    session: Session, name: AliasName, number: int, actor: str, reason: str, *, rolls_back: bool = False
) -> AliasRow:
    """Point an alias at a version of its model, creating it where it is new; a move to where it is changes nothing."""
    now = datetime.now(UTC)
    row = session.get(AliasRow, (name.model_id, name.alias))
    previous = row.number if row is not None else None
    if row is None:
        row = AliasRow(model_id=name.model_id, alias=name.alias, number=number, updated_at=now)
        session.add(row)
    row.number, row.updated_at = number, now
    if previous != number:
        move = AliasMoveRow(
            model_id=name.model_id,
            alias=name.alias,
            from_number=previous,
            to_number=number,
            rolls_back=rolls_back,
            actor=actor,
            reason=reason,
            created_at=now,
        )
        session.add(move)
        append_change(session, "alias_moved", name)
    session.flush()
    return row


def before_last_move(moves: Iterable[AliasMoveRow]) -> int | None:
    """Return the version before the last move that still stands: a roll back takes its move off again.

    So rolling back twice goes two versions back, and not to and fro.
    """
    standing: list[int] = []
    for move in moves:
        if move.rolls_back:
            standing.pop()
        else:
            standing.append(move.to_number)
    return standing[-2] if len(standing) > 1 else None


def moves_of(name: AliasName) -> Select[AliasMoveRow]:
    """Select the history of an alias."""
    return select(AliasMoveRow).where(AliasMoveRow.model_id == name.model_id, AliasMoveRow.alias == name.alias)


def alias_row(session: Session, name: AliasName) -> AliasRow:
    """Return where an alias points; raise AliasNotFound."""
    row = session.get(AliasRow, (name.model_id, name.alias))
    if row is None:
        raise AliasNotFound(f"{name} does not exist; `maas models` lists the aliases that do")
    return row
