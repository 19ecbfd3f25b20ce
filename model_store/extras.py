"""The packages that a plain install leaves out: which of them are missing, and the command that installs them."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, version
from urllib.parse import urlsplit
from urllib.request import url2pathname

_DISTRIBUTION = "maas-transfer"


class NotInstalled(ImportError):
    """Packages of an extra are missing; the text names them and the command that installs them."""


def require(extra: str, user: str) -> None:
    """Raise NotInstalled where a package of an extra is missing; `user` is the command that needs it."""
    if missing := [name for name in _packages(extra) if not _is_installed(name)]:
        raise NotInstalled(f"{user} needs packages that are not installed ({', '.join(missing)}): {remedy(extra)}")


def end_without(extra: str, script: str) -> None:
    """End the process with 1 and one line on standard error where a package of an extra is missing."""
    try:
        require(extra, script)
    except NotInstalled as error:
        sys.exit(f"{script}: {error}")


def remedy(extra: str) -> str:
    """Return the command that adds an extra, by pip, from where this distribution was installed from."""
    try:
        origin = json.loads(distribution(_DISTRIBUTION).read_text("direct_url.json") or "{}")
    except PackageNotFoundError:
        origin = {}
    return f"pip install {_requirement(extra, origin)}"


def _requirement(extra: str, origin: dict[str, dict[str, str]]) -> str:
    """Return the requirement for pip, by the origin that the installer recorded (PEP 610), if any."""
    match origin:
        case {"url": str(url), "dir_info": {**facts}}:
            folder = url2pathname(urlsplit(url).path)
            return f'{"-e " if facts.get("editable") else ""}"{folder}[{extra}]"'
        case {"url": str(url), "vcs_info": {"vcs": kind, "commit_id": commit}}:
            return f'"{_DISTRIBUTION}[{extra}] @ {kind}+{url}@{commit}"'
        case {"url": str(url)}:
            return f'"{_DISTRIBUTION}[{extra}] @ {url}"'
    return f'"{_DISTRIBUTION}[{extra}]"'


def _packages(extra: str) -> Iterator[str]:
    """Yield the packages of an extra on every platform; none for code that is not installed."""
    try:
        requirements = distribution(_DISTRIBUTION).requires or ()
    except PackageNotFoundError:
        return
    for text in requirements:
        if found := re.fullmatch(rf"([\w.-]+)[^;]*; *extra == ['\"]{re.escape(extra)}['\"]", text):
            yield found[1]


def _is_installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True
