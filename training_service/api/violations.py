"""Collects all violations of a request, so that its caller gets them together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from model_store.errors import InvalidInput, Violation
from model_store.texts import MAX_REQUEST_ID, check_text


class Violations:
    """Violations of one request, in the order they were found."""

    def __init__(self) -> None:
        self._found: list[Violation] = []

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Run a block and keep the violations that it raises; the result of the block is then missing."""
        try:
            yield
        except InvalidInput as error:
            self._found += error.violations

    def raise_any(self) -> None:
        """Raise InvalidInput with all that was found."""
        if self._found:
            raise InvalidInput(*self._found)


def check_request_id(text: str) -> str | None:
    """Return a caller's id for a request, None without one; raise InvalidInput for an id that cannot be kept."""
    return check_text(text, "request_id", MAX_REQUEST_ID) or None
