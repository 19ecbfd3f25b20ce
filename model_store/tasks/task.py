"""The protocol of a task: its outputs by name, and the way from a head's outputs to an answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any, Literal, Protocol

from model_store.errors import InvalidManifest
from model_store.normal_form import normal_form, unshowable
from model_store.texts import MAX_LABEL

Activation = Literal["softmax", "sigmoid", "identity"]
THRESHOLD = 0.5
"""From which score on an example has a label."""
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.01, 100


class Task(Protocol):
    """A task as a manifest holds it; frozen and hashable."""

    def __hash__(self) -> int:
        """Equal tasks answer alike."""
        ...

    @property
    def kind(self) -> str:
        """Name of the task."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """The label or target of each output of the head, in order."""
        ...

    @property
    def activation(self) -> Activation:
        """The function from a head's outputs, divided by the temperature, to the numbers of an answer."""
        ...

    @property
    def temperature(self) -> float:
        """The divisor of a head's outputs before the activation; 1 without calibration."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Return the form that a manifest holds."""
        ...


def read_names(
    values: Mapping[str, Any], field: str, *, optional: Collection[str] = (), may_repeat: bool = False
) -> tuple[str, ...]:
    """Return the texts in one field of a task; raise InvalidManifest for these and for fields that are unknown.

    Unless they may repeat, no two are equal.
    """
    unknown = set(values) - {"kind", field, *optional}
    _check(not unknown, f"task.{min(unknown, default='')}", "is unknown")
    names = values.get(field)
    place = f"task.{field}"
    is_texts = isinstance(names, list) and all(isinstance(each, str) and 0 < len(each) <= MAX_LABEL for each in names)
    _check(is_texts and bool(names), place, f"must be a list of at least one text of 1 to {MAX_LABEL} characters")
    for position, name in enumerate(names or ()):
        character = unshowable(name)
        _check(not character, f"{place}[{position}]", f"must be characters that can be shown, which {character} is not")
        # Datasets store names in this form; other forms would never match.
        form = normal_form(name)
        _check(name == form, f"{place}[{position}]", f"must be in Unicode's form NFC, {form[:80]!r}")
    if not may_repeat and len(set(names or ())) < len(names or ()):
        name, _ = Counter(names).most_common(1)[0]
        _check(False, place, f"must have no name twice, as {name[:80]!r}")
    return tuple(names or ())


def read_temperature(values: Mapping[str, Any]) -> float:
    """Return the temperature, by default 1; raise InvalidManifest for a value out of bounds."""
    temperature = values.get("temperature", 1.0)
    is_positive = type(temperature) in {int, float} and MIN_TEMPERATURE <= temperature <= MAX_TEMPERATURE
    _check(is_positive, "task.temperature", f"must be {MIN_TEMPERATURE} to {MAX_TEMPERATURE}")
    return float(temperature)


def temperature_json(temperature: float) -> dict[str, float]:
    """Return the temperature's field, or nothing for the temperature 1."""
    return {} if temperature == 1 else {"temperature": temperature}


def _check(holds: bool, place: str, rule: str) -> None:  # noqa: FBT001  reads as an assertion
    if not holds:
        raise InvalidManifest(f"{place} {rule}")
