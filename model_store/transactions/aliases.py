"""Aliases inside a transaction: targets, moves, and the append-only history."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from sqlalchemy.orm import Session

from model_store.database.principals import principal_of
from model_store.errors import IllegalState, InvalidInput, Violation
from model_store.names import AliasName, VersionName
from model_store.records.aliases import NO_SPLIT, Target, Traffic
from model_store.records.changes import ChangeKind
from model_store.tables import AliasMoveRow, AliasRow, VersionRow
from model_store.transactions.changes import append_change
from model_store.transactions.resource_rows import moves_of

MAX_CANARIES = 8
_DECIMALS = 9  # of percents, so that ten canaries of 10 % sum to 100 % in floating point


def check_target(target: Target) -> None:
    """Raise InvalidInput, naming each wrong field, where a traffic split is illegal."""
    if violations := tuple(_violations(target)):
        raise InvalidInput(*violations)


def _violations(target: Target) -> Iterator[Violation]:
    canaries, shadow = target.traffic.canaries, target.traffic.shadow
    if len(canaries) > MAX_CANARIES:
        yield Violation("canaries", f"must be at most {MAX_CANARIES}, not {len(canaries)}")
    taken = {target.number}
    for position, canary in enumerate(canaries):
        if canary.number in taken:
            yield Violation(
                f"canaries[{position}].version",
                f"must be neither the main version nor another canary, as {canary.number} is",
            )
        taken.add(canary.number)
    if shadow is not None and shadow.number == target.number:
        yield Violation(
            "shadow.version", f"must not be the main version, {shadow.number}: it would be compared with itself"
        )
    percents = {f"canaries[{position}]": canary.percent for position, canary in enumerate(canaries)}
    percents |= {"shadow": shadow.percent} if shadow is not None else {}
    for place, percent in percents.items():
        if not (math.isfinite(percent) and 0 < percent <= 100):
            yield Violation(f"{place}.percent", f"must be above 0 and at most 100, not {percent:g}")
    total = math.fsum(canary.percent for canary in canaries)
    if round(total, _DECIMALS) > 100:
        yield Violation("canaries", f"must have at most 100 percent together, not {total:g}")


def move_alias(
    session: Session, name: AliasName, target: Target, actor: str, reason: str, *, rolls_back: bool = False
) -> AliasRow:
    """Point an alias at a target, and create a new alias; a move to its current target changes nothing."""
    now = datetime.now(UTC)
    row = session.get(AliasRow, (name.model_id, name.alias))
    previous = row.target if row is not None else None
    if row is None:
        row = AliasRow(model_id=name.model_id, alias=name.alias)
    if previous != target:
        move = _remember(session, name, previous, target, actor, reason, rolls_back=rolls_back)
        row.number, row.traffic, row.updated_at = target.number, _to_json(target.traffic), now
        row.revision = move.sequence
        append_change(session, ChangeKind.ALIAS_MOVED, name)
    session.add(row)
    session.flush()
    return row


def refuse_move(session: Session, name: AliasName, target: Target | None, number: int, actor: str, reason: str) -> None:
    """Record in the history that a move of an alias was refused."""
    refused = Target(number, target.traffic if target is not None else NO_SPLIT)
    _remember(session, name, target, refused, actor, reason, is_refused=True)
    append_change(session, ChangeKind.ALIAS_MOVE_REFUSED, name)


def end_alias(session: Session, row: AliasRow, actor: str, reason: str) -> None:
    """Delete an alias; its history stays."""
    session.delete(row)
    _remember(session, row.name, row.target, None, actor, reason)
    append_change(session, ChangeKind.ALIAS_DELETED, row.name)


def roll_back_alias(session: Session, name: AliasName, actor: str, reason: str) -> AliasRow:
    """Point an alias back at its previous target; raise IllegalState without one, or if the target is deleted."""
    earlier = before_last_move(session.scalars(moves_of(name).order_by(AliasMoveRow.sequence)))
    if earlier is None:
        raise IllegalState(f"{name} has no earlier version to roll back to: point it at a version instead")
    for number in sorted(earlier.numbers):
        row = session.get(VersionRow, (name.model_id, number))
        if row is None or row.deleted_at is not None:
            gone = VersionName(name.model_id, number)
            raise IllegalState(
                f"{name} was at {gone} before, which was deleted: undelete it, or point the alias elsewhere"
            )
    return move_alias(session, name, earlier, actor, reason, rolls_back=True)


def before_last_move(moves: Iterable[AliasMoveRow]) -> Target | None:
    """Return the target before the last move that was not rolled back.

    So rolling back twice goes two moves back. The history of a deleted alias does not count.
    """
    targets: list[Target] = []
    for move in moves:
        if move.is_refused:
            continue
        if move.target is None:
            targets.clear()
        elif move.rolls_back:
            targets.pop()
        else:
            targets.append(move.target)
    return targets[-2] if len(targets) > 1 else None


def _remember(
    session: Session,
    name: AliasName,
    previous: Target | None,
    target: Target | None,
    actor: str,
    reason: str,
    *,
    rolls_back: bool = False,
    is_refused: bool = False,
) -> AliasMoveRow:
    """Add an entry to the history of an alias, and return it with its sequence number."""
    move = AliasMoveRow(
        model_id=name.model_id,
        alias=name.alias,
        from_number=previous.number if previous is not None else None,
        to_number=target.number if target is not None else None,
        traffic=_to_json(target.traffic) if target is not None else None,
        rolls_back=rolls_back,
        is_refused=is_refused,
        actor=actor,
        principal=principal_of(session),
        reason=reason,
        created_at=datetime.now(UTC),
    )
    session.add(move)
    session.flush()
    return move


def _to_json(traffic: Traffic) -> dict[str, object] | None:
    return traffic.to_json() if traffic != NO_SPLIT else None
