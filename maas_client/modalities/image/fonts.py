"""Finds a font of this machine that has a text's letters; Pillow's own has those of English alone."""

from __future__ import annotations

import shutil
import subprocess
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
# No font has a letter here: what is drawn is the box that stands for any missing one.
_NO_LETTER = "\U0010ffff"
# Taken from the system's folders of fonts where there is no fontconfig to ask: on Windows and macOS.
_KNOWN = (
    "segoeui.ttf",
    "msyh.ttc",
    "YuGothM.ttc",
    "malgun.ttf",
    "Nirmala.ttc",
    "Arial Unicode.ttf",
    "Hiragino Sans GB.ttc",
    "AppleSDGothicNeo.ttc",
)
_SEARCH_SECONDS = 5


class Fonts:
    """Fonts by the letters that are wanted, each looked for once."""

    def __init__(self, *, with_system: bool = True) -> None:
        self._with_system = with_system
        self._found: dict[frozenset[str], Path | None] = {}

    def font_for(self, text: str, size: int) -> Font | None:
        """Return a font that has every letter of a text; None where this machine has none."""
        default = ImageFont.load_default(size)
        letters = frozenset(each for each in text if not _is_invisible(each))
        missing = frozenset(each for each in letters if not _has(default, each))
        if not missing:
            return default
        if letters not in self._found:
            self._found[letters] = self._search(letters)
        path = self._found[letters]
        return ImageFont.truetype(path, size) if path is not None else None

    def _search(self, letters: frozenset[str]) -> Path | None:
        candidates = _candidates(letters) if self._with_system else ()
        return next((path for path in candidates if _covers(path, letters)), None)


def _candidates(letters: frozenset[str]) -> Iterator[Path]:
    if (program := shutil.which("fc-match")) is not None:
        codes = " ".join(sorted(f"{ord(each):x}" for each in letters))
        command = [program, "--format", "%{file}", f":charset={codes}"]
        try:
            found = subprocess.run(command, capture_output=True, timeout=_SEARCH_SECONDS, check=True, text=True)
        except (OSError, subprocess.SubprocessError):
            pass  # a picture with numbers for labels is better than none
        else:
            yield Path(found.stdout)
    yield from map(Path, _KNOWN)


def _covers(path: Path, letters: frozenset[str]) -> bool:
    try:
        font = ImageFont.truetype(str(path), 16)
    except OSError:
        return False
    return all(_has(font, each) for each in letters)


def _has(font: Font, letter: str) -> bool:
    return bytes(font.getmask(letter)) != bytes(font.getmask(_NO_LETTER))


def drawable(text: str, font: Font) -> str:
    """Return a text with plain spaces, and without joiners that the font has no use for: each would be a box."""
    text = "".join(" " if unicodedata.category(each) == "Zs" else each for each in text)
    return "".join(each for each in text if not _is_invisible(each) or each == " " or _has(font, each))


def _is_invisible(character: str) -> bool:
    return unicodedata.category(character) in {"Zs", "Cf"}
