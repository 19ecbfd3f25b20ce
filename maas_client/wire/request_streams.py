"""Streams of requests: where making them fails, the caller hears why, and not gRPC's word that iterating failed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import grpc

Request = TypeVar("Request")
Response = TypeVar("Response")


def sent(call: Callable[[Iterator[Request]], Response], requests: Iterable[Request]) -> Response:
    """Return what a call answers to these requests; raise what making them raised.

    The stream ends where they fail. A service takes none that lacks its end: a digest, or blobs that were announced.
    """
    failures: list[Exception] = []

    def guarded() -> Iterator[Request]:
        try:
            yield from requests
        except Exception as error:  # noqa: BLE001  it is raised again below
            failures.append(error)

    try:
        return call(guarded())
    except grpc.RpcError as error:
        if failures:
            raise failures[0] from error
        raise
