"""The `filter` and `order_by` of listings: a subset of the grammars of AIP-160 and AIP-132.

A filter is conditions joined by AND: `metrics.accuracy >= 0.9 AND tags.team = "vision" AND aliases:production`.
A value may be quoted by `"` or `'`.
https://google.aip.dev/160, https://google.aip.dev/132#ordering
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass

from model_store.errors import InvalidInput
from model_store.normal_form import normal_form
from model_store.texts import is_storable

MAX_LENGTH = 2000
_TOKEN = re.compile(
    r"""\s*(?:(?P<quoted>"(?:[^"\\]|\\["\\])*"|'(?:[^'\\]|\\['\\])*')"""
    r"""|(?P<operator><=|>=|!=|=|<|>|:)|(?P<word>(?!['\u2018\u2019\u201c\u201d])[^\s"<>=!:]+))""",
    re.ASCII,
)
_ESCAPED = re.compile(r"""\\(["'\\])""")


@dataclass(frozen=True)
class Condition:
    """One comparison, for example `metrics.accuracy >= 0.9`, with the `key` `accuracy`; "" for a plain field."""

    field: str
    key: str
    operator: str
    value: str

    @property
    def name(self) -> str:
        """Its field as a listing declares it: `metrics.` for a field with keys."""
        return f"{self.field}." if self.key else self.field


@dataclass(frozen=True)
class Order:
    """The order of a listing; `key` as in a condition."""

    field: str
    key: str = ""
    descending: bool = False


def parse_filter(text: str, fields: Collection[str]) -> tuple[Condition, ...]:
    """Read a filter on these fields (`metrics.` stands for a field with keys); raise InvalidInput saying where."""
    if len(text) > MAX_LENGTH:
        raise InvalidInput.of("filter", f"must have at most {MAX_LENGTH} characters, not {len(text)}")
    _check_storable(text, "filter")
    tokens = _tokens(text)
    for joint in tokens[3::4]:
        if joint != ("word", "AND"):
            raise _wrong(f"conditions are joined by AND, not by {joint[1]!r}")
    if tokens and len(tokens) % 4 == 0:
        raise _wrong("a condition must follow the last AND")
    return tuple(_condition(tokens[start : start + 3], fields) for start in range(0, len(tokens), 4))


def parse_order(text: str, fields: Collection[str], default: Order) -> Order:
    """Read an order by one of these fields, for example `metrics.accuracy desc`; raise InvalidInput."""
    _check_storable(text, "order_by")
    words = text.split()
    if not words:
        return default
    name, key = _field(words[0], fields, "order_by")
    if words[1:] not in ([], ["asc"], ["desc"]):
        raise InvalidInput.of("order_by", f"must be one field, then `asc` or `desc`, not {text[:80]!r}")
    return Order(name, key, words[1:] == ["desc"])


def number_of(condition: Condition) -> float:
    """Return a condition's value as a number; raise InvalidInput."""
    try:
        number = float(condition.value)
    except ValueError:
        number = math.nan
    if math.isnan(number):  # which PostgreSQL and SQLite compare in different ways
        name = f"{condition.name}{condition.key}"
        raise _wrong(f"{name} is compared to a number, not {condition.value!r}")
    return number


def only(condition: Condition, *operators: str) -> None:
    """Raise InvalidInput unless a condition's operator is one of these."""
    if condition.operator not in operators:
        raise _wrong(f"{condition.field} takes {' or '.join(operators)}, not {condition.operator}")


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens, position, text = [], 0, text.rstrip()
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None or found.lastgroup is None:
            raise _wrong(f"cannot be read at character {position + 1}: {text[position : position + 20]!r}")
        tokens.append((found.lastgroup, found[found.lastgroup]))
        position = found.end()
    return tokens


def _condition(tokens: list[tuple[str, str]], fields: Collection[str]) -> Condition:
    if [kind for kind, _ in tokens] not in (["word", "operator", "word"], ["word", "operator", "quoted"]):
        text = " ".join(token for _, token in tokens)
        raise _wrong(f"a condition has the form FIELD OPERATOR VALUE, not {text!r}")
    (_, name), (_, operator), (kind, value) = tokens
    field, key = _field(name, fields, "filter")
    text = _ESCAPED.sub(r"\1", value[1:-1]) if kind == "quoted" else value
    return Condition(field, key, operator, normal_form(text))


def _field(name: str, fields: Collection[str], place: str) -> tuple[str, str]:
    if name in fields and not name.endswith("."):
        return name, ""
    field, _, key = name.partition(".")
    if f"{field}." in fields and key:
        return field, key
    known = ", ".join(f"{each}NAME" if each.endswith(".") else each for each in fields)
    raise InvalidInput.of(place, f"knows no field {name[:80]!r}; there are {known}")


def _check_storable(text: str, place: str) -> None:
    if not is_storable(text):
        raise InvalidInput.of(place, "must not hold NUL or halves of characters")


def _wrong(text: str) -> InvalidInput:
    return InvalidInput.of("filter", text)
