"""Failures as a person should read them: one line that says what went wrong, one that says what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

_NEXT_STEPS = {
    grpc.StatusCode.UNAVAILABLE: "Are the services running? `maas up` starts them on this machine.",
    grpc.StatusCode.DEADLINE_EXCEEDED: "The service is busy: try again, or give it more time.",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "The service is at a limit: see the message, then try again.",
}


class CommandFailed(Exception):
    """A command cannot go on; the text says why and what to do."""


def explain(error: grpc.RpcError) -> str:
    """Say what a failed call means: its message, each field that was wrong, and what to do next."""
    if not isinstance(error, grpc.Call):
        return str(error)
    code, details = error.code(), error.details() or ""
    if code is grpc.StatusCode.UNAVAILABLE and "failed to connect" in details:
        address = re.search(r"ipv[46]:(\S+?:\d+)", details)
        details = f"no service answers at {address[1] if address else 'the address'}"
    lines = [f"{code.name}: {details}"]
    if code in _NEXT_STEPS:
        lines.append(_NEXT_STEPS[code])
    return "\n".join(lines)


@contextmanager
def store_errors_explained() -> Iterator[None]:
    """Turn what the store raises on purpose into a failure of the command; its errors say what to do."""
    from model_store.errors import StoreError

    try:
        yield
    except StoreError as error:
        raise CommandFailed(str(error)) from error
