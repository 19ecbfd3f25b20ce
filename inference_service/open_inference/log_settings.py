"""Triton's log settings over this process's one log level, of which they are another view."""

from __future__ import annotations

from collections.abc import Mapping

from model_store.errors import InvalidInput
from model_store.texts import quoted

Setting = bool | int | str
_LEVELS = ("debug", "info", "warning", "error")


def settings_of(level: str) -> dict[str, Setting]:
    """Return all settings at a level."""
    rank = _LEVELS.index(level)
    return {
        "log_file": "",
        "log_info": rank <= _LEVELS.index("info"),
        "log_warnings": rank <= _LEVELS.index("warning"),
        "log_errors": True,
        "log_verbose_level": int(rank == 0),
        "log_format": "default",
    }


def changed_level(level: str, changes: Mapping[str, Setting]) -> str:
    """Return the log level of these settings; raise InvalidInput for unknown settings."""
    now = settings_of(level)
    for name, value in changes.items():
        if name not in now:
            raise InvalidInput.of("settings", f"has an unknown {quoted(name)}; there are {', '.join(now)}")
        if type(value) is not type(now[name]):
            kind = {bool: "a bool_param", int: "a uint32_param", str: "a string_param"}[type(now[name])]
            raise InvalidInput.of(f"settings[{name}]", f"must be {kind}")
    wanted = {**now, **changes}
    wanted["log_verbose_level"] = min(1, int(wanted["log_verbose_level"]))
    for each in _LEVELS:
        if settings_of(each) == wanted:
            return each
    raise InvalidInput.of(
        "settings",
        "do not fit together: the log goes to standard error, in one format, with every error in it; "
        "what is verbose comes with information, and information with warnings",
    )
