"""The one form of a name that people give: composed (NFC), and of characters that can be shown on a line."""

from __future__ import annotations

import re
import unicodedata

# A terminal obeys the first group. The others end a line, reverse the text after them, or are halves of characters.
# No-break spaces and joiners stay: Persian and emoji need them.
_UNSHOWABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]",
)
# They take no room, or more or less of it: two names that differ in them alone look alike.
_ALIKE = re.compile(r"[\s\u00ad\u200b-\u200f\u2060]+")


def normal_form(text: str) -> str:
    """Return a name as it is kept and compared everywhere: systems write an accent as one character or as two."""
    return unicodedata.normalize("NFC", text)


def unshowable(text: str) -> str:
    """Return the first character that cannot be shown, as `U+0007`; empty without one."""
    found = _UNSHOWABLE.search(text)
    return f"U+{ord(found[0]):04X}" if found else ""


def escaped(text: str) -> str:
    """Return a name with escapes for characters that cannot be shown."""
    return _UNSHOWABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def replaced(text: str) -> str:
    """Return a line with a mark in place of each character that cannot be shown."""
    return _UNSHOWABLE.sub("\ufffd", text)


def look_alike_key(text: str) -> str:
    """Return a key that is equal for names that differ in case, in spaces or in how letters are written alone."""
    return _ALIKE.sub(" ", unicodedata.normalize("NFKC", text)).strip().casefold()
