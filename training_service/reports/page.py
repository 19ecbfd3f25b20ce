"""A report: one page of HTML about a job that refers to nothing outside of itself, for light and for dark screens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files

from training_service.markup.elements import Markup, element, joined
from training_service.reports.facts import JobFacts
from training_service.reports.mistakes import mistakes
from training_service.reports.origin import data, lineage, recipe, reproduction
from training_service.reports.promotion import promotion_section
from training_service.reports.quality import summary, task_sections
from training_service.reports.story import header, history, learning
from training_service.tasks.training_task import Section

_STYLE = Markup(files("training_service.reports").joinpath("report.css").read_text(encoding="utf-8"))
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
"""What the page may do, should anything of a user's ever become markup: show pictures that it carries itself."""
Write = Callable[[JobFacts], Markup]
ABOVE: Sequence[tuple[str, Write]] = (("Quality", summary), ("Promotion", promotion_section), ("Learning", learning))
BELOW: Sequence[tuple[str, Write]] = (
    ("Worst mistakes", mistakes),
    ("Data", data),
    ("Recipe", recipe),
    ("Lineage", lineage),
    ("History", history),
    ("How to reproduce", reproduction),
)
"""Headings and what stands below them, above and below the sections of the task."""


def render(facts: JobFacts) -> str:
    """Write the page; every text of a user's is escaped."""
    sections = list(_sections(facts))
    links = (element("a", heading, href=f"#{_anchor(heading)}") for heading, _ in sections)
    body = (element("section", element("h2", heading), written, id=_anchor(heading)) for heading, written in sections)
    head = joined(
        [
            element("meta", charset="utf-8"),
            element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("title", f"{facts.job.version or facts.job.name}: training report"),
            element("style", _STYLE),
        ]
    )
    main = element("main", header(facts), element("nav", *links, aria_label="Sections"), *body)
    page = element("html", element("head", head), element("body", main), lang="en")
    return f"<!doctype html>\n{page}\n"


def _sections(facts: JobFacts) -> Iterator[Section]:
    """Yield the sections in their order; one that has nothing to say is left out."""
    above, below = ([(heading, write(facts)) for heading, write in part] for part in (ABOVE, BELOW))
    yield from (section for section in (*above, *task_sections(facts), *below) if section[1])


def _anchor(heading: str) -> str:
    return heading.lower().replace(" ", "-")
