"""HTML and SVG from plain values: whatever is not markup already is escaped, so that no label can become a script."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


class Markup(str):
    """Text that is HTML already; only this module and constants of the program make it."""

    __slots__ = ()


Child = Markup | str | int
_OPEN_ROWS = 30
_MAX_ROWS = 1000
VOID = frozenset({"meta", "img", "br"})


def element(name: str, /, *children: Child, **attributes: str | float | None) -> Markup:
    """Write an element; children that are not Markup and the values of attributes are escaped.

    `class_` is the attribute `class`, and `stroke_width` is `stroke-width`; attributes that are None are left out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_number(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{written}>" if name in VOID else f"<{name}{written}>{joined(children)}</{name}>")


def joined(children: Iterable[Child]) -> Markup:
    """Write children one after the other."""
    return Markup("".join(each if isinstance(each, Markup) else escape(str(each)) for each in children))


def table(columns: Iterable[Child], rows: Iterable[Iterable[Child]], caption: str, class_: str = "") -> Markup:
    """Write a table; the first cell of a row is its heading."""
    head = element("tr", *(element("th", each, scope="col") for each in columns))
    body = (_row(*row) for row in rows)
    parts = element("caption", caption), element("thead", head), element("tbody", *body)
    return scrolling(element("table", *parts, class_=class_ or None), caption)


def scrolling(content: Markup, name: str) -> Markup:
    """Let something wide move within the page, with the keyboard too."""
    return element("div", content, class_="scroll", role="region", aria_label=name, tabindex=0)


def long_table(columns: Sequence[Child], rows: Sequence[Sequence[Child]], caption: str, what: str) -> Markup:
    """Write a table whose first rows are open and some hundreds more can be opened; a note says where it ends."""
    if len(rows) <= _OPEN_ROWS:
        return table(columns, rows, caption, "numbers")
    title = (
        f"All {len(rows):,} {what}" if len(rows) <= _MAX_ROWS else f"The first {_MAX_ROWS:,} of {len(rows):,} {what}"
    )
    shown = table(columns, rows[:_OPEN_ROWS], f"{caption}: the first {_OPEN_ROWS} of {len(rows):,}", "numbers")
    more = table(columns, rows[:_MAX_ROWS], caption, "numbers")
    return joined([shown, element("details", element("summary", title), more)])


def facts(pairs: Iterable[tuple[str, Child]]) -> Markup:
    """Write names and what they have; those without anything are left out."""
    shown = (element("div", element("dt", name), element("dd", value)) for name, value in pairs if str(value))
    return element("dl", *shown)


def _row(heading: Child, *cells: Child) -> Markup:
    return element("tr", element("th", heading, scope="row"), *(element("td", each) for each in cells))


def _number(value: str | float) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
