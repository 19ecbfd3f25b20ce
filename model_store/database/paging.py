"""Keyset pages: opaque tokens that remember where a listing stopped and which listing it was."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from model_store.errors import InvalidInput
from model_store.texts import is_storable

DEFAULT_SIZE = 100
MAX_SIZE = 1000
_MAX_INTEGER = 2**63 - 1

T = TypeVar("T")
Key = str | int | float


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some items of a listing, and the token of the next page (empty on the last)."""

    items: tuple[T, ...]
    next_token: str


@dataclass(frozen=True)
class PageRequest:
    """The size of a page and the token to continue from; 0 and "" mean the default size and the start."""

    size: int = 0
    token: str = ""

    @property
    def limit(self) -> int:
        """Return the checked size; raise InvalidInput outside 0 to 1000."""
        if not 0 <= self.size <= MAX_SIZE:
            raise InvalidInput.of("page_size", f"must be 0 to {MAX_SIZE}, not {self.size}")
        return self.size or DEFAULT_SIZE


def encode_token(listing: str, *keys: Key) -> str:
    """Return a token for the page after the item of these keys in the listing of this name."""
    return base64.urlsafe_b64encode(json.dumps([listing, *keys]).encode()).decode().rstrip("=")


def decode_token(listing: str, token: str, kind: type[Key]) -> Any:  # noqa: ANN401  a value of `kind`, or None
    """Return the one key in `token`, or None for the first page; raise InvalidInput for a token of another listing."""
    keys = decode_keys(listing, token, kind)
    return keys[0] if keys else None


def decode_keys(listing: str, token: str, *kinds: type[Key]) -> tuple[Any, ...]:
    """Return the keys in `token`, or none for the first page; raise InvalidInput for a token of another listing."""
    if not token:
        return ()
    try:
        values = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, ValueError):
        values = None
    is_ours = isinstance(values, list) and values[:1] == [listing] and tuple(map(type, values[1:])) == kinds
    if not is_ours or not all(map(_is_storable, values[1:])):
        raise InvalidInput.of("page_token", "is not a token of this listing; start again without one")
    return tuple(values[1:])


def _is_storable(key: Key) -> bool:
    """Say whether a database could hold a key: a token may be made up."""
    if isinstance(key, str):
        return is_storable(key)
    return abs(key) <= _MAX_INTEGER if isinstance(key, int) else math.isfinite(key)


def cut(listing: str, items: Sequence[T], keys: Sequence[Key | tuple[Key, ...]], limit: int) -> Page[T]:
    """Make a page of a query that asked for one item more than `limit`; an item is found again by its keys."""
    if len(items) <= limit:
        return Page(tuple(items), "")
    last = keys[limit - 1]
    return Page(tuple(items[:limit]), encode_token(listing, *(last if isinstance(last, tuple) else (last,))))
