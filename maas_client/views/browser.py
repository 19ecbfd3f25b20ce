"""Show a file in the user's browser, where there is a desktop to show it on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")


def show_in_browser(path: Path, environment: Mapping[str, str] = os.environ) -> None:
    """Open a file with the desktop's own program and return at once; do nothing where there is no desktop.

    What that program prints is thrown away: where it finds no browser it lists all those that it has tried.
    """
    is_mac = sys.platform == "darwin"
    opener = shutil.which("open" if is_mac else "xdg-open")
    if opener is None or not (is_mac or any(environment.get(name) for name in _DISPLAYS)):
        return
    subprocess.Popen(
        [opener, path.resolve().as_uri()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
