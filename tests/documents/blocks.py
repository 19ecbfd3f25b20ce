"""The fenced blocks of a document, and which program runs each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [ROOT / "docs" / f"{name}.md" for name in ("guide", "recipes", "registry", "client", "serving", "operations")]
"""The pages whose blocks run after one another, in the order in which a user reads them."""
PROGRAMS = {"sh": ("bash", "-euo", "pipefail", "-c"), "python": ("python", "-c")}
PICTURES = {"mermaid"}
_FENCED = re.compile(r"^```(.*)\n([\s\S]*?)^```$", re.MULTILINE)
_NAMED_PYTHON = re.compile(r"# (\S+/python)\n")


@dataclass(frozen=True)
class Block:
    """A fenced block: the document it is in, its language and its text."""

    document: Path
    language: str
    text: str

    @property
    def command(self) -> list[str]:
        """The program that runs the block: bash, or the Python that its first line names, else the activated one."""
        if self.language == "python" and (named := _NAMED_PYTHON.match(self.text)):
            return [named[1], "-c", self.text]
        return [*PROGRAMS[self.language], self.text]


def read_blocks(document: Path) -> Iterator[Block]:
    """Yield the blocks of a document in order."""
    for found in _FENCED.finditer(document.read_text(encoding="utf-8")):
        yield Block(document, found[1], found[2])
