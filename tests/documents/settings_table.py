"""The tables of docs/settings.md, from the settings classes: `python -m tests.documents.settings_table` writes them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from grpc_runtime.settings import ServerSettings
from inference_service.settings import InferenceSettings
from training_service.settings import TrainingSettings

PAGE = Path(__file__).parents[2] / "docs/settings.md"
COMMAND = "python -m tests.documents.settings_table"
_MARKED = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_CLASSES: Mapping[str, type[ServerSettings]] = {
    "ServerSettings": ServerSettings,
    "TrainingSettings": TrainingSettings,
    "InferenceSettings": InferenceSettings,
}
_UNITS = ((1024**3, "GiB"), (1024**2, "MiB"))


def with_tables(page: str) -> str:
    """Return the page with the table of a settings class between each pair of marks."""
    return _MARKED.sub(lambda found: f"{found[1]}{table(_CLASSES[found[2]])}{found[3]}", page)


def table(settings: type[ServerSettings]) -> str:
    """Return the table of a service's own fields; the fields of both services are in the table of ServerSettings."""
    own = settings.__annotations__ if settings is not ServerSettings else settings.model_fields.keys() - {"bind"}
    prefix = settings.model_config["env_prefix"]
    rows = (
        f"| `{prefix}{name.upper()}` | {_default(name, field)} | {_values(field)} | {field.description} |"
        for name, field in settings.model_fields.items()
        if name in own
    )
    return "\n".join(("", "| variable | default | values | |", "|---|---|---|---|", *rows, "", ""))


def undescribed() -> Iterator[str]:
    """Yield each field of the settings that has no description."""
    for settings in _CLASSES.values():
        yield from (
            f"{settings.__name__}.{name}" for name, field in settings.model_fields.items() if not field.description
        )


def _default(name: str, field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is None or value in ("", ()):
        return "empty"
    if name.endswith("_bytes"):
        size, unit = next(unit for unit in _UNITS if value % unit[0] == 0)
        return f"{value // size} {unit}"
    return f"`{_written(value)}`"


def _written(value: object) -> str:
    """Write a value as its variable has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return ",".join(f"{key}={number}" for key, number in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def _values(field: FieldInfo) -> str:
    """Write the values that a field takes, where it has choices or bounds."""
    if field.annotation is bool:
        return "`true`, `false`"
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{each}`" for each in get_args(field.annotation))
    bounds = {
        name: getattr(each, name) for each in field.metadata for name in ("ge", "gt", "le") if hasattr(each, name)
    }
    words = {"ge": "≥", "gt": ">", "le": "≤"}
    return ", ".join(f"{words[name]} {value}" for name, value in bounds.items())


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
