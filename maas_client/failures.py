"""Failures as a person should read them: one line that says what went wrong, one that says what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote

import grpc

from grpc_runtime.addresses import proxy_remark

_NEXT_STEPS = {
    grpc.StatusCode.UNAVAILABLE: "Try again in a moment.",
    grpc.StatusCode.DEADLINE_EXCEEDED: "The service is busy: try again, or give it more time.",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "The service is at a limit: see the message, then try again.",
}
_ARE_THEY_RUNNING = "Are the services running? `maas up` starts them on this machine."
_IS_IT_RIGHT = "Is the address right? MAAS_TRAINING_ADDRESS and MAAS_INFERENCE_ADDRESS say where the services are."


class CommandFailed(Exception):
    """A command cannot go on; the text says why and what to do."""


def explain(error: grpc.RpcError) -> str:
    """Say what a failed call means: its message, each field that was wrong, and what to do next."""
    if not isinstance(error, grpc.Call):
        return str(error)
    code, details = error.code(), error.details() or ""
    next_step = _NEXT_STEPS.get(code)
    if code is grpc.StatusCode.UNAVAILABLE:
        details, next_step = _not_reached(details) or (details, next_step)
    return "\n".join([f"{code.name}: {details}".removesuffix(": "), *([next_step] if next_step else [])])


def _not_reached(details: str) -> tuple[str, str] | None:
    """Return what is wrong and what to do where no service was reached; None where one answered."""
    if "failed to connect" in details:
        found = re.search(r"ipv[46]:(\S+?:\d+):? ", unquote(details) + " ")
        address = found[1] if found else "the address"
        if remark := proxy_remark(details):
            return f"the proxy at {address} does not lead to the service", remark
        return f"no service answers at {address}", _ARE_THEY_RUNNING
    if "errors resolving" in details or "DNS resolution failed" in details:
        return details, _IS_IT_RIGHT
    return None


@contextmanager
def store_errors_explained() -> Iterator[None]:
    """Turn what the store raises on purpose into a failure of the command; its errors say what to do, and where."""
    from model_store.errors import StoreError

    try:
        yield
    except StoreError as error:
        raise CommandFailed(error.in_full) from error
