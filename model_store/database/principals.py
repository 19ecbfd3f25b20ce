"""The principal of a transaction, which the store records with every entry of its history."""

from __future__ import annotations

from sqlalchemy.orm import Session

_KEY = "principal"


def act_for(session: Session, principal: str) -> None:
    """Record this principal with all later writes of the transaction; empty for an unauthenticated caller."""
    session.info[_KEY] = principal


def principal_of(session: Session) -> str:
    """Return the principal that a transaction writes for."""
    principal: str = session.info.get(_KEY, "")
    return principal
