"""Keyset pages: opaque tokens that remember where a listing stopped and which listing it was."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from model_store.errors import InvalidInput

DEFAULT_SIZE = 100
MAX_SIZE = 1000

T = TypeVar("T")
Key = str | int


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some items of a listing, and the token of the next page (empty on the last)."""

    items: tuple[T, ...]
    next_token: str


@dataclass(frozen=True)
class PageRequest:
    """How many items, after which token; 0 and "" mean the default size from the start."""

    size: int = 0
    token: str = ""

    @property
    def limit(self) -> int:
        """Return the checked size; raise InvalidInput outside 0 to 1000."""
        if not 0 <= self.size <= MAX_SIZE:
            raise InvalidInput.of("page_size", f"must be 0 to {MAX_SIZE}, not {self.size}")
        return self.size or DEFAULT_SIZE


def encode_token(listing: str, key: Key) -> str:
    """Return a token for the page after `key` in the listing of this name."""
    return base64.urlsafe_b64encode(json.dumps([listing, key]).encode()).decode().rstrip("=")


def decode_token(listing: str, token: str, kind: type[Key]) -> Key | None:
    """Return the key in `token`, or None for the first page; raise InvalidInput for a token of another listing."""
    if not token:
        return None
    try:
        values = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, ValueError):
        values = None
    if not (isinstance(values, list) and len(values) == 2 and values[0] == listing and type(values[1]) is kind):
        raise InvalidInput.of("page_token", "is not a token of this listing; start again without one")
    key: Key = values[1]
    return key


def cut(listing: str, items: Sequence[T], keys: Sequence[Key], limit: int) -> Page[T]:
    """Make a page of a query that asked for one item more than `limit`."""
    more = len(items) > limit
    return Page(tuple(items[:limit]), encode_token(listing, keys[limit - 1]) if more else "")
