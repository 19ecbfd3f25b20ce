"""Who makes a call, as an authenticator has found out; servicers pass it to the store, whose history notes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_PRINCIPAL: ContextVar[str] = ContextVar("principal", default="")


def current_principal() -> str:
    """Return the principal of the current task's call; empty for an unauthenticated call."""
    return _PRINCIPAL.get()


@contextmanager
def authenticated(principal: str) -> Iterator[None]:
    """Run a call on behalf of a principal; an authenticator wraps the behaviour of the call in this."""
    token = _PRINCIPAL.set(principal)
    try:
        yield
    finally:
        _PRINCIPAL.reset(token)
