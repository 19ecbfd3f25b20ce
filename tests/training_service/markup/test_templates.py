"""Templates write what they are given as text, and fail on a name that is not there."""

from __future__ import annotations

from html import unescape

import pytest
from jinja2 import Environment, UndefinedError

from training_service.markup.charts import interval_bar
from training_service.markup.sections import Meter, Table, TableSection
from training_service.reports.page import templates

HOSTILE = """<script>alert("&amp;")</script>'{{ 7*7 }}{% raw %}"""


@pytest.fixture(scope="module")
def pages() -> Environment:
    """The templates of all reports."""
    return templates()


def written(pages: Environment, table: Table) -> str:
    """Write a section of one table."""
    section = TableSection("T", table)
    return pages.get_template(section.template).render(section=section)


def test_texts_of_cells_and_captions_are_escaped(pages: Environment) -> None:
    """In elements and in attributes alike; a template's syntax in a value is text too."""
    html = written(pages, Table(HOSTILE, (HOSTILE, "n"), [(HOSTILE, Meter(HOSTILE, 0.5))], HOSTILE))
    assert "<script" not in html
    assert "49" not in html
    assert unescape(html).count(HOSTILE) == 5  # the caption is the region's name too
    assert "--share:0.500" in html


def test_a_picture_is_described_and_its_title_is_no_markup(pages: Environment) -> None:
    """For whoever cannot see it."""
    source = '{% from "markup/picture.html" import picture %}{{ picture(drawn) }}'
    html = pages.from_string(source).render(drawn=interval_bar(HOSTILE, 0.5, 0.25, 0.75))
    assert "<script" not in html
    assert unescape(html).count(HOSTILE) == 2
    assert '<line x1="50.5" y1="6" x2="149.5" y2="6" class="interval"/>' in html


def test_of_a_long_table_the_end_is_told(pages: Environment) -> None:
    """Nothing is left out in silence."""
    rows = [(f"row {number}", "1") for number in range(1500)]
    assert "<details" not in written(pages, Table("T", ("Label", "n"), rows[:30], "labels"))
    assert "All 1,000 labels" in written(pages, Table("T", ("Label", "n"), rows[:1000], "labels"))
    html = written(pages, Table("T", ("Label", "n"), rows, "labels"))
    assert "The first 1,000 of 1,500 labels" in html
    assert ("row 999<" in html, "row 1000<" in html) == (True, False)


def test_a_name_that_is_not_there_fails(pages: Environment) -> None:
    """A page with a hole would go unseen."""
    with pytest.raises(UndefinedError, match="no attribute 'tabel'"):
        pages.from_string("{{ section.tabel }}").render(section=TableSection("T", Table("T", (), (), "")))
