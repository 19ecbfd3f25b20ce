"""The grammar of filters and orders: what it reads, and what it says of the rest."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_store.errors import InvalidInput
from model_store.transactions.filters import Condition, Order, parse_filter, parse_order

FIELDS = ("state", "aliases", "tags.", "metrics.")


@pytest.mark.parametrize(
    ("text", "conditions"),
    [
        ("", ()),
        ("   ", ()),
        ("state = ACTIVE", (Condition("state", "", "=", "ACTIVE"),)),
        ("aliases:production", (Condition("aliases", "", ":", "production"),)),
        ("metrics.accuracy>=0.9", (Condition("metrics", "accuracy", ">=", "0.9"),)),
        ('tags.team != "a \\"b\\" c"', (Condition("tags", "team", "!=", 'a "b" c'),)),
        ("tags.team = 'the \"A\" team'", (Condition("tags", "team", "=", 'the "A" team'),)),
        ("tags.team = 'Ann\\'s'", (Condition("tags", "team", "=", "Ann's"),)),
        ("tags.team = O'Hara", (Condition("tags", "team", "=", "O'Hara"),)),
        (
            "metrics.a.b < 1e-3 AND tags.x/y:*",
            (Condition("metrics", "a.b", "<", "1e-3"), Condition("tags", "x/y", ":", "*")),
        ),
    ],
)
def test_filters_are_read(text: str, conditions: tuple[Condition, ...]) -> None:
    """Conditions joined by AND, plain or quoted values, keys with dots and slashes."""
    assert parse_filter(text, FIELDS) == conditions


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("state", "FIELD OPERATOR VALUE"),
        ("state =", "FIELD OPERATOR VALUE"),
        ("= ACTIVE", "FIELD OPERATOR VALUE"),
        ("state = ACTIVE AND", "must follow the last AND"),
        ("state = ACTIVE OR state = DELETED", "joined by AND"),
        ("state = ACTIVE state = DELETED", "joined by AND"),
        ("colour = red", "no field 'colour'; there are state, aliases, tags.NAME, metrics.NAME"),
        ("tags. = x", "no field"),
        ('tags.a = "open', "cannot be read at character"),
        ("tags.a = 'open", "cannot be read at character"),
        ("tags.a = “vision”", "cannot be read at character"),
        ("x" * 2001, "at most 2000"),
        ('tags.a = "\0"', "must not hold NUL"),
        ("tags.a\0:*", "must not hold NUL"),
    ],
)
def test_other_filters_are_refused(text: str, reason: str) -> None:
    """Each refusal says what to write instead."""
    with pytest.raises(InvalidInput, match=reason):
        parse_filter(text, FIELDS)


@pytest.mark.parametrize("quote", ['"', "'"])
@given(
    values=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20), min_size=1, max_size=4)
)
def test_any_value_can_be_quoted(quote: str, values: list[str]) -> None:
    """What is quoted as the grammar says comes back as it was."""
    quoted = [quote + value.replace("\\", "\\\\").replace(quote, f"\\{quote}") + quote for value in values]
    text = " AND ".join(f"tags.k = {value}" for value in quoted)
    assert [condition.value for condition in parse_filter(text, FIELDS)] == values


@given(st.text(max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    """Any text is read or refused, and nothing else happens."""
    try:
        conditions = parse_filter(text, FIELDS)
    except InvalidInput:
        return
    assert json.dumps([condition.value for condition in conditions])


def test_orders_are_read() -> None:
    """One field, ascending unless it says otherwise."""
    default = Order("number", descending=True)
    fields = ("number", "metrics.")
    assert parse_order("", fields, default) == default
    assert parse_order("number", fields, default) == Order("number")
    assert parse_order("metrics.accuracy desc", fields, default) == Order("metrics", "accuracy", descending=True)
    assert parse_order("number asc", fields, default) == Order("number")
    for wrong in ("colour", "number down", "number, metrics.a", "metrics.", "metrics.a\0"):
        with pytest.raises(InvalidInput, match="order_by"):
            parse_order(wrong, fields, default)
