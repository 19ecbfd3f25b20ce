"""Files of Debian packages, fetched and unpacked below a folder: no root is needed, and nothing is installed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from maas_client.demo.subject import DataUnavailable


def has_apt() -> bool:
    """Say whether this machine can fetch and unpack packages of Debian."""
    return all(shutil.which(each) for each in ("apt-get", "dpkg"))


@contextmanager
def unpacked(cache: Path, packages: Sequence[str]) -> Iterator[Path]:
    """Fetch packages and give a folder with their files, which is removed afterwards.

    Raise DataUnavailable, with the last line of the failed command.
    """
    apt, root = cache / "apt", cache / "unpacked"
    for each in ("lists/partial", "cache/archives/partial"):
        (apt / each).mkdir(parents=True, exist_ok=True)
    options = ["-o", f"Dir::State::Lists={apt}/lists", "-o", f"Dir::Cache={apt}/cache"]
    _run(["apt-get", *options, "update"], apt)
    _run(["apt-get", *options, "download", *packages], apt)
    shutil.rmtree(root, ignore_errors=True)
    for package in sorted(apt.glob("*.deb")):
        _run(["dpkg", "-x", str(package), str(root)], apt)
        package.unlink()
    yield root
    shutil.rmtree(root)


def _run(command: Sequence[str], folder: Path) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    except subprocess.CalledProcessError as error:
        reason = error.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise DataUnavailable(f"Debian's packages cannot be had: {' '.join(reason)}") from error
