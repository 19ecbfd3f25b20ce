"""A report: one page of HTML about a job that refers to nothing outside of itself, for light and for dark screens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from training_service.markup.sections import Section
from training_service.reports.choice import advice, choice
from training_service.reports.columns import columns
from training_service.reports.facts import JobFacts
from training_service.reports.features import features
from training_service.reports.inputs import inputs
from training_service.reports.mistakes import mistakes
from training_service.reports.origin import data, lineage, recipe, reproduction
from training_service.reports.promotion import promotion
from training_service.reports.quality import quality, task_sections
from training_service.reports.searching.trials import trials
from training_service.reports.story import header, history, learning
from training_service.reports.verdict import verdict
from training_service.reports.words import FILTERS

Write = Callable[[JobFacts], Section | None]
ABOVE: Sequence[Write] = (verdict, quality, promotion, choice, trials, learning)
BELOW: Sequence[Write] = (columns, features, mistakes, advice, data, inputs, recipe, lineage, history, reproduction)
"""Sections above and below those of the task; one that has nothing to say is None."""


def render(facts: JobFacts) -> str:
    """Write the page; every value is escaped, as no template marks one as safe."""
    page = templates().get_template("reports/page.html")
    return page.render(facts=facts, header=header(facts), sections=list(_sections(facts)))


def templates() -> Environment:
    """Return the templates, which stand beside the modules that their values come from."""
    found = Environment(
        loader=PackageLoader("training_service", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters |= FILTERS
    return found


def _sections(facts: JobFacts) -> Iterator[Section]:
    yield from (section for write in ABOVE if (section := write(facts)) is not None)
    yield from task_sections(facts)
    yield from (section for write in BELOW if (section := write(facts)) is not None)
