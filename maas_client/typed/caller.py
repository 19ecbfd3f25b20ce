"""Who types a command, for the histories that the registry keeps."""

from __future__ import annotations

import getpass


def caller() -> str:
    """Return the user's name; an empty one where the system has none, as in a container under a bare number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
