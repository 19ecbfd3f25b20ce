"""Environment variables that look like mistyped settings: without a remark they would be ignored silently."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from difflib import get_close_matches

NOT_A_SETTING = "not_a_setting"
"""Event that a service logs for each remark."""
_PREFIX = "MAAS_"
_SERVICE_PREFIXES = ("MAAS_TRAINING_", "MAAS_INFERENCE_")
_OF_SETTINGS = 0.92  # least similarity: among many names, two letters exchanged or one left out
_OF_A_FEW = 0.88


def mistyped_settings(
    names: Iterable[str], prefix: str, fields: Collection[str], also_known: Collection[str]
) -> Iterator[str]:
    """Yield a remark for each unknown variable with the service's own prefix, and for each near miss of a setting.

    Each field is read from `{prefix}{FIELD}`, else from `MAAS_{FIELD}`. Variables with the prefix of another service
    are left to that service.
    """
    others = tuple(each for each in _SERVICE_PREFIXES if each != prefix)
    settings = [f"{start}{field.upper()}" for start in (prefix, _PREFIX) for field in fields]
    for name in sorted(names):
        if name.startswith(others) or name in also_known:
            continue
        if remark := _remark(name, settings, _OF_SETTINGS):
            yield remark
        elif name.startswith(prefix) and name not in settings:
            yield f"{name} is not a setting and is ignored"


def near_misses(names: Iterable[str], known: Collection[str], also_known: Collection[str]) -> Iterator[str]:
    """Yield a remark for each variable that is nearly one of the known names."""
    remarks = (_remark(name, known, _OF_A_FEW) for name in sorted(names) if name not in also_known)
    yield from filter(None, remarks)


def _remark(name: str, known: Collection[str], least_similarity: float) -> str:
    if not name.startswith(_PREFIX) or name in known:
        return ""
    near = get_close_matches(name, known, 1, least_similarity)
    return f"{name} is not a setting and is ignored: do you mean {near[0]}?" if near else ""
