"""Aliases inside a transaction: where one points, and its append-only history."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from sqlalchemy.orm import Session

from model_store.changes import append_change
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
    if previous != number:
        row.number, row.updated_at = number, now
        _remember(session, name, previous, number, actor, reason, rolls_back=rolls_back)
        append_change(session, "alias_moved", name)
    session.flush()
    return row


def end_alias(session: Session, row: AliasRow, actor: str, reason: str) -> None:
    """Delete an alias; its history stays."""
    name = AliasName(row.model_id, row.alias)
    session.delete(row)
    _remember(session, name, row.number, None, actor, reason)
    append_change(session, "alias_deleted", name)


def before_last_move(moves: Iterable[AliasMoveRow]) -> int | None:
    """Return the version before the last move that still stands: a roll back takes its move off again.

    So rolling back twice goes two versions back, and not to and fro. A deleted alias starts anew.
    """
    standing: list[int] = []
    for move in moves:
        if move.to_number is None:
            standing.clear()
        elif move.rolls_back:
            standing.pop()
        else:
            standing.append(move.to_number)
    return standing[-2] if len(standing) > 1 else None


def _remember(
    session: Session,
    name: AliasName,
    from_number: int | None,
    to_number: int | None,
    actor: str,
    reason: str,
    *,
    rolls_back: bool = False,
) -> None:
    move = AliasMoveRow(
        model_id=name.model_id,
        alias=name.alias,
        from_number=from_number,
        to_number=to_number,
        rolls_back=rolls_back,
        actor=actor,
        reason=reason,
        created_at=datetime.now(UTC),
    )
    session.add(move)
