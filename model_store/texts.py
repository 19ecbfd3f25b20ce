"""Texts that the store keeps: which of a caller's are refused, and how the store's own are cut to fit their column."""

from __future__ import annotations

import re
from collections.abc import Sequence

from model_store.errors import InvalidInput
from model_store.normal_form import unshowable

MAX_DESCRIPTION, MAX_REASON, MAX_ACTOR, MAX_REQUEST_ID, MAX_ERROR = 10_000, 1000, 200, 128, 10_000
MAX_PRINCIPAL = 255
MAX_LABEL = 200
# A terminal obeys control characters; of them only tabs and ends of lines are text.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]|\r(?!\n)")
# PostgreSQL keeps no NUL, and no encoding keeps half of a character of UTF-16.
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")
_SHOWN = 80
_REPLACEMENT = "\ufffd"


def check_text(text: str, field: str, max_length: int) -> str:
    """Return a caller's text; raise InvalidInput if it is too long or contains control characters."""
    if len(text) > max_length:
        raise InvalidInput.of(field, f"must have at most {max_length} characters, not {len(text)}")
    if found := _CONTROL.search(text):
        raise InvalidInput.of(
            field, f"must not hold control characters, as {found[0]!a} is; tabs and ends of lines may be"
        )
    return text


def check_line(text: str, field: str, max_length: int) -> str:
    """Return a caller's text of one line; raise InvalidInput if it is too long or cannot be shown on one line."""
    check_text(text, field, max_length)
    if character := unshowable(text):
        raise InvalidInput.of(field, f"must be characters that can be shown on one line, which {character} is not")
    return text


def is_storable(text: str) -> bool:
    """Say whether every database can keep a text."""
    return _UNSTORABLE.search(text) is None


def quoted(text: str) -> str:
    """Return a text as an error shows it: in quotes, and no more than its beginning."""
    return repr(text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}...")


def listed(texts: Sequence[str], most: int) -> str:
    """Return the first few of some texts, separated by commas, and the number of the others."""
    more = len(texts) - most
    return ", ".join(texts[:most]) + (f" and {more} more" if more > 0 else "")


def storable(text: str) -> str:
    """Return a text that every database accepts: characters that some database refuses are replaced."""
    return _UNSTORABLE.sub(_REPLACEMENT, text)


def cut_text(text: str, max_length: int) -> str:
    """Return a text of the store's own that fits its column: storable, and with "…" where it was longer."""
    text = storable(text)
    return text if len(text) <= max_length else f"{text[: max_length - 1]}…"
