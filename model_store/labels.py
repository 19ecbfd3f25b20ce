"""Labels in a file, one a line, in UTF-8 or with a byte order mark, all different."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from pathlib import Path

from model_store.errors import InvalidInput
from model_store.normal_form import normal_form

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16's, which it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
_LINE_ENDS = re.compile(r"\r\n|\n|\r")


def read_labels(path: Path) -> list[str]:
    """Return the labels in a file, one a line, without surrounding blanks and without empty lines.

    The file is UTF-8, or has the byte order mark of UTF-8, UTF-16 or UTF-32. Raises InvalidInput for another encoding,
    and for a file without labels.
    """
    labels = [normal_form(line.strip()) for line in _LINE_ENDS.split(_decoded(path.name, path.read_bytes()))]
    labels = [label for label in labels if label]
    if not labels:
        raise InvalidInput.of("labels", f"{path.name} has no labels: it must have one a line")
    return labels


def check_labels(labels: Sequence[str]) -> None:
    """Raise InvalidInput naming a label that is there twice, or is blank."""
    first: dict[str, int] = {}
    for position, label in enumerate(labels, start=1):
        if not label.strip():
            raise InvalidInput.of("labels", f"label {position} is blank")
        earlier = first.setdefault(normal_form(label), position)
        if earlier != position:
            both = f"label {earlier} and label {position} are both {label!r}"
            raise InvalidInput.of("labels", f"{both}: each must have a name of its own")


def _decoded(name: str, data: bytes) -> str:
    encoding = next((encoding for mark, encoding in _MARKS if data.startswith(mark)), "utf-8")
    if encoding == "utf-8" and b"\0" in data:
        raise _refused(name, "holds zero bytes: it is UTF-16 without a byte order mark, or no text")
    try:
        return data.decode(encoding).lstrip("\ufeff")  # two marks, where files were joined
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        guess = "it may be Latin-1 (Windows-1252)" if encoding == "utf-8" else "it is cut short or damaged"
        raise _refused(name, f"is not {encoding.removesuffix('-sig').upper()} in line {line}: {guess}") from error


def _refused(name: str, said: str) -> InvalidInput:
    return InvalidInput.of("labels", f"{name} {said}; save it as UTF-8, as `iconv -f latin1 -t utf-8` does for Latin-1")
