"""Files of Debian packages, fetched and unpacked below a folder: no root is needed, and nothing is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from maas_client.demo.subject import DataUnavailable

_PACKAGE = re.compile(r"\w[\w.+-]*")
_NOT_NEEDED = re.compile(r"(libc6|gcc-.*|libgcc-.*|debconf.*|.*-data)$")


def has_apt() -> bool:
    """Say whether this machine can fetch and unpack packages of Debian."""
    return all(shutil.which(each) for each in ("apt-get", "apt-cache", "dpkg"))


@contextmanager
def unpacked(cache: Path, packages: Sequence[str]) -> Iterator[Path]:
    """Fetch packages and give a folder with their files, which is removed afterwards.

    Raise DataUnavailable, with the last line of the failed command.
    """
    root = cache / "unpacked"
    shutil.rmtree(root, ignore_errors=True)
    fetch_packages(cache / "apt", root, packages)
    yield root
    shutil.rmtree(root)


def fetch_packages(apt: Path, root: Path, packages: Sequence[str], *, with_libraries: bool = False) -> None:
    """Fetch packages by apt's files below `apt`, with the libraries that they need if asked, and unpack them to `root`.

    Raise DataUnavailable, with the last line of the failed command.
    """
    for each in ("lists/partial", "cache/archives/partial"):
        (apt / each).mkdir(parents=True, exist_ok=True)
    options = ["-o", f"Dir::State::Lists={apt}/lists", "-o", f"Dir::Cache={apt}/cache"]
    _run(["apt-get", *options, "update"], apt)
    wanted = [*packages, *(_libraries(options, packages, apt) if with_libraries else ())]
    _run(["apt-get", *options, "download", *dict.fromkeys(wanted)], apt)
    for package in sorted(apt.glob("*.deb")):
        _run(["dpkg", "-x", str(package), str(root)], apt)
        package.unlink()


def _libraries(options: Sequence[str], packages: Sequence[str], folder: Path) -> Iterator[str]:
    """Yield the packages of libraries that these depend on, directly or not."""
    without = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
    command = ["apt-cache", *options, "depends", "--recurse", *(f"--no-{each}" for each in without), *packages]
    for line in _run(command, folder).splitlines():
        if _PACKAGE.fullmatch(line) and not _NOT_NEEDED.fullmatch(line):
            yield line


def _run(command: Sequence[str], folder: Path) -> str:
    try:
        return subprocess.run(
            command, cwd=folder, check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
        ).stdout
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip().splitlines()[-1:]
        raise DataUnavailable(f"Debian's packages cannot be had: {' '.join(reason)}") from error
