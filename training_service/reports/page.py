"""A report: one page of HTML about a job that refers to nothing outside of itself, for light and for dark screens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.resources import files

from training_service.markup.elements import Markup, element, joined
from training_service.reports.facts import JobFacts
from training_service.reports.mistakes import mistakes
from training_service.reports.origin import data, lineage, recipe, reproduction
from training_service.reports.promotion import promotion_section
from training_service.reports.quality import calibration, confusions, labels, summary
from training_service.reports.story import header, history, learning

_STYLE = Markup(files("training_service.reports").joinpath("report.css").read_text(encoding="utf-8"))
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
"""What the page may do, should anything of a user's ever become markup: show pictures that it carries itself."""
Section = Callable[[JobFacts], Markup]
SECTIONS: Sequence[tuple[str, Section]] = (
    ("Quality", summary),
    ("Promotion", promotion_section),
    ("Learning", learning),
    ("Confusions", confusions),
    ("Calibration", calibration),
    ("Labels", labels),
    ("Worst mistakes", mistakes),
    ("Data", data),
    ("Recipe", recipe),
    ("Lineage", lineage),
    ("History", history),
    ("How to reproduce", reproduction),
)
"""Headings and what stands below them; a section that has nothing to say is left out."""


def render(facts: JobFacts) -> str:
    """Write the page; every text of a user's is escaped."""
    sections = [(heading, written) for heading, write in SECTIONS if (written := write(facts))]
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


def _anchor(heading: str) -> str:
    return heading.lower().replace(" ", "-")
