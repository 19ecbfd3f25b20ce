"""Spoken words of Debian packages: a synthesiser's voices, and prompts that people recorded; no root is needed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from maas_client.demo.debian import fetch_packages

PROMPTS: Mapping[str, str] = {
    "english": "asterisk-core-sounds-en-wav",
    "french": "asterisk-core-sounds-fr-wav",
    "italian": "asterisk-core-sounds-it-wav",
    "russian": "asterisk-core-sounds-ru-wav",
    "spanish": "asterisk-core-sounds-es-wav",
}
"""The package of each language: about 570 prompts at 8 kHz, by one person."""
_SYNTHESISER = "espeak-ng"
_LIBRARIES = ("usr/lib", "lib")


def unpacked(cache: Path, packages: Sequence[str], *, with_libraries: bool = False) -> Path:
    """Return a folder with the files of packages and, if asked, of the libraries that they need; fetched once."""
    root, done = cache / "root", cache / f"{'-'.join(packages)[:60]}.done"
    if not done.exists():
        fetch_packages(cache / "apt", root, packages, with_libraries=with_libraries)
        done.touch()
    return root


class Synthesiser:
    """espeak-ng, run from where it was unpacked."""

    def __init__(self, cache: Path) -> None:
        """Fetch it, with its voices."""
        self._root = unpacked(cache, [_SYNTHESISER, f"{_SYNTHESISER}-data"], with_libraries=True)
        data = next(self._root.glob(f"usr/lib/*/{_SYNTHESISER}-data"))
        folders = {str(each.parent) for base in _LIBRARIES for each in (self._root / base).rglob("*.so*")}
        self._environment = {"ESPEAK_DATA_PATH": str(data), "LD_LIBRARY_PATH": os.pathsep.join(sorted(folders))}

    def say(self, word: str, path: Path, *, voice: str, words_a_minute: int, pitch: int) -> Path:
        """Write a word as a WAV file of 22 kHz."""
        path.parent.mkdir(parents=True, exist_ok=True)
        command = [str(self._root / "usr/bin" / _SYNTHESISER), "-v", voice, "-s", str(words_a_minute), "-p", str(pitch)]
        subprocess.run(
            [*command, "-w", str(path), word], env=self._environment, check=True, stdin=subprocess.DEVNULL,
            capture_output=True,
        )  # fmt: skip
        return path


def prompts(cache: Path, language: str) -> Path:
    """Return the folder of a language's prompts."""
    root = unpacked(cache / language, [PROMPTS[language]])
    (folder,) = [each for each in (root / "usr/share/asterisk/sounds").iterdir() if each.is_dir()]
    return folder
